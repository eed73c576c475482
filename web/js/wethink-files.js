// Where a checkpoint's files come from, and the cache they stay in.
//
// Small files come from the network every time and from the cache when there is no network, so that a changed checkpoint is
// noticed. Weights come from the cache when they are there and the server still tells the same of them. Nothing here holds a file of weights in memory: it goes from
// the network to the cache, and from there piece by piece to the engine.

const CACHE = "wethink-checkpoints-1";

/** An error with one of the codes of `wethink.d.ts`. */
export function failure(code, message) {
  return Object.assign(new Error(message), { code });
}

/** The cache, or undefined where the browser offers none (pages that are not secure, some private windows). */
async function openCache() {
  try {
    return await globalThis.caches?.open(CACHE);
  } catch {
    return undefined;
  }
}

/** What the cache holds: `[{url, bytes}]` by folder. */
export async function cached() {
  const cache = await openCache();
  const folders = new Map();
  for (const request of (await cache?.keys()) ?? []) {
    const response = await cache.match(request);
    const bytes = (await response?.blob())?.size ?? 0;
    const url = new URL("./", request.url).href;
    folders.set(url, (folders.get(url) ?? 0) + bytes);
  }
  return [...folders].map(([url, bytes]) => ({ url, bytes }));
}

/** Removes a folder from the cache, or everything. */
export async function clearCached(url) {
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

/** A checkpoint folder for the engine: at an address, or as files of the person's own. */
export class Source {
  #url;
  #files;
  #onProgress;
  #reader;
  #progress;

  /** `onProgress` is told `{stage, file, loaded, total}`; `total` is absent where the server does not tell it. */
  constructor({ url, files }, onProgress) {
    this.#url = url;
    this.#files = files && new Map(files.map((file) => [file.name, file]));
    this.#onProgress = onProgress;
  }

  async file(name) {
    this.#onProgress({ stage: "files", file: name, loaded: 0 });
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
