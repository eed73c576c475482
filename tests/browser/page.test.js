// The page, as a person uses it: by its labels, with a mouse, a keyboard and a clipboard.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, describe, test } from "node:test";
import { join } from "node:path";
import { accessible, launch, open } from "./browser.js";
import { OWN, TINY, serve } from "./server.js";

const { cases } = JSON.parse(await readFile(join(OWN, "cases.json"), "utf8"));
const known = cases.one_image;
const picture = await readFile(join(OWN, "images", known.images[0]));

let server, browsers, view, page;
before(async () => {
  server = await serve(undefined, { models: [TINY] });
  browsers = { webgpu: await launch({ webgpu: true }), cpu: await launch({ webgpu: false }) };
});
after(async () => {
  await browsers?.webgpu.close();
  await browsers?.cpu.close();
  await server?.close();
});
afterEach(async () => {
  server.broken.clear();
  await view.context.close();
});

/** A test of the page. A software GPU is slow, so it is used where the GPU is the point. */
function person(name, body, device = "cpu", options = {}) {
  test(name, async () => {
    view = await open(browsers[device], `${server.site}#/ask`, { permissions: ["camera"], ...options });
    ({ page } = view);
    await body();
  });
}

const ready = () => page.locator(".status .badge").waitFor({ timeout: 120_000 });
const attached = () => page.getByRole("list", { name: "Attached pictures" }).getByRole("img");
const finished = (turn = 0) => page.locator(".turn").nth(turn).locator(".outcome").waitFor({ timeout: 120_000 });
const question = () => page.getByRole("textbox", { name: "Question" });

/** Drops or pastes files, as a browser tells it. */
async function give(kind, target, files) {
  const list = files.map(([name, type, bytes]) => [name, type, bytes.toString("base64")]);
  const transfer = await page.evaluateHandle((list) => {
    const transfer = new DataTransfer();
    for (const [name, type, text] of list) {
      transfer.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name, { type }));
    }
    return transfer;
  }, list);
  if (kind === "drop") {
    await page.dispatchEvent(target, "dragover", { dataTransfer: transfer });
    await page.dispatchEvent(target, "drop", { dataTransfer: transfer });
  } else {
    await page.locator(target).evaluate((element, clipboardData) => {
      element.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
    }, transfer);
  }
}

async function set(label, value) {
  const settings = page.locator("#settings");
  if (!(await settings.evaluate((details) => details.open))) await settings.locator("summary").click();
  await page.getByLabel(label, { exact: true }).fill(value);
}

person("a dropped picture and a question give the reference's words, on WebGPU", async () => {
  await ready();
  assert.equal(await page.locator(".status .badge").textContent(), "WebGPU");
  await give("drop", "main", [["portrait.png", "image/png", picture]]);
  assert.equal(await attached().count(), 1);
  await set("Longest answer, in tokens", String(known.greedy.length));
  await question().fill(known.messages[1].content[1].text);
  await page.getByRole("button", { name: "Ask", exact: true }).click();
  await finished();
  const text = await page.locator(".turn .raw").textContent();
  assert.equal(text, known.greedy_text.trim());
  assert.match(await page.locator(".turn .outcome").textContent(), /not in the trained format.*cut at the longest/);
  const figures = await page.locator(".figures").textContent();
  for (const figure of ["Image tokens", "First token", "Prefill", "Decode", "Memory"]) assert.ok(figures.includes(figure));
  assert.match(await page.getByRole("status").textContent(), /Answer complete/);
  view.quiet();
}, "webgpu");

person("a further turn, by the keyboard alone, reuses the first", async () => {
  await ready();
  await set("Longest answer, in tokens", "8");
  await question().focus();
  await page.keyboard.type("What is this?");
  await page.keyboard.press("Enter");
  await finished(0);
  await page.keyboard.type("line one");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("line two");
  await page.keyboard.press("Enter");
  await finished(1);
  assert.equal(await page.locator(".turn").nth(1).locator(".question p").textContent(), "line one\nline two");
  const figures = await page.locator(".figures").nth(1).textContent();
  const [, tokens, computed] = /Prompt tokens(\d+), (\d+) computed/.exec(figures);
  assert.ok(Number(computed) < Number(tokens) / 2, `${computed} of ${tokens}`);
  view.quiet();
});

person("pictures come by picker, paste, samples and camera, and go again", async () => {
  await page.getByLabel("Pictures", { exact: true }).setInputFiles([
    { name: "a.png", mimeType: "image/png", buffer: picture },
    { name: "b.png", mimeType: "image/png", buffer: picture },
  ]);
  await give("paste", "textarea[name=question]", [["c.png", "image/png", picture]]);
  await page.getByRole("button", { name: "Coloured shapes on a table" }).click();
  await attached().nth(3).waitFor();
  await page.getByRole("button", { name: "Camera" }).click();
  await page.getByRole("button", { name: "Take the picture" }).click();
  await attached().nth(4).waitFor();
  const names = await attached().evaluateAll((images) => images.map((image) => image.alt));
  assert.deepEqual(names, ["a.png", "b.png", "c.png", "shapes.png", "camera.png"]);
  await page.getByRole("button", { name: "Remove b.png" }).click();
  assert.equal(await attached().count(), 4);
  await give("drop", "main", [["notes.txt", "text/plain", Buffer.from("x")]]);
  assert.match(await page.getByRole("alert").filter({ visible: true }).textContent(), /notes\.txt is not a picture/);
  view.quiet();
});

