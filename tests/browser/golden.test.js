// Every known case through `wethink.js`, on WebGPU and without: the reference's tokens, one for one.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { launch, open } from "./browser.js";
import { FIXTURES, serve } from "./server.js";

const { cases } = JSON.parse(await readFile(join(FIXTURES, "tiny-qwen2_5_vl/cases.json"), "utf8"));
assert.ok(Object.keys(cases).length > 0, "a set without cases proves nothing");

/** Asks every case, greedy; where the CPU chooses, which is much faster here than a software GPU, also with a penalty. */
async function askAll({ fixtures, cases, device }) {
  const { WeThink } = await import("./wethink.js");
  const folder = `${fixtures}tiny-qwen2_5_vl/`;
  const model = await WeThink.load(`${folder}checkpoint`, { device });
  const answers = {};
  for (const [name, { messages, images, greedy }] of Object.entries(cases)) {
    const maxNewTokens = greedy.length;
    const ask = { messages, system: null, maxNewTokens, minNewTokens: maxNewTokens };
    ask.images = images.map((file) => `${folder}images/${file}`);
    answers[name] = [];
    for (const repetitionPenalty of model.device.kind === "cpu" ? [1, 1.05] : [1]) {
      let text = "";
      for await (const part of model.ask({ ...ask, repetitionPenalty })) text += part.text;
      answers[name].push({ ...model.last, streamed: text });
    }
  }
  const { device: opened } = model;
  model.unload();
  return { opened, answers };
}

for (const [device, webgpu] of [["webgpu", true], ["cpu", false]]) {
  describe(`golden cases on ${device}`, () => {
    let server, browser, view, result;
    before(async () => {
      server = await serve();
      browser = await launch({ webgpu });
      view = await open(browser, `${server.site}blank.html`);
      // Without WebGPU, `auto` must find the CPU by itself.
      const choice = webgpu ? "webgpu" : "auto";
      const { fixtures } = server;
      result = await view.page.evaluate(askAll, { fixtures, cases, device: choice });
    });
    after(async () => {
      await browser?.close();
      await server?.close();
    });

    test("the device is the one that was to be tested", () => {
      assert.equal(result.opened.kind, device);
      if (device === "cpu") assert.match(result.opened.note, /WebGPU/);
      view.quiet();
    });

    for (const [name, want] of Object.entries(cases)) {
      test(`${name} gives the reference's tokens`, () => {
        const [plain, penalised] = result.answers[name];
        assert.equal(plain.promptIds.length, want.n_tokens);
        assert.deepEqual(plain.tokenIds, want.greedy);
        assert.equal(plain.text, want.greedy_text);
        assert.equal(plain.finishReason, "length");
        assert.equal(plain.logprobs.length, want.greedy.length);
        assert.ok(plain.logprobs.every((logprob) => logprob <= 0));
        // What two prompts share is computed once: of the same prompt, all but its last token.
        assert.ok(plain.timing.prefillTokens <= want.n_tokens);
        const ours = Object.keys(plain.timing.kernels).filter((kernel) => !/_(composed|cpu)$/.test(kernel));
        if (device === "webgpu") assert.ok(ours.includes("attention_decode"), ours.join());
        else {
          assert.deepEqual(ours, []);
          assert.deepEqual(penalised.tokenIds, want.greedy_repetition_penalty_1_05);
          assert.equal(penalised.timing.prefillTokens, 1);
        }
      });
    }
  });
}
