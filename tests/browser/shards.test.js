// How shards of a pack come: from servers that cut connections, lie about ranges or send other bytes, into browsers that
// are full or keep nothing, with reloads and further tabs in the middle.
//
// It runs what the worker runs, without the engine: the bytes need not be a model's. One file, because every fault is of the same
// six shards and asked for through what `prepare` puts into a page.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { launch, open } from "./browser.js";
import { cut, host, noise, ranged, sha256, shardsOf } from "./packs.js";
import { serve } from "./server.js";

const SIZE = 300_000;
const shards = shardsOf([1, 2, 3, 4, 5, 6].map((seed) => noise(SIZE - seed, seed)));
const TOTAL = shards.reduce((sum, { bytes }) => sum + bytes, 0);
const HASHES = shards.map((shard) => shard.sha256);

/** The worker's part of this test: takes `take` shards, tells every step and at the end what came of it. */
const WORKER = `
import { Shards } from "./wethink-shards.js";
import { sha256 } from "./wethink-store.js";
onmessage = async ({ data: { url, files, list, options, take } }) => {
  const source = { url, files: files && new Map(files.map((file) => [file.name, file])) };
  const shards = new Shards(source, list, (progress) => postMessage({ progress }), { pause: 10, ...options });
  const hashes = [];
  try {
    const coming = await shards.look();
    for (let n = 0; n < (take ?? list.length); n++) {
      hashes.push(await sha256(await shards.next()));
      shards.moved();
    }
    if (take === undefined) await shards.finish();
    postMessage({ done: { coming, hashes, note: shards.note } });
  } catch ({ code, message }) {
    postMessage({ done: { code, message, hashes } });
  }
};`;

let server, browser, view, pack;
before(async () => {
  server = await serve();
  browser = await launch({ webgpu: false });
});
after(async () => {
  await browser?.close();
  await server?.close();
});
beforeEach(async () => {
  pack = host(server, shards);
  serveWorker();
  view = await open(browser, `${server.site}blank.html`);
  await view.page.evaluate(prepare);
});
afterEach(async () => {
  server.broken.clear();
  await view.context.close();
});

/** Serves the worker, with something before its own script. */
function serveWorker(before = "") {
  server.broken.set("/shards-worker.js", (response) => {
    response.writeHead(200, { "content-type": "text/javascript" }).end(before + WORKER);
  });
}

/** Puts `load` and `until` into a page. */
function prepare() {
  globalThis.steps = [];
  globalThis.load = (call) => {
    const worker = new Worker("./shards-worker.js", { type: "module" });
    worker.postMessage(call);
    return new Promise((resolve, reject) => {
      worker.onerror = () => reject(new Error("the worker stopped"));
      worker.onmessage = ({ data: { progress, done } }) => {
        if (progress) globalThis.steps.push(progress);
        if (done) resolve(done);
      };
    });
  };
}

const call = (more) => ({ url: pack.url, list: pack.list, ...more });
const load = (more, page = view.page) => page.evaluate((call) => globalThis.load(call), call(more));
const steps = (page = view.page) => page.evaluate(() => globalThis.steps);
const asked = (file) => pack.log.filter((ask) => !file || ask.file === file);

function isWhole(result) {
  assert.deepEqual(result.hashes, HASHES, result.message);
  assert.equal(result.code, undefined);
}

function isError(result, code, ...texts) {
  assert.equal(result.code, code, result.message);
  for (const text of texts) assert.ok(result.message.includes(text), `${result.message} lacks ${text}`);
}

