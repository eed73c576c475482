// Figures of the built site in Chromium, on WebGPU and on the CPU, as one JSON object; `node bench.js rewards`, `visitor` or
// `decode` for those alone.

import { mkdtemp, readFile, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { launch, open } from "./browser.js";
import { COUNT_DISPATCHES, patchWorker, program } from "./packs.js";
import { FIXTURES, SITE, serve } from "./server.js";

const TOKENS = 64;

/** Bytes of the page and the engine, as they are and gzipped; the bundled models and the samples are not counted. */
async function weight() {
  const sizes = {};
  for (const file of await readdir(SITE)) {
    const path = join(SITE, file);
    if (!(await stat(path)).isFile()) continue;
    const bytes = await readFile(path);
    sizes[file] = { bytes: bytes.length, gzipped: gzipSync(bytes, { level: 9 }).length };
  }
  return sizes;
}

async function measure(device, webgpu) {
  const server = await serve();
  const browser = await launch({ webgpu });
  try {
    const { page } = await open(browser, `${server.site}blank.html`);
    return await page.evaluate(
      async ({ folder, device, tokens }) => {
        const { WeThink } = await import("./wethink.js");
        const seconds = (since) => (performance.now() - since) / 1000;
        const load = async () => {
          const since = performance.now();
          const model = await WeThink.load(folder, { device });
          return [model, seconds(since)];
        };
        const [first, firstLoad] = await load();
        first.unload();
        const [model, cachedLoad] = await load();
        const ask = async () => {
          const content = [{ type: "image" }, { type: "text", text: "What is in the picture?" }];
          const messages = [{ role: "user", content }];
          const options = { messages, images: ["samples/chart.png"], maxNewTokens: tokens, minNewTokens: tokens };
          for await (const part of model.ask(options)) void part;
          return model.last.timing;
        };
        const timing = await ask();
        const { kind, name } = model.device;
        return {
          device: kind,
          name,
          load_seconds: firstLoad,
          load_from_cache_seconds: cachedLoad,
          image_tokens: timing.imageTokens,
          prompt_tokens: timing.promptTokens,
          first_token_seconds: timing.firstTokenMs / 1000,
          decode_tokens_per_second: (1000 * (timing.decodeTokens - 1)) / timing.decodeMs,
          wasm_bytes: timing.wasmBytes,
          gpu_bytes: timing.gpuBytes,
        };
      },
      { folder: `${server.fixtures}tiny-qwen2_5_vl/checkpoint/`, device, tokens: TOKENS },
    );
  } finally {
    await browser.close();
    await server.close();
  }
}

/**
 * The page as a visitor meets it: bytes that come over the wire until the first answer is judged, as they are and gzipped, and the
 * seconds until then, from a cold start; then what an answer takes once all is there.
 */
async function visitor(webgpu) {
  const server = await serve();
  const browser = await launch({ webgpu });
  try {
    const since = performance.now();
    const seconds = () => (performance.now() - since) / 1000;
    const { page } = await open(browser, server.site);
    const ask = page.getByRole("button", { name: "Ask", exact: true }).and(page.locator(":enabled"));
    await ask.waitFor({ timeout: 300_000 });
    const ready = seconds();
    await ask.click();
    const judged = (count) => page.locator(".score").getByText(new RegExp(`of ${count} right`)).waitFor({ timeout: 300_000 });
    await judged(1);
    const first = seconds();
    // A checkpoint is asked for files that it may lack.
    const read = (path) => readFile(join(SITE, path.replace("/a/sub path/", "") || "index.html")).catch(() => undefined);
    const files = (await Promise.all([...new Set(server.requests)].map(read))).filter(Boolean);
    await page.getByRole("button", { name: "Shuffle" }).click();
    const before = performance.now();
    await ask.click();
    await judged(2);
    const next = (performance.now() - before) / 1000;
    return {
      device: await page.locator(".scenes .badge").first().textContent(),
      files: files.length,
      bytes: files.reduce((sum, file) => sum + file.length, 0),
      gzipped: files.reduce((sum, file) => sum + gzipSync(file, { level: 9 }).length, 0),
      ready_seconds: ready,
      first_answer_seconds: first,
      next_answer_seconds: next,
      cost: (await page.locator(".final .cost").first().textContent()).trim(),
    };
  } finally {
    await browser.close();
    await server.close();
  }
}

/** Rows per second of the reward checker's worker: reading JSON lines, scoring them, and showing those that hold a word. */
async function rewards(count) {
  const server = await serve();
  const browser = await launch({ webgpu: false });
  try {
    const { page } = await open(browser, `${server.site}blank.html`);
    return await page.evaluate(async (count) => {
      const { Rewards } = await import("./wethink-rewards-client.js");
      const kinds = [["math", "\\frac{3}{4}", "$\\boxed{0.75}$"], ["number", "42", "42 apples"], ["mcq", "B", "(B)"], ["text", "a cat", "The cat"]];
      const row = (i) => {
        const [kind, gold, answer] = kinds[i % kinds.length];
        const pred = `<think>\n${"step by step ".repeat(40)}${i}\n</think>\n<answer>\n${answer}\n</answer>`;
        return JSON.stringify({ id: i, kind, problem: `Question ${i}?`, gold, pred });
      };
      const file = new File([Array.from({ length: count }, (_, i) => row(i)).join("\n")], "rows.jsonl");
      const worker = new Rewards();
      const timed = async (name, ...args) => {
        const since = performance.now();
        const result = await worker.call(name, args);
        return [result, (performance.now() - since) / 1000];
      };
      await timed("examine", "{}", {});
      const [{ guess }, opening] = await timed("open", file);
      const [{ rows }, reading] = await timed("load", { columns: guess });
      const [, scoring] = await timed("rescore", null);
      const [, searching] = await timed("filter", { text: "question 4" });
      worker.end();
      return {
        rows,
        bytes: file.size,
        read_rows_per_second: Math.round(rows / (opening + reading)),
        scored_rows_per_second: Math.round(rows / scoring),
        searched_rows_per_second: Math.round(rows / searching),
      };
    }, count);
  } finally {
    await browser.close();
    await server.close();
  }
}

/** Packs of the tiny checkpoint and of preset XS, in 4 bits, below `folder`. */
async function packs(folder) {
  const path = (name) => join(folder, name);
  program("trainer", "scenes", "make", "--n", 40, "--out", path("scenes"));
  program("trainer", "init", "--preset", "XS", "--tokenizer-from", path("scenes/rows.jsonl"), "--out", path("xs-whole"));
  const whole = { tiny: join(FIXTURES, "tiny-qwen2_5_vl/checkpoint"), XS: path("xs-whole") };
  for (const [shape, checkpoint] of Object.entries(whole)) {
    program("trainer", "export", checkpoint, "--quantize", "q4", "--out", path(shape));
  }
  return Object.keys(whole);
}

/** Bytes that a token reads once: matrices and norms of the layers, the head, and keys and values of `context` tokens. */
function bytesPerToken({ config, tensors }, context) {
  const head = config.tie_word_embeddings ? "model.embed_tokens." : "lm_head.";
  const bytes = ({ dtype, shape }) => {
    const [rows, width] = shape.length > 1 ? shape : [1, shape[0]];
    const blocks = Math.ceil(width / 32);
    const scales = 4 * Math.ceil(blocks / 2);
    return rows * { q4: 16 * blocks + scales, q8: 32 * blocks + scales, f16: 64 * blocks, f32: 4 * width }[dtype];
  };
  const read = tensors.filter(({ name }) => ["model.layers.", "model.norm", head].some((part) => name.startsWith(part)));
  const { num_hidden_layers: layers, num_key_value_heads: heads, hidden_size, num_attention_heads } = config;
  return read.reduce((sum, tensor) => sum + bytes(tensor), 8 * layers * heads * (hidden_size / num_attention_heads) * context);
}

/** In a page: tokens a second with one token a wait, and with as many as the engine takes; and what a copy moves a second. */
async function decodeIn({ pack, device, tokens }) {
  const { WeThink } = await import("./wethink.js");
  const model = await WeThink.load(pack, { device });
  const ask = async (more) => {
    const messages = [{ role: "user", content: "What is in the picture, and where does it stand? ".repeat(4) }];
    for await (const part of model.ask({ messages, system: null, maxNewTokens: tokens, ...more })) void part;
    return model.last;
  };
  await ask();
  const rate = ({ timing }) => (1000 * (timing.decodeTokens - 1)) / timing.decodeMs;
  const one = await ask({ tokensPerReading: 1 });
  const [fewer, many] = [await ask({ maxNewTokens: tokens / 2 }), await ask()];
  const whole = (answer) => answer.dispatches;
  const each = whole(many) - whole(fewer) - (whole(fewer) - whole(one));
  const figures = {
    context: many.promptIds.length + tokens / 2,
    tokens: many.tokenIds.length,
    dispatches_per_token: device === "webgpu" ? each / (many.tokenIds.length - fewer.tokenIds.length) : undefined,
    decode_tokens_per_second: rate(many),
    readings: many.timing.readings,
    decode_tokens_per_second_reading_each: rate(one),
    wasm_bytes: many.timing.wasmBytes,
  };
  model.unload();
  return figures;
}

/** In a page: bytes a second that a copy reads and writes. */
async function copyIn(device) {
  const [size, runs] = [64 << 20, 5];
  if (device === "cpu") {
    const [from, to] = [new Uint8Array(size).fill(1), new Uint8Array(size)];
    to.set(from);
    const since = performance.now();
    for (let run = 0; run < runs; run++) to.set(from);
    return (2000 * size * runs) / (performance.now() - since);
  }
  const gpu = await (await navigator.gpu.requestAdapter()).requestDevice();
  const buffer = () => gpu.createBuffer({ size, usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST });
  const [from, to] = [buffer(), buffer()];
  const copy = async (times) => {
    const encoder = gpu.createCommandEncoder();
    for (let n = 0; n < times; n++) encoder.copyBufferToBuffer(from, 0, to, 0, size);
    gpu.queue.submit([encoder.finish()]);
    await gpu.queue.onSubmittedWorkDone();
  };
  await copy(1);
  const since = performance.now();
  await copy(runs);
  const rate = (2000 * size * runs) / (performance.now() - since);
  gpu.destroy();
  return rate;
}

/** Decoding from packs, by device and shape. */
async function decode() {
  const folder = await mkdtemp(join(tmpdir(), "wethink-bench-"));
  const rows = [];
  try {
    const shapes = await packs(folder);
    for (const [device, webgpu] of [["webgpu", true], ["cpu", false]]) {
      const server = await serve(folder);
      const browser = await launch({ webgpu });
      try {
        patchWorker(server, COUNT_DISPATCHES);
        const { page } = await open(browser, `${server.site}blank.html`);
        const copy = await page.evaluate(copyIn, device);
        for (const shape of shapes) {
          // A software adapter takes seconds a token.
          const tokens = webgpu ? TOKENS / 4 : TOKENS;
          const figures = await page.evaluate(decodeIn, { pack: `${server.made}${shape}/`, device, tokens });
          const pack = JSON.parse(await readFile(join(folder, shape, "pack.json"), "utf8"));
          const bytes = bytesPerToken(pack, figures.context);
          const share = (bytes * figures.decode_tokens_per_second) / copy;
          rows.push({ device, shape, weights: "q4", ...figures, bytes_per_token: bytes, copy_bytes_per_second: copy, share_of_copy_bandwidth: share });
          // A long suite says what it has: all comes once more at the end.
          console.error(JSON.stringify(rows.at(-1)));
        }
      } finally {
        await browser.close();
        await server.close();
      }
    }
  } finally {
    await rm(folder, { recursive: true });
  }
  return rows;
}

const SUITES = {
  rewards: () => rewards(100_000),
  visitor: async () => [await visitor(true), await visitor(false)],
  files: weight,
  runs: async () => [await measure("webgpu", true), await measure("cpu", false)],
  decode,
};
const only = process.argv[2];
const figures = {};
for (const [name, suite] of Object.entries(SUITES)) if (!only || name === only) figures[name] = await suite();
console.log(JSON.stringify(figures, null, 2));
