// The reward checker, as an annotator uses it: by its labels and its keys, with files of thousands of rows and of bad intent.
// One file, and longer than most: the tests share one browser and the ways of a person.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { accessible, launch, open } from "./browser.js";
import { serve } from "./server.js";
import { zip } from "./zip.js";

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

/** A test on the checker's page. */
function annotator(name, body, options = {}) {
  test(name, async () => {
    view = await open(browser, `${server.site}#/check`, { acceptDownloads: true, ...options });
    ({ page } = view);
    await body();
  });
}

const file = (name, text) => ({ name, mimeType: "text/plain", buffer: Buffer.from(text) });
const lines = (rows) => rows.map((row) => (typeof row === "string" ? row : JSON.stringify(row))).join("\n");
const tally = () => page.locator(".tally");
const labelled = (text) => tally().getByText(text, { exact: true }).waitFor();
const lineIs = (number) => page.locator(`.detail [data-line="${number}"]`).waitFor();

async function load(name, text, { ready = true } = {}) {
  await page.getByLabel("Open rows").setInputFiles(file(name, text));
  if (ready) {
    await tally().waitFor({ timeout: 60_000 });
    await page.locator(".line-row").first().waitFor();
    await page.locator(".detail [data-line]").waitFor();
  }
}

async function press(...keys) {
  for (const key of keys) await page.keyboard.press(key);
}

async function exported(format) {
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: `Export ${format}` }).click(),
  ]);
  return { name: download.suggestedFilename(), text: await readFile(await download.path(), "utf8") };
}

/** Rows of sums; every third reply is wrong, every fifth row has no kind that a rule decides. */
function sums(count) {
  return Array.from({ length: count }, (_, i) => {
    const gold = String(2 * i + 1);
    const wrong = i % 3 === 2;
    const pred = `<think>\nadd ${i}\n</think>\n<answer>\n${wrong ? gold + "0" : gold}\n</answer>`;
    return { id: `row-${i}`, kind: i % 5 === 4 ? "open" : "number", problem: `What is ${i} + ${i + 1}?`, gold, pred };
  });
}

const verdictOf = (i) => (i % 5 === 4 ? "unsure" : i % 3 === 2 ? "reject" : "accept");

annotator("20,000 rows are loaded, labelled by the keyboard, reloaded in the middle, and exported", async () => {
  const rows = sums(20_000);
  rows.splice(7, 0, "{broken");
  const text = lines(rows);
  await load("sums.jsonl", text);
  await labelled("0 of 20000 labelled");
  assert.ok((await page.locator(".line-row").count()) < 60, "only rows in sight are in the page");
  await page.getByText("1 line is broken and left out").click();
  await page.locator(".broken li").filter({ hasText: "Line 8:" }).waitFor();

  await press("a", "r", "u", "j", "a");
  await lineIs(6);
  await press("k", "k");
  await lineIs(4);
  await press("n");
  await page.keyboard.type("a r z: keys are letters in a note");
  await press("Escape", "j", "j", "r");
  await lineIs(7);
  await press("z");
  await labelled("5 of 20000 labelled");
  // Nothing is waited for: what was labelled is kept.
  await press("a", "a");
  await page.reload();
  await load("renamed.jsonl", text);
  await labelled("7 of 20000 labelled");

  // Rows far down are reached at once, by scrolling and by the keys.
  await page.locator(".rows").evaluate((list) => (list.scrollTop = list.scrollHeight));
  await page.locator(".line-row").filter({ hasText: "What is 19999 + 20000?" }).click();
  await lineIs(20_001);
  await press("r");
  await labelled("8 of 20000 labelled");
  await tally().getByText("Every label is stored").waitFor();

  await page.getByLabel("Your name").fill("kim");
  const jsonl = await exported("JSONL");
  assert.equal(jsonl.name, "renamed.labels.jsonl");
  const labels = jsonl.text.trim().split("\n").map((line) => JSON.parse(line));
  const want = [[0, "accept"], [1, "reject"], [2, "unsure"], [3, "unsure"], [4, "accept"], [5, "accept"], [6, "accept"], [19_999, "reject"]];
  assert.deepEqual(labels.map(({ id, label }) => [id, label]), want.map(([i, label]) => [`row-${i}`, label]));
  assert.deepEqual(labels.map(({ verdict }) => verdict), want.map(([i]) => verdictOf(i)));
  assert.deepEqual(labels.map(({ note }) => note).filter(Boolean), ["a r z: keys are letters in a note"]);
  for (const { key, time, line, id } of labels) {
    assert.match(key, /^[0-9a-f]{32}$/);
    assert.ok(Math.abs(Date.parse(time) - Date.now()) < 600_000, time);
    const index = Number(id.slice(4));
    assert.equal(line, index < 7 ? index + 1 : index + 2);
  }
  const csv = await exported("CSV");
  const [header, ...cells] = csv.text.trim().split("\n");
  assert.equal(header, "key,id,line,kind,verdict,score,reward,label,note,annotator,time");
  assert.deepEqual(cells.map((line) => line.split(",").slice(0, 2)), labels.map(({ key, id }) => [key, id]));
  view.quiet();
});

