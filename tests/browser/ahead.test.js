// Several tokens for one wait: ids stay on the GPU, and what comes is the same, token for token, however many there are.

import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { launch, open } from "./browser.js";
import { COUNT_DISPATCHES, patchWorker, program, sha256 } from "./packs.js";
import { FIXTURES, serve } from "./server.js";

const TINY = join(FIXTURES, "tiny-qwen2_5_vl");
const { cases } = JSON.parse(await readFile(join(TINY, "cases.json"), "utf8"));
const known = Object.values(cases).find(({ images }) => images.length === 1);
const TOKENS = 24;

let folder, server, native, manifest;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "wethink-ahead-"));
  program("trainer", "export", join(TINY, "checkpoint"), "--quantize", "q4", "--out", join(folder, "pack"));
  manifest = JSON.parse(await readFile(join(folder, "pack/pack.json"), "utf8"));
  const chat = join(folder, "chat.json");
  await writeFile(chat, JSON.stringify(known.messages));
  const images = known.images.flatMap((file) => ["--image", join(TINY, "images", file)]);
  const asked = ["--checkpoint", join(folder, "pack"), "--messages", chat, ...images, "--no-system", "--json", "--device", "cpu"];
  native = JSON.parse(program("trainer", "ask", ...asked, "--max-new-tokens", TOKENS));
  assert.equal(native.token_ids.length, TOKENS, "the answer must not end early");
  server = await serve(folder);
});
after(async () => {
  await server?.close();
  if (folder) await rm(folder, { recursive: true });
});

/** The same pack, whose answers end at this id. */
async function stopping(id) {
  const out = join(folder, "stopping");
  await cp(join(folder, "pack"), out, { recursive: true });
  const text = JSON.stringify({ ...JSON.parse(await readFile(join(out, "generation_config.json"), "utf8")), eos_token_id: [id] });
  await writeFile(join(out, "generation_config.json"), text);
  const files = manifest.files.map((file) =>
    file.name === "generation_config.json" ? { ...file, bytes: text.length, sha256: sha256(text) } : file,
  );
  await writeFile(join(out, "pack.json"), JSON.stringify({ ...manifest, files }));
  return `${server.made}stopping/`;
}

/** Asks the same with each of these options, one after the other; `last` of each, with the pieces as they came. */
async function askEach({ pack, device, images, messages, all }) {
  const { WeThink } = await import("./wethink.js");
  const model = await WeThink.load(pack, { device });
  const answers = [];
  for (const options of all) {
    const pieces = [];
    for await (const { text } of model.ask({ messages, images, system: null, ...options })) pieces.push(text);
    answers.push({ ...model.last, pieces });
  }
  model.unload();
  return answers;
}

