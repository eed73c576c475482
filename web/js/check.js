// What the pages need of the browser and say shorter here: dropped folders, a lock between tabs, a file to keep.

import { modelFiles } from "./wethink-files.js";

/** The files of a drop, those of folders with their paths: `[path, File]` pairs. To be called within the event. */
export async function dropped(transfer) {
  const items = [...transfer.items].filter(({ kind }) => kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.());
  const files = [...transfer.files].map((file) => [file.name, file]);
  // Entries of files that a script put there are null.
  if (entries.length === 0 || entries.some((entry) => !entry)) return files;
  return (await Promise.all(entries.map(walk))).flat();
}

/**
 * What a drop holds beyond loose files: undefined, or a promise of `{model, files}`, the files of the model in it, or all of
 * them where there is none. To be called within the event.
 */
export function droppedModel(transfer) {
  const folder = [...transfer.items].some((item) => item.webkitGetAsEntry?.()?.isDirectory);
  const marked = (name) => ["pack.json", "config.json"].includes(name);
  if (!folder && ![...transfer.files].some((file) => marked(file.name))) return undefined;
  return dropped(transfer).then((pairs) => {
    const model = pairs.some(([path]) => marked(path.split("/").at(-1)));
    return { model, files: model ? modelFiles(pairs) : pairs.map(([, file]) => file) };
  });
}

async function walk(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [[entry.fullPath.slice(1), file]];
  }
  const reader = entry.createReader();
  const found = [];
  // A reader gives a part of a folder at a time, and nothing at its end.
  for (;;) {
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (part.length === 0) return found;
    for (const child of part) found.push(...(await walk(child)));
  }
}

/**
 * Holds a lock among the tabs of this browser and tells `held`; if another tab has it, `elsewhere`, and `held` once that tab
 * is gone; `unknown` where the browser offers no locks. Returns what gives it back.
 */
export function hold(name, tell) {
  if (!navigator.locks) {
    tell("unknown");
    return () => {};
  }
  const stop = new AbortController();
  let release;
  const kept = new Promise((resolve) => (release = resolve));
  const keep = (lock) => {
    if (!lock) return tell("elsewhere");
    tell("held");
    return kept.then(() => true);
  };
  navigator.locks
    .request(name, { ifAvailable: true }, keep)
    .then((done) => done || stop.signal.aborted || navigator.locks.request(name, { signal: stop.signal }, keep))
    .catch((error) => {
      if (error.name !== "AbortError") tell("unknown");
    });
  return () => {
    stop.abort();
    release();
  };
}

/** Hands a text to the person as a file. */
export function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  // The download has begun by then.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
