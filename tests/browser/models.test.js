// The bundled models on the scenes page: they answer on WebGPU and without, and a run of seeded scenes is judged as `trainer eval`
// judges the same scenes, one by one.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { accessible, launch, open } from "./browser.js";
import { SITE, serve } from "./server.js";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const TRAINER = resolve(process.env.WETHINK_TRAINER ?? here("../../target/debug/trainer"));
const { models, rollouts } = JSON.parse(await readFile(join(SITE, "models/models.json"), "utf8"));
const [SCENES, SEED] = [50, 7];

function trainer(...args) {
  const run = spawnSync(TRAINER, args.map(String), { encoding: "utf8", maxBuffer: 1 << 28 });
  assert.equal(run.status, 0, `${TRAINER} ${args.join(" ")}: ${run.error ?? run.stderr}`);
}

const lines = (text) => text.trim().split("\n").map((line) => JSON.parse(line));

/** The settings of a model's scenes as \`trainer scenes make\` takes them. */
function look({ tasks, sides, square, objects, shapes, colors, relations, wordings, clutter, noise, cell, crowded, crowd, asked, held_out }) {
  const range = ([low, high]) => `${low}-${high}`;
  const options = { task: tasks.join(), size: range(sides), objects: objects && range(objects), shapes, colors, relations, wordings, clutter, noise, cell, crowded, crowd: crowd && range(crowd), asked, "hold-out": held_out };
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return [...given.flatMap(([name, value]) => [`--${name}`, value]), ...(square ? ["--square"] : [])];
}

let folder, server;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "wethink-models-"));
  server = await serve();
});
after(async () => {
  await server?.close();
  if (folder) await rm(folder, { recursive: true });
});

/** Runs scenes on the page; what it saves. */
async function run(page, label, scenes) {
  if (models.length > 1) await page.getByRole("radio", { name: label, exact: true }).check({ force: true });
  await page.getByRole("button", { name: "Ask", exact: true }).and(page.locator(":enabled")).waitFor({ timeout: 300_000 });
  await page.getByLabel("Scenes", { exact: true }).fill(String(scenes));
  await page.getByLabel("Seed", { exact: true }).fill(String(SEED));
  const plan = page.getByRole("combobox", { name: "Shapes", exact: true });
  const options = await plan.locator("option").allTextContents();
  await plan.selectOption(options.find((option) => option.includes(label) && option.includes(", as ")));
  await page.getByRole("button", { name: "Run these scenes" }).click();
  await page.getByRole("status").filter({ hasText: `The run ended after ${scenes} of ${scenes} scenes` }).waitFor({ timeout: 1_200_000 });
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Save all answers" }).click()]);
  return lines(await readFile(await download.path(), "utf8")).filter(({ model }) => models.find(({ name }) => name === model).label === label);
}

for (const model of models) {
  describe(`${model.label} on the page and in trainer eval`, () => {
    let want;
    before(async () => {
      const rows = join(folder, `${model.name}-rows`);
      const out = join(folder, `${model.name}.jsonl`);
      trainer("scenes", "make", ...look(model.scenes), "--split", "test", "--seed", SEED, "--n", SCENES, "--out", rows);
      const limits = ["--max-new-tokens", model.max_new_tokens, "--device", "cpu"];
      trainer("eval", "--checkpoint", join(SITE, "models", model.name), "--data", join(rows, "rows.jsonl"), "--out", out, ...limits);
      const [made, judged] = [lines(await readFile(join(rows, "rows.jsonl"), "utf8")), lines(await readFile(out, "utf8"))];
      want = judged.map(({ row, truth, response, accepted }) => ({ row, question: made[row].problem, truth, response, accepted }));
    });

    // A software GPU takes seconds for a token: one model has to do.
    for (const [device, scenes] of [["cpu", SCENES], ["webgpu", 1]].slice(0, model === models[0] ? 2 : 1)) {
      test(`${scenes} seeded scenes, on ${device}: the same questions, responses and verdicts`, async () => {
        const browser = await launch({ webgpu: device === "webgpu" });
        try {
          const { page, quiet } = await open(browser, server.site, { acceptDownloads: true });
          const told = await run(page, model.label, scenes);
          await page.locator(`.scenes .badge.${device}`).waitFor();
          const got = told.map(({ row, question, truth, response, accepted }) => ({ row, question, truth, response, accepted }));
          assert.deepEqual(got, want.slice(0, scenes));
          const right = want.slice(0, scenes).filter(({ accepted }) => accepted).length;
          const score = page.locator(".score li").filter({ hasText: model.label });
          assert.match(await score.textContent(), new RegExp(`${right} of ${scenes} right`));
          if (device === "cpu") await accessible(page);
          quiet();
        } finally {
          await browser.close();
        }
      });
    }
  });
}

test("the reward checker opens what the models answered, with the pictures, when it is asked to", async () => {
  const rows = lines(await readFile(join(SITE, "models", rollouts.name, "rows.jsonl"), "utf8"));
  const browser = await launch({ webgpu: false });
  try {
    const { page, quiet } = await open(browser, `${server.site}#/check`);
    const button = page.getByRole("button", { name: "Try our model's answers" });
    await button.waitFor();
    const asked = () => server.requests.filter((path) => path.includes("/models/rollouts/")).length;
    const before = asked();
    await button.click();
    await page.getByText(`${rows.length} rows shown`).waitFor();
    assert.ok(before === 0 && asked() > 1, "nothing of it is fetched before");
    await page.locator(".shot img").waitFor();
    assert.ok(await page.locator(".shot img").evaluate((image) => image.decode().then(() => image.naturalWidth > 0)));
    const counts = /(\d+) accept, (\d+) reject, (\d+) unsure, (\d+) cannot be verified/.exec(await page.locator(".tally").textContent());
    assert.equal(Number(counts[1]) + Number(counts[2]) + Number(counts[3]), rows.length);
    assert.equal(counts[4], "0");
    quiet();
  } finally {
    await browser.close();
  }
});