for (const [device, webgpu] of [["webgpu", true], ["cpu", false]]) {
  describe(`tokens ahead on ${device}`, () => {
    let browser, view;
    before(async () => {
      browser = await launch({ webgpu });
      patchWorker(server, COUNT_DISPATCHES);
      view = await open(browser, `${server.site}blank.html`);
    });
    after(() => browser?.close());

    const ask = (all, more = {}) => {
      const images = known.images.map((file) => `${server.fixtures}tiny-qwen2_5_vl/images/${file}`);
      return view.page.evaluate(askEach, { pack: `${server.made}pack/`, device, images, messages: known.messages, all, ...more });
    };

    test("every number of tokens gives the terminal's answer, and as many waits as were asked for", async () => {
      const numbers = [1, 5, 8, TOKENS, 100, undefined];
      const answers = await ask(numbers.map((tokensPerReading) => ({ maxNewTokens: TOKENS, tokensPerReading })));
      numbers.forEach((number, i) => {
        const { tokenIds, logprobs, text, pieces, finishReason, timing } = answers[i];
        assert.deepEqual(tokenIds, native.token_ids, `${number} at once`);
        logprobs.forEach((logprob, at) => assert.ok(Math.abs(logprob - native.logprobs[at]) < 1e-3));
        assert.deepEqual([text, finishReason], [native.text, "length"]);
        assert.equal(pieces.join(""), text, "no tags stand in it");
        // Every token's text comes by itself, also where many were waited for.
        assert.ok(pieces.length > TOKENS / 2, `${pieces.length} pieces`);
        const waits = device === "cpu" ? TOKENS : Math.ceil(TOKENS / (number ?? 1));
        if (number) assert.equal(timing.readings, waits, `${number} at once`);
        else assert.ok(timing.readings <= waits);
      });
      view.quiet();
    });

    test("sampled tokens are the same, and a penalty is obeyed, for which every token is waited for", async () => {
      const warm = { maxNewTokens: 12, temperature: 0.8, topK: 40, topP: 0.95, seed: 3 };
      const hard = { maxNewTokens: 12, repetitionPenalty: 1.3 };
      const [one, four, penalised, ahead] = await ask([
        { ...warm, tokensPerReading: 1 },
        { ...warm, tokensPerReading: 4 },
        { ...hard, tokensPerReading: 1 },
        { ...hard, tokensPerReading: 4 },
      ]);
      assert.deepEqual(four.tokenIds, one.tokenIds);
      assert.notDeepEqual(one.tokenIds, native.token_ids.slice(0, 12));
      assert.deepEqual(ahead.tokenIds, penalised.tokenIds);
      assert.equal(ahead.timing.readings, 12);
    });

    test("an id or a text that ends the answer ends it there, in the middle of what was computed", async () => {
      const end = native.token_ids.findIndex((id, i) => i >= 9 && native.token_ids.indexOf(id) === i);
      assert.ok(end > 0, "an id that does not come before");
      const text = native.text.slice(native.text.length / 2, native.text.length / 2 + 2);
      const both = [1, 16].map((tokensPerReading) => ({ maxNewTokens: TOKENS, tokensPerReading, stop: [text] }));
      const [one, many] = await ask(both);
      assert.deepEqual(many.tokenIds, one.tokenIds);
      assert.deepEqual(many.tokenIds, native.token_ids.slice(0, many.tokenIds.length));
      assert.equal(many.finishReason, "stop");
      assert.ok(many.text.includes(text) && many.tokenIds.length < TOKENS, `${many.text} of ${native.text}`);
      const [stopped] = await ask([{ maxNewTokens: TOKENS, tokensPerReading: 16 }], { pack: await stopping(native.token_ids[end]) });
      assert.deepEqual(stopped.tokenIds, native.token_ids.slice(0, end + 1));
      assert.equal(stopped.finishReason, "stop");
      assert.ok(native.text.startsWith(stopped.text));
    });

    test("a stopped answer leaves a cache that the next turn can use", async () => {
      const { last, whole } = await view.page.evaluate(async ({ pack, device, messages, images }) => {
        const { WeThink } = await import("./wethink.js");
        const model = await WeThink.load(pack, { device });
        const ask = { messages, images, system: null, maxNewTokens: 24, tokensPerReading: 8 };
        let pieces = 0;
        for await (const part of model.ask(ask)) if (part.text && ++pieces === 3) break;
        // The answer so far comes back as a turn of the chat.
        for await (const part of model.ask({ ...ask, maxNewTokens: 6 })) void part;
        const { last } = model;
        const again = [...messages, { role: "assistant", content: last.text }, { role: "user", content: "Go on." }];
        for await (const part of model.ask({ ...ask, messages: again })) void part;
        const kept = model.last;
        model.unload();
        const fresh = await WeThink.load(pack, { device });
        for await (const part of fresh.ask({ ...ask, messages: again })) void part;
        fresh.unload();
        return { last, whole: [kept, fresh.last] };
      }, { pack: `${server.made}pack/`, device, messages: known.messages, images: known.images.map((file) => `${server.fixtures}tiny-qwen2_5_vl/images/${file}`) });
      assert.deepEqual(last.tokenIds, native.token_ids.slice(0, 6));
      const [kept, fresh] = whole;
      assert.deepEqual(kept.tokenIds, fresh.tokenIds);
      assert.ok(kept.timing.prefillTokens < fresh.timing.prefillTokens);
    });

    if (webgpu) {
      test("a token takes seven dispatches a layer, and eight around them at most", async () => {
        const [before, fewer, more] = await ask([2, 8, 24].map((maxNewTokens) => ({ maxNewTokens, tokensPerReading: 8 })));
        assert.ok(before.dispatches > 0);
        // All but the first answer compute one token of the prompt anew, and as many tokens as they have but one.
        const each = (more.dispatches - fewer.dispatches - (fewer.dispatches - before.dispatches)) / (24 - 8);
        const layers = manifest.config.num_hidden_layers;
        assert.ok(each >= 7 * layers && each <= 7 * layers + 8, `${each} dispatches for ${layers} layers`);
      });
    }
  });
}
