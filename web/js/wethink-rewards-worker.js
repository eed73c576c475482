// The worker of the rewards: hands messages to the program, and yields between the steps of what takes long.
//
// Messages in: {id, name, args}. Messages out: {id, progress}, {id, result}, {id, code, message}.

import start, { Checker, examine, score, typeset, verify } from "./wethink-rewards.js";

let checker;
const ready = start().then(() => (checker = new Checker()));
// What reads or scores the whole file; a later one ends an earlier one.
let run = 0;

const calls = {
  verify,
  score,
  examine,
  typeset,

  async open(progress, file) {
    run += 1;
    return checker.open(file.name, new Uint8Array(await file.arrayBuffer()));
  },

  async load(progress, setup) {
    checker.begin(setup);
    if (!(await steps(() => checker.read(), progress))) return undefined;
    return checker.summary();
  },

  async rescore(progress, setup) {
    if (setup) checker.set_up(setup);
    return steps(() => checker.score(), progress);
  },

  async second(progress, file) {
    return checker.second(file.name, new Uint8Array(await file.arrayBuffer()));
  },
};

/** Repeats a step until it says that it was the last; false if something else began meanwhile. */
async function steps(step, progress) {
  const own = ++run;
  for (;;) {
    const since = performance.now();
    let done;
    do done = step();
    while (done !== undefined && performance.now() - since < 30);
    if (done === undefined) return true;
    progress(done);
    await new Promise(nextTask);
    if (own !== run) return false;
  }
}

const LONG = ["open", "load", "rescore", "second"];

const { port1, port2 } = new MessageChannel();
const waiting = [];
port1.onmessage = () => waiting.shift()();
function nextTask(resolve) {
  waiting.push(resolve);
  port2.postMessage(null);
}

onmessage = async ({ data: { id, name, args } }) => {
  try {
    await ready;
    const progress = (share) => postMessage({ id, progress: share });
    let result;
    if (LONG.includes(name)) result = await calls[name](progress, ...args);
    else result = name in calls ? calls[name](...args) : checker[name](...args);
    postMessage({ id, result });
  } catch (error) {
    postMessage({ id, code: error.code ?? "internal", message: String(error.message ?? error) });
  }
};
