// Figures of the built site in Chromium, on WebGPU and on the CPU, as one JSON object; `node bench.js rewards`
// or `node bench.js visitor` for a part.

import { readFile, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { launch, open } from "./browser.js";
import { SITE, serve } from "./server.js";

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
 * seconds until then, from a cold start and by steps. Best of three scenes for what an answer takes once all is there.
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
    const paths = [...new Set(server.requests)];
    const files = await Promise.all(paths.map((path) => readFile(join(SITE, path.replace("/a/sub path/", "") || "index.html"))));
    const later = [];
    for (let i = 0; i < 3; i++) {
      await page.getByRole("button", { name: "Shuffle" }).click();
      const before = performance.now();
      await ask.click();
      await judged(i + 2);
      later.push((performance.now() - before) / 1000);
    }
    return {
      device: await page.locator(".scenes .badge").first().textContent(),
      files: paths.length,
      bytes: files.reduce((sum, file) => sum + file.length, 0),
      gzipped: files.reduce((sum, file) => sum + gzipSync(file, { level: 9 }).length, 0),
      ready_seconds: ready,
      first_answer_seconds: first,
      next_answer_seconds: Math.min(...later),
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

// The rewards take seconds; the models take minutes.
const only = process.argv[2];
const figures = {};
if (only !== "visitor") figures.rewards = await rewards(100_000);
if (only !== "rewards") figures.visitor = [await visitor(true), await visitor(false)];
if (!only) {
  figures.files = await weight();
  figures.runs = [await measure("webgpu", true), await measure("cpu", false)];
}
console.log(JSON.stringify(figures, null, 2));
