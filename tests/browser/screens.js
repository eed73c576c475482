// Screenshots of every state of the pages, wide and narrow, light and dark, for people to look at: `node screens.js DIR`.

import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { launch, open } from "./browser.js";
import { cut, patchWorker, program } from "./packs.js";
import { FIXTURES, OWN, TINY, serve } from "./server.js";

const out = process.argv[2] ?? "screens";
await mkdir(out, { recursive: true });
const folder = await mkdtemp(join(tmpdir(), "wethink-screens-"));
program("trainer", "export", join(FIXTURES, "tiny-qwen2_5_vl/checkpoint"), "--quantize", "q4", "--out", join(folder, "pack"));
const [{ file: SHARD }] = JSON.parse(await readFile(join(folder, "pack/pack.json"), "utf8")).shards;
// A random model in the place of the bundled ones, and those.
const servers = { tiny: await serve(folder, { models: [TINY] }), bundled: await serve() };
let server = servers.tiny;
const browser = await launch({ webgpu: false });

/** The states of the ask page, each reached from the one before it. */
const STATES = [
  ["loading", (page) => page.locator("progress").waitFor()],
  ["ready", (page) => page.locator(".status .badge").waitFor({ timeout: 120_000 })],
  ["attached", async (page) => {
    for (const name of ["A bar chart of rainfall", "A clock and a timetable"]) await page.getByRole("button", { name }).click();
    await page.getByRole("list", { name: "Attached pictures" }).getByRole("img").nth(1).waitFor();
    await page.getByRole("textbox", { name: "Question" }).fill("In which month did it rain most, and what time is it?");
  }],
  ["answering", async (page) => {
    await page.getByRole("button", { name: "Ask", exact: true }).click();
    await page.locator(".turn .raw").waitFor({ timeout: 120_000 });
  }],
  ["answered", async (page) => {
    await page.getByRole("button", { name: "Stop" }).click();
    await page.locator(".outcome").waitFor();
  }],
  // A random model does not think: what a trained one writes is put in its place.
  ["formed", (page) =>
    page.locator(".answer").evaluate((answer) => {
      answer.querySelector(".raw").remove();
      const think = "The tallest bar is the last one, June, at about 95 mm. The short hand points between one and two.";
      answer.insertAdjacentHTML(
        "afterbegin",
        `<details class="think" open><summary>Thinking</summary><p class="text">${think}</p></details><p class="text final">June; about ten past one.</p>`,
      );
      Object.assign(answer.querySelector(".outcome .badge"), { className: "badge good", textContent: "✓ think and answer" });
    })],
  ["settings", (page) => page.locator("#settings summary").click()],
  ["models", (page) => page.getByText("Another model or device", { exact: true }).click()],
  ["needs", async (page) => {
    await page.getByLabel("Address of a pack").fill(`${server.origin}/a/sub path/models/tiny/`);
    await page.getByRole("button", { name: "What does it need?" }).click();
    await page.locator(".model").getByText("allocated for trial").waitFor({ timeout: 60_000 });
  }],
  ["camera", (page) => page.getByRole("button", { name: "Camera" }).click()],
  ["error", async (page) => {
    await page.keyboard.press("Escape");
    await page.getByLabel("Address of a pack").fill(`${server.origin}/nowhere/`);
    await page.getByRole("button", { name: "Load", exact: true }).click();
    await page.locator(".model .error").waitFor();
  }],
];

/** The pack's only shard stops in the middle. */
const stuck = () =>
  server.broken.set(`/${SHARD}`, async (response, path, request) => cut(response, await readFile(path), request, 200_000, { silent: true }));

/** Fills in the pack's address and presses a button. */
async function press(page, name) {
  await page.getByLabel("Address of a pack").fill(`${server.made}pack/`);
  await page.getByRole("button", { name, exact: true }).click();
}

async function others(page) {
  await page.locator(".status .badge").waitFor({ timeout: 120_000 });
  await page.getByText("Another model or device", { exact: true }).click();
  await page.getByLabel("Longest chat, in tokens").fill("512");
}

/** What a pack needs, in a browser with little room. */
const LITTLE_ROOM = "navigator.storage.estimate = async () => ({ quota: 900_000, usage: 500_000 });";
const FULL = [
  ["pack-needs", async (page) => {
    await others(page);
    await press(page, "What does it need?");
    await page.getByText(/this browser has room for/i).waitFor({ timeout: 60_000 });
  }],
];

