// The scenes page, as a person uses it: scenes made by mouse, keys and fields, questions from menus and in words, answers that
// light up. What is said is a script's here, so that every finding can be provoked; real models have a file of their own.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { accessible, launch, open } from "./browser.js";
import { scripted } from "./script.js";
import { OWN, TINY, serve } from "./server.js";

const scenes = { tasks: ["A"], sides: [112, 112], square: true, objects: [3, 6], shapes: 4, relations: 0 };
const MODELS = [
  { ...TINY, label: "SFT", scenes, about: "A model of shapes." },
  { ...TINY, name: "tiny-grpo", label: "GRPO", scenes: { ...scenes, objects: [5, 12] }, about: "A model of more shapes.", rare_objects: [13, 14] },
];

let servers, server, browser, view, page, script;
before(async () => {
  servers = { one: await serve(undefined, { models: MODELS.slice(0, 1) }), two: await serve(undefined, { models: MODELS }) };
  browser = await launch({ webgpu: false });
});
after(async () => {
  await browser?.close();
  await servers?.one.close();
  await servers?.two.close();
});
afterEach(async () => {
  server.broken.clear();
  await view?.context.close();
});

/** A test of the page with so many models. */
function person(name, models, body, options = {}) {
  test(name, async () => {
    server = servers[models];
    script = scripted(server);
    view = await open(browser, server.site, { acceptDownloads: true, ...options });
    ({ page } = view);
    page.setDefaultTimeout(120_000);
    await askButton().and(page.locator(":enabled")).waitFor();
    await body();
    view.quiet();
  });
}

const askButton = () => page.getByRole("button", { name: "Ask", exact: true });
const cell = ([x, y]) => page.locator(`#cell-${x}-${y}`);
const menu = (name) => page.locator(".ask").getByRole("combobox", { name, exact: true });
const field = (name) => page.locator(".shape").getByRole("combobox", { name, exact: true });
const question = () => page.getByLabel("Question", { exact: true }).and(page.locator("input"));
const light = (at) => cell(at).locator(".light");
const lightIs = (at, state) => cell(at).locator(`.light.${state}`).waitFor();

/** What the picture shows, by the names of its cells: `{at, size, color, shape}`. */
async function shapes() {
  const labels = await page.locator(".scene .cells .cell").evaluateAll((cells) => cells.map((cell) => cell.ariaLabel));
  const read = labels.map((label) => /^\((\d),(\d)\) (\w+) (\w+) (\w+)/.exec(label)).filter(Boolean);
  return read.map(([, x, y, size, color, shape]) => ({ at: [Number(x), Number(y)], size, color, shape }));
}

async function emptyCell() {
  const taken = new Set((await shapes()).map(({ at }) => at.join()));
  for (let y = 1; y <= 5; y++) for (let x = 1; x <= 5; x++) if (!taken.has([x, y].join())) return [x, y];
  throw new Error("no empty cell");
}

/** Asks, and waits for the end. */
async function ask() {
  await askButton().click();
  await page.locator(".answer .cost").first().waitFor();
}

const line = ({ at, color, shape }, mark) => `(${at}) ${color} ${shape} ${mark}\n`;

/** Shapes that count circles: a thought with nothing wrong. */
async function circles() {
  await menu("Colour").selectOption("any");
  await menu("Kind").selectOption("circle");
  await menu("Size").selectOption("any");
  const all = await shapes();
  const count = all.filter(({ shape }) => shape === "circle").length;
  return { all, count, lines: all.map((one) => line(one, one.shape === "circle" ? "✓" : "✗")).concat(`count ${count}`) };
}

const pixels = () => page.locator(".scene .drawn").evaluate(async (image) => {
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: image.naturalWidth, height: image.naturalHeight });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  return [canvas.width, canvas.height, ...context.getImageData(0, 0, canvas.width, canvas.height).data];
});

person("a right thought lights up line by line, is judged right and counted", "one", async () => {
  const { all, count, lines } = await circles();
  script.say(lines, String(count), { delay: 400 });
  await askButton().click();
  await lightIs(all[0].at, "right");
  assert.ok((await page.locator(".scene .light").count()) < all.length, "the rest is still to come");
  await page.locator(".answer .cost").waitFor();
  assert.equal(await page.locator(".scene .light.right").count(), all.length);
  assert.equal(await light(all[0].at).textContent(), all[0].shape === "circle" ? "✓" : "✗");
  await page.locator(".final .badge.good").filter({ hasText: "right" }).waitFor();
  assert.match(await page.locator(".score").textContent(), /SFT 1 of 1 right, 100 %/);
  assert.match(await page.locator(".chart").getAttribute("aria-label"), new RegExp(`SFT: ${all.length} shapes: 1 of 1 right`));
  assert.match(await page.locator("p[role=status]").textContent(), new RegExp(`SFT answers ${count}, which is right`));
  assert.match(await cell(all[0].at).getAttribute("aria-label"), /right$/);
});

