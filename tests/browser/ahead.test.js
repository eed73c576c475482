// Several tokens for one wait: ids stay on the GPU, and what comes is the same, token for token, however many there are.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { launch, open } from "./browser.js";
import { COUNT_DISPATCHES, patchWorker, program, sha256 } from "./packs.js";
import { FIXTURES, serve } from "./server.js";

const TINY = join(FIXTURES, "tiny-qwen2_5_vl/checkpoint");
const said = (content) => [{ role: "user", content }];
const [FIRST, SECOND] = [said("What is in the picture?"), said("Hm?")];
/** A software GPU takes seconds for a token. */
const TOKENS = 8;

let folder, server, first, second, end, layers;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "wethink-ahead-"));
  const pack = join(folder, "pack");
  program("trainer", "export", TINY, "--quantize", "q4", "--out", pack);
  [first, second] = [await terminal(FIRST), await terminal(SECOND)];
  assert.ok([first, second].every(({ token_ids }) => token_ids.length === TOKENS), "neither may end early");
  end = second.token_ids.find((id, i) => i > 1 && !first.token_ids.includes(id) && second.token_ids.indexOf(id) === i);
  assert.ok(end, "an id that ends the second answer in its middle, and not the first");
  await endAt(pack, end);
  server = await serve(folder);
});
after(async () => {
  await server?.close();
  if (folder) await rm(folder, { recursive: true });
});

/** What the terminal answers. */
async function terminal(messages) {
  const chat = join(folder, "chat.json");
  await writeFile(chat, JSON.stringify(messages));
  const asked = ["--checkpoint", join(folder, "pack"), "--messages", chat, "--no-system", "--json", "--device", "cpu"];
  return JSON.parse(program("trainer", "ask", ...asked, "--max-new-tokens", TOKENS));
}

/** Lets a pack's answers end at an id. */
async function endAt(pack, id) {
  const read = async (file) => JSON.parse(await readFile(join(pack, file), "utf8"));
  const manifest = await read("pack.json");
  const text = JSON.stringify({ ...(await read("generation_config.json")), eos_token_id: [id] });
  await writeFile(join(pack, "generation_config.json"), text);
  const files = manifest.files.map((file) =>
    file.name === "generation_config.json" ? { ...file, bytes: text.length, sha256: sha256(text) } : file,
  );
  await writeFile(join(pack, "pack.json"), JSON.stringify({ ...manifest, files }));
  layers = manifest.config.num_hidden_layers;
}

/** In a page: asks with each of these options, one after the other; `last` of each, with the pieces as they came. */
async function askEach(all) {
  const answers = [];
  for (const { pieces: most, ...options } of all) {
    const pieces = [];
    for await (const { text } of globalThis.model.ask({ system: null, ...options })) {
      pieces.push(text);
      if (pieces.length === most) break;
    }
    answers.push({ ...globalThis.model.last, pieces });
  }
  return answers;
}

for (const [device, webgpu] of [["webgpu", true], ["cpu", false]]) {
  describe(`tokens ahead on ${device}`, () => {
    let browser, view;
    before(async () => {
      browser = await launch({ webgpu });
      patchWorker(server, COUNT_DISPATCHES);
      view = await open(browser, `${server.site}blank.html`);
      await view.page.evaluate(async ({ pack, device }) => {
        const { WeThink } = await import("./wethink.js");
        globalThis.model = await WeThink.load(pack, { device });
      }, { pack: `${server.made}pack/`, device });
    });
    after(() => browser?.close());

    const ask = (all) => view.page.evaluate(askEach, all.map((options) => ({ messages: FIRST, maxNewTokens: TOKENS, ...options })));

    test("every number of tokens gives the terminal's answer, and as many waits as were asked for", async () => {
      // A GPU in software takes seconds a token.
      const numbers = webgpu ? [3, undefined] : [1, 3, TOKENS, 100, undefined];
      const answers = await ask(numbers.map((tokensPerReading) => ({ tokensPerReading })));
      numbers.forEach((number, i) => {
        const { tokenIds, logprobs, text, pieces, finishReason, timing } = answers[i];
        assert.deepEqual(tokenIds, first.token_ids, `${number} at once`);
        logprobs.forEach((logprob, at) => assert.ok(Math.abs(logprob - first.logprobs[at]) < 1e-3));
        assert.deepEqual([text, finishReason], [first.text, "length"]);
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
      const [maxNewTokens, greedy] = [4, first.token_ids.slice(0, 4)];
      const warm = { temperature: 0.8, topK: 40, topP: 0.95, seed: 3, maxNewTokens };
      const hard = { repetitionPenalty: 1.3, maxNewTokens };
      const [one, four, penalised, ahead] = await ask([
        { ...warm, tokensPerReading: 1 },
        { ...warm, tokensPerReading: 4 },
        { ...hard, tokensPerReading: 1 },
        { ...hard, tokensPerReading: 4 },
      ]);
      assert.deepEqual(four.tokenIds, one.tokenIds);
      assert.notDeepEqual(one.tokenIds, greedy);
      assert.deepEqual(ahead.tokenIds, penalised.tokenIds);
      assert.notDeepEqual(ahead.tokenIds, greedy);
      assert.equal(ahead.timing.readings, ahead.tokenIds.length);
    });

    test("an id or a text that ends the answer ends it there, in the middle of what was computed", async () => {
      const stop = [first.text.slice(first.text.length / 2, first.text.length / 2 + 2)];
      const [one, many, stopped] = await ask([
        { stop, tokensPerReading: 1 },
        { stop, tokensPerReading: TOKENS },
        { messages: SECOND, tokensPerReading: TOKENS },
      ]);
      assert.deepEqual(many.tokenIds, one.tokenIds);
      assert.deepEqual(many.tokenIds, first.token_ids.slice(0, many.tokenIds.length));
      assert.equal(many.finishReason, "stop");
      assert.ok(many.text.includes(stop[0]) && many.tokenIds.length < TOKENS, `${many.text} of ${first.text}`);
      assert.deepEqual(stopped.tokenIds, second.token_ids.slice(0, second.token_ids.indexOf(end) + 1));
      assert.equal(stopped.finishReason, "stop");
      assert.ok(second.text.startsWith(stopped.text));
    });

    test("a stopped answer leaves a cache that the next turn can use", async () => {
      // The answer so far comes back as a turn of the chat.
      const again = [...FIRST, { role: "assistant", content: first.text }, ...said("Go on.")];
      const want = await terminal(again);
      const [, whole, next] = await ask([{ tokensPerReading: 4, pieces: 2 }, { tokensPerReading: 4 }, { messages: again, tokensPerReading: 4 }]);
      assert.deepEqual(whole.tokenIds, first.token_ids);
      assert.deepEqual(next.tokenIds, want.token_ids);
      const { prefillTokens, promptTokens } = next.timing;
      assert.ok(prefillTokens < promptTokens - first.prompt_ids.length + 8, `${prefillTokens} of ${promptTokens} tokens`);
    });

    if (webgpu) {
      test("a token takes seven dispatches a layer, and eight around them at most", async () => {
        const [before, fewer, more] = await ask([2, 4, TOKENS].map((maxNewTokens) => ({ maxNewTokens, tokensPerReading: TOKENS })));
        assert.ok(before.dispatches > 0);
        // All compute one token of the prompt anew, and as many tokens as they have but one.
        const each = (more.dispatches - fewer.dispatches - (fewer.dispatches - before.dispatches)) / (TOKENS - 4);
        assert.ok(each >= 7 * layers && each <= 7 * layers + 8, `${each} dispatches for ${layers} layers`);
      });
    }
  });
}
