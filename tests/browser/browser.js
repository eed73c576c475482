// Headless Chromium, with or without WebGPU, and the things a page must never do while a test looks.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const AXE = await readFile(fileURLToPath(import.meta.resolve("axe-core/axe.min.js")), "utf8");

const FLAGS = [
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Starts Chromium; `webgpu` gives it a software adapter. */
export function launch({ webgpu }) {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  return chromium.launch({ executablePath, args: webgpu ? [...FLAGS, "--enable-unsafe-webgpu"] : FLAGS });
}

/** A page in a profile of its own. `quiet()` fails if it logged an error, threw, or broke its policy. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const faults = [];
  page.on("console", (message) => {
    if (!["error", "warning"].includes(message.type()) || expected(message)) return;
    faults.push(`console ${message.type()}: ${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => faults.push(`uncaught: ${error.stack ?? error}`));
  await page.exposeFunction("reportViolation", (text) => faults.push(`policy: ${text}`));
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => {
      globalThis.reportViolation(`${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  await page.goto(url);
  const quiet = () => assert.deepEqual(faults, []);
  return { page, context, faults, quiet };
}

/**
 * A checkpoint may hold its template in either of two files, and a folder may be a checkpoint's or a pack's; the browser
 * itself reports that the first is absent.
 */
function expected(message) {
  const looked = ["chat_template.jinja", "config.json"].some((name) => message.location().url.endsWith(`/${name}`));
  return /404/.test(message.text()) && looked;
}

/** Fails on what keeps people out who use a screen reader, a keyboard or large type: axe-core's rules, WCAG 2.2 AA. */
export async function accessible(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => {
    const runOnly = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
    return globalThis.axe.run(document, { runOnly });
  });
  const found = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).join(" | ")}`);
  assert.deepEqual(found, []);
}
