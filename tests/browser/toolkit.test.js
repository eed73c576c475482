// `wethink.js` beyond the right answer: streams that stop, questions that meet, files that are broken, devices that go.
// One file, because all of it asks through what `prepare` puts into a page.

import assert from "node:assert/strict";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { after, before, beforeEach, afterEach, describe, test } from "node:test";
import { launch, open } from "./browser.js";
import { FIXTURES, serve } from "./server.js";

const { cases } = JSON.parse(await readFile(join(FIXTURES, "tiny-qwen2_5_vl/cases.json"), "utf8"));
const withPicture = Object.values(cases).find((known) => known.images.length === 1);
const CHECKPOINT = join(FIXTURES, "tiny-qwen2_5_vl/checkpoint");
const { weight_map } = JSON.parse(await readFile(join(CHECKPOINT, "model.safetensors.index.json"), "utf8"));
const SHARDS = [...new Set(Object.values(weight_map))].sort();
const SHARD = SHARDS[0];

let server, browser, view;
before(async () => {
  server = await serve();
  browser = await launch({ webgpu: true });
});
after(async () => {
  await browser?.close();
  await server?.close();
});
beforeEach(async () => {
  view = await open(browser, `${server.site}blank.html`);
  await view.page.evaluate(prepare, { folder: `${server.fixtures}tiny-qwen2_5_vl/`, known: withPicture });
});
afterEach(async () => {
  server.broken.clear();
  await view.context.close();
});

/** Puts `load`, `question` and `caught` into the page. */
async function prepare({ folder, known }) {
  const toolkit = await import("./wethink.js");
  const images = known.images.map((file) => `${folder}images/${file}`);
  Object.assign(globalThis, toolkit, {
    load: (options) => toolkit.WeThink.load(`${folder}checkpoint/`, { device: "cpu", ...options }),
    question: { messages: known.messages, images, system: null, maxNewTokens: 48, minNewTokens: 48 },
    drain: async (parts) => {
      let text = "";
      for await (const part of parts) text += part.text;
      return text;
    },
    // Lets a test speak to the worker of the model that is loaded next.
    tellWorker: () => {
      let worker;
      const Native = Worker;
      globalThis.Worker = class extends Native {
        constructor(...parts) {
          super(...parts);
          worker = this;
        }
      };
      return (message) => worker.postMessage(message);
    },
    caught: async (promise) => {
      try {
        await promise;
      } catch (error) {
        return { type: error.constructor.name, name: error.name, code: error.code, message: error.message };
      }
      return undefined;
    },
  });
}

/** Fails unless the error has this code and its message each of these texts. */
function isError(error, code, ...texts) {
  assert.equal(error?.type, "WeThinkError", JSON.stringify(error));
  assert.equal(error.code, code, error.message);
  for (const text of texts) assert.ok(error.message.includes(text), `${error.message} lacks ${text}`);
}

