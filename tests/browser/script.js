// A worker that says what a test tells it to, in place of a model, so that the pages are tested apart from what a model has
// learned.

const WORKER = `
const aborted = new Set();
const preflight = { weights: 4e6, cache: 1e6, work: 1e6, contextTokens: 4096, allocated: 6e6, fits: true, fittingTokens: 4096 };
onmessage = async ({ data }) => {
  if (data.abort !== undefined) return aborted.add(data.abort);
  const [name, call] = Object.entries(data)[0];
  const script = await (await fetch("script.json?" + (call.url ?? ""), { cache: "no-store" })).json();
  if (name === "load") {
    const device = { kind: "cpu", name: "A script" };
    return postMessage({ done: { id: call.id, result: { device, preflight } } });
  }
  const said = { think: "", answer: "", raw: "" };
  let finishReason = "stop";
  for (const [kind, text] of script.parts) {
    if (aborted.has(call.id)) finishReason = "cancelled";
    if (finishReason === "cancelled") break;
    said[kind] += text;
    postMessage({ part: { id: call.id, kind, text } });
    await new Promise((resolve) => setTimeout(resolve, script.delay));
  }
  const timing = { imageTokens: 16, promptTokens: 99, prefillTokens: 99, pictureMs: 1, firstTokenMs: 20, decodeTokens: 30,
    decodeMs: 100, wasmBytes: 1, gpuBytes: null, cacheTokens: 1, cacheBytes: 1 };
  const text = script.raw ?? "<think>" + said.think + "</think>\\n<answer>" + said.answer + "</answer>";
  const think = script.raw === undefined ? said.think : undefined;
  const answer = script.raw === undefined ? said.answer : undefined;
  postMessage({ done: { id: call.id, result: { tokenIds: [], text, think, answer, finishReason, timing } } });
};`;

/**
 * Puts the worker into a server's site. \`say\` sets what is said next: lines of the thought, the answer, and the milliseconds
 * between two pieces.
 */
export function scripted(server) {
  let script = { parts: [], delay: 0 };
  const answer = (type, body) => (response) => response.writeHead(200, { "content-type": type }).end(body());
  server.broken.set("/wethink-worker.js", answer("text/javascript", () => WORKER));
  server.broken.set("/script.json", answer("application/json", () => JSON.stringify(script)));
  return {
    say(lines, answer, { delay = 0, raw } = {}) {
      // Cells and marks come in pieces of their own, as tokens do.
      const pieces = lines.flatMap((line) => line.split(/(?<=\)|\s)/)).filter(Boolean);
      const parts = pieces.map((piece) => ["think", piece]);
      if (raw !== undefined) parts.push(["raw", raw]);
      if (answer !== undefined) parts.push(["answer", answer]);
      script = { parts, delay, raw };
    },
  };
}
