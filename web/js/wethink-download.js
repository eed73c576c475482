// One file of known size from the network, in as many transfers as it takes, each going on where the last one broke off.
//
// Nothing that a server says of a range is believed without need: one that answers with the whole file, or with other bytes
// than were asked for, is asked for the whole file. Whether the bytes are the right ones is for the hash to say.

import { failure } from "./wethink-error.js";

/** Transfers in a row that bring nothing new, before the download fails. */
const TRIES = 4;

/** Patience in milliseconds: before the next transfer, doubled each time, and with a server that has gone silent. */
const DEFAULTS = { pause: 500, stall: 30_000, ranges: true };

/** A fault that another transfer may not meet. */
class Passing extends Error {}

/** Brings `sink` (of `wethink-store.js`) to `sink.bytes` bytes. `onBytes` is told how many have come, or are lost again. */
export async function download(url, sink, onBytes, options) {
  const { pause, stall, ranges } = { ...DEFAULTS, ...options };
  const ask = { ranges };
  let [best, fruitless] = [sink.size, 0];
  while (sink.size < sink.bytes) {
    try {
      await transfer(url, sink, ask, stall, onBytes);
    } catch (error) {
      if (!(error instanceof Passing)) throw error;
      fruitless = sink.size > best ? 0 : fruitless + 1;
      best = Math.max(best, sink.size);
      if (fruitless === TRIES) throw brokenOff(url, sink, error);
      await new Promise((resume) => setTimeout(resume, pause * 2 ** fruitless));
    }
  }
}

async function transfer(url, sink, ask, stall, onBytes) {
  const from = ask.ranges ? sink.size : 0;
  const patience = new Patience(stall);
  const restart = () => {
    onBytes(-sink.size);
    sink.restart();
  };
  let reader;
  try {
    const response = await patience.with(fetch(url, {
      headers: from > 0 ? { range: `bytes=${from}-` } : {},
      // The browser's own cache would keep every shard a second time.
      cache: "no-store",
      signal: patience.signal,
    }));
    reader = response.body?.getReader();
    judge(url, response, sink);
    if (response.status === 416 || (response.status === 206 && !asAsked(response, from, sink.bytes))) {
      ask.ranges = false;
      restart();
      throw new Passing("the server answers with another range than was asked for");
    }
    if (response.status !== 206 && sink.size > 0) restart();
    for (;;) {
      const { done, value } = await patience.with(reader.read());
      if (done) break;
      if (sink.size + value.length > sink.bytes) throw changed(url, "more bytes", sink.bytes);
      sink.write(value);
      onBytes(value.length);
    }
    if (sink.size < sink.bytes) throw new Passing("it ended early");
  } catch (error) {
    // What `fetch` and a body throw is of no kind one could tell apart; what is thrown here has a code.
    throw error.code && typeof error.code === "string" ? error : new Passing(error.message);
  } finally {
    patience.end();
    // A body that is not read on must not hold its connection. One that has ended or failed has none.
    reader?.cancel().catch(() => {});
  }
}

/** Throws on an answer that holds none of the file. */
function judge(url, response, sink) {
  const { status, statusText } = response;
  if (status === 404 || status === 410) throw failure("not-found", `${url}: not found; is the pack complete?`);
  if ([408, 425, 429].includes(status) || status >= 500) throw new Passing(`the server answers ${status}`);
  if (!response.ok && status !== 416) throw failure("network", `${url}: the server answers ${status} ${statusText}`.trimEnd());
  const length = response.headers.get("content-length");
  const told = length !== null && !response.headers.get("content-encoding") && status === 200;
  if (told && Number(length) !== sink.bytes) throw changed(url, `${length} bytes`, sink.bytes);
}

/** Whether a partial answer begins where it was to begin, as far as a page may see that. */
function asAsked(response, from, bytes) {
  const range = response.headers.get("content-range");
  if (range === null) return true;
  const [, first, all] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(range) ?? [];
  return Number(first) === from && (all === "*" || Number(all) === bytes);
}

const changed = (url, has, bytes) =>
  failure("checkpoint", `${url}: the server has ${has} where pack.json says ${bytes}; the pack was changed, load it again`);

function brokenOff(url, sink, { message }) {
  const [has, all] = [sink.size, sink.bytes].map((bytes) => (bytes / 1e6).toFixed(1));
  const advice = sink.kept ? "what has come is kept, load it again to go on" : "load it again";
  return failure("network", `${url}: the transfer broke off at ${has} of ${all} MB (${message}); ${advice}`);
}

/** Ends a transfer that brings nothing for a while: a connection can break off without a word. */
class Patience {
  #abort = new AbortController();
  #stall;
  #timer;

  constructor(stall) {
    this.#stall = stall;
  }

  get signal() {
    return this.#abort.signal;
  }

  /** Waits for a promise, but no longer than allowed. */
  async with(promise) {
    const late = () => this.#abort.abort(new Passing(`nothing came for ${this.#stall / 1000} s`));
    this.#timer = setTimeout(late, this.#stall);
    try {
      return await promise;
    } finally {
      this.end();
    }
  }

  end() {
    clearTimeout(this.#timer);
  }
}
