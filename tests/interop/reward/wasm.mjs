// The same rows in WASM and natively: every verdict must be the same bits.
//
//   cargo build --release -p wethink-reward --example abi --target wasm32-unknown-unknown
//   trainer verify --data rows.jsonl > native.jsonl
//   node wasm.mjs abi.wasm rows.jsonl native.jsonl
//
// Prints one JSON object with the number of rows, of different ones, and WASM's time; exits with 1 if any differ.

import { readFileSync } from "node:fs";

const [module, rowsFile, nativeFile] = process.argv.slice(2);
const { instance } = await WebAssembly.instantiate(readFileSync(module), {});
const { alloc, run, memory } = instance.exports;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

function verify(line) {
  const bytes = encoder.encode(line);
  const input = alloc(bytes.length);
  new Uint8Array(memory.buffer).set(bytes, input);
  const output = run();
  const length = new DataView(memory.buffer).getUint32(output, true);
  return decoder.decode(new Uint8Array(memory.buffer, output + 4, length));
}

const lines = (file) => readFileSync(file, "utf8").split("\n").filter((l) => l.trim() !== "");
const rows = lines(rowsFile);
const native = lines(nativeFile).map((l) => JSON.parse(l));
if (rows.length !== native.length) throw new Error(`${rows.length} rows, ${native.length} native verdicts`);

const different = [];
const times = [];
rows.forEach((row, i) => {
  const start = performance.now();
  const text = verify(row);
  times.push((performance.now() - start) * 1000);
  const { id, line, ...want } = native[i];
  const got = JSON.parse(text);
  // Numbers survive JSON exactly: both sides print the shortest text that reads back as the same double.
  const sorted = (o) => JSON.stringify(Object.entries(o).sort());
  if (sorted(got) !== sorted(want)) different.push({ row: i + 1, native: want, wasm: got });
});
times.sort((a, b) => a - b);
const at = (q) => Math.round(100 * times[Math.floor((times.length - 1) * q)]) / 100;
console.log(JSON.stringify({ rows: rows.length, different: different.length, first: different.slice(0, 3), median_us: at(0.5), p99_us: at(0.99), max_us: at(1) }));
process.exit(different.length ? 1 : 0);