describe("a sound server", () => {
  test("shards come four at a time, once, and progress runs to its end", async () => {
    let [now, most] = [0, 0];
    const held = [];
    for (const { file } of shards) {
      pack.faults.set(file, (response, content, request) => {
        most = Math.max(most, ++now);
        held.push(() => {
          now -= 1;
          ranged(response, content, request);
        });
        // Nothing is answered before as many are there as come at once, or as are left.
        if (held.length === Math.min(4, shards.length - asked().length + held.length)) held.splice(0).forEach((go) => go());
        return true;
      });
    }
    const result = await load();
    isWhole(result);
    assert.equal(result.coming, TOTAL);
    assert.equal(most, 4);
    assert.equal(asked().length, shards.length);
    const seen = await steps();
    for (const stage of ["download", "weights"]) {
      const loaded = seen.filter((step) => step.stage === stage).map((step) => step.loaded);
      assert.deepEqual(loaded, loaded.toSorted((a, b) => a - b), stage);
      assert.equal(loaded.at(-1), TOTAL);
    }
    assert.ok(seen.every((step) => step.total === TOTAL && step.overall >= 0 && step.overall <= 1));
    assert.equal(seen.at(-1).overall, 1);
    view.quiet();
  });

  test("what is kept is not fetched again, after a reload either", async () => {
    await load();
    await view.page.reload();
    await view.page.evaluate(prepare);
    const result = await load();
    isWhole(result);
    assert.equal(result.coming, 0);
    assert.equal(asked().length, shards.length);
    assert.equal((await steps()).at(-1).overall, 1);
  });

  test("a changed pack fetches the shard that changed, and what it replaces is removed", async () => {
    await load();
    const changed = shards.with(2, shardsOf([0, 1, 2].map((seed) => noise(SIZE, 50 + seed)))[2]);
    pack = host(server, changed);
    const result = await load();
    assert.deepEqual(result.hashes, changed.map((shard) => shard.sha256));
    assert.deepEqual(asked().map(({ file }) => file), ["shard-2.bin"]);
    const names = await view.page.evaluate(async () => {
      const { packFolder } = await import("./wethink-store.js");
      return Array.fromAsync((await packFolder(new URL("pack/", location).href)).keys());
    });
    assert.deepEqual(names.sort(), changed.map((shard) => shard.sha256).sort());
  });

  test("what is kept is counted and cleared", async () => {
    await load();
    const { before, after } = await view.page.evaluate(async () => {
      const { cached, clearCached } = await import("./wethink-files.js");
      const url = new URL("pack/", location).href;
      // Found by this file, which a whole load leaves there.
      await (await caches.open("wethink-checkpoints-1")).put(`${url}pack.json`, new Response("{}"));
      const before = await cached();
      await clearCached(url);
      return { before, after: await cached() };
    });
    assert.deepEqual(before, [{ url: pack.url, bytes: TOTAL + 2 }]);
    assert.deepEqual(after, []);
    assert.equal((await load()).coming, TOTAL);
  });
});

describe("a server that fails", () => {
  test("a connection that is cut again and again goes on where it broke off", async () => {
    for (const { file } of shards) {
      pack.faults.set(file, (response, content, request, { count }) => count < 3 && cut(response, content, request, 80_000));
    }
    isWhole(await load());
    for (const { file } of shards) {
      const from = asked(file).map((ask) => ask.from);
      assert.equal(from.length, 4, `${from}`);
      // A cut may lose what was still on its way; nothing that came is asked for again.
      assert.deepEqual(from, from.toSorted((a, b) => a - b));
      assert.ok(from[3] > 100_000, `${from}`);
    }
  });

  test("a connection that falls silent is given up, and goes on", async () => {
    const { file } = shards[1];
    pack.faults.set(file, (response, content, request, { count }) => count < 1 && cut(response, content, request, 80_000, { silent: true }));
    isWhole(await load({ options: { stall: 400 } }));
    assert.equal(asked(file).length, 2);
    assert.ok(asked(file)[1].from > 0);
  });

  test("a server that never gets on ends the load; what came is kept, and the next load goes on", async () => {
    const { file } = shards[0];
    pack.faults.set(file, (response, content, request, { count }) => cut(response, content, request, count === 0 ? 80_000 : 0));
    const result = await load();
    isError(result, "network", file, "broke off at 0.1 of 0.3 MB", "kept");
    const tries = asked(file).length;
    pack.faults.clear();
    const again = await load();
    isWhole(again);
    assert.ok(again.coming < TOTAL);
    assert.equal(asked(file).length, tries + 1);
    assert.ok(asked(file).at(-1).from > 0, asked(file).at(-1).range);
  });

  test("a server that is busy for a moment is asked again", async () => {
    pack.faults.set(shards[3].file, (response, content, request, { count }) => count < 2 && response.writeHead(503).end());
    isWhole(await load());
    assert.equal(asked(shards[3].file).length, 3);
  });

  test("a shard that is not there, and one that is refused, are named at once", async () => {
    pack.faults.set(shards[2].file, (response) => response.writeHead(404).end());
    isError(await load(), "not-found", shards[2].file);
    assert.equal(asked(shards[2].file).length, 1);
    pack.faults.set(shards[2].file, (response) => response.writeHead(403).end());
    isError(await load(), "network", shards[2].file, "403");
  });

  test("a server that cannot be reached", async () => {
    isError(await load({ url: "http://localhost:9/pack/" }), "network", "localhost:9");
  });
});

