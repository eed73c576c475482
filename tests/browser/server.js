// A plain static server: files below a path, no header but the type. What a test wants broken, it breaks.

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** The built site. */
export const SITE = resolve(process.env.WETHINK_SITE ?? here("../../web/dist"));
/** Known answers, as in every other test of the project. */
export const FIXTURES = resolve(process.env.WETHINK_FIXTURES ?? here("../fixtures"));

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css",
  ".js": "text/javascript",
  ".json": "application/json",
  ".wasm": "application/wasm",
  ".svg": "image/svg+xml",
  ".png": "image/png",
};

/** An empty page under the site's own Content-Security-Policy. */
const BLANK = `<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self' https: http://localhost:* blob:; object-src 'none'"><link rel="icon" href="icon.svg"><title>blank</title>`;

/** This repository's own known answers, whatever set the other tests are given. */
export const OWN = here("../fixtures/tiny-qwen2_5_vl");

/** The model of these answers, as the list of bundled models names one. */
export const TINY = {
  name: "tiny",
  label: "Tiny",
  about: "A random model.",
  max_new_tokens: 60,
  scenes: { tasks: ["A"], sides: [112, 112], square: true, objects: [3, 6] },
};

/**
 * Serves the site below `/a/sub path/`, the known answers below `/fixtures/`, and a folder of the test's own below `/made/`. The list
 * `models` takes the place of the site's bundled ones; `TINY` may be among them. `requests` are the paths whose contents were asked for; a
 * function put into `broken` under the end of a path answers it instead: with the response, the file and the request.
 */
export async function serve(made, { models } = {}) {
  const tiny = ["tiny", "tiny-grpo"].map((name) => [`/a/sub path/models/${name}/`, join(OWN, "checkpoint")]);
  const trees = [...tiny, ["/a/sub path/", SITE], ["/fixtures/", FIXTURES], ...(made ? [["/made/", made]] : [])];
  const requests = [];
  const broken = new Map();
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://host").pathname);
    if (request.method === "GET") requests.push(path);
    for (const [end, answer] of broken) {
      if (path.endsWith(end)) return answer(response, file(trees, path), request);
    }
    if (models && path.endsWith("/models/models.json")) {
      response.writeHead(200, { "content-type": TYPES[".json"] }).end(JSON.stringify({ models }));
      return;
    }
    if (path === "/a/sub path/blank.html") {
      response.writeHead(200, { "content-type": TYPES[".html"] }).end(BLANK);
      return;
    }
    const target = file(trees, path);
    const found = target && (await stat(target).catch(() => undefined));
    if (!found?.isFile()) {
      response.writeHead(404, { "content-type": "text/plain" }).end("not found");
      return;
    }
    const type = TYPES[extname(target)] ?? "application/octet-stream";
    const headers = { "content-type": type, "content-length": found.size, "last-modified": found.mtime.toUTCString() };
    response.writeHead(200, headers);
    if (request.method === "HEAD") response.end();
    else createReadStream(target).pipe(response);
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  const origin = `http://127.0.0.1:${server.address().port}`;
  const close = () => {
    server.closeAllConnections();
    return new Promise((closed) => server.close(closed));
  };
  return { origin, site: `${origin}/a/sub%20path/`, fixtures: `${origin}/fixtures/`, made: `${origin}/made/`, requests, broken, close };
}

/** The file of a path, or undefined outside the trees. */
function file(trees, path) {
  for (const [prefix, root] of trees) {
    if (path.startsWith(prefix)) {
      const inside = normalize(path.slice(prefix.length) || "index.html");
      return inside.startsWith("..") ? undefined : join(root, inside);
    }
  }
  return undefined;
}
