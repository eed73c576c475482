// The built folder as an npm package: everything it names is there and small, and its types accept what works and nothing
// else.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { SITE } from "./server.js";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

test("npm packs every file that the package names, and neither model nor samples", async () => {
  const { files, types } = JSON.parse(await readFile(join(SITE, "package.json"), "utf8"));
  const run = spawnSync("npm", ["pack", "--dry-run", "--json", SITE], { encoding: "utf8", cwd: tmpdir() });
  assert.equal(run.status, 0, run.stderr);
  const [{ files: packed }] = JSON.parse(run.stdout);
  const names = packed.map(({ path }) => path);
  for (const file of [...files, types.replace("./", ""), "package.json"]) assert.ok(names.includes(file), `${file} of ${names}`);
  assert.deepEqual(names.filter((name) => name.includes("/")), []);
});

/** Bytes as `gzip -9` packs them, which is what the build reports; Node's own zlib packs a little less. */
function gzipped(file) {
  const { stdout, status } = spawnSync("gzip", ["-9", "-c", join(SITE, file)], { maxBuffer: 1 << 28 });
  assert.equal(status, 0);
  return stdout.length;
}

// The page draws, reads and judges scenes itself: four tenths of a megabyte of it.
test("the WebAssembly of engine and page is at most 5.25 MB gzipped", () => {
  const wasm = ["wethink-engine_bg.wasm", "wethink-page_bg.wasm"];
  const sizes = wasm.map(gzipped);
  assert.ok(sizes.reduce((a, b) => a + b) <= 5.25e6, `${wasm}: ${sizes} bytes`);
});

test("the WebAssembly of the rewards is at most 1.5 MB gzipped", () => {
  const bytes = gzipped("wethink-rewards_bg.wasm");
  assert.ok(bytes <= 1.5e6, `${bytes} bytes`);
});

test("a strict TypeScript program checks against the package's types", async () => {
  const folder = await mkdtemp(join(tmpdir(), "wethink-types-"));
  try {
    await mkdir(join(folder, "node_modules"));
    await symlink(SITE, join(folder, "node_modules/wethink"));
    await cp(here("types/embed.ts"), join(folder, "embed.ts"));
    await writeFile(join(folder, "package.json"), `{"type": "module"}`);
    const compilerOptions = { strict: true, noEmit: true, target: "es2022", module: "nodenext", types: [] };
    compilerOptions.lib = ["es2022", "dom", "dom.iterable"];
    await writeFile(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["embed.ts"] }));
    const tsc = here("node_modules/typescript/bin/tsc");
    const run = spawnSync(process.execPath, [tsc, "--project", folder], { encoding: "utf8" });
    assert.equal(run.status, 0, run.stdout + run.stderr);
  } finally {
    await rm(folder, { recursive: true });
  }
});
