// WeThink in a page: load a pack or a checkpoint, ask about pictures, watch the thinking and the answer stream.
//
//   const m = await WeThink.load("models/xs-sft/");
//   for await (const part of m.ask({ messages, images })) console.log(part.kind, part.text);
//   console.log(m.last);
//   console.log(await verify({ kind: "number", gold: 4, pred: m.last.text }));
//
// The model lives in a worker beside this file, the rewards in another. `wethink.d.ts` documents everything here.

import { cached, clearCached, modelFiles } from "./wethink-files.js";
import { Rewards } from "./wethink-rewards-client.js";

export class WeThinkError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "WeThinkError";
    this.code = code;
  }
}

const OPTIONS = ["maxNewTokens", "minNewTokens", "temperature", "topP", "topK", "repetitionPenalty", "seed", "tokensPerReading"];

export class WeThink {
  #worker;
  #calls = new Map();
  #nextId = 0;
  #ended;
  #tellEnded;
  #onProgress;

  device;
  preflight;
  ended = new Promise((resolve) => (this.#tellEnded = resolve));
  last;

  static load(from, options) {
    return WeThink.#open("load", from, options, (model, { device, preflight }) => Object.assign(model, { device, preflight }));
  }

  static preflight(from, options) {
    return WeThink.#open("preflight", from, options, (model, preflight) => {
      model.unload();
      return preflight;
    });
  }

  static async #open(name, from, { device = "auto", contextTokens, onProgress, signal } = {}, finish) {
    signal?.throwIfAborted();
    if (contextTokens !== undefined && !(Number.isInteger(contextTokens) && contextTokens > 0 && contextTokens < 2 ** 32)) {
      throw new WeThinkError("request", `option \`contextTokens\`: ${contextTokens} is not a number of tokens`);
    }
    const model = new WeThink(onProgress);
    const abort = () => model.#end(signal.reason ?? new WeThinkError("aborted", "loading was aborted"));
    signal?.addEventListener("abort", abort);
    try {
      return finish(model, await model.#call(name, { ...place(from), device, contextTokens }));
    } catch (error) {
      model.#end(error);
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  static cached() {
    return cached();
  }

  static clearCached(url) {
    return clearCached(url && new URL(url, globalThis.document?.baseURI).href);
  }

  constructor(onProgress) {
    this.#onProgress = onProgress;
    this.#worker = new Worker(new URL("./wethink-worker.js", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#receive(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      const what = event.message ?? "its script cannot be loaded";
      this.#end(new WeThinkError("internal", `the engine stopped (${what}); load the model again`));
    };
  }

  ask({ messages, images = [], system, stop, signal, ...rest }) {
    const options = {};
    for (const [name, value] of Object.entries(rest)) {
      if (value === undefined) continue;
      if (!OPTIONS.includes(name)) throw new WeThinkError("request", `option \`${name}\`: there is no such option`);
      if (!Number.isFinite(value)) throw new WeThinkError("request", `option \`${name}\`: ${value} is not a number`);
      options[name] = value;
    }
    if (system !== undefined) options.system = system;
    if (stop !== undefined) options.stop = stop;
    const base = globalThis.document?.baseURI;
    const pictures = [...images].map((image) => (image instanceof Blob ? image : new URL(image, base).href));
    return this.#stream({ request: { messages, ...options }, images: pictures }, signal);
  }

  unload() {
    this.#end(new WeThinkError("unloaded", "the model was unloaded"));
  }

  async *#stream(call, signal) {
    const parts = [];
    let wake;
    let open = true;
    const { id, promise } = this.#begin("ask", call, (part) => {
      parts.push(part);
      wake?.();
    });
    const abort = () => this.#ended ?? this.#worker.postMessage({ abort: id });
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort);
    const outcome = promise
      .then(
        (result) => ({ result }),
        (error) => ({ error }),
      )
      .finally(() => {
        open = false;
        wake?.();
      });
    try {
      while (open || parts.length > 0) {
        if (parts.length > 0) yield parts.shift();
        else await new Promise((resolve) => (wake = resolve));
      }
      const { result, error } = await outcome;
      if (error) throw error;
      this.last = result;
      return result;
    } finally {
      signal?.removeEventListener("abort", abort);
      if (open) abort();
    }
  }

  #call(name, call) {
    return this.#begin(name, call).promise;
  }

  #begin(name, call, onPart) {
    const id = this.#nextId++;
    const promise = new Promise((resolve, reject) => {
      if (this.#ended) return reject(this.#ended);
      this.#calls.set(id, { resolve, reject, onPart });
      this.#worker.postMessage({ [name]: { id, ...call } });
    });
    return { id, promise };
  }

  #receive({ progress, part, done, failed, fault }) {
    if (progress) this.#onProgress?.(progress);
    if (part) this.#calls.get(part.id)?.onPart?.({ kind: part.kind, text: part.text });
    if (done) this.#settle(done.id)?.resolve(done.result);
    if (failed) this.#settle(failed.id)?.reject(new WeThinkError(failed.code, failed.message));
    if (fault) this.#end(new WeThinkError(fault.code, fault.message));
  }

  #settle(id) {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    return call;
  }

  /** Ends the worker, with everything that was asked of it. */
  #end(error) {
    this.#ended ??= error;
    this.#tellEnded(this.#ended);
    this.#worker.terminate();
    for (const { reject } of this.#calls.values()) reject(error);
    this.#calls.clear();
  }
}

/** A folder's address, with or without its `pack.json`, or its files. */
function place(from) {
  if (typeof from === "string" || from instanceof URL) {
    const url = new URL(from, globalThis.document?.baseURI);
    const pack = url.pathname.endsWith("/pack.json");
    if (pack) url.pathname = url.pathname.slice(0, -"pack.json".length);
    else if (!url.pathname.endsWith("/")) url.pathname += "/";
    return { url: url.href, pack };
  }
  return { files: modelFiles(Array.from(from, (file) => [file.webkitRelativePath || file.name, file])) };
}

const rewards = new Rewards();

export function verify(record) {
  return rewarded("verify", () => [json("record", record)]);
}

export function score(record, policy = {}, tokens = undefined) {
  return rewarded("score", () => {
    if (tokens !== undefined && !(Number.isSafeInteger(tokens) && tokens >= 0)) {
      throw new WeThinkError("request", `tokens: ${tokens} is not a number of tokens`);
    }
    return [json("record", record), json("policy", policy), tokens];
  });
}

async function rewarded(name, args) {
  const values = args();
  try {
    return await rewards.call(name, values);
  } catch (error) {
    throw new WeThinkError(error.code, error.message);
  }
}

/** Rows are JSON: what cannot be written as that is refused here. */
function json(name, value) {
  // Half a letter is no text; a response that holds one is still judged.
  const whole = (_, part) => (typeof part === "string" ? (part.toWellFormed?.() ?? part) : part);
  let text;
  try {
    text = JSON.stringify(value, whole);
  } catch (error) {
    throw new WeThinkError("request", `${name}: not JSON (${error.message})`);
  }
  if (text === undefined) throw new WeThinkError("request", `${name}: not JSON (${typeof value})`);
  return text;
}
