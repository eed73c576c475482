/** A part of a chat's message. An image part takes the next of `images`. */
export type Part = { type: "image" } | { type: "text"; text: string };

/** A turn of a chat. */
export interface Message {
  role: "system" | "user" | "assistant";
  content: string | Part[];
}

/**
 * What went wrong:
 * `not-found` a file of the checkpoint is missing; `network` a file cannot be fetched; `checkpoint` a file is broken or
 * does not fit the others; `picture` a picture cannot be read; `request` messages, options or a row to verify are wrong; `memory` there is
 * too little; `device` the device fails; `device-lost` it went away; `unloaded` the model was unloaded; `aborted` loading
 * was stopped; `internal` a fault of the engine.
 */
export type ErrorCode =
  | "not-found"
  | "network"
  | "checkpoint"
  | "picture"
  | "request"
  | "memory"
  | "device"
  | "device-lost"
  | "unloaded"
  | "aborted"
  | "internal";

/** The one error of the toolkit. Its message names the file, picture or option, and the fix. */
export class WeThinkError extends Error {
  constructor(code: ErrorCode, message: string);
  readonly code: ErrorCode;
}

/** How far loading is. */
export interface Progress {
  /**
   * The engine itself; the device and its self-test; small files; memory allocated for trial; weights from the network; a
   * wait for another tab that fetches the same; weights to the device. Of a pack, `download` and `weights` go on side by side.
   */
  stage: "engine" | "device" | "files" | "preflight" | "download" | "waiting" | "weights";
  file?: string;
  /** Bytes so far: of the file; in the last three stages of a pack, of all its shards. */
  loaded: number;
  /** Bytes there are, where the server tells. */
  total?: number;
  /** Share of the whole load, of a pack: from 0 to 1. */
  overall?: number;
  /** With `preflight`: what was found. */
  preflight?: Preflight;
}

/** What a model needs of a device and of the browser's storage, and whether it is there. Bytes, unless said otherwise. */
export interface Preflight {
  /** Weights on the device. */
  weights: number;
  /** Keys and values of a chat of `contextTokens`. */
  cache: number;
  /** What a prompt with a picture is computed in. */
  work: number;
  /** Tokens of a chat: those that were chosen, else at most 4096; without a choice, the chat may get longer later. */
  contextTokens: number;
  /** How much of that was allocated for trial, and freed again. */
  allocated: number;
  /** Whether that was all. `load` refuses a model that does not fit before it fetches weights, with the code `memory`. */
  fits: boolean;
  /** The longest chat, in tokens, that fits beside the weights; `contextTokens` at most. */
  fittingTokens: number;
  /** Weights that are still to be fetched; null for a checkpoint, which does not tell. */
  download: number | null;
  /** Why this browser does not keep everything for the next time, if it does not. */
  note?: string;
}

export interface LoadOptions {
  /** Where to run. `auto` is WebGPU where it works, else the CPU. */
  device?: "auto" | "webgpu" | "cpu";
  /**
   * Tokens of a chat at most, prompt, pictures and answers together: room for their keys and values is taken at once. Left
   * out, it is taken as answers need it.
   */
  contextTokens?: number;
  onProgress?: (progress: Progress) => void;
  /** Stops loading: the promise rejects with the signal's reason. */
  signal?: AbortSignal;
}

/** Where a model runs. */
export interface Device {
  kind: "webgpu" | "cpu";
  /** For people. */
  name: string;
  /** Why `auto` did not take WebGPU. */
  note?: string;
}