describe("asking", () => {
  test("an abort ends the stream with what there is, and the model answers on", async () => {
    const result = await view.page.evaluate(async () => {
      const model = await load();
      const abort = new AbortController();
      let parts = 0;
      for await (const part of model.ask({ ...question, signal: abort.signal })) {
        parts += part.text.length > 0;
        if (parts === 3) abort.abort();
      }
      const stopped = model.last;
      for await (const part of model.ask(question)) break;
      await drain(model.ask(question));
      return { stopped, whole: model.last };
    });
    assert.equal(result.stopped.finishReason, "cancelled");
    const { length } = result.stopped.tokenIds;
    assert.ok(length >= 3 && length < withPicture.greedy.length, `${length} tokens`);
    assert.deepEqual(result.stopped.tokenIds, withPicture.greedy.slice(0, length));
    assert.deepEqual(result.whole.tokenIds, withPicture.greedy);
    view.quiet();
  });

  test("two questions at once are answered one after the other, each as if alone", async () => {
    const both = await view.page.evaluate(async () => {
      const model = await load();
      const ask = async (options) => {
        const parts = model.ask(options);
        for (;;) {
          const { done, value } = await parts.next();
          if (done) return value.tokenIds;
        }
      };
      return Promise.all([ask(question), ask({ ...question, repetitionPenalty: 1.05 })]);
    });
    assert.deepEqual(both, [withPicture.greedy, withPicture.greedy_repetition_penalty_1_05]);
    view.quiet();
  });

  test("a further turn computes only what is new", async () => {
    const [first, second] = await view.page.evaluate(async () => {
      const model = await load();
      await drain(model.ask(question));
      const first = model.last;
      const messages = [
        ...question.messages,
        { role: "assistant", content: [{ type: "text", text: first.text }] },
        { role: "user", content: [{ type: "text", text: "And now?" }] },
      ];
      await drain(model.ask({ ...question, messages }));
      return [first, model.last];
    });
    assert.equal(first.timing.prefillTokens, first.promptIds.length);
    const reused = second.promptIds.length - second.timing.prefillTokens;
    assert.ok(reused >= first.promptIds.length, `${reused} of ${first.promptIds.length} reused`);
    assert.equal(second.timing.kernels.attention_cpu > 0, true);
    view.quiet();
  });

  test("the same seed gives the same answer, another seed another", async () => {
    const texts = await view.page.evaluate(async () => {
      const model = await load();
      const ask = (seed) => drain(model.ask({ ...question, temperature: 1, topP: 0.95, topK: 50, seed }));
      return [await ask(1), await ask(1), await ask(2)];
    });
    assert.equal(texts[0], texts[1]);
    assert.notEqual(texts[0], texts[2]);
    view.quiet();
  });

  test("a broken picture, a missing one and wrong options are named, and the model answers on", async () => {
    server.broken.set("/broken.png", (response) => response.writeHead(200).end("no picture"));
    const result = await view.page.evaluate(async () => {
      const model = await load();
      const ask = (change) => caught((async () => drain(model.ask({ ...question, ...change })))());
      const errors = {
        broken: await ask({ images: ["broken.png"] }),
        blob: await ask({ images: [new File(["x"], "cat.png")] }),
        count: await ask({ images: [] }),
        option: await ask({ maxNewToken: 3 }),
        range: await ask({ topP: 2 }),
        number: await ask({ temperature: Number.NaN }),
        length: await ask({ maxNewTokens: 1e6 }),
        role: await ask({ messages: [{ role: "nobody", content: "?" }], images: [] }),
      };
      await drain(model.ask(question));
      return { errors, last: model.last };
    });
    isError(result.errors.broken, "picture", "broken.png");
    isError(result.errors.blob, "picture", "cat.png");
    isError(result.errors.count, "request", "picture");
    isError(result.errors.option, "request", "maxNewToken");
    isError(result.errors.range, "request", "top-p");
    isError(result.errors.number, "request", "temperature");
    isError(result.errors.length, "request", "maxNewTokens 1000000");
    isError(result.errors.role, "request", "nobody");
    assert.deepEqual(result.last.tokenIds, withPicture.greedy);
    view.quiet();
  });
});

