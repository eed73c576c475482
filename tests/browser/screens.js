// Screenshots of every state of the page, wide and narrow, light and dark, for people to look at: `node screens.js DIR`.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { launch, open } from "./browser.js";
import { serve } from "./server.js";

const out = process.argv[2] ?? "screens";
await mkdir(out, { recursive: true });
const server = await serve();
const browser = await launch({ webgpu: false });

/** The states, each reached from the one before it. */
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
  // The bundled model has not learned to think: what a trained one writes is put in its place.
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
  ["models", (page) => page.getByText("Another model or device").click()],
  ["camera", (page) => page.getByRole("button", { name: "Camera" }).click()],
  ["error", async (page) => {
    await page.keyboard.press("Escape");
    await page.getByLabel("Address of a checkpoint folder").fill(`${server.origin}/nowhere/`);
    await page.getByRole("button", { name: "Load", exact: true }).click();
    await page.locator(".model .error").waitFor();
  }],
];

for (const [size, viewport] of [["wide", { width: 1280, height: 900 }], ["narrow", { width: 390, height: 844 }]]) {
  for (const colorScheme of ["light", "dark"]) {
    const { page, context } = await open(browser, server.site, { viewport, colorScheme, permissions: ["camera"] });
    for (const [state, reach] of STATES) {
      await reach(page);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (overflow > 0) console.log(`${state} ${size}: ${overflow} px too wide`);
      await page.screenshot({ path: join(out, `${state}-${size}-${colorScheme}.png`), fullPage: state !== "camera" });
    }
    await context.close();
  }
}
await browser.close();
await server.close();
