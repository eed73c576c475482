// The rewards' worker, from the page's side: started with the first call, and anew after a failure.

/** An error with one of the codes of `wethink.d.ts`. */
function failure(code, message) {
  return Object.assign(new Error(message), { code });
}

export class Rewards {
  #worker;
  #calls = new Map();
  #nextId = 0;

  /**
   * Calls the worker. `onProgress` is told shares of the whole; a call that takes longer than `limit` milliseconds ends the
   * worker with everything it holds, which is for calls that hold nothing.
   */
  call(name, args, { onProgress, limit } = {}) {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const late = () => this.end(failure("internal", `${name} took longer than ${limit} ms`));
      const timer = limit && setTimeout(late, limit);
      this.#calls.set(id, { resolve, reject, onProgress, timer });
      this.#start().postMessage({ id, name, args });
    });
  }

  /** Ends the worker; what is waiting fails. */
  end(error = failure("unloaded", "the rewards were unloaded")) {
    this.#worker?.terminate();
    this.#worker = undefined;
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const { reject, timer } of calls) {
      clearTimeout(timer);
      reject(error);
    }
  }

  #start() {
    if (this.#worker) return this.#worker;
    const worker = new Worker(new URL("./wethink-rewards-worker.js", import.meta.url), { type: "module" });
    this.#worker = worker;
    worker.onmessage = ({ data }) => this.#receive(data);
    worker.onerror = (event) => {
      event.preventDefault();
      this.end(failure("internal", `the rewards stopped (${event.message ?? "their script cannot be loaded"})`));
    };
    return worker;
  }

  #receive({ id, progress, result, code, message }) {
    const call = this.#calls.get(id);
    if (!call) return;
    if (progress !== undefined) return call.onProgress?.(progress);
    clearTimeout(call.timer);
    this.#calls.delete(id);
    if (code === undefined) call.resolve(result);
    else call.reject(failure(code, message));
    // The program is not to be trusted after a fault of its own.
    if (code === "internal") this.end(failure(code, message));
  }
}