person("every kind of mistake is shown where it is, in words too", "one", async () => {
  const { all, count } = await circles();
  assert.ok(all.length >= 3, "the slider begins at six");
  const [first, second, missed] = all;
  const empty = await emptyCell();
  const other = first.color === "red" ? "blue" : "red";
  const wrong = second.shape === "circle" ? "✗" : "✓";
  script.say([line({ ...first, color: other }, "✓"), line(second, wrong), line({ at: empty, color: "red", shape: "star" }, "✗"), "so many"], String(count + 1));
  await ask();
  for (const at of [first.at, second.at, empty]) await lightIs(at, "wrong");
  await lightIs(missed.at, "missed");
  const findings = await page.locator(".thought .finding").allTextContents();
  assert.deepEqual(findings, [`it is a ${first.size} ${first.color} ${first.shape}`, second.shape === "circle" ? "it counts" : "it does not count", "nothing is there"]);
  await page.locator(".final .badge.bad").filter({ hasText: `wrong: it is ${count}` }).waitFor();
  await page.getByText(/shapes? (is|are) never named/).waitFor();
  assert.match(await page.locator(".score").textContent(), /SFT 0 of 1 right/);
  // What is shown is about the picture as it was asked about.
  await cell(first.at).focus();
  await page.keyboard.press("c");
  assert.equal(await page.locator(".scene .light").count(), 0);
});

person("a scene is made with the keyboard alone", "one", async () => {
  const [first] = await shapes();
  const before = await pixels();
  const count = (await shapes()).length;
  await cell(first.at).focus();
  await page.keyboard.press("c");
  await page.keyboard.press("k");
  const changed = (await shapes()).find(({ at }) => at.join() === first.at.join());
  assert.notEqual(changed.color, first.color);
  assert.notEqual(changed.shape, first.shape);
  assert.notDeepEqual(await pixels(), before, "the picture is drawn anew");
  // Walks to an empty cell, adds a shape, moves it and takes it away.
  const empty = await emptyCell();
  for (let x = first.at[0]; x !== empty[0]; x += Math.sign(empty[0] - x)) await page.keyboard.press(x < empty[0] ? "ArrowRight" : "ArrowLeft");
  for (let y = first.at[1]; y !== empty[1]; y += Math.sign(empty[1] - y)) await page.keyboard.press(y < empty[1] ? "ArrowDown" : "ArrowUp");
  assert.equal(await page.evaluate(() => document.activeElement.id), `cell-${empty[0]}-${empty[1]}`);
  await page.keyboard.press("Enter");
  assert.equal((await shapes()).length, count + 1);
  const added = (await shapes()).find(({ at }) => at.join() === empty.join());
  const [way, to] = empty[0] < 5 ? ["Shift+ArrowRight", [empty[0] + 1, empty[1]]] : ["Shift+ArrowLeft", [empty[0] - 1, empty[1]]];
  await page.keyboard.press(way);
  const moved = (await shapes()).find(({ at }) => at.join() === to.join());
  assert.deepEqual({ ...moved, at: 0 }, { ...added, at: 0 });
  await page.keyboard.press("Delete");
  assert.equal((await shapes()).length, count);
  // The last one stays.
  for (const { at } of await shapes()) {
    await cell(at).focus();
    await page.keyboard.press("Delete");
  }
  assert.equal((await shapes()).length, 1);
  await page.getByRole("alert").filter({ hasText: "The last shape stays" }).waitFor();
});

person("a shape is dragged, and changed by its fields", "one", async () => {
  const [first] = await shapes();
  const empty = await emptyCell();
  const middle = async (at) => {
    const box = await cell(at).boundingBox();
    return [box.x + box.width / 2, box.y + box.height / 2];
  };
  await page.mouse.move(...(await middle(first.at)));
  await page.mouse.down();
  await page.mouse.move(...(await middle(empty)), { steps: 12 });
  await page.mouse.up();
  const looks = ({ size, color, shape }) => `${size} ${color} ${shape}`;
  const at = async (cell) => (await shapes()).find((one) => one.at.join() === cell.join());
  assert.equal(looks(await at(empty)), looks(first), "dragging took it along");
  for (const [name, value] of [["Colour", "purple"], ["Kind", "cross"], ["Size", "small"]]) await field(name).selectOption(value);
  assert.equal(looks(await at(empty)), "small purple cross");
  await page.getByText("Beyond what SFT was trained on: a cross").waitFor();
  const column = empty[0] === 5 ? 4 : empty[0] + 1;
  await field("Column").selectOption(String(column));
  assert.equal(looks(await at([column, empty[1]])), "small purple cross");
  await page.getByRole("button", { name: "Remove" }).click();
  assert.equal(await at([column, empty[1]]), undefined);
  await page.getByRole("button", { name: "Add a shape here" }).click();
  assert.equal(looks(await at([column, empty[1]])), "small purple cross");
});