annotator("labels given just before a reload are never lost", async () => {
  const text = lines(sums(200));
  await load("sums.jsonl", text);
  for (let round = 1; round <= 10; round++) {
    for (let i = 0; i < 3 * (round - 1); i++) await press("j");
    await press("a", "a", "a");
    await page.reload();
    await load("sums.jsonl", text);
    await page.getByText(new RegExp(`^${3 * round} of 200 labelled$`)).waitFor();
  }
});

annotator("a row that wants to be markup, script or mathematics that never ends is text", async () => {
  await page.evaluate(() => (globalThis.alert = () => (globalThis.struck = true)));
  const evil = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "<svg onload=alert(3)><a href='javascript:alert(4)'>x</a></svg>",
    "[link](javascript:alert(5))",
    "$\\href{javascript:alert(6)}{x}$",
    "$\\text{<img src=x onerror=alert(7)>}$",
    "$\\operatorname{</math><script>alert(8)</script>}$",
    "$\\def\\a{\\a\\a}\\a$",
    `$${"{".repeat(900)}x${"}".repeat(900)}$`,
    "$\\unicode{60}script$ $$\\begin{matrix}$$ \\[ \\hspace{99999em} x \\]",
    "\u202eright to left\u0000",
  ];
  const rows = evil.map((text) => ({
    id: text,
    kind: text.startsWith("[") ? "<b>kind</b>" : "math",
    problem: text,
    gold: text,
    pred: `<think>${text}</think><answer>${text}</answer>`,
    image_path: text,
    choices: [text, text],
    opts: { [text]: text },
  }));
  await load("<img src=x onerror=alert(9)>.jsonl", lines(rows));
  for (const [i, text] of evil.entries()) {
    await lineIs(i + 1);
    assert.ok((await page.locator(".detail").textContent()).includes(text.slice(0, 8)), text);
    await press("t", "m", "m", "n");
    await page.keyboard.type(text.slice(0, 40).replaceAll("\0", ""));
    await press("Escape", "j");
  }
  await page.waitForTimeout(300);
  const built = "main script, main svg, main iframe, main object, main b.kind, main a[href], main [onerror], main [onload], main img";
  assert.equal(await page.locator(built).count(), 0);
  assert.equal(await page.evaluate(() => globalThis.struck), undefined);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `${wide} px too wide`);
  view.quiet();
});

annotator("mathematics is set as MathML, and as its source where it is not understood", async () => {
  const reply = "<answer>so $\\boxed{\\frac{1}{2}}$ and $\\nosuch{1}$</answer>";
  await load("a.jsonl", lines([{ kind: "math", problem: "Is $x^2$ it, for $5 or $6?", gold: "\\frac{1}{2}", pred: reply }]));
  await page.locator(".detail .problem math msup").waitFor();
  assert.equal(await page.locator(".detail .problem math").count(), 1);
  assert.equal(await page.locator(".detail .truths math mfrac").count(), 1);
  await page.locator(".detail .reply .marked math mfrac").waitFor();
  assert.match(await page.locator(".detail .reply").textContent(), /\$\\nosuch\{1\}\$/);
  await page.locator(".rows").focus();
  await press("m");
  await page.locator(".detail mark").filter({ hasText: "\\frac{1}{2}" }).waitFor();
  assert.equal(await page.locator(".detail math").count(), 0);
  view.quiet();
});

