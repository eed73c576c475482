// The built folder as an npm package: everything it names is there, and its types accept what works and nothing else.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { SITE } from "./server.js";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

test("the package holds every file it names", async () => {
  const { files, types } = JSON.parse(await readFile(join(SITE, "package.json"), "utf8"));
  for (const file of [...files, types]) assert.ok((await stat(join(SITE, file))).size > 0, file);
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