describe("a server that lies", () => {
  /** The first transfer of a shard is cut; `answer` is what the second, for the rest, gets. */
  function onResume({ file }, answer) {
    pack.faults.set(file, (response, content, request, { count, range }) => {
      if (count === 0) return cut(response, content, request, 100_000);
      return range !== undefined && (answer(response, content, request), true);
    });
  }

  test("the whole file in answer to a range", async () => {
    onResume(shards[0], (response, content) => response.writeHead(200, { "content-length": content.length }).end(content));
    isWhole(await load());
    assert.equal(asked(shards[0].file).length, 2);
  });

  test("another range than was asked for", async () => {
    onResume(shards[0], (response, content) => {
      const body = content.subarray(50_000);
      const range = `bytes 50000-${content.length - 1}/${content.length}`;
      response.writeHead(206, { "content-length": body.length, "content-range": range }).end(body);
    });
    isWhole(await load());
    assert.deepEqual(asked(shards[0].file).map((ask) => ask.range !== undefined), [false, true, false]);
  });

  test("a range that it says cannot be had", async () => {
    onResume(shards[0], (response) => response.writeHead(416).end("no such range"));
    isWhole(await load());
    assert.deepEqual(asked(shards[0].file).map((ask) => ask.range !== undefined), [false, true, false]);
  });

  test("the right range with other bytes", async () => {
    onResume(shards[0], (response, content, request) => ranged(response, noise(content.length, 99), request));
    isWhole(await load());
    assert.equal(asked(shards[0].file).at(-1).range, undefined);
  });

  test("other bytes, always: the hashes are named and nothing of it is kept", async () => {
    const other = noise(shards[1].bytes, 99);
    pack.faults.set(shards[1].file, (response, content, request) => (ranged(response, other, request), true));
    isError(await load(), "checkpoint", shards[1].file, sha256(other), shards[1].sha256);
    pack.faults.clear();
    const again = await load();
    isWhole(again);
    assert.equal(again.coming, shards[1].bytes);
  });

  test("fewer or more bytes, announced or not", async () => {
    for (const length of [-10, 10]) {
      const other = noise(shards[0].bytes + length, 1);
      pack.faults.set(shards[0].file, (response) => response.writeHead(200, { "content-length": other.length }).end(other));
      isError(await load(), "checkpoint", shards[0].file, `${other.length} bytes`, "pack.json");
    }
    pack.faults.set(shards[0].file, (response, content) => {
      response.writeHead(200).write(content);
      return response.end("more");
    });
    isError(await load(), "checkpoint", shards[0].file, "more bytes");
  });
});

describe("a browser that fails", () => {
  test("a shard that was damaged on disk is fetched again, and it alone", async () => {
    await load();
    const [{ sha256: name }] = shards;
    await view.page.evaluate(async (name) => {
      const { packFolder } = await import("./wethink-store.js");
      const file = await (await packFolder(new URL("pack/", location).href)).getFileHandle(name);
      const writable = await file.createWritable({ keepExistingData: true });
      await writable.write({ type: "write", position: 1000, data: "damage" });
      await writable.close();
    }, name);
    const before = asked().length;
    isWhole(await load());
    assert.deepEqual(asked().slice(before).map(({ file }) => file), [shards[0].file]);
    isWhole(await load());
    assert.equal(asked().length, before + 1);
  });

  /** Sets how many bytes of files the browser gives the site. */
  async function quota(bytes) {
    const devtools = await view.context.newCDPSession(view.page);
    await devtools.send("Storage.overrideQuotaForOrigin", { origin: server.origin, quotaSize: bytes });
  }

  test("too little room: said before anything is fetched, and the load succeeds nevertheless", async () => {
    serveWorker(`navigator.storage.estimate = async () => ({ quota: ${3 * SIZE}, usage: ${SIZE} });`);
    const first = await load({ take: 0 });
    assert.match(first.note, /room for 0.6 MB of 1.8 MB/);
    assert.equal(asked().length, 0);
    isWhole(await load());
  });

  test("room that ends where some was promised: the rest comes through memory", async () => {
    await quota(2.5 * SIZE);
    serveWorker("navigator.storage.estimate = undefined;");
    const result = await load();
    isWhole(result);
    assert.match(result.note, /could not keep it/);
    assert.equal(asked().length, shards.length);
    await quota(100 * SIZE);
    const again = await load();
    isWhole(again);
    assert.equal(again.note, undefined);
    assert.ok(again.coming > 0 && again.coming < TOTAL, `${again.coming} to come`);
  });

  for (const [what, code] of [
    ["no private file system", "navigator.storage.getDirectory = () => Promise.reject(new DOMException('no', 'SecurityError'));"],
    ["no storage at all", "Object.defineProperty(navigator, 'storage', { value: undefined });"],
    ["no handles to write with", "FileSystemFileHandle.prototype.createSyncAccessHandle = undefined;"],
  ]) {
    test(`${what}: everything comes through memory, a few shards at a time`, async () => {
      serveWorker(code);
      const first = await load({ take: 1 });
      assert.deepEqual(first.hashes, HASHES.slice(0, 1));
      await new Promise((later) => setTimeout(later, 300));
      // The one that was taken, two more, and those that were under way when the first was refused.
      assert.ok(asked().length <= 4, `${asked().length} fetched`);
      const result = await load();
      isWhole(result);
      assert.match(result.note, /again next time/);
    });
  }
});

