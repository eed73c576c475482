// Scenes made in Chromium: requests in, answers out, as JSON. Needs the packages of tests/browser.
//
//   cargo build -p wethink-scenes --example scenes_abi --target wasm32-unknown-unknown
//   node wasm.mjs scenes_abi.wasm requests.json

import { readFileSync } from "node:fs";
import { launch } from "../../browser/browser.js";

const [module, requestsFile] = process.argv.slice(2);

/** In the page: one answer to each request. */
async function makeAll({ wasm, requests }) {
  const bytes = Uint8Array.from(atob(wasm), (c) => c.charCodeAt(0));
  const { instance } = await WebAssembly.instantiate(bytes, {});
  const { alloc, run, memory } = instance.exports;
  return requests.map((request) => {
    const text = new TextEncoder().encode(request);
    const input = alloc(text.length);
    new Uint8Array(memory.buffer).set(text, input);
    const output = run();
    const length = new DataView(memory.buffer).getUint32(output, true);
    return new TextDecoder().decode(new Uint8Array(memory.buffer, output + 4, length));
  });
}

// The seed is beyond JavaScript's exact integers: requests are passed on as the text they are.
const requests = readFileSync(requestsFile, "utf8").trim().slice(1, -1).split(/(?<=\}),(?=\{"settings")/);
const browser = await launch({ webgpu: false });
const page = await browser.newPage();
const answers = await page.evaluate(makeAll, { wasm: readFileSync(module).toString("base64"), requests });
await browser.close();
console.log(`[${answers.join(",")}]`);
