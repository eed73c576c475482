// Where the files of a checkpoint or a pack come from, and where they stay.
//
// Small files come from the network every time and from the cache when there is no network, so that a changed checkpoint is
// noticed. Weights come from the cache when they are there and the server still tells the same of them. Nothing here holds a file of weights in memory: it goes from
// the network to the cache, and from there piece by piece to the engine. A pack's shards have a store of their own.

import { failure } from "./wethink-error.js";
import { allocate } from "./wethink-preflight.js";
import { Shards } from "./wethink-shards.js";
import { keptBytes, removePack, sha256 } from "./wethink-store.js";

const CACHE = "wethink-checkpoints-1";

/** The cache, or undefined where the browser offers none (pages that are not secure, some private windows). */
async function openCache() {
  try {
    return await globalThis.caches?.open(CACHE);
  } catch {
    return undefined;
  }
}

/** What this browser keeps: `[{url, bytes}]` by folder. A pack is found by its `pack.json`. */
export async function cached() {
  const cache = await openCache();
  const folders = new Map();
  for (const request of (await cache?.keys()) ?? []) {
    const response = await cache.match(request);
    const bytes = (await response?.blob())?.size ?? 0;
    const url = new URL("./", request.url).href;
    folders.set(url, (folders.get(url) ?? 0) + bytes);
  }
  const whole = async ([url, bytes]) => ({ url, bytes: bytes + (await keptBytes(url)) });
  return Promise.all([...folders].map(whole));
}

/** Removes a folder from what is kept, or everything. */
export async function clearCached(url) {
  await removePack(url && new URL("./", url).href);
  await clearFiles(url);
}

/** The same, but for shards of packs, which are judged by their hashes whenever they are used. */
export async function clearFiles(url) {
  if (url === undefined) {
    await globalThis.caches?.delete(CACHE);
    return;
  }
  const cache = await openCache();
  const folder = new URL("./", url).href;
  for (const request of (await cache?.keys()) ?? []) {
    if (new URL("./", request.url).href === folder) await cache.delete(request);
  }
}

/** What tells the folder of a model: the one file that it must have. */
const MARKS = ["pack.json", "config.json"];

/**
 * The files of the model among `[path, File]` pairs: of the uppermost folder that holds one. Without any it is all files, so
 * that what is lacking can be named.
 */
export function modelFiles(pairs) {
  const parts = pairs.map(([path, file]) => [path.split("/"), file]);
  const marked = parts.filter(([path]) => MARKS.includes(path.at(-1))).sort(([a], [b]) => a.length - b.length)[0];
  const folder = marked?.[0].slice(0, -1).join("/");
  return parts.filter(([path]) => !marked || path.slice(0, -1).join("/") === folder).map(([, file]) => file);
}

/** A folder for the engine: at an address, or as files of the person's own. */
export class Source {
  #url;
  #files;
  #pack;
  #shards;
  #hashes = new Map();
  #onProgress;
  #reader;
  #progress;

  /**
   * `pack` tells that the folder is known to hold a pack. `onProgress` is told `{stage, file, loaded, total}`; `total` is
   * absent where the server does not tell it.
   */
  constructor({ url, files, pack }, onProgress) {
    this.#url = url;
    this.#pack = pack;
    this.#files = files && new Map(files.map((file) => [file.name, file]));
    this.#onProgress = onProgress;
  }

  /** A small file's bytes, or undefined if there is none. One that `pack.json` names has the hash that stands there. */
  async file(name) {
    // A browser logs what it looks for in vain.
    if (this.#pack && name === "config.json") return undefined;
    this.#onProgress({ stage: "files", file: name, loaded: 0 });
    const bytes = await this.#file(name);
    const wanted = this.#hashes.get(name);
    if (!wanted) return bytes;
    const address = this.#url ? this.#address(name) : name;
    if (!bytes) throw failure("not-found", `${address}: not found; is the pack complete?`);
    const has = await sha256(bytes);
    if (has === wanted) return bytes;
    throw failure("checkpoint", `${address}: its SHA-256 is ${has} where pack.json says ${wanted}; fetch the pack anew`);
  }

  async #file(name) {
    if (this.#files) {
      const file = this.#files.get(name);
      return file && new Uint8Array(await file.arrayBuffer());
    }
    const url = this.#address(name);
    const cache = await openCache();
    let response;
    try {
      response = await fetch(url, { cache: "no-cache" });
    } catch (error) {
      response = await cache?.match(url);
      if (!response) throw unreachable(url, error);
    }
    if (response.status === 404) return undefined;
    if (!response.ok) throw refused(url, response);
    const bytes = await read(url, response);
    await cache?.put(url, new Response(bytes.slice())).catch(ignoreQuota);
    return bytes;
  }