/** A pack: on its way, waited for, stopped, damaged, and there. */
const PACKS = [
  ["pack-loading", async (page) => {
    await others(page);
    stuck();
    await press(page, "Load");
    await page.getByText(/Loading the pack: \d+ %/).waitFor({ timeout: 60_000 });
  }],
  ["pack-waiting", async (page) => {
    const other = await page.context().newPage();
    await other.goto(`${server.site}#/ask`);
    await other.locator(".status .badge").waitFor({ timeout: 120_000 });
    await other.getByText("Another model or device", { exact: true }).click();
    await press(other, "Load");
    await other.getByText("another tab is fetching it").waitFor({ timeout: 60_000 });
    await other.screenshot({ path: join(out, `pack-second-tab-${page.viewportSize().width}.png`), fullPage: true });
    await other.close();
  }],
  ["pack-stopped", async (page) => {
    await page.getByRole("button", { name: "Stop loading" }).click();
    await page.getByText("No model is loaded.").waitFor();
    server.broken.clear();
  }],
  ["pack-damaged", async (page) => {
    server.broken.set(`/${SHARD}`, async (response, path) => response.writeHead(200).end((await readFile(path)).fill(7)));
    await press(page, "Load");
    await page.getByText(/its SHA-256 is/).first().waitFor({ timeout: 60_000 });
    server.broken.clear();
  }],
  ["pack-ready", async (page) => {
    await press(page, "Load");
    await page.locator(".status").getByText("a chat of 512 tokens").waitFor({ timeout: 120_000 });
  }],
];

/** The reward checker's, on its own page. */
const CHECKER = [
  ["check-case", (page) => page.locator(".outcome-pane .badge").waitFor()],
  ["check-rows", async (page) => {
    await page.getByRole("button", { name: "Try the examples" }).click();
    await page.locator(".shot img").waitFor();
  }],
  ["check-labelled", async (page) => {
    await page.getByLabel("Your name").fill("kim");
    await page.locator(".rows").focus();
    for (const key of "aarraajjjraaauarajj") await page.keyboard.press(key);
    await page.keyboard.press("n");
    await page.keyboard.type("read off the axis");
    await page.keyboard.press("Escape");
    await page.getByText("15 of 42 labelled").waitFor();
    await page.locator(".saved").waitFor();
  }],
  ["check-mathematics", async (page) => {
    await page.locator(".rows").focus();
    await page.getByLabel("Find").fill("begin{pmatrix}");
    await page.locator(".detail .reply math mtable").waitFor();
    await page.locator(".rows").focus();
    await page.keyboard.press("t");
  }],
  ["check-hostile", async (page) => {
    await page.getByLabel("Find").fill("What is written there?");
    await page.locator(".detail .reply").filter({ hasText: "<script>" }).waitFor();
  }],
  ["check-zoom", async (page) => {
    await page.getByLabel("Find").fill("how much rain fell");
    await page.locator(".shot img").waitFor();
    await page.getByRole("button", { name: /^Zoom/ }).click();
  }],
  ["check-help", async (page) => {
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Show all" }).click();
    await page.locator(".rows").focus();
    await page.keyboard.press("?");
  }],
  ["check-compared", async (page) => {
    await page.keyboard.press("Escape");
    const lines = Array.from({ length: 12 }, (_, i) => `{"id": "example-${String(i + 1).padStart(2, 0)}", "label": "${i % 4 ? "accept" : "reject"}", "annotator": "lee", "note": "sure"}`);
    const buffer = Buffer.from(lines.join("\n") + "\nbroken");
    await page.getByLabel("Compare with labels").setInputFiles({ name: "lee.jsonl", mimeType: "text/plain", buffer });
    await page.getByText("labels of lee found their rows").first().waitFor();
    await page.getByRole("button", { name: "Show differences" }).click();
    await page.locator(".detail").getByText("lee:").waitFor();
  }],
  ["check-policy", async (page) => {
    await page.getByRole("button", { name: "Stop comparing" }).click();
    await page.getByText("Kinds and policy").last().click();
  }],
  ["check-columns", async (page) => {
    const buffer = Buffer.from("Frage,Wahrheit,Modell\nWie viele?,3,drei\nzu,viele,Zellen,hier\n");
    await page.getByLabel("Open rows").setInputFiles({ name: "tabelle.csv", mimeType: "text/csv", buffer });
    await page.getByText("Say which column is").waitFor();
  }],
  ["check-broken", async (page) => {
    await page.locator(".columns").getByLabel("Reply", { exact: true }).selectOption("Modell");
    await page.locator(".columns").getByLabel("Truth").selectOption("Wahrheit");
    await page.getByLabel("Kind of rows that name none").selectOption("count");
    await page.getByRole("button", { name: "Read the rows" }).click();
    await page.getByText("1 line is broken").click();
  }],
  ["check-failed", async (page) => {
    await page.getByLabel("Open rows").setInputFiles({ name: "empty.jsonl", mimeType: "text/plain", buffer: Buffer.from("") });
    await page.getByText("empty.jsonl: no rows").first().waitFor();
  }],
];