export interface AskOptions {
  messages: Message[];
  /** One picture for every image part, in order: files, or addresses that this page may read. */
  images?: Iterable<Blob | string | URL>;
  /** Left out: the prompt that WeThink was trained with, unless the messages have one. `null` adds none. */
  system?: string | null;
  /** Tokens of the answer at most; 1000 when left out. */
  maxNewTokens?: number;
  /** Tokens before the answer may end. */
  minNewTokens?: number;
  /** 0, as when left out, always takes the best token. */
  temperature?: number;
  topP?: number;
  topK?: number;
  /** Above 1 discourages tokens of the prompt and the answer so far. */
  repetitionPenalty?: number;
  /** The same seed gives the same answer. */
  seed?: number;
  /** Texts that end the answer as soon as it holds one; the text stands in the answer. */
  stop?: string[];
  /**
   * Tokens that the GPU computes before their ids are read back. Left out, as many as take a tenth of a second, 16 at most:
   * fewer waits, and text that flows. The answer is the same for any number.
   */
  tokensPerReading?: number;
  /** Ends the answer: the iterator ends as usual, and `finishReason` is `cancelled`. So does leaving the loop. */
  signal?: AbortSignal;
}

/** A piece of the stream. Tags are left out; `raw` is what stands outside them. */
export interface AnswerPart {
  kind: "think" | "answer" | "raw";
  text: string;
}

/** Counts and times of one answer. */
export interface Timing {
  /** Tokens of the prompt that stand for pictures. */
  imageTokens: number;
  promptTokens: number;
  /** Tokens of the prompt that were computed; the rest came from the turn before. */
  prefillTokens: number;
  /** Reading and preparing pictures and prompt. */
  pictureMs: number;
  /** From the question to the first token, `pictureMs` included. */
  firstTokenMs: number;
  decodeTokens: number;
  /** From the first token to the last. */
  decodeMs: number;
  /** How often the device was waited for: once for every token where it is not a GPU, or where a penalty is wanted. */
  readings: number;
  /** Memory of the engine's program. */
  wasmBytes: number;
  /** Memory that the engine holds on the GPU. */
  gpuBytes: number | null;
  /** Tokens that the chat has room for, and the memory that it takes. */
  cacheTokens: number;
  cacheBytes: number;
  /** How often each kernel ran; on the CPU, each operation of the model. */
  kernels: Record<string, number>;
}

/** A finished answer. */
export interface Answer {
  tokenIds: number[];
  promptIds: number[];
  /** log p of each token under the model, before penalty and filters. */
  logprobs: number[];
  /** The whole text, tags included, without the token that ended it. */
  text: string;
  think: string | null;
  answer: string | null;
  finishReason: "stop" | "length" | "cancelled";
  timing: Timing;
}

/** What the browser keeps of one pack or checkpoint folder. */
export interface Cached {
  url: string;
  bytes: number;
}

/** A loaded model, in a worker of its own. */
export class WeThink {
  private constructor();
  /**
   * Loads a pack (of `trainer export --quantize`) or a checkpoint folder in the released layout, by its address or from the
   * person's own files. The address may name the pack's `pack.json`. A pack's shards are fetched several at once, go on
   * where a transfer broke off, are judged by their SHA-256, and are kept in the browser's private file system, which tabs share.
   */
  static load(from: string | URL | Iterable<File>, options?: LoadOptions): Promise<WeThink>;
  /** Finds out what `load` with the same options needs, and whether it is there. Fetches no weights, and loads nothing. */
  static preflight(from: string | URL | Iterable<File>, options?: LoadOptions): Promise<Preflight>;
  /** Packs and checkpoints that the browser keeps. */
  static cached(): Promise<Cached[]>;
  /** Removes one of them, or all. */
  static clearCached(url?: string | URL): Promise<void>;
  readonly device: Device;
  /** What loading found out. */
  readonly preflight: Preflight;
  /** Resolves when the model is gone: `unloaded`, or because the device or the engine failed. Load again to go on. */
  readonly ended: Promise<WeThinkError>;
  /** The answer that finished last; also what the iterator returns. Undefined for one that was stopped before it began. */
  readonly last: Answer | undefined;
  /** Asks. Questions asked at once are answered one after the other. */
  ask(options: AskOptions): AsyncGenerator<AnswerPart, Answer | undefined, void>;
  /** Ends the worker and frees its memory; whatever is being asked fails with `unloaded`. */
  unload(): void;
}