describe("loading", () => {
  const loading = (options) => view.page.evaluate((options) => caught(load(options)), options);

  async function recovers() {
    server.broken.clear();
    const ids = await view.page.evaluate(async () => {
      const model = await load();
      await drain(model.ask(question));
      return model.last.tokenIds;
    });
    assert.deepEqual(ids, withPicture.greedy);
  }

  test("a folder that is not there", async () => {
    const error = await view.page.evaluate(() => caught(WeThink.load("nowhere/", { device: "cpu" })));
    isError(error, "not-found", "config.json");
  });

  test("a shard that is missing, then there", async () => {
    server.broken.set(SHARD, (response) => response.writeHead(404).end());
    isError(await loading(), "not-found", SHARD);
    await recovers();
  });

  test("a shard that is cut short, then whole: the cache does not keep the broken one", async () => {
    server.broken.set(SHARD, async (response, file) => {
      const bytes = (await readFile(file)).subarray(0, -100);
      response.writeHead(200, { "content-length": bytes.length }).end(bytes);
    });
    isError(await loading(), "checkpoint", SHARD, "fetch it again");
    await recovers();
  });

  test("a shard that is something else, then itself", async () => {
    server.broken.set(SHARD, (response) => response.writeHead(200).end("<html>please log in</html>"));
    isError(await loading(), "checkpoint", SHARD);
    await recovers();
  });

  test("a transfer that breaks off, then not", async () => {
    server.broken.set(SHARD, (response) => {
      response.writeHead(200, { "content-length": 1_000_000 }).write("x".repeat(1000), () => response.destroy());
    });
    isError(await loading(), "network", SHARD);
    await recovers();
  });

  test("a server that refuses, a configuration that is none", async () => {
    server.broken.set("/config.json", (response) => response.writeHead(503).end());
    isError(await loading(), "network", "503");
    server.broken.set("/config.json", (response) => response.writeHead(200).end("{"));
    isError(await loading(), "checkpoint", "config.json");
    server.broken.set("/config.json", async (response, file) => {
      const config = JSON.parse(await readFile(file, "utf8"));
      config.intermediate_size += 8;
      response.writeHead(200).end(JSON.stringify(config));
    });
    isError(await loading(), "checkpoint", "misshapen", "gate_proj");
    await recovers();
  });

  test("a chat that a page cannot hold on the CPU is refused, and the model answers on", async () => {
    server.broken.set("/config.json", async (response, file) => {
      const config = { ...JSON.parse(await readFile(file, "utf8")), max_position_embeddings: 16_000_000 };
      response.writeHead(200).end(JSON.stringify(config));
    });
    const { error, ids } = await view.page.evaluate(async () => {
      const model = await load();
      const error = await caught(drain(model.ask({ ...question, maxNewTokens: 15_000_000 })));
      await drain(model.ask(question));
      return { error, ids: model.last.tokenIds };
    });
    isError(error, "memory", "maxNewTokens");
    assert.deepEqual(ids, withPicture.greedy);
    view.quiet();
  });

  test("weights that a page cannot hold on the CPU are refused before they are fetched", async () => {
    server.broken.set("/config.json", async (response, file) => {
      const config = { ...JSON.parse(await readFile(file, "utf8")), vocab_size: 10_000_000 };
      response.writeHead(200).end(JSON.stringify(config));
    });
    const before = server.requests.length;
    isError(await loading(), "memory", "WebGPU");
    assert.ok(!server.requests.slice(before).some((path) => path.endsWith(".safetensors")));
  });

  test("a second load takes the weights from the cache; clearing it does not", async () => {
    const shards = () => server.requests.filter((path) => path.endsWith(".safetensors")).length;
    const start = shards();
    await view.page.evaluate(() => load());
    assert.equal(shards() - start, SHARDS.length);
    await view.page.reload();
    await view.page.evaluate(prepare, { folder: `${server.fixtures}tiny-qwen2_5_vl/`, known: withPicture });
    await view.page.evaluate(() => load());
    assert.equal(shards() - start, SHARDS.length);
    const [held] = await view.page.evaluate(() => WeThink.cached());
    assert.equal(held.url, `${server.fixtures}tiny-qwen2_5_vl/checkpoint/`);
    const sizes = await Promise.all(SHARDS.map(async (shard) => (await stat(join(CHECKPOINT, shard))).size));
    const weights = sizes.reduce((a, b) => a + b);
    assert.ok(held.bytes > weights, `${held.bytes} bytes, where the weights are ${weights}`);
    assert.deepEqual(await view.page.evaluate(() => WeThink.clearCached().then(() => WeThink.cached())), []);
    await view.page.evaluate(() => load());
    assert.equal(shards() - start, 2 * SHARDS.length);
    view.quiet();
  });

  test("weights that changed at the same address are fetched again", async () => {
    const newer = async (response, file) => {
      const bytes = await readFile(file);
      bytes.fill(0, bytes.length - 4096);
      const headers = { "content-length": bytes.length, "last-modified": "Fri, 01 Jan 2100 00:00:00 GMT" };
      response.writeHead(200, headers).end(bytes);
    };
    const last = SHARDS.at(-1);
    const shards = () => server.requests.filter((path) => path.endsWith(".safetensors"));
    await view.page.evaluate(() => load());
    server.broken.set(last, newer);
    const before = shards().length;
    await view.page.evaluate(() => load());
    assert.deepEqual(shards().slice(before).map((path) => path.split("/").pop()), [last]);
    await view.page.evaluate(() => load());
    assert.equal(shards().length, before + 1);
    view.quiet();
  });

  test("local files, and a local folder without its weights", async () => {
    const result = await view.page.evaluate(async (shards) => {
      const { url } = (await load(), (await WeThink.cached())[0]);
      const names = ["config.json", "generation_config.json", "preprocessor_config.json", "chat_template.json"];
      names.push("tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json");
      names.push(...shards);
      const files = await Promise.all(
        names.map(async (name) => new File([await (await fetch(url + name)).blob()], name)),
      );
      const lacking = await caught(WeThink.load(files.slice(0, -1), { device: "cpu" }));
      const model = await WeThink.load(files, { device: "cpu" });
      await drain(model.ask(question));
      return { lacking, ids: model.last.tokenIds };
    }, SHARDS);
    isError(result.lacking, "not-found", SHARDS.at(-1));
    assert.deepEqual(result.ids, withPicture.greedy);
    view.quiet();
  });

  test("progress goes through its stages, and an abort ends loading", async () => {
    const { stages, aborted, after } = await view.page.evaluate(async () => {
      const steps = [];
      const model = await load({ onProgress: (progress) => steps.push(progress) });
      model.unload();
      const abort = new AbortController();
      const aborted = await caught(load({ signal: abort.signal, onProgress: () => abort.abort() }));
      const after = await caught(drain(model.ask(question)));
      return { stages: [...new Set(steps.map(({ stage }) => stage))], aborted, after };
    });
    assert.deepEqual(stages, ["engine", "device", "files", "preflight", "download", "weights"]);
    assert.equal(aborted.name, "AbortError");
    isError(after, "unloaded");
    view.quiet();
  });

  test("a device that does not exist is refused", async () => {
    isError(await loading({ device: "tpu" }), "device", "tpu");
  });
});

