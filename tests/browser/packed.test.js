// A packed checkpoint in the browser: it answers as the terminal does from the same folder, on WebGPU and without, and what
// is wrong with a pack or too large for a device is told before weights are fetched.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { accessible, launch, open } from "./browser.js";
import { cut, patchWorker, program } from "./packs.js";
import { FIXTURES, serve } from "./server.js";

const TINY = join(FIXTURES, "tiny-qwen2_5_vl");
const { cases } = JSON.parse(await readFile(join(TINY, "cases.json"), "utf8"));
const [NAME, known] = Object.entries(cases).find(([, known]) => known.images.length === 1);

/** Two greedy turns, so that the second finds the first's keys and values. */
const TOKENS = 12;
const SECOND = "And what else is there?";

let folder, manifest, native, server;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "wethink-pack-"));
  program("trainer", "export", join(TINY, "checkpoint"), "--quantize", "q4", "--out", join(folder, "pack"));
  manifest = JSON.parse(await readFile(join(folder, "pack/pack.json"), "utf8"));
  native = [];
  const messages = structuredClone(known.messages);
  for (let turn = 0; turn < 2; turn++) {
    const chat = join(folder, `chat-${turn}.json`);
    await writeFile(chat, JSON.stringify(messages));
    const limits = ["--max-new-tokens", TOKENS, "--min-new-tokens", TOKENS, "--no-system", "--json", "--device", "cpu"];
    const images = known.images.flatMap((file) => ["--image", join(TINY, "images", file)]);
    native.push(JSON.parse(program("trainer", "ask", "--checkpoint", join(folder, "pack"), "--messages", chat, ...images, ...limits)));
    messages.push({ role: "assistant", content: [{ type: "text", text: native[turn].text }] });
    messages.push({ role: "user", content: [{ type: "text", text: SECOND }] });
  }
  server = await serve(folder);
});
after(async () => {
  await server?.close();
  if (folder) await rm(folder, { recursive: true });
});

/** Asks both turns; the chat has room for exactly what they need. */
async function askBoth({ pack, images, known, second, device, tokens, contextTokens }) {
  const { WeThink } = await import("./wethink.js");
  const steps = [];
  const model = await WeThink.load(pack, { device, contextTokens, onProgress: (step) => steps.push(step) });
  const answers = [];
  let { messages } = known;
  for (let turn = 0; turn < 2; turn++) {
    const parts = model.ask({ messages, images, system: null, maxNewTokens: tokens, minNewTokens: tokens });
    for await (const part of parts) void part;
    answers.push(model.last);
    messages = [...messages, { role: "assistant", content: [{ type: "text", text: model.last.text }] }];
    messages.push({ role: "user", content: [{ type: "text", text: second }] });
  }
  const { kind } = model.device;
  model.unload();
  return { answers, kind, preflight: model.preflight, steps, cached: await WeThink.cached() };
}

const shards = () => server.requests.filter((path) => manifest.shards.some(({ file }) => path.endsWith(`/${file}`)));

for (const [device, webgpu] of [["webgpu", true], ["cpu", false]]) {
  describe(`a packed checkpoint on ${device}`, () => {
    let browser, view, result;
    const contextTokens = () => native[1].prompt_ids.length + TOKENS;
    before(async () => {
      browser = await launch({ webgpu });
      view = await open(browser, `${server.site}blank.html`);
      const images = known.images.map((file) => `${server.fixtures}tiny-qwen2_5_vl/images/${file}`);
      const call = { pack: `${server.made}pack/`, images, known, second: SECOND, device, tokens: TOKENS };
      result = await view.page.evaluate(askBoth, { ...call, contextTokens: contextTokens() });
    });
    after(() => browser?.close());

    test(`${NAME} gives the tokens that it gives in the terminal, in both turns`, () => {
      assert.equal(result.kind, device);
      result.answers.forEach((answer, turn) => {
        assert.deepEqual(answer.promptIds, native[turn].prompt_ids);
        assert.deepEqual(answer.tokenIds, native[turn].token_ids);
        assert.equal(answer.text, native[turn].text);
        answer.logprobs.forEach((logprob, i) => assert.ok(Math.abs(logprob - native[turn].logprobs[i]) < 1e-3));
      });
      view.quiet();
    });

    test("the second turn computes only what is new", () => {
      const [first, second] = result.answers;
      assert.equal(first.timing.prefillTokens, first.promptIds.length);
      const held = first.promptIds.length + TOKENS - 1;
      const shared = second.promptIds.findIndex((id, i) => id !== [...first.promptIds, ...first.tokenIds][i]);
      assert.ok(shared >= first.promptIds.length, `${shared} of ${first.promptIds.length} shared`);
      assert.equal(second.timing.prefillTokens, second.promptIds.length - Math.min(shared, held));
    });

    test("packed kernels run, weights stay packed, and the chat has the room that was chosen", () => {
      const [{ timing }] = result.answers;
      const packed = Object.keys(timing.kernels).filter((name) => name.startsWith("packed_") && !name.endsWith("_composed"));
      assert.equal(packed.length > 0, device === "webgpu", Object.keys(timing.kernels).join());
      const bytes = manifest.shards.reduce((sum, shard) => sum + shard.bytes, 0);
      const { preflight } = result;
      assert.deepEqual([preflight.weights, preflight.download, preflight.fits], [bytes, bytes, true]);
      assert.equal(preflight.allocated, preflight.weights + preflight.cache + preflight.work);
      assert.equal(preflight.contextTokens, contextTokens());
      for (const { timing } of result.answers) {
        assert.deepEqual([timing.cacheTokens, timing.cacheBytes], [contextTokens(), preflight.cache]);
      }
      assert.ok(timing.wasmBytes < 300e6, `${timing.wasmBytes} bytes`);
    });

    test("loading runs through its stages and keeps the pack", () => {
      const stages = [...new Set(result.steps.map(({ stage }) => stage))];
      assert.deepEqual(stages.slice(0, 4), ["engine", "device", "files", "preflight"]);
      assert.deepEqual(stages.slice(4).sort(), ["download", "weights"]);
      assert.equal(result.steps.at(-1).overall, 1);
      const [{ url, bytes }] = result.cached;
      assert.equal(url, `${server.made}pack/`);
      assert.ok(bytes >= result.preflight.weights);
    });
  });
}