describe("reloads and tabs", () => {
  /** The first transfer of every shard stops in the middle and stays open. */
  function stuck() {
    for (const { file } of shards) {
      pack.faults.set(file, (response, content, request, { count }) => count === 0 && cut(response, content, request, 120_000, { silent: true }));
    }
  }
  const begun = () => view.page.waitForFunction(() => globalThis.steps.some((step) => step.loaded > 200_000));

  test("a reload in the middle goes on where it was", async () => {
    stuck();
    view.page.evaluate((call) => void globalThis.load(call), call());
    await begun();
    await view.page.reload();
    await view.page.evaluate(prepare);
    const result = await load({ options: { stall: 1000 } });
    isWhole(result);
    assert.ok(result.coming < TOTAL - 200_000, `${result.coming} to come`);
    assert.ok(asked().filter((ask) => ask.from > 50_000).length >= 2);
  });

  async function second() {
    const page = await view.context.newPage();
    await page.goto(`${server.site}blank.html`);
    await page.evaluate(prepare);
    return page;
  }

  test("two tabs at once fetch every shard once", async () => {
    // Slow enough that the second comes while the first is at it.
    for (const { file } of shards) {
      pack.faults.set(file, (response, content, request) => (setTimeout(() => ranged(response, content, request), 300), true));
    }
    const other = await second();
    const both = await Promise.all([load(), load({}, other)]);
    both.forEach(isWhole);
    assert.equal(asked().length, shards.length);
    const waited = [...(await steps()), ...(await steps(other))].filter((step) => step.stage === "waiting");
    assert.ok(waited.length > 0);
  });

  test("a tab that is closed leaves what it has to the one that waits", async () => {
    stuck();
    const other = await second();
    other.evaluate((call) => void globalThis.load(call), call());
    await other.waitForFunction(() => globalThis.steps.some((step) => step.loaded > 200_000));
    const result = load({ options: { stall: 1000 } });
    await view.page.waitForFunction(() => globalThis.steps.some((step) => step.stage === "waiting"));
    await other.close();
    isWhole(await result);
    assert.ok(asked().some((ask) => ask.from > 50_000));
  });
});

describe("a local folder", () => {
  const own = (change) =>
    view.page.evaluate(async ({ url, list, change }) => {
      const files = await Promise.all(list.map(async ({ file }) => new File([await (await fetch(url + file)).blob()], file)));
      if (change === "missing") files.pop();
      if (change === "short") files[1] = new File([await files[1].slice(1).arrayBuffer()], files[1].name);
      if (change === "other") files[1] = new File(["x", await files[1].slice(1).arrayBuffer()], files[1].name);
      return globalThis.load({ files, list });
    }, { ...call(), change });

  test("is read where it is, and judged by the same hashes", async () => {
    const result = await own();
    isWhole(result);
    assert.equal(result.coming, 0);
    isError(await own("missing"), "not-found", shards.at(-1).file);
    isError(await own("short"), "checkpoint", shards[1].file, "copy it again");
    isError(await own("other"), "checkpoint", shards[1].file, shards[1].sha256);
    assert.deepEqual(await view.page.evaluate(async () => {
      const { packFolder } = await import("./wethink-store.js");
      return Array.fromAsync((await packFolder(new URL("pack/", location).href)).keys());
    }), []);
  });
});
