// What is dropped on the reward checker: a file of rows, and a folder with everything below it.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { launch, open } from "./browser.js";
import { serve } from "./server.js";

let server, browser, view;
before(async () => {
  server = await serve();
  browser = await launch({ webgpu: false });
});
after(async () => {
  await browser?.close();
  await server?.close();
});
afterEach(() => view?.context.close());

test("a dropped file of rows is read", async () => {
  view = await open(browser, `${server.site}#/check`);
  const { page } = view;
  await page.locator("main.check").waitFor();
  const dataTransfer = await page.evaluateHandle(() => {
    const rows = [1, 2].map((n) => ({ problem: `What is ${n} + 1?`, kind: "number", gold: `${n + 1}`, pred: "<answer>2</answer>" }));
    const transfer = new DataTransfer();
    transfer.items.add(new File([rows.map((row) => JSON.stringify(row)).join("\n")], "dropped.jsonl"));
    return transfer;
  });
  await page.dispatchEvent("main.check", "dragover", { dataTransfer });
  await page.dispatchEvent("main.check", "drop", { dataTransfer });
  await page.getByRole("heading", { name: "dropped.jsonl" }).waitFor();
  await page.getByText("2 rows shown").waitFor();
  await page.locator(".tally").getByText("1 accept, 1 reject, 0 unsure, 0 cannot be verified").waitFor();
  view.quiet();
});

test("a dropped folder is walked to its last file, though a reader gives a part at a time", async () => {
  view = await open(browser, `${server.site}blank.html`);
  const found = await view.page.evaluate(async (module) => {
    const { dropped } = await import(module);
    const leaf = (path) => ({ isFile: true, fullPath: path, file: (take) => take(new File([path], path.split("/").pop())) });
    const folder = (...parts) => ({
      isFile: false,
      createReader: () => {
        const left = [...parts, []];
        return { readEntries: (take) => take(left.shift()) };
      },
    });
    const inner = folder([leaf("/a/b/3.png")]);
    const root = folder([leaf("/a/1.png")], [leaf("/a/2.png"), inner]);
    const items = [{ kind: "string" }, { kind: "file", webkitGetAsEntry: () => root }];
    const pairs = await dropped({ items, files: [] });
    return Promise.all(pairs.map(async ([path, file]) => [path, await file.text()]));
  }, "./check.js");
  assert.deepEqual(found, [
    ["a/1.png", "/a/1.png"],
    ["a/2.png", "/a/2.png"],
    ["a/b/3.png", "/a/b/3.png"],
  ]);
  view.quiet();
});