annotator("a second tab on the same file does not label, and goes on when the first is closed", async () => {
  const text = lines(sums(20));
  await load("sums.jsonl", text);
  await press("a");
  await labelled("1 of 20 labelled");
  const first = page;
  page = await view.context.newPage();
  await page.goto(`${server.site}#/check`);
  await load("copy of sums.jsonl", text);
  await tally().getByText("open in another tab").waitFor();
  await labelled("1 of 20 labelled");
  assert.ok(await page.getByRole("button", { name: "Accept" }).isDisabled());
  await page.locator(".rows").focus();
  await press("a", "r");
  await page.getByRole("alert").filter({ hasText: "labels are given there" }).first().waitFor();
  await labelled("1 of 20 labelled");
  await first.bringToFront();
  await first.keyboard.press("r");
  await first.locator(".tally").getByText("2 of 20 labelled").waitFor();
  await first.locator(".saved").waitFor();
  await first.close();
  await labelled("2 of 20 labelled");
  await page.locator(".rows").focus();
  await press("o");
  await lineIs(3);
  await press("u");
  await labelled("3 of 20 labelled");
  // Another file is nobody else's.
  await load("other.jsonl", lines(sums(21)));
  await labelled("0 of 21 labelled");
});

annotator("CSV with odd columns is mapped by hand, and its broken lines are told by number", async () => {
  const csv = 'Frage,Wahrheit,"Modell, roh"\n"Wie viele, bitte?",3,<answer>3</answer>\nzu,viele,Zellen,hier\n"Was\nnoch?",4,vier\n';
  await load("tabelle.csv", csv, { ready: false });
  await page.getByText("Say which column is").waitFor();
  await page.locator(".columns").getByLabel("Reply", { exact: true }).selectOption("Modell, roh");
  await page.locator(".columns").getByLabel("Truth").selectOption("Wahrheit");
  await page.locator(".columns").getByLabel("Problem").selectOption("Frage");
  await page.getByLabel("Kind of rows that name none").selectOption("count");
  await page.getByRole("button", { name: "Read the rows" }).click();
  await labelled("0 of 2 labelled");
  await page.locator(".line-row").nth(1).filter({ hasText: "Was noch?" }).waitFor();
  assert.deepEqual(await page.locator(".line-row .chip").allTextContents(), ["accept", "reject"]);
  await page.getByText("1 line is broken and left out").click();
  await page.locator(".broken li").filter({ hasText: /^Line 3: 4 columns where the header has 3/ }).waitFor();
  view.quiet();
});

annotator("a file that holds nothing says so, and the next one is read", async () => {
  await load("empty.jsonl", "", { ready: false });
  await page.getByRole("alert").filter({ hasText: "empty.jsonl: no rows" }).waitFor();
  await load("words.jsonl", "hello\nworld\n", { ready: false });
  await page.getByRole("alert").filter({ hasText: "line 1" }).waitFor();
  await load("sums.jsonl", lines(sums(3)));
  await labelled("0 of 3 labelled");
});

annotator("kinds and policy are changed for every row and for one", async () => {
  const rows = [
    { kind: "DES", gold: "4", pred: "<think>x</think><answer>4</answer>" },
    { kind: "number", gold: "4", pred: "5" },
  ];
  await load("a.jsonl", lines(rows));
  await page.locator(".detail .error").filter({ hasText: "DES" }).waitFor();
  await page.getByText("Kinds and policy").last().click();
  await page.getByLabel("“DES”, 1 rows").selectOption("number");
  await page.getByLabel("Weight of the verdict").fill("0.5");
  await page.getByLabel("Weight of the form").fill("0.25");
  await page.getByRole("button", { name: "Apply to every row" }).click();
  await page.locator(".detail .verdict").filter({ hasText: "reward 0.75" }).waitFor();
  await page.getByLabel("Weight of the form").fill("much");
  await page.getByRole("button", { name: "Apply to every row" }).click();
  await page.getByRole("alert").filter({ hasText: "“much” is not a number" }).waitFor();
  await page.getByLabel("Verify this row as").selectOption("open");
  await page.locator(".detail .badge").filter({ hasText: "unsure" }).waitFor();
  view.quiet();
});

