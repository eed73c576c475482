// The shards of a pack: several fetched at once, in the order in which they are needed, each handed out once its hash is
// right. Memory holds the one that is handed out, and those few that no file takes.
//
// Tabs that load the same pack share its files: each shard is fetched by the tab that holds its lock, and found by the other.

import { download } from "./wethink-download.js";
import { failure } from "./wethink-error.js";
import { Sink, packFolder, prune, readShard, sha256, sizeOf } from "./wethink-store.js";

/** Transfers at once: more gain nothing from a server that is far away, and take connections from one that is near. */
const PARALLEL = 4;

/** Shards that memory may hold beyond the one that is handed out, where no file takes them. */
const AHEAD = 2;

/** Milliseconds between two reports of progress. */
const REPORT = 50;

export class Shards {
  #url;
  #files;
  #list;
  #onProgress;
  #options;
  #folder;
  #note;
  /** By place: a promise of the bytes, or of undefined where they are in the file; and what settles it. */
  #arrivals = [];
  #waiting = [];
  #handed = 0;
  #fetched = 0;
  #here = 0;
  #moved = 0;
  #news = new Map();
  #timer;

  /**
   * `list` are the pack's shards, `{file, bytes, sha256}`; they come from `url`, or from `files`, a map of the person's own by
   * name. `onProgress` is told `{stage, file, loaded, total, overall}`: bytes of all shards, and the share of the whole load.
   */
  constructor({ url, files }, list, onProgress, options = {}) {
    this.#url = url;
    this.#files = files;
    this.#list = list;
    this.#onProgress = onProgress;
    this.#options = options;
    this.total = list.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Looks at what is here and what can be kept. Fetches nothing. Gives the bytes that are to come. */
  async look() {
    if (this.#files) return 0;
    this.#folder = await packFolder(this.#url);
    if (!this.#folder) {
      this.#note = "this browser keeps no files here, as in a private window: they are fetched again next time";
      return this.total;
    }
    const sizes = await Promise.all(this.#list.map(({ sha256: name }) => sizeOf(this.#folder, name)));
    const kept = sizes.reduce((sum, size, at) => sum + Math.min(size, this.#list[at].bytes), 0);
    const coming = this.total - kept;
    const { quota = Infinity, usage = 0 } = (await navigator.storage.estimate?.()) ?? {};
    if (coming > quota - usage) this.#note = full(quota - usage, coming);
    return coming;
  }

  /** Why not everything is kept for the next time, if it is not. */
  get note() {
    return this.#note;
  }

  /** The bytes of the next shard, with the hash that they must have. */
  async next() {
    const shard = this.#list[this.#handed++];
    if (this.#files) return this.#own(shard);
    if (this.#handed === 1) this.#begin();
    this.#waiting.splice(0).forEach((go) => go());
    const arrival = this.#arrivals[this.#handed - 1];
    let bytes = (await arrival.promise) ?? (await this.#read(shard));
    arrival.promise = undefined;
    if (!(await right(bytes, shard))) bytes = await this.#again(shard);
    return new Uint8Array(bytes);
  }

  /** Notes that the shard that was handed out last is on the device. */
  moved() {
    const { file, bytes } = this.#list[this.#handed - 1];
    this.#moved += bytes;
    this.#report("weights", file, this.#moved);
  }

  /** Removes what belongs to no shard of this pack. To be called when all have been handed out. */
  async finish() {
    if (this.#folder) await prune(this.#folder, new Set(this.#list.map(({ sha256: name }) => name)));
  }

  #begin() {
    this.#arrivals = this.#list.map(() => {
      const arrival = {};
      arrival.promise = new Promise((resolve, reject) => Object.assign(arrival, { resolve, reject }));
      // Whoever takes the shard hears of it; until then nobody does.
      arrival.promise.catch(() => {});
      return arrival;
    });
    for (let n = 0; n < PARALLEL; n++) this.#fetchOn();
  }

  /** One of the transfers that go on at once: takes the next shard that nobody fetches, until there is none. */
  async #fetchOn() {
    while (this.#fetched < this.#list.length) {
      const at = this.#fetched++;
      while (this.#note && at > this.#handed + AHEAD) await new Promise((go) => this.#waiting.push(go));
      const { resolve, reject } = this.#arrivals[at];
      await this.#alone(this.#list[at], () => this.#get(this.#list[at])).then(resolve, reject);
    }
  }

  /** Fetches what is lacking of a shard. Gives the bytes where no file took them. */
  async #get(shard, options) {
    const { file, sha256: name, bytes } = shard;
    const onBytes = (count) => {
      this.#here += count;
      this.#report("download", file, this.#here);
    };
    if (this.#folder && (await sizeOf(this.#folder, name)) === bytes) {
      onBytes(bytes);
      return undefined;
    }
    const sink = await Sink.open(this.#folder, name, bytes);
    try {
      onBytes(sink.size);
      await download(new URL(file, this.#url).href, sink, onBytes, { ...this.#options, ...options });
      return sink.memory;
    } finally {
      if (sink.refused) this.#note ??= `${file}: this browser could not keep it (${sink.refused.message}), it is fetched again next time`;
      sink.close();
    }
  }

  /** Fetches a shard anew whose bytes are not the right ones: damaged here, or put together from two versions. */
  async #again(shard) {
    const { file, sha256: name, bytes } = shard;
    const fetched = await this.#alone(shard, async () => {
      const mended = await this.#read(shard);
      if (await right(mended, shard)) return mended;
      await this.#folder?.removeEntry(name).catch(() => {});
      this.#here -= bytes;
      return this.#get(shard, { ranges: false });
    });
    const found = fetched ?? (await this.#read(shard));
    if (await right(found, shard)) return found;
    await this.#folder?.removeEntry(name).catch(() => {});
    throw wrong(new URL(file, this.#url).href, await sha256(found ?? new Uint8Array()), name);
  }

  /** The bytes in the file; undefined where they cannot be read, as when another tab has cleared them. */
  async #read({ sha256: name }) {
    try {
      return this.#folder && (await readShard(this.#folder, name));
    } catch {
      return undefined;
    }
  }

  /** A shard of the person's own files. */
  async #own(shard) {
    const { file: name, bytes: size, sha256: hash } = shard;
    const file = this.#files.get(name);
    if (!file) throw failure("not-found", `${name}: not found among the files; choose the whole folder of the pack`);
    if (file.size !== size) throw failure("checkpoint", `${name}: ${file.size} bytes where pack.json says ${size}; copy it again`);
    const bytes = await file.arrayBuffer();
    if (!(await right(bytes, shard))) throw wrong(name, await sha256(bytes), hash);
    return new Uint8Array(bytes);
  }

  /** Does something while no other tab does the same to this shard. */
  async #alone({ file, sha256: name }, work) {
    if (!this.#folder || !navigator.locks) return work();
    const lock = `wethink ${this.#folder.name} ${name}`;
    const free = await navigator.locks.request(lock, { ifAvailable: true }, async (held) => held && [await work()]);
    if (free) return free[0];
    this.#onProgress(this.#progress("waiting", file, this.#here));
    return navigator.locks.request(lock, work);
  }

  #progress(stage, file, loaded) {
    return { stage, file, loaded, total: this.total, overall: (this.#here + this.#moved) / (2 * this.total) };
  }

  /** Reports now and then, the last word always. */
  #report(stage, file, loaded) {
    this.#news.set(stage, [file, loaded]);
    if (loaded === this.total) this.#tell();
    else this.#timer ??= setTimeout(() => this.#tell(), REPORT);
  }

  #tell() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [stage, [file, loaded]] of this.#news) this.#onProgress(this.#progress(stage, file, loaded));
    this.#news.clear();
  }
}

async function right(bytes, shard) {
  return bytes !== undefined && (await sha256(bytes)) === shard.sha256;
}

const wrong = (what, has, hash) =>
  failure("checkpoint", `${what}: its SHA-256 is ${has} where pack.json says ${hash}; fetch the pack anew, from whoever made it`);

const full = (free, coming) =>
  `this browser has room for ${size(free)} of ${size(coming)}: what finds none is fetched again next time`;

function size(bytes) {
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}