/** The scenes page, with what is bundled. */
const answers = (page, count) => page.locator(".answer .cost").nth(count - 1).waitFor({ timeout: 120_000 });
const askScene = (page) => page.getByRole("button", { name: "Ask", exact: true }).and(page.locator(":enabled"));
const SCENES = [
  ["scenes-ready", (page) => askScene(page).waitFor({ timeout: 120_000 })],
  ["scenes-answering", async (page) => {
    await askScene(page).click();
    await page.locator(".scene .light").first().waitFor({ timeout: 120_000 });
  }],
  ["scenes-answered", (page) => answers(page, 1)],
  ["scenes-drawn", async (page) => {
    await page.locator('.scene .cell[aria-label~="large"], .scene .cell[aria-label~="small"]').first().click();
    await page.locator(".ask").getByRole("combobox", { name: "Where", exact: true }).selectOption("above");
  }],
  ["scenes-both", async (page) => {
    await page.getByLabel(/^Shapes in the next scene/).fill("8");
    const both = page.getByRole("radio", { name: "Both side by side" });
    if (await both.count()) {
      await both.check({ force: true });
      await askScene(page).click();
      await answers(page, 2);
    }
  }],
  ["scenes-run", async (page) => {
    const turn = page.getByRole("option", { name: /^1 to \d+ in turn$/ });
    await page.getByLabel("Scenes", { exact: true }).fill("12");
    await page.getByRole("combobox", { name: "Shapes", exact: true }).selectOption(await turn.textContent());
    await page.getByRole("button", { name: "Run these scenes" }).click();
    await page.getByRole("status").filter({ hasText: "The run ended after 12 of 12 scenes" }).waitFor({ timeout: 240_000 });
    await page.locator(".all-answers summary").click();
  }],
  ["scenes-photo", async (page) => {
    await page.locator("input[type=file]").setInputFiles(join(OWN, "images/coffee.png"));
    await page.getByRole("button", { name: "Back to the scene" }).waitFor();
  }],
];

// One set of states alone: `node screens.js DIR check`.
const only = process.argv[3];
const SETS = [["scenes", "#/", SCENES], ["ask", "#/ask", STATES], ["full", "#/ask", FULL, LITTLE_ROOM], ["packs", "#/ask", PACKS], ["check", "#/check", CHECKER]]
  .filter(([set]) => !only || set === only);

for (const [size, viewport] of [["wide", { width: 1280, height: 900 }], ["narrow", { width: 390, height: 844 }]]) {
  for (const colorScheme of ["light", "dark"]) {
    for (const [set, hash, states, worker] of SETS) {
      server = set === "scenes" ? servers.bundled : servers.tiny;
      // Before the page opens: a browser may keep the script.
      if (worker) patchWorker(server, worker);
      const options = { viewport, colorScheme, permissions: ["camera"] };
      const { page, context } = await open(browser, server.site + hash, options);
      for (const [state, reach] of states) {
        await reach(page);
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (overflow > 0) console.log(`${state} ${size}: ${overflow} px too wide`);
        // A dialog stands in the middle of what is in sight.
        const fullPage = (await page.locator("dialog[open]").count()) === 0;
        await page.screenshot({ path: join(out, `${state}-${size}-${colorScheme}.png`), fullPage });
      }
      await context.close();
      server.broken.clear();
    }
  }
}
await browser.close();
for (const one of Object.values(servers)) await one.close();
await rm(folder, { recursive: true });