person("questions come from menus and from words, and only known ones are judged", "one", async () => {
  await question().fill("How many large stars do you see?");
  assert.equal(await menu("Kind").evaluate((select) => select.selectedOptions[0].label), "star");
  assert.equal(await menu("Size").evaluate((select) => select.selectedOptions[0].label), "large");
  await menu("Colour").selectOption("red");
  assert.equal(await question().inputValue(), "How many large red stars do you see?");
  await menu("Wording").selectOption("Count the ….");
  assert.equal(await question().inputValue(), "Count the large red stars.");
  const want = (await shapes()).filter(({ size, color, shape }) => `${size} ${color} ${shape}` === "large red star").length;
  script.say([], String(want));
  await ask();
  await page.locator(".final .badge.good").waitFor();
  // Words that are not understood are asked, and not judged.
  await question().fill("Is this a pipe?");
  await page.getByText("The page does not know the answer to this").waitFor();
  script.say(["(1,1) red circle ✓\n"], "no");
  await ask();
  assert.equal(await page.locator(".final .badge").count(), 0);
  await lightIs([1, 1], "open");
  assert.match(await page.locator(".score").textContent(), /1 of 1 right/);
  // A side of a shape that is not there cannot be asked about; the one that the page proposes can.
  await question().fill("How many circles are left of the cross?");
  await page.getByText("This cannot be asked: 0 objects are a cross").waitFor();
  await askButton().click();
  await page.getByRole("alert").filter({ hasText: "This cannot be asked" }).waitFor();
  await menu("Where").selectOption("anywhere");
  await menu("Where").selectOption("above");
  assert.match(await question().inputValue(), /above the \w+ \w+/);
  await page.getByText("a question about a side").waitFor();
});

person("two models answer side by side, each with its own lights and score", "two", async () => {
  const { all, count, lines } = await circles();
  assert.equal(await page.locator(".scenes .badge").count(), 1, "one is loaded");
  await page.getByRole("radio", { name: "Both side by side" }).check({ force: true });
  await page.locator(".scenes .badge").nth(1).waitFor();
  script.say(lines, String(count));
  await askButton().and(page.locator(":enabled")).waitFor();
  await askButton().click();
  await page.locator(".answer .cost").nth(1).waitFor();
  assert.equal(await page.locator(".answer .board .light.right").count(), 2 * all.length);
  assert.equal(await page.locator(".scene .light").count(), 0, "the scene itself stays plain");
  assert.match(await page.locator(".score").textContent(), /SFT 1 of 1 right.*GRPO 1 of 1 right/);
  assert.deepEqual(await page.locator(".ranges .range:not(.rare)").allTextContents(), ["SFT 3–6", "GRPO 5–12"]);
  await page.getByText("GRPO saw 13 to 14 shapes rarely").waitFor();
});

person("where one model is bundled, there is nothing to switch", "one", async () => {
  await page.getByText("A model of shapes.").waitFor();
  assert.equal(await page.getByRole("radio").count(), 0);
});

