// A pack in the widths of the 7B model, many times as large as what the engine's own memory may hold: it goes to the GPU shard by
// shard, answers as in the terminal, and leaves that memory as small as a few shards make it.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch, open } from "./browser.js";
import { patchWorker, program } from "./packs.js";
import { FIXTURES, serve } from "./server.js";

/** What the engine may hold, whatever the size of a pack. */
const BOUND = 300e6;
const TOKENS = 3;
const QUESTION = "Hm?";
const SHARD = 64 << 20;

/** Tells the size of the program's memory with every report of progress; a memory never shrinks. */
const MEMORY = `
  let memory;
  const instantiate = WebAssembly.instantiateStreaming;
  WebAssembly.instantiateStreaming = async (...parts) => {
    const made = await instantiate(...parts);
    memory = made.instance.exports.memory;
    return made;
  };
  const post = globalThis.postMessage.bind(globalThis);
  globalThis.postMessage = (message) => {
    if (message.progress) message.progress.memory = memory?.buffer.byteLength;
    post(message);
  };`;

let folder, server, browser, manifest, native;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "wethink-large-"));
  const pack = join(folder, "pack");
  program("noise_pack", "--out", pack, "--files", join(FIXTURES, "tiny-qwen2_5_vl/checkpoint"), "--layers", 1);
  manifest = JSON.parse(await readFile(join(pack, "pack.json"), "utf8"));
  const chat = join(folder, "chat.json");
  await writeFile(chat, JSON.stringify([{ role: "user", content: QUESTION }]));
  const limits = ["--max-new-tokens", TOKENS, "--min-new-tokens", TOKENS, "--no-system", "--json", "--device", "cpu"];
  native = JSON.parse(program("trainer", "ask", "--checkpoint", pack, "--messages", chat, ...limits));
  server = await serve(folder);
  browser = await launch({ webgpu: true });
});
after(async () => {
  await browser?.close();
  await server?.close();
  if (folder) await rm(folder, { recursive: true });
});

test("the engine's memory stays below its bound and stops growing after a few shards", async () => {
  const bytes = manifest.shards.reduce((sum, shard) => sum + shard.bytes, 0);
  assert.ok(bytes > 4 * BOUND && manifest.shards.length > 12, `${bytes} bytes in ${manifest.shards.length} shards`);
  patchWorker(server, MEMORY);
  const view = await open(browser, `${server.site}blank.html`);
  const { last, steps, preflight, seconds } = await view.page.evaluate(async ({ pack, question, tokens }) => {
    const { WeThink } = await import("./wethink.js");
    const steps = [];
    const since = performance.now();
    const model = await WeThink.load(pack, { device: "webgpu", contextTokens: 128, onProgress: (step) => steps.push(step) });
    const seconds = (performance.now() - since) / 1000;
    const messages = [{ role: "user", content: question }];
    for await (const part of model.ask({ messages, system: null, maxNewTokens: tokens, minNewTokens: tokens })) void part;
    model.unload();
    return { last: model.last, steps, preflight: model.preflight, seconds };
  }, { pack: `${server.made}pack/`, question: QUESTION, tokens: TOKENS });

  assert.deepEqual(last.promptIds, native.prompt_ids);
  assert.deepEqual(last.tokenIds, native.token_ids);
  last.logprobs.forEach((logprob, i) => assert.ok(Math.abs(logprob - native.logprobs[i]) < 1e-3, `${last.logprobs} for ${native.logprobs}`));
  assert.equal(preflight.weights, bytes);

  const moved = steps.filter(({ stage, memory }) => stage === "weights" && memory);
  assert.equal(moved.at(-1).loaded, bytes);
  const few = moved.find(({ loaded }) => loaded >= 4 * SHARD).memory;
  const { memory } = moved.at(-1);
  const { wasmBytes, gpuBytes, decodeMs, firstTokenMs } = last.timing;
  console.log(JSON.stringify({ bytes, shards: manifest.shards.length, seconds, few, memory, wasmBytes, gpuBytes, firstTokenMs, decodeMs }));
  assert.ok(memory < BOUND && wasmBytes < BOUND, `${memory} bytes when loaded, ${wasmBytes} after an answer`);
  // Where shards were not freed, each would add its size.
  assert.ok(memory - few < SHARD, `${few} bytes after four shards, ${memory} after ${manifest.shards.length}`);
  view.quiet();
});
