import { WeThink } from "./wethink.js";

const [form, status, answer] = ["form", "[role=status]", "pre"].map((name) => document.querySelector(name));
const model = await WeThink.load("models/xs-sft/", {
  onProgress: ({ stage, file = "" }) => (status.textContent = `Loading: ${stage} ${file}`),
}).catch((error) => {
  status.textContent = error.message;
  throw error;
});
status.textContent = `Ready on ${model.device.name}`;
form.querySelector("button").disabled = false;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { picture, question } = form.elements;
  const content = [{ type: "image" }, { type: "text", text: question.value }];
  answer.textContent = "";
  try {
    const messages = [{ role: "user", content }];
    for await (const part of model.ask({ messages, images: picture.files, maxNewTokens: 256 })) {
      answer.append(part.text);
    }
    status.textContent = `${model.last.tokenIds.length} tokens on ${model.device.name}`;
  } catch (error) {
    status.textContent = error.message;
  }
});