person("stop keeps what came; a broken picture is named; the chat goes on", async () => {
  await ready();
  await question().fill("Say much");
  await page.getByRole("button", { name: "Ask", exact: true }).click();
  await page.locator(".turn .raw").waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await finished(0);
  assert.match(await page.locator(".outcome").textContent(), /stopped/);
  await give("drop", "main", [["broken.png", "image/png", Buffer.from("no picture")]]);
  await set("Longest answer, in tokens", "5");
  await question().fill("And this?");
  await page.getByRole("button", { name: "Ask", exact: true }).click();
  await page.locator(".turn").nth(1).getByRole("alert").filter({ hasText: "broken.png" }).waitFor();
  await question().fill("And now?");
  await page.getByRole("button", { name: "Ask", exact: true }).click();
  await finished(2);
  view.quiet();
});

for (const colorScheme of ["light", "dark"]) {
  const options = { colorScheme, viewport: { width: 390, height: 844 } };
  person(`every state is accessible and fits 390 px, ${colorScheme}`, async () => {
    const look = async () => {
      await accessible(page);
      assert.equal(await page.evaluate(() => Math.max(0, document.documentElement.scrollWidth - innerWidth)), 0);
    };
    await page.locator("progress").waitFor();
    await look();
    await ready();
    await page.getByRole("button", { name: "A bar chart of rainfall" }).click();
    await attached().first().waitFor();
    await question().fill("In which month did it rain most?");
    await page.locator("#settings summary").click();
    await page.getByText("Another model or device", { exact: true }).click();
    await look();
    await set("Longest answer, in tokens", "30");
    await page.getByRole("button", { name: "Ask", exact: true }).click();
    await page.locator(".turn .raw").waitFor();
    await look();
    await finished();
    await look();
    await page.getByRole("button", { name: "Camera" }).click();
    await page.getByRole("button", { name: "Take the picture" }).waitFor();
    await look();
    await page.keyboard.press("Escape");
    await page.getByLabel("Address of a pack").fill(`${server.origin}/nowhere/`);
    await page.getByRole("button", { name: "Load", exact: true }).click();
    await page.locator(".model .error").waitFor();
    await look();
  }, "cpu", options);
}

person("wrong settings are named before anything is asked", async () => {
  await ready();
  await set("Top p", "2");
  await question().fill("?");
  await page.getByRole("button", { name: "Ask", exact: true }).click();
  await page.getByRole("alert").filter({ hasText: "top-p" }).waitFor();
  view.quiet();
});

describe("models", () => {
  person("an address that holds no model, then one that does, then the cache", async () => {
    await ready();
    await page.getByText("Another model or device", { exact: true }).click();
    const address = page.getByLabel("Address of a pack");
    await address.fill(`${server.origin}/nowhere/`);
    await page.getByRole("button", { name: "Load", exact: true }).click();
    await page.getByRole("alert").filter({ hasText: "config.json or pack.json: not found" }).waitFor();
    await page.getByLabel("Device").selectOption("cpu");
    await address.fill(`${server.fixtures}tiny-qwen2_5_vl/checkpoint`);
    await page.getByRole("button", { name: "Load", exact: true }).click();
    await ready();
    assert.equal(await page.locator(".status .badge").textContent(), "CPU");
    const held = page.locator(".cache li");
    await held.nth(1).waitFor();
    assert.match((await held.allTextContents()).join(), /checkpoint\/ \d+\.\d MB/);
    await page.getByRole("button", { name: "Clear everything" }).click();
    await page.getByText("Nothing.").waitFor();
  });

  person("a reload takes the weights from the cache", async () => {
    const shards = () => server.requests.filter((path) => path.endsWith(".safetensors")).length;
    await ready();
    const before = shards();
    await page.reload();
    await ready();
    assert.equal(shards(), before);
    view.quiet();
  });

  person("a lost device leaves the chat, says so, and loading again goes on", async () => {
    server.broken.set("/wethink-worker.js", async (response, file) => {
      const tap = `
        const request = GPUAdapter.prototype.requestDevice;
        GPUAdapter.prototype.requestDevice = async function (...options) {
          const device = await request.apply(this, options);
          new BroadcastChannel("test").onmessage = () => device.destroy();
          return device;
        };\n`;
      response.writeHead(200, { "content-type": "text/javascript" }).end(tap + (await readFile(file, "utf8")));
    });
    await page.reload();
    await ready();
    await question().fill("Say much");
    await page.getByRole("button", { name: "Ask", exact: true }).click();
    await page.locator(".turn .raw").waitFor();
    await page.evaluate(() => new BroadcastChannel("test").postMessage(0));
    await page.locator(".model").getByRole("alert").filter({ hasText: "the GPU was lost" }).waitFor();
    assert.equal(await page.locator(".turn").count(), 1);
    await page.getByRole("button", { name: "Load the model again" }).click();
    await ready();
    await set("Longest answer, in tokens", "5");
    await question().fill("Again?");
    await page.getByRole("button", { name: "Ask", exact: true }).click();
    await finished(1);
  }, "webgpu");
});

person("embed.html answers", async () => {
  await page.goto(`${server.site}embed.html`);
  await page.getByRole("status").filter({ hasText: "Ready" }).waitFor({ timeout: 120_000 });
  await page.getByLabel("Picture").setInputFiles({ name: "a.png", mimeType: "image/png", buffer: picture });
  await page.getByRole("button", { name: "Ask", exact: true }).click();
  await page.getByRole("status").filter({ hasText: "tokens" }).waitFor({ timeout: 120_000 });
  assert.ok((await page.locator("pre").textContent()).length > 0);
  view.quiet();
});