annotator("filters, search and disagreements lead through the rows", async () => {
  await load("sums.jsonl", lines(sums(60)));
  await press("r", "a", "a");
  await page.keyboard.press("ArrowUp");
  const shown = (count) => page.getByText(`${count} rows shown`).waitFor();
  const choose = (label, option) => page.getByRole("search").getByLabel(label).selectOption(option);
  await choose("Agreement", "verdict");
  await shown(2);
  await choose("Agreement", "");
  await choose("Verdict", "unsure");
  await shown(12);
  await choose("Kind", "number");
  await shown(0);
  await page.getByText("No row fits the filter.").waitFor();
  await page.getByRole("button", { name: "Show all" }).click();
  await shown(60);
  await choose("Label", "any");
  await shown(3);
  await page.getByRole("button", { name: "Show all" }).click();
  await page.locator(".rows").focus();
  await press("/");
  await page.keyboard.type("WHAT IS 41 +");
  await shown(1);
  await lineIs(42);
  await page.getByRole("button", { name: "Show all" }).click();
  await shown(60);
  await page.locator(".rows").focus();
  await press("D");
  await lineIs(3);
  await press("D");
  await lineIs(1);
  await press("d");
  await lineIs(3);
  await press("d");
  await page.getByText("No further disagreement").first().waitFor();
  const agreement = await tally().textContent();
  assert.match(agreement, /1 of 3 \(33 %\), κ -0\.50 .*accepted wrongly 1, rejected wrongly 1/);
  await press("?");
  await page.getByRole("heading", { name: "Keys" }).waitFor();
  await page.getByLabel("Keys act on their own").uncheck();
  await page.getByRole("button", { name: "Close" }).click();
  await page.locator(".rows").focus();
  await press("a", "j");
  await lineIs(3);
  view.quiet();
});

annotator("a second annotator's labels are compared, with the rows that differ", async () => {
  await load("sums.jsonl", lines(sums(30)));
  await press("a", "a", "r", "u");
  await labelled("4 of 30 labelled");
  const { text } = await exported("JSONL");
  const theirs = text.trim().split("\n").map((line) => JSON.parse(line));
  theirs[1].label = "reject";
  theirs[3].label = "accept";
  const labels = [...theirs.map((label) => ({ ...label, annotator: "lee" })), { id: "nobody", label: "accept" }, "{"];
  await page.getByLabel("Compare with labels").setInputFiles(file("lee.jsonl", lines(labels)));
  await page.getByText("4 labels of lee found their rows, 1 found none; lines that are no labels: 1, the first is line 6").first().waitFor();
  await tally().getByText("2 of 3 (67 %)").waitFor();
  assert.match(await tally().textContent(), /κ 0\.40 .*2 rows differ/);
  await page.getByRole("button", { name: "Show differences" }).click();
  await page.getByText("2 rows shown").waitFor();
  assert.equal(await page.locator(".line-row .chip").filter({ hasText: "2nd:" }).count(), 2);
  await page.locator(".detail").getByText("lee:").waitFor();
  await page.getByRole("button", { name: "Stop comparing" }).click();
  await page.getByText("30 rows shown").waitFor();
  view.quiet();
});