/** How a response is compared with its truth. */
export type Kind =
  | "math"
  | "number"
  | "count"
  | "mcq"
  | "yes_no"
  | "text"
  | "anls"
  | "edit_ratio"
  | "cer"
  | "wer"
  | "f1"
  | "relaxed"
  | "vqa"
  | "box"
  | "boxes"
  | "point"
  | "format"
  | "open";

/** The switches of a row; all may be left out. */
export interface RewardOptions {
  /** Where the answer may stand: anywhere, in the last `\boxed{}`, in the one `<answer>`, or after `</think>`. */
  extract?: "any" | "boxed" | "answer_tag" | "after_think";
  /** Numbers: relative tolerance. Points: the radius. */
  tolerance?: number;
  units?: "optional" | "required" | "ignore";
  percent?: "either" | "exact" | "dropped";
  /** Letters' case matters. */
  case?: boolean;
  /** Score from which a graded kind accepts; for `cer` and `wer` the error rate up to which it does. */
  threshold?: number;
  /** When a `text` equals a truth. */
  match?: "normalised" | "exact" | "contains";
  iou?: "iou" | "giou";
  /** `anls` divides by the lengths as written. */
  raw_length?: boolean;
  match_types?: ("latex" | "expr" | "string")[];
  /** Decimals of a comparison with a written decimal. */
  precision?: number;
  strict?: boolean;
  allow_set_relation_comp?: boolean;
}

/** A row, as in a file of `trainer verify`: kind, truth, response. Other fields are left alone. */
export interface RewardRecord {
  kind: Kind;
  /** The truth; a list of texts is several truths, any of which may be equalled. */
  gold?: unknown;
  golds?: unknown[];
  /** The response, whole. */
  pred: string;
  /** Options of a choice: texts lettered in order, or letters with their texts. */
  choices?: string[] | Record<string, string>;
  opts?: RewardOptions;
  [other: string]: unknown;
}

/** What the rule says, in the words of `trainer verify`. */
export interface Verdict {
  /** `unsure` is for a judge; the others are final. */
  verdict: "accept" | "reject" | "unsure";
  /** In [0, 1]. */
  score: number;
  /** Why: `equal`, `different`, `empty`, `unreadable` and so on. */
  reason: string;
  /** Which rule decided. */
  tier: string;
  /** Both sides as the rule understood them. */
  gold_normal: string;
  pred_normal: string;
  /** Where the answer stands in `pred`, for `slice`. */
  span: [number, number] | null;
  /** Steps spent; bounded. */
  fuel: number;
}

/** How parts make a reward; what is left out is WeThink's: 0.7 · accuracy + 0.3 · format. */
export interface Policy {
  accuracy?: number;
  format?: number;
  /** Format earns only where the answer is accepted. */
  format_only_when_right?: boolean;
  /** Most that a judge's accept is worth; the rule alone never asks one. */
  judge_cap?: number;
  /** Full penalty from `limit` tokens on, growing over `margin` tokens before. */
  overlong?: { limit: number; margin: number; weight: number } | null;
  /** Penalty for repeated n-grams of words. */
  repetition?: { n: number; weight: number } | null;
}

/** A reward and its parts. */
export interface Score {
  /** The weighted sum; null where a judge must be heard. */
  reward: number | null;
  accuracy: number;
  format: number;
  /** At most 0. */
  overlong: number;
  /** At most 0. */
  repetition: number;
  verdict: Verdict;
}

/** Compares a response with its truth by rule, on this machine. Fails with `request` if the row is wrong, never because of the response. */
export function verify(record: RewardRecord): Promise<Verdict>;
/** As `verify`, and weighs the parts. `tokens` is the response's length, for `overlong`. */
export function score(record: RewardRecord, policy?: Policy, tokens?: number): Promise<Score>;
