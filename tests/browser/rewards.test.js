// `verify` and `score` of `wethink.js`: the verdicts of the crate's own table, weights, spans, and errors that name the fault.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { launch, open } from "./browser.js";
import { serve } from "./server.js";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

let server, browser, view, page;
before(async () => {
  server = await serve();
  browser = await launch({ webgpu: false });
});
after(async () => {
  await browser?.close();
  await server?.close();
});
afterEach(() => view?.context.close());

describe("wethink.js", () => {
  const inPage = (body, argument) => page.evaluate(body, argument);

  test("verify gives the verdicts that the crate's own table expects", async () => {
    view = await open(browser, `${server.site}blank.html`);
    ({ page } = view);
    const table = await readFile(here("../../crates/reward/src/tables/kinds.jsonl"), "utf8");
    const rows = table.trim().split("\n").map((line) => JSON.parse(line));
    assert.ok(rows.length > 200);
    const verdicts = await inPage(async (rows) => {
      const { verify } = await import("./wethink.js");
      return Promise.all(rows.map((row) => verify(row)));
    }, rows);
    for (const [i, { verdict, score }] of verdicts.entries()) {
      const { expected, why, kind } = rows[i];
      if (typeof expected === "boolean") assert.equal(verdict === "accept", expected, `${kind}: ${why}`);
      else assert.ok(Math.abs(score - expected) < 1e-6, `${kind}: ${why}: ${score}`);
    }
    view.quiet();
  });

  test("score weighs, spans count as slice does, and what is wrong is named", async () => {
    view = await open(browser, `${server.site}blank.html`);
    ({ page } = view);
    const pred = "<think>😀 é</think><answer> 42 </answer>";
    const got = await inPage(async (pred) => {
      const { WeThinkError, score, verify } = await import("./wethink.js");
      const record = { kind: "number", gold: 42, pred };
      const code = (promise) => promise.then(() => "none", (error) => `${error instanceof WeThinkError} ${error.code} ${error.message}`);
      const loop = {};
      loop.loop = loop;
      return {
        plain: await score(record),
        strict: await score({ ...record, pred: "<think>x</think><answer>41</answer>" }, { format_only_when_right: true }),
        long: await score(record, { overlong: { limit: 100, margin: 20, weight: 1 } }, 90),
        open: await score({ kind: "open", gold: "a cat", pred: "a dog" }),
        half: (await verify({ ...record, pred: "\ud800 42" })).verdict,
        errors: await Promise.all([
          code(verify({ kind: "nope", gold: 1, pred: "1" })),
          code(verify({ kind: "number", gold: "", pred: "1" })),
          code(verify({ kind: "number", gold: loop, pred: "1" })),
          code(verify(undefined)),
          code(score(record, { accurracy: 1 })),
          code(score(record, {}, -1)),
        ]),
      };
    }, pred);
    assert.equal(got.plain.reward, 1);
    assert.equal(pred.slice(...got.plain.verdict.span), "42");
    assert.equal(got.strict.reward, 0);
    assert.ok(Math.abs(got.long.reward - 0.5) < 1e-12);
    assert.deepEqual([got.open.reward, got.open.verdict.verdict], [null, "unsure"]);
    assert.equal(got.half, "accept");
    for (const [i, word] of ["nope", "gold", "record", "record", "accurracy", "tokens"].entries()) {
      assert.match(got.errors[i], new RegExp(`^true request .*${word}`));
    }
    view.quiet();
  });
});
