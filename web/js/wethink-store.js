// Shards of packs in the browser's private file system (OPFS): a folder for each pack, a file for each shard.
//
// A file is named after the SHA-256 that its shard must have, so that a changed pack finds nothing stale. One that is
// shorter than its shard is what came before a transfer broke off. It is written in place, by handles that only workers
// get: what has come outlives a reload, a crash and the tab.

import { failure } from "./wethink-error.js";

const ROOT = "wethink-packs-1";

/** The folder of all packs, or undefined where there is none: pages that are not secure, some private windows. */
async function root() {
  try {
    const top = await navigator.storage.getDirectory();
    return await top.getDirectoryHandle(ROOT, { create: true });
  } catch {
    return undefined;
  }
}

/** SHA-256 in hexadecimal. */
export async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) throw failure("network", "hashes of a pack are only checked on pages served over https or from localhost; serve this page so");
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** An address has letters that a file name may not have, and may be longer. */
const folderName = (url) => sha256(new TextEncoder().encode(url));

/** The folder of the pack at an address, or undefined where nothing can be kept. */
export async function packFolder(url) {
  const all = await root();
  return all?.getDirectoryHandle(await folderName(url), { create: true });
}

/** Bytes that are kept of the pack at an address. */
export async function keptBytes(url) {
  const all = await root();
  if (!all) return 0;
  const name = await folderName(url);
  let bytes = 0;
  for await (const [key, folder] of all.entries()) {
    if (key !== name) continue;
    for await (const file of folder.values()) bytes += (await file.getFile()).size;
  }
  return bytes;
}

/** Removes the pack at an address, or all of them. Fails while a tab writes there. */
export async function removePack(url) {
  const all = await root();
  if (!all) return;
  const only = url && (await folderName(url));
  const names = await Array.fromAsync(all.keys());
  for (const name of names) if (!only || name === only) await all.removeEntry(name, { recursive: true });
}

/** Removes files of a pack that are not among `names`: those of a version that is gone. */
export async function prune(folder, names) {
  for (const name of await Array.fromAsync(folder.keys())) {
    // What another tab is writing stays.
    if (!names.has(name)) await folder.removeEntry(name).catch(() => {});
  }
}

/** Bytes of a shard that are here. */
export async function sizeOf(folder, name) {
  try {
    return (await (await folder.getFileHandle(name)).getFile()).size;
  } catch (error) {
    if (error.name === "NotFoundError") return 0;
    throw error;
  }
}

/** A shard as it is kept. */
export async function readShard(folder, name) {
  return (await (await folder.getFileHandle(name)).getFile()).arrayBuffer();
}

/** Where the bytes of a shard go while they come: into its file, or into memory once that takes no more. */
export class Sink {
  #handle;
  #memory;
  size = 0;
  /** Why the bytes are in memory, where a file was wanted. */
  refused;

  /** Opens the file at its end; without a folder, memory for `bytes`. */
  static async open(folder, name, bytes) {
    const sink = new Sink(bytes);
    if (folder) {
      try {
        const file = await folder.getFileHandle(name, { create: true });
        sink.#handle = await file.createSyncAccessHandle();
        sink.size = sink.#handle.getSize();
      } catch (error) {
        sink.refused = error;
      }
    }
    if (sink.size > bytes) sink.restart();
    return sink;
  }

  constructor(bytes) {
    this.bytes = bytes;
  }

  write(piece) {
    if (this.#handle) {
      try {
        const at = this.size;
        if (this.#handle.write(piece, { at }) !== piece.length) throw new Error("there is no room");
        this.size += piece.length;
        return;
      } catch (error) {
        this.refused = error;
        this.#toMemory();
      }
    }
    this.#memory ??= room(this.bytes);
    this.#memory.set(piece, this.size);
    this.size += piece.length;
  }

  /** Forgets what has come. */
  restart() {
    this.#handle?.truncate(0);
    this.size = 0;
  }

  /** The bytes, where they are in memory. */
  get memory() {
    return this.#memory;
  }

  /** Whether what has come outlives the page. */
  get kept() {
    return this.#handle !== undefined;
  }

  close() {
    this.#handle?.close();
    this.#handle = undefined;
  }

  #toMemory() {
    this.#memory = room(this.bytes);
    this.#handle.read(this.#memory.subarray(0, this.size), { at: 0 });
    // Room for the shards that are there; this one begins anew next time.
    this.#handle.truncate(0);
    this.close();
  }
}

function room(bytes) {
  try {
    return new Uint8Array(bytes);
  } catch {
    throw failure("memory", `a shard of ${bytes} bytes finds no room in this tab; close other pages`);
  }
}
