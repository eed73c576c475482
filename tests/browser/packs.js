// Packs of a test's own making, and a server for them that honours ranges until a test has it do otherwise.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const TRAINER = resolve(process.env.WETHINK_TRAINER ?? fileURLToPath(new URL("../../target/debug/trainer", import.meta.url)));

/** Runs a program that is built beside the trainer. Gives what it prints. */
export function program(name, ...args) {
  const path = join(dirname(TRAINER), name + extname(TRAINER));
  const run = spawnSync(path, args.map(String), { encoding: "utf8", maxBuffer: 1 << 28 });
  assert.equal(run.status, 0, `${path} ${args.join(" ")}: ${run.error ?? run.stderr}`);
  return run.stdout;
}

/** Serves the engine's worker with something before its own script. */
export function patchWorker(server, code) {
  server.broken.set("/wethink-worker.js", async (response, file) => {
    response.writeHead(200, { "content-type": "text/javascript" }).end(`${code}\n${await readFile(file, "utf8")}`);
  });
}

/** For [`patchWorker`]: `last.dispatches` is how many the GPU was given so far. */
export const COUNT_DISPATCHES = `
  let dispatches = 0;
  for (const name of ["dispatchWorkgroups", "dispatchWorkgroupsIndirect"]) {
    const dispatch = globalThis.GPUComputePassEncoder?.prototype[name];
    if (!dispatch) continue;
    GPUComputePassEncoder.prototype[name] = function (...sizes) {
      dispatches += 1;
      return dispatch.apply(this, sizes);
    };
  }
  const post = globalThis.postMessage.bind(globalThis);
  globalThis.postMessage = (message) => {
    if (message.done?.result) message.done.result.dispatches = dispatches;
    post(message);
  };`;

export const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** Bytes that differ everywhere and are the same in every run. */
export function noise(length, seed) {
  const bytes = Buffer.alloc(length);
  let state = seed * 2654435761 + 1;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** Shards with their bytes, as `pack.json` lists them. */
export function shardsOf(contents) {
  return contents.map((content, i) => ({ file: `shard-${i}.bin`, bytes: content.length, sha256: sha256(content), content }));
}

/** What a server with ranges answers. */
export function ranged(response, content, request, headers = {}) {
  const [, first] = /^bytes=(\d+)-$/.exec(request.headers.range ?? "") ?? [];
  const from = Number(first ?? 0);
  const body = content.subarray(from);
  const range = first === undefined ? {} : { "content-range": `bytes ${from}-${content.length - 1}/${content.length}` };
  const common = { "content-type": "application/octet-stream", "content-length": body.length };
  response.writeHead(first === undefined ? 200 : 206, { ...common, ...range, ...headers }).end(body);
}

/**
 * Serves shards below the site's `pack/`. `log` holds what was asked for, `{file, from, range}`. `faults` answer for a file in
 * place of the rest, as long as they return something.
 */
export function host(server, shards) {
  const [log, faults] = [[], new Map()];
  for (const { file, content } of shards) {
    server.broken.set(`/pack/${file}`, (response, _, request) => {
      const { range } = request.headers;
      const ask = { file, range, from: Number(/\d+/.exec(range ?? "0")[0]), count: log.filter((ask) => ask.file === file).length };
      log.push(ask);
      if (!faults.get(file)?.(response, content, request, ask)) ranged(response, content, request);
    });
  }
  return { url: `${server.site}pack/`, log, faults, list: shards.map(({ content, ...shard }) => shard) };
}

/** Sends a part of what was asked for, then breaks the connection, or falls silent. */
export function cut(response, content, request, bytes, { silent = false } = {}) {
  const from = Number(/\d+/.exec(request.headers.range ?? "0")[0]);
  const status = request.headers.range ? 206 : 200;
  const headers = { "content-length": content.length - from };
  if (status === 206) headers["content-range"] = `bytes ${from}-${content.length - 1}/${content.length}`;
  response.writeHead(status, headers);
  response.write(content.subarray(from, from + bytes), () => silent || setTimeout(() => response.destroy(), 150));
  return true;
}