describe("packs that cannot be used", () => {
  let browser, view;
  before(async () => {
    browser = await launch({ webgpu: true });
  });
  after(() => browser?.close());
  afterEach(async () => {
    server.broken.clear();
    await view.context.close();
  });

  /** Loads the pack in a page of its own; the error, or the model's preflight. */
  async function load({ device = "cpu", from = `${server.made}pack/`, patch, ...options } = {}) {
    if (patch) patchWorker(server, patch);
    view = await open(browser, `${server.site}blank.html`);
    return view.page.evaluate(async ({ from, options }) => {
      const { WeThink } = await import("./wethink.js");
      try {
        const model = await WeThink.load(from, options);
        return { preflight: model.preflight };
      } catch (error) {
        return { type: error.constructor.name, code: error.code, message: error.message };
      }
    }, { from, options: { device, ...options } });
  }

  function isError(result, code, ...texts) {
    assert.equal(result.type, "WeThinkError", JSON.stringify(result));
    assert.equal(result.code, code, result.message);
    for (const text of texts) assert.ok(result.message.includes(text), `${result.message} lacks ${text}`);
  }

  test("the address of pack.json itself is a pack's address, and nothing is looked for in vain", async () => {
    const { preflight } = await load({ from: `${server.made}pack/pack.json` });
    assert.ok(preflight?.fits);
    assert.deepEqual(view.faults, []);
  });

  test("a pack of another version, and a small file that is not the one that was packed", async () => {
    const changed = (name, change) =>
      server.broken.set(`/pack/${name}`, async (response, file) => response.writeHead(200).end(change(await readFile(file, "utf8"))));
    const before = shards().length;
    changed("pack.json", (text) => JSON.stringify({ ...JSON.parse(text), version: 2 }));
    isError(await load(), "checkpoint", "version", "export the pack again");
    await view.context.close();
    server.broken.clear();
    changed("tokenizer.json", (text) => `${text} `);
    const sum = createHash("sha256").update(`${await readFile(join(folder, "pack/tokenizer.json"), "utf8")} `).digest("hex");
    isError(await load(), "checkpoint", "tokenizer.json", sum);
    assert.equal(shards().length, before);
  });

  // The real limit of this software GPU is the machine's memory: buffers that come after the first fail as those do that
  // are too large for it.
  const full = `
    const create = GPUDevice.prototype.createBuffer;
    let [preflight, large] = [true, 0];
    GPUDevice.prototype.createBuffer = function (description) {
      if (description.size >= 4e6 && ++large > 1) return create.call(this, { ...description, size: 2 ** 40 });
      return create.call(this, description);
    };`;

  test("too little memory on the GPU is told with what fits, before weights are fetched", async () => {
    const before = shards().length;
    isError(await load({ device: "webgpu", patch: full, contextTokens: 1_000_000 }), "request", "contextTokens");
    await view.context.close();
    const { max_position_embeddings } = manifest.config.text_config ?? manifest.config;
    // Longer chats, more memory: by a change of the configuration that leaves the weights alone.
    server.broken.set("/pack/pack.json", async (response, file) => {
      const pack = JSON.parse(await readFile(file, "utf8"));
      (pack.config.text_config ?? pack.config).max_position_embeddings = Math.max(4_000_000, max_position_embeddings);
      response.writeHead(200).end(JSON.stringify(pack));
    });
    const error = await load({ device: "webgpu", patch: full, contextTokens: 2_000_000 });
    isError(error, "memory", "can be had", "choose that as contextTokens");
    assert.equal(shards().length, before);
    const [, tokens] = /a chat of (\d+) tokens fits/.exec(error.message);
    await view.context.close();
    const { preflight } = await load({ device: "webgpu", patch: full, contextTokens: Number(tokens) });
    assert.equal(preflight.contextTokens, Number(tokens));
  });

  test("a chat longer than was chosen is refused, and the model answers on", async () => {
    view = await open(browser, `${server.site}blank.html`);
    const result = await view.page.evaluate(async ({ pack, tokens }) => {
      const { WeThink } = await import("./wethink.js");
      const model = await WeThink.load(pack, { device: "cpu", contextTokens: tokens });
      const messages = [{ role: "user", content: "Hello" }];
      const ask = async (maxNewTokens) => {
        for await (const part of model.ask({ messages, system: null, maxNewTokens })) void part;
        return model.last.timing.cacheTokens;
      };
      const error = await ask(tokens).catch(({ code, message }) => ({ code, message }));
      return { error, room: await ask(3) };
    }, { pack: `${server.made}pack/`, tokens: 128 });
    assert.equal(result.error.code, "request", JSON.stringify(result));
    assert.match(result.error.message, /the 128 tokens that a chat has here; .*contextTokens/);
    assert.equal(result.room, 128);
  });
});