annotator("pictures come from a zip or a folder by the row's path, and grow", async () => {
  const chart = await readFile(here("../../web/samples/chart.png"));
  const clock = await readFile(here("../../web/samples/clock.png"));
  const rows = ["data/a/chart.png", "b/clock.png", "missing.png", "a/notes.png"].map((image_path) => ({ kind: "text", gold: "x", pred: "x", image_path }));
  await load("a.jsonl", lines(rows));
  await page.getByText("choose the folder or zip").waitFor();
  const packed = zip([["images/a/chart.png", chart], ["images/b/clock.png", clock], ["images/a/notes.png", Buffer.from("no picture")]]);
  const give = (name, buffer) => page.getByLabel("Zip of pictures").setInputFiles({ name, mimeType: "application/zip", buffer });
  await give("pictures.zip", packed);
  await page.getByText("Pictures: 3 files in pictures.zip").first().waitFor();
  const natural = () => page.locator(".shot img").evaluate(async (img) => (await img.decode(), [img.naturalWidth, img.naturalHeight]));
  assert.deepEqual(await natural(), [chart.readUInt32BE(16), chart.readUInt32BE(20)]);
  await page.getByRole("button", { name: "Zoom data/a/chart.png" }).click();
  await page.getByRole("region", { name: "Picture in full size" }).waitFor();
  await page.getByRole("button", { name: "Close" }).click();
  await page.locator(".rows").focus();
  await press("j");
  await page.getByRole("button", { name: "Zoom b/clock.png" }).waitFor();
  await page.locator(".rows").focus();
  await press("j");
  await page.getByText("no file of that name is at hand").waitFor();
  await press("j");
  await page.getByText("no picture that this browser shows").waitFor();
  await give("broken.zip", packed.subarray(0, packed.length - 30));
  await page.getByRole("alert").filter({ hasText: "broken.zip" }).waitFor();
  view.quiet();
});

annotator("the verdict of one case follows every key, and a pasted row fills the form", async () => {
  const form = page.getByRole("form", { name: "Case" });
  const badge = () => page.locator(".outcome-pane .badge");
  await badge().filter({ hasText: "accept" }).waitFor();
  await form.getByLabel("Truth").fill("");
  await page.locator(".outcome-pane .error").filter({ hasText: "truth is empty" }).waitFor();
  await form.getByLabel("Truth").pressSequentially("0.7");
  await badge().filter({ hasText: "reject" }).waitFor();
  await form.getByLabel("Truth").pressSequentially("5");
  await badge().filter({ hasText: "accept" }).waitFor();
  assert.equal(await page.locator(".outcome-pane mark").textContent(), "0.75");
  await form.getByText("Choices and switches").click();
  await form.getByLabel("Switches, as JSON").fill("{");
  await page.locator(".outcome-pane .error").filter({ hasText: "switches: not JSON" }).waitFor();
  const row = { kind: "mcq", gold: "B", pred: "The answer is (B).", choices: ["cat", "dog"], opts: { extract: "any" } };
  await form.getByLabel("Reply").evaluate((field, text) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", text);
    field.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
  }, JSON.stringify(row));
  await page.locator(".outcome-pane .choices").filter({ hasText: "dog" }).waitFor();
  assert.equal(await form.getByLabel("Kind").inputValue(), "mcq");
  await badge().filter({ hasText: "accept" }).waitFor();
  view.quiet();
});

for (const colorScheme of ["light", "dark"]) {
  annotator(`every state is accessible and fits 390 px, ${colorScheme}`, async () => {
    const look = async () => {
      await accessible(page);
      assert.equal(await page.evaluate(() => Math.max(0, document.documentElement.scrollWidth - innerWidth)), 0);
    };
    await page.locator(".outcome-pane .badge").waitFor();
    await look();
    await page.getByRole("button", { name: "Try the examples" }).click();
    await labelled("0 of 42 labelled");
    await page.locator(".shot img").waitFor();
    await look();
    await page.locator(".rows").focus();
    await press("a", "r", "u", "?");
    await look();
    await press("Escape");
    await page.getByText("Kinds and policy").last().click();
    await page.locator(".columns summary").click();
    await page.getByLabel("Verdict", { exact: true }).selectOption("unsure");
    await look();
    await load("table.csv", "x,y\n1,2\n", { ready: false });
    await page.getByText("Say which column is").waitFor();
    await look();
  }, { colorScheme, viewport: { width: 390, height: 844 } });
}

annotator("the checker needs no model: none is fetched", async () => {
  await page.locator(".outcome-pane .badge").waitFor();
  assert.deepEqual(server.requests.filter((path) => /engine|\/model\//.test(path)), []);
  await page.getByRole("link", { name: "Ask" }).click();
  await page.locator(".status").waitFor();
  view.quiet();
});