describe("the GPU", () => {
  // Runs before the worker's own script, and lets the test at its device.
  const tap = `
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...options) {
      const device = await request.apply(this, options);
      self.tapped?.(device);
      addEventListener("message", ({ data }) => data === "lose the device" && device.destroy());
      return device;
    };`;

  function patchWorker(code) {
    server.broken.set("/wethink-worker.js", async (response, file) => {
      const script = await readFile(file, "utf8");
      response.writeHead(200, { "content-type": "text/javascript" }).end(`${code}\n${script}`);
    });
  }

  test("a lost device ends what is being asked; loading again recovers", async () => {
    patchWorker(tap);
    const result = await view.page.evaluate(async () => {
      const tell = tellWorker();
      const model = await load({ device: "webgpu" });
      const lost = await caught(
        (async () => {
          for await (const part of model.ask(question)) tell("lose the device");
        })(),
      );
      const after = await caught(drain(model.ask(question)));
      const again = await load({ device: "webgpu" });
      await drain(again.ask({ ...question, maxNewTokens: 4 }));
      return { lost, after, ids: again.last.tokenIds };
    });
    isError(result.lost, "device-lost", "load the model again");
    isError(result.after, "device-lost");
    assert.deepEqual(result.ids, withPicture.greedy.slice(0, 4));
  });

  test("a GPU whose memory ran out ends what is being asked, with a way on; loading again recovers", async () => {
    patchWorker(`self.tapped = (device) =>
      addEventListener("message", ({ data }) => {
        if (data !== "fill the memory") return;
        const error = new GPUOutOfMemoryError("no room for a buffer");
        device.dispatchEvent(new GPUUncapturedErrorEvent("uncapturederror", { error }));
      });${tap}`);
    const result = await view.page.evaluate(async () => {
      const tell = tellWorker();
      const model = await load({ device: "webgpu" });
      const full = await caught(
        (async () => {
          for await (const part of model.ask(question)) tell("fill the memory");
        })(),
      );
      const again = await load({ device: "webgpu" });
      await drain(again.ask({ ...question, maxNewTokens: 4, minNewTokens: 4 }));
      return { full, ids: again.last.tokenIds };
    });
    isError(result.full, "memory", "use a smaller checkpoint");
    assert.deepEqual(result.ids, withPicture.greedy.slice(0, 4));
  });

  test("a GPU that computes wrongly fails the self-test: auto falls back and says so", async () => {
    // Every kernel of ours that multiplies by a scale gets a wrong one, as a broken compiler might.
    patchWorker(`
      const create = GPUDevice.prototype.createShaderModule;
      GPUDevice.prototype.createShaderModule = function (description) {
        const code = description.code.replaceAll("sqrt(", "1.1 * sqrt(").replaceAll("exp(", "1.1 * exp(");
        return create.call(this, { ...description, code });
      };`);
    const result = await view.page.evaluate(async () => {
      const model = await load({ device: "auto" });
      await drain(model.ask(question));
      const insisted = await caught(load({ device: "webgpu" }));
      return { device: model.device, ids: model.last.tokenIds, insisted };
    });
    assert.equal(result.device.kind, "cpu");
    assert.match(result.device.note, /self-test/);
    assert.deepEqual(result.ids, withPicture.greedy);
    isError(result.insisted, "device", "self-test");
  });

  test("a shader that does not compile is caught, not silent", async () => {
    patchWorker(`
      const create = GPUDevice.prototype.createShaderModule;
      GPUDevice.prototype.createShaderModule = function (description) {
        return create.call(this, { ...description, code: description.code + "\\nfn broken( {" });
      };`);
    const { device } = await view.page.evaluate(async () => {
      const model = await load({ device: "auto" });
      return { device: model.device };
    });
    assert.equal(device.kind, "cpu");
    // The compiler's own words, not only the wrong numbers that come of it.
    assert.match(device.note, /self-test: the GPU's compiler: .*compilation failed/);
  });
});
