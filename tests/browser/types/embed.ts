import { WeThink, WeThinkError, score, verify } from "wethink";
import type { Answer, AnswerPart, Message, Policy, Preflight, RewardRecord } from "wethink";

export async function ask(folder: string | File[], picture: Blob): Promise<Answer | undefined> {
  const stop = new AbortController();
  const found: Preflight = await WeThink.preflight(folder, { contextTokens: 2048 });
  const model = await WeThink.load(folder, {
    device: "auto",
    contextTokens: found.fits ? found.contextTokens : found.fittingTokens,
    onProgress: ({ stage, loaded, total, overall }) => console.log(stage, overall ?? (total ? loaded / total : loaded)),
    signal: stop.signal,
  });
  const messages: Message[] = [{ role: "user", content: [{ type: "image" }, { type: "text", text: "What is this?" }] }];
  const shown: Record<AnswerPart["kind"], string> = { think: "", answer: "", raw: "" };
  try {
    for await (const part of model.ask({ messages, images: [picture], system: null, temperature: 0.7, seed: 1, stop: ["."], tokensPerReading: 4 })) {
      shown[part.kind] += part.text;
    }
    const kernels: number | undefined = model.last?.timing.kernels.attention_decode;
    console.log(kernels, model.device.note ?? model.device.name, await WeThink.cached());
  } catch (error) {
    if (error instanceof WeThinkError && error.code === "device-lost") await WeThink.load(folder);
    else throw error;
  } finally {
    model.unload();
  }
  return model.last;
}

export async function check(pred: string): Promise<string> {
  const record: RewardRecord = { kind: "mcq", gold: "B", pred, choices: ["cat", "dog"], opts: { extract: "answer_tag" }, id: 7 };
  const policy: Policy = { accuracy: 0.9, format: 0.1, overlong: { limit: 1000, margin: 100, weight: 1 } };
  const [verdict, { reward }] = await Promise.all([verify(record), score(record, policy, 300)]);
  const read = verdict.span ? pred.slice(...verdict.span) : "";
  return `${verdict.verdict === "unsure" ? "?" : (reward?.toFixed(2) ?? "")} ${read}`;
}

// @ts-expect-error: there is no such kind
void verify({ kind: "maths", gold: 1, pred: "1" });
// @ts-expect-error: a reward has a response
void verify({ kind: "math", gold: 1 });
// @ts-expect-error: there is no such weight
void score({ kind: "math", gold: 1, pred: "1" }, { accurracy: 1 });
// @ts-expect-error: there is no such option
void ((model: WeThink) => model.ask({ messages: [], maxNewToken: 3 }));
// @ts-expect-error: there is no such device
void WeThink.load("model/", { device: "tpu" });
// @ts-expect-error: a number of tokens
void WeThink.preflight("pack/", { contextTokens: "many" });
// @ts-expect-error: a model comes from `load`
void new WeThink();