  async open(name) {
    let body;
    let total;
    if (this.#files) {
      const file = this.#files.get(name);
      if (!file) return undefined;
      [body, total] = [file.stream(), file.size];
    } else {
      const response = await this.#weights(name);
      if (!response) return undefined;
      [body, total] = [response.body, size(response)];
    }
    this.#reader = body.getReader();
    this.#progress = { stage: "weights", file: name, loaded: 0, total };
    return total ?? null;
  }

  async next() {
    const { file } = this.#progress;
    let step;
    try {
      step = await this.#reader.read();
    } catch (error) {
      throw failure("network", `${file}: the transfer broke off (${error.message}); try again`);
    }
    if (step.done) return undefined;
    this.#progress.loaded += step.value.length;
    this.#onProgress({ ...this.#progress });
    return step.value;
  }

  /** Bytes of the GPU's memory that can be had, `bytes` at most. */
  allocate(bytes) {
    return allocate(bytes);
  }

  /** Begins a pack, with `files` `[{name, sha256}]` and `shards` `[{file, bytes, sha256}]`. Gives how many bytes are to come; fetches nothing yet. */
  pack(files, shards) {
    this.#hashes = new Map(files.map(({ name, sha256: hash }) => [name, hash]));
    this.#shards = new Shards({ url: this.#url, files: this.#files }, shards, this.#onProgress);
    return this.#shards.look();
  }

  /** The bytes of the next shard. */
  shard() {
    return this.#shards.next();
  }

  /** Notes that they are on the device. */
  moved() {
    this.#shards.moved();
  }

  /** Notes that there are no more. */
  async packed() {
    await this.#shards.finish();
  }

  /** Tells what was found out before weights are fetched. */
  told(preflight) {
    this.#onProgress({ stage: "preflight", loaded: 0, preflight: this.noted(preflight) });
  }

  /** The same with why not everything is kept, as far as is known now. */
  noted(preflight) {
    return { ...preflight, note: this.#shards?.note };
  }

  pause() {
    return new Promise((resume) => setTimeout(resume));
  }

  #address(name) {
    return new URL(name, this.#url).href;
  }

  /** A response with the weights: from the cache, by way of the cache, or, where they do not fit there, straight. */
  async #weights(name) {
    const url = this.#address(name);
    const cache = await openCache();
    const held = await cache?.match(url);
    if (held && !(await changed(url, held))) return held;
    const response = await request(url);
    if (!response || !cache) return response;
    const [counted, transfer] = count(response, (loaded) =>
      this.#onProgress({ stage: "download", file: name, loaded, total: size(response) }),
    );
    try {
      await cache.put(url, counted);
    } catch (error) {
      if (transfer.loaded < (size(response) ?? 0) && error.name !== "QuotaExceededError") {
        throw failure("network", `${url}: the transfer broke off (${error.message}); try again`);
      }
      return request(url);
    }
    return cache.match(url);
  }
}

/** What tells one version of a file from another, as far as a server lets a page see it. */
const VALIDATORS = ["etag", "last-modified", "content-length"];

/** Whether the server now tells something else of a file than when it was put into the cache. */
async function changed(url, held) {
  let now;
  try {
    now = await fetch(url, { method: "HEAD", cache: "no-cache" });
  } catch {
    return false;
  }
  const differs = (name) => held.headers.has(name) && now.headers.has(name) && held.headers.get(name) !== now.headers.get(name);
  return now.ok && VALIDATORS.some(differs);
}

async function request(url) {
  let response;
  try {
    response = await fetch(url);
  } catch (error) {
    throw unreachable(url, error);
  }
  if (response.status === 404) return undefined;
  if (!response.ok) throw refused(url, response);
  return response;
}

async function read(url, response) {
  try {
    return new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    throw failure("network", `${url}: the transfer broke off (${error.message}); try again`);
  }
}

function unreachable(url, error) {
  const fix = "check the address and the connection, and that the server allows this page to read it (CORS)";
  return failure("network", `${url}: cannot be reached (${error.message}); ${fix}`);
}

function refused(url, response) {
  return failure("network", `${url}: the server answers ${response.status} ${response.statusText}`.trimEnd());
}

/** Bytes of a body, where the server tells them and they are not those of a compressed transfer. */
function size(response) {
  const length = response.headers.get("content-length");
  return length === null || response.headers.get("content-encoding") ? undefined : Number(length);
}

/** The same response, counted as it is read. */
function count(response, onBytes) {
  const transfer = { loaded: 0 };
  const counter = new TransformStream({
    transform(piece, controller) {
      transfer.loaded += piece.length;
      onBytes(transfer.loaded);
      controller.enqueue(piece);
    },
  });
  const told = VALIDATORS.filter((name) => name !== "content-length" || size(response) !== undefined);
  const headers = told.filter((name) => response.headers.has(name)).map((name) => [name, response.headers.get(name)]);
  return [new Response(response.body.pipeThrough(counter), { headers }), transfer];
}

/** A cache that is full loses nothing but the next load's speed. */
function ignoreQuota(error) {
  if (error.name !== "QuotaExceededError") throw error;
}
