// The worker: fetches for the engine, and hands messages to it, one at a time.
//
// Messages in: {load}, {preflight}, {ask}, {abort}. Messages out: {progress}, {part}, {done}, {failed}, {fault}. Every call has
// an id; {fault} is the end of this worker, whatever was going on.

import start, { Engine } from "./wethink-engine.js";
import { failure } from "./wethink-error.js";
import { Source, clearFiles } from "./wethink-files.js";

let engine;
const aborted = new Set();
// One promise after the other: the device and the cache of a chat serve one question at a time.
let queue = Promise.resolve();

const calls = {
  load: (call) =>
    opened(call, async (source) => {
      const preflight = await engine.load(source, call.contextTokens);
      return { device: engine.device(), preflight: source.noted(preflight) };
    }),

  preflight: (call) =>
    opened(call, async (source) => source.noted(await engine.preflight(source, call.contextTokens))),

  async ask({ id, request, images }) {
    if (aborted.has(id)) return undefined;
    const pictures = await Promise.all(images.map(picture));
    const turn = async (parts) => {
      for (const [kind, text] of parts) postMessage({ part: { id, kind, text } });
      // Messages, and so an abort, are heard only between tasks.
      await new Promise(nextTask);
      return !aborted.has(id);
    };
    return engine.ask(request, pictures, turn);
  },
};

/** Opens the engine, and does something with the folder that the call names. */
async function opened({ url, files, pack, device }, work) {
  const onProgress = (progress) => postMessage({ progress });
  onProgress({ stage: "engine", loaded: 0 });
  await start();
  onProgress({ stage: "device", loaded: 0 });
  engine = await Engine.open(device, (code, message) => postMessage({ fault: { code, message } }));
  try {
    return await work(new Source({ url, files, pack }, onProgress));
  } catch (error) {
    // What is broken in the cache would be broken for ever.
    if (url && error.code === "checkpoint") await clearFiles(url);
    // The engine knows a file's name, not where the folder is.
    throw url && !error.message?.includes(url) ? failure(error.code, `${url}: ${error.message}`) : error;
  }
}

const { port1, port2 } = new MessageChannel();
let resume;
port1.onmessage = () => resume();
function nextTask(resolve) {
  resume = resolve;
  port2.postMessage(null);
}

/** A picture's name and bytes, from a Blob or an address. */
async function picture(image, index) {
  if (image instanceof Blob) {
    return [image.name || `image ${index + 1}`, new Uint8Array(await image.arrayBuffer())];
  }
  let response;
  try {
    response = await fetch(image);
  } catch (error) {
    throw failure("picture", `picture ${image}: cannot be reached (${error.message})`);
  }
  if (!response.ok) throw failure("picture", `picture ${image}: the server answers ${response.status}`);
  return [image, new Uint8Array(await response.arrayBuffer())];
}

onmessage = ({ data }) => {
  if (data.abort !== undefined) {
    aborted.add(data.abort);
    return;
  }
  const [name, call] = Object.entries(data)[0];
  queue = queue.then(async () => {
    try {
      postMessage({ done: { id: call.id, result: await calls[name](call) } });
    } catch (error) {
      // A read-back fails shortly before the browser says that the device is lost: the nearer cause, which ends this worker.
      if (error.code === "device") await new Promise((resume) => setTimeout(resume, 1000));
      postMessage({ failed: { id: call.id, code: error.code ?? "internal", message: String(error.message ?? error) } });
    }
    aborted.delete(call.id);
  });
};