describe("the page with a pack", () => {
  let browser, view, page;
  before(async () => {
    browser = await launch({ webgpu: false });
  });
  after(() => browser?.close());
  afterEach(async () => {
    server.broken.clear();
    await view.context.close();
  });

  const ready = () => page.locator(".status .badge").waitFor({ timeout: 120_000 });
  async function start(options) {
    view = await open(browser, `${server.site}#/ask`, options);
    ({ page } = view);
    await ready();
    await page.getByText("Another model or device", { exact: true }).click();
    await page.getByLabel("Address of a pack").fill(`${server.made}pack/`);
  }

  for (const colorScheme of ["light", "dark"]) {
    test(`what it needs, loading, interrupted and loaded: accessible at 390 px, ${colorScheme}`, async () => {
      await start({ colorScheme, viewport: { width: 390, height: 844 } });
      const look = async () => {
        await accessible(page);
        assert.equal(await page.evaluate(() => Math.max(0, document.documentElement.scrollWidth - innerWidth)), 0);
      };
      await page.getByLabel("Longest chat, in tokens").fill("512");
      await page.getByRole("button", { name: "What does it need?" }).click();
      await page.locator(".model").getByText(/for a chat of 512 tokens.*allocated for trial.*to be fetched/).waitFor({ timeout: 60_000 });
      await look();
      // The only shard stops in the middle.
      const [{ file }] = manifest.shards;
      server.broken.set(`/${file}`, async (response, path, request) => cut(response, await readFile(path), request, 200_000, { silent: true }));
      await page.getByRole("button", { name: "Load", exact: true }).click();
      await page.getByText("Fetched", { exact: true }).waitFor({ timeout: 60_000 });
      await page.getByText(/Loading the pack: \d+ %/).waitFor();
      await look();
      await page.getByRole("button", { name: "Stop loading" }).click();
      await page.getByText("No model is loaded.").waitFor();
      server.broken.clear();
      const before = server.requests.length;
      await page.getByRole("button", { name: "Load the model again" }).click();
      await ready();
      assert.ok(server.requests.slice(before).some((path) => path.endsWith(file)));
      assert.match(await page.locator(".status").textContent(), /weights 0\.\d MB|weights \d+\.\d MB/);
      assert.match(await page.locator(".status").textContent(), /a chat of 512 tokens/);
      await look();
    });
  }

  test("a dropped folder is loaded, one without a model gives its pictures", async () => {
    await start();
    const names = ["pack.json", ...manifest.files.map(({ name }) => name), ...manifest.shards.map(({ file }) => file)];
    const drop = (files) =>
      page.evaluate(async ({ base, files }) => {
        const leaf = (path, bytes, type) => ({
          isFile: true,
          fullPath: path,
          file: (take) => take(new File([bytes], path.split("/").pop(), { type })),
        });
        const leaves = await Promise.all(files.map(async ([name, type]) => leaf(`/dropped/${name}`, await (await fetch(base + name)).blob(), type)));
        const parts = [leaves, []];
        const folder = { isDirectory: true, createReader: () => ({ readEntries: (take) => take(parts.shift()) }) };
        const transfer = { items: [{ kind: "file", webkitGetAsEntry: () => folder }], files: [] };
        const event = new Event("drop", { bubbles: true, cancelable: true });
        Object.defineProperty(event, "dataTransfer", { value: transfer });
        document.querySelector("main").dispatchEvent(event);
      }, { base: files.base, files: files.list });
    await drop({ base: `${server.made}pack/`, list: names.map((name) => [name, ""]) });
    await page.getByText(/weights/).waitFor({ timeout: 60_000 });
    await page.getByRole("status").filter({ hasText: "the local folder" }).waitFor();
    await drop({ base: `${server.fixtures}tiny-qwen2_5_vl/images/`, list: [[known.images[0], "image/png"]] });
    await page.getByRole("list", { name: "Attached pictures" }).getByRole("img").waitFor();
  });
});