person("the slider makes scenes harder; a run counts, stops, is saved and begun anew", "one", async () => {
  await page.getByLabel(/^Shapes in the next scene/).fill("9");
  assert.equal((await shapes()).length, 9);
  await page.getByText("Beyond what SFT was trained on: 9 shapes where it saw 3 to 6").waitFor();
  await page.getByRole("button", { name: "Shuffle" }).click();
  assert.equal((await shapes()).length, 9);
  script.say([], "2");
  await page.getByLabel("Scenes", { exact: true }).fill("24");
  await page.getByRole("combobox", { name: "Shapes", exact: true }).selectOption("1 to 12 in turn");
  await page.getByRole("button", { name: "Run these scenes" }).click();
  await page.getByRole("status").filter({ hasText: "The run ended after 24 of 24 scenes" }).waitFor();
  const chart = await page.locator(".chart").getAttribute("aria-label");
  for (let n = 1; n <= 12; n++) assert.match(chart, new RegExp(`\\b${n} shapes?: \\d of 2 right`));
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Save all answers" }).click()]);
  const rows = (await readFile(await download.path(), "utf8")).trim().split("\n").map((line) => JSON.parse(line));
  assert.equal(rows.length, 24);
  assert.deepEqual(rows.map(({ row }) => row), Array.from({ length: 24 }, (_, i) => i));
  for (const { accepted, truth, seed, model, objects, row } of rows) {
    assert.deepEqual([accepted, seed, model, objects], [truth === "2", 7, "tiny", (row % 12) + 1]);
  }
  script.say(["a\n".repeat(40)], "2", { delay: 400 });
  await page.getByRole("button", { name: "Run these scenes" }).click();
  await page.getByText("0 of 24").waitFor();
  await cell([1, 1]).focus();
  await page.keyboard.press("Delete");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Stop the run" }).click();
  await page.getByRole("status").filter({ hasText: "The run ended after 0 of 24 scenes" }).waitFor();
  await page.getByText("24 answers").click();
  assert.equal(await page.locator(".all-answers tbody tr").count(), 24, "what was stopped is not counted");
  await page.getByRole("button", { name: "Begin the score anew" }).click();
  await page.getByText("nothing asked yet").waitFor();
});

person("a dropped photo is answered with a plain warning and no verdict, and the scene comes back", "one", async () => {
  const drop = async (name, type, bytes) => {
    const dataTransfer = await page.evaluateHandle(([name, type, text]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name, { type }));
      return transfer;
    }, [name, type, bytes.toString("base64")]);
    await page.dispatchEvent("main", "dragover", { dataTransfer });
    await page.dispatchEvent("main", "drop", { dataTransfer });
  };
  const before = await shapes();
  await drop("notes.txt", "text/plain", Buffer.from("x"));
  await page.getByRole("alert").filter({ hasText: "notes.txt is not a picture" }).waitFor();
  await drop("coffee.png", "image/png", await readFile(join(OWN, "images/coffee.png")));
  await page.getByRole("img", { name: "coffee.png" }).waitFor();
  await page.getByText(/Do not expect much of this answer.*A model of shapes\..*WeThink-7B reads photos/).waitFor();
  script.say(["(1,1) red circle ✓\n"], "1");
  await ask();
  assert.equal(await page.locator(".final .badge").count(), 0);
  await page.getByText("nothing asked yet").waitFor();
  await page.getByRole("button", { name: "Back to the scene" }).click();
  assert.deepEqual(await shapes(), before);
  assert.equal(await page.locator(".scene .light").count(), 0);
});

person("what a model writes outside the format is shown, and wrong", "one", async () => {
  script.say([], undefined, { raw: "<b>three</b>" });
  await ask();
  assert.equal(await page.locator(".answer .raw").textContent(), "<b>three</b>");
  await page.locator(".final .badge.bad").waitFor();
  await page.getByText("Not in the trained format.").waitFor();
});

test("a list of models that cannot be used is named", async () => {
  server = servers.one;
  server.broken.set("/models.json", (response) => response.writeHead(200).end('{"models": [{"name": "../x"}]}'));
  view = await open(browser, server.site);
  await view.page.getByRole("alert").filter({ hasText: "models/models.json: field" }).waitFor();
  await view.page.goto(`${server.site}#/ask`);
  await view.page.locator(".model .error").filter({ hasText: "models/models.json" }).waitFor();
});

for (const colorScheme of ["light", "dark"]) {
  person(`every state is accessible and fits 390 px, ${colorScheme}`, "two", async () => {
    const look = async () => {
      await accessible(page);
      assert.equal(await page.evaluate(() => Math.max(0, document.documentElement.scrollWidth - innerWidth)), 0);
    };
    await look();
    const { lines, count, all } = await circles();
    await cell(all[0].at).click();
    await menu("Where").selectOption("above");
    await page.getByText("Where it runs").click();
    await look();
    await menu("Where").selectOption("anywhere");
    script.say([...lines.slice(1), "(5,5) red circle ✓"], String(count));
    await ask();
    await look();
    await page.getByRole("radio", { name: "Both side by side" }).check({ force: true });
    await askButton().and(page.locator(":enabled")).waitFor();
    await askButton().click();
    await page.locator(".answer .cost").nth(1).waitFor();
    await page.getByText("3 answers").click();
    await look();
    await page.locator("input[type=file]").setInputFiles(join(OWN, "images/coffee.png"));
    await page.getByRole("button", { name: "Back to the scene" }).waitFor();
    await look();
  }, { colorScheme, viewport: { width: 390, height: 844 } });
}
