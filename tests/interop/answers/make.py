"""Another set of the reference's known answers, of the layout of `tests/fixtures`: other shapes, weights and pictures.

    python make.py --like tests/fixtures --shape odd --seed 1 --out DIR
    WETHINK_FIXTURES=DIR cargo test -- golden_

Needs the packages of `tests/interop/train/requirements-grpo.txt` but TRL. Chats, tokenizer and answers to learn are those of
`--like`; weights and pictures are drawn anew, and transformers computes the rest in float32 with eager attention. `grpo` and
`images` are copied as they are. A seed whose two best logits come closer than 5e-4 along a greedy run decides nothing, and is
refused: take another.
"""

import argparse
import json
import os
import shutil
import sys

import numpy
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoTokenizer, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
from transformers.models.qwen2_vl.image_processing_qwen2_vl_fast import Qwen2VLImageProcessorFast

# What differs from the model of `--like`.
SHAPES = {
    # Widths that no vector divides, one key head, a tied head, other bases and windows.
    "odd": {
        "hidden_size": 80,
        "intermediate_size": 172,
        "num_hidden_layers": 3,
        "num_attention_heads": 5,
        "num_key_value_heads": 1,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "vocab_size": 1101,
        "tie_word_embeddings": True,
        "rope_scaling": {"type": "mrope", "mrope_section": [3, 3, 2]},
        "vision_config": {
            "depth": 5,
            "hidden_size": 48,
            "intermediate_size": 100,
            "num_heads": 2,
            "out_hidden_size": 80,
            "window_size": 56,
            "fullatt_block_indexes": [2, 4],
        },
    },
    # As many key heads as heads, wide heads, windows of 84 pixels, one layer that sees all.
    "wide": {
        "hidden_size": 256,
        "intermediate_size": 352,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "vocab_size": 1024,
        "rope_scaling": {"type": "mrope", "mrope_section": [8, 12, 12]},
        "vision_config": {
            "depth": 3,
            "hidden_size": 160,
            "intermediate_size": 228,
            "num_heads": 2,
            "out_hidden_size": 256,
            "window_size": 84,
            "fullatt_block_indexes": [0],
        },
    },
    # Three heads to a key head, no layer of the tower that sees all.
    "windows": {
        "hidden_size": 144,
        "intermediate_size": 200,
        "num_hidden_layers": 5,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 1056,
        "rope_scaling": {"type": "mrope", "mrope_section": [4, 2, 2]},
        "vision_config": {
            "depth": 2,
            "hidden_size": 96,
            "intermediate_size": 130,
            "num_heads": 6,
            "out_hidden_size": 144,
            "window_size": 140,
            "fullatt_block_indexes": [],
        },
    },
    # Heads of 12, one layer of each kind, the smallest vocabulary that holds the special tokens.
    "narrow": {
        "hidden_size": 60,
        "intermediate_size": 66,
        "num_hidden_layers": 1,
        "num_attention_heads": 5,
        "num_key_value_heads": 5,
        "rope_theta": 500000.0,
        "vocab_size": 1015,
        "rope_scaling": {"type": "mrope", "mrope_section": [1, 2, 3]},
        "vision_config": {
            "depth": 1,
            "hidden_size": 36,
            "intermediate_size": 50,
            "num_heads": 3,
            "out_hidden_size": 60,
            "window_size": 112,
            "fullatt_block_indexes": [0],
        },
    },
}

MARGIN = 5e-4
STEPS = 5
PAD, END = 1000, 1002


def merged(base, change):
    """`base` with the values of `change`, tables within tables."""
    out = dict(base)
    for key, value in change.items():
        out[key] = merged(base[key], value) if isinstance(value, dict) else value
    return out


def released(name):
    """A parameter's name in the released layout."""
    return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")


def drawn(config, seed, attention="eager"):
    """A model with weights of unit gain, 1 / sqrt(inputs), an embedding between that and 1, biases of 0.1, norms around 1."""
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration._from_config(
        Qwen2_5_VLConfig(**config), attn_implementation=attention, dtype=torch.float32
    )
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            if parameter.dim() == 1:
                parameter.normal_(1.0 if "norm" in name or "ln_q" in name else 0.0, 0.1)
            else:
                wide = config["hidden_size"] ** 0.5 if "embed_tokens" in name else parameter[0].numel()
                parameter.normal_(0.0, wide**-0.5)
    return model.eval()


def checkpoint(model, config, like, out):
    """The weights in two shards with an index, and the files of `like`."""
    os.makedirs(out)
    for name in os.listdir(like):
        if name.endswith(".json") and "index" not in name:
            shutil.copyfile(f"{like}/{name}", f"{out}/{name}")
    with open(f"{out}/config.json", "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2)
    tensors = {released(name): value.detach().clone() for name, value in model.named_parameters()}
    names = sorted(tensors)
    half = len(names) // 2
    index = {"metadata": {"total_size": sum(4 * tensor.numel() for tensor in tensors.values())}, "weight_map": {}}
    for i, part in enumerate((names[:half], names[half:])):
        shard = f"model-0000{i + 1}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, f"{out}/{shard}", metadata={"format": "pt"})
        index["weight_map"].update(dict.fromkeys(part, shard))
    with open(f"{out}/model.safetensors.index.json", "w", encoding="utf-8") as file:
        json.dump(index, file, indent=2)


def picture(name, draw, path):
    """A smooth picture of a size drawn anew with noise on it; grey or transparent where its name says so."""
    width, height = (int(draw.integers(40, 200)) for _ in range(2))
    if "rocket" in name:
        width, height = width // 3 + 20, height + 100
    y, x = numpy.mgrid[0:height, 0:width]
    channels = 1 if "gray" in name else 4 if "rgba" in name else 3
    waves = [
        127 + 100 * numpy.sin(x * draw.uniform(0.02, 0.3) + y * draw.uniform(0.02, 0.3) + draw.uniform(0, 6))
        for _ in range(channels)
    ]
    pixels = numpy.stack(waves, -1) + draw.normal(0, 12, (height, width, channels))
    Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8).squeeze()).save(path)


class Reference:
    def __init__(self, model, folder):
        self.model = model
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.slow = Qwen2VLImageProcessor.from_pretrained(folder)
        self.fast = Qwen2VLImageProcessorFast.from_pretrained(folder)
        self.margin = float("inf")

    def encoded(self, unexpanded, images):
        """Prompt, ids and pictures of a chat."""
        tensors, prompt = {}, unexpanded
        if images:
            pictures = [Image.open(path).convert("RGB") for path in images]
            slow, fast = (it(pictures, return_tensors="pt") for it in (self.slow, self.fast))
            tensors = {
                "pixel_values": slow["pixel_values"],
                "pixel_values_torchvision": fast["pixel_values"],
                "image_grid_thw": slow["image_grid_thw"],
            }
            parts = unexpanded.split("<|image_pad|>")
            features = (slow["image_grid_thw"].prod(-1) // self.slow.merge_size**2).tolist()
            assert len(features) == len(parts) - 1, "as many pictures as places"
            prompt = parts[0] + "".join(
                "<|image_pad|>" * n + part for n, part in zip(features, parts[1:], strict=True)
            )
        ids = self.tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        return prompt, ids, tensors

    def case(self, answer, images):
        """What the reference says of a chat: an entry of `cases.json`, and its tensors."""
        prompt, ids, tensors = self.encoded(answer["prompt_unexpanded"], images)
        grids = tensors.get("image_grid_thw")
        pictures = {key: tensors[key] for key in ("pixel_values", "image_grid_thw") if tensors}
        with torch.no_grad():
            positions, delta = self.model.model.get_rope_index(ids, grids, None, attention_mask=torch.ones_like(ids))
            out = self.model(
                input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True, **pictures
            )
            tensors |= {f"hidden_{i}": hidden[0] for i, hidden in enumerate(out.hidden_states)}
            tensors |= {"input_ids": ids[0], "position_ids": positions[:, 0], "logits": out.logits[0]}
            if pictures:
                tensors["vision_embeds"] = self.model.model.visual(tensors["pixel_values"], grid_thw=grids)
            best = out.logits[0].topk(2).values
            greedy, margin = self.greedy(ids, pictures, 1.0)
            penalised, other = self.greedy(ids, pictures, 1.05)
        self.margin = min(self.margin, margin, other)
        entry = answer | {
            "prompt": prompt,
            "n_tokens": ids.shape[1],
            "rope_delta": int(delta),
            "greedy": greedy,
            "greedy_margin_min": margin,
            "greedy_text": self.tokenizer.decode(greedy, skip_special_tokens=False),
            "greedy_repetition_penalty_1_05": penalised,
            "top1_margin_min": (best[:, 0] - best[:, 1]).min().item(),
        }
        return entry, {name: tensor.contiguous().clone() for name, tensor in tensors.items()}

    def greedy(self, ids, pictures, penalty):
        """48 greedy tokens with the stop ids suppressed, and the smallest gap between the two best."""
        out = self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **pictures,
            do_sample=False,
            min_new_tokens=48,
            max_new_tokens=48,
            repetition_penalty=penalty,
            eos_token_id=[END, PAD],
            pad_token_id=PAD,
            output_scores=True,
            return_dict_in_generate=True,
        )
        best = torch.stack(out.scores)[:, 0].topk(2).values
        return out.sequences[0, ids.shape[1] :].tolist(), (best[:, 0] - best[:, 1]).min().item()

    def train(self, rows, tensors):
        """Five steps of AdamW on a padded batch of three rows: entries of `train.json`, and its tensors."""
        batch = []
        for row in rows:
            start = tensors[row["case"]]["input_ids"]
            answer = self.tokenizer(row["answer"] + "<|im_end|>\n", add_special_tokens=False, return_tensors="pt")
            batch.append((start, answer["input_ids"][0]))
        longest = max(len(start) + len(answer) for start, answer in batch)
        ids = torch.full((len(batch), longest), PAD)
        labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
        for i, (start, answer) in enumerate(batch):
            end = len(start) + len(answer)
            ids[i, :end] = torch.cat([start, answer])
            labels[i, len(start) : end] = answer
            mask[i, :end] = 1
        with_pictures = [tensors[row["case"]] for row in rows if "pixel_values" in tensors[row["case"]]]
        pixels, grids = (torch.cat([one[key] for one in with_pictures]) for key in ("pixel_values", "image_grid_thw"))
        out = {"input_ids": ids, "labels": labels, "attention_mask": mask, "pixel_values": pixels, "image_grid_thw": grids}
        targets = labels[:, 1:]
        counted = targets >= 0
        self.model.train()
        parameters = dict(self.model.named_parameters())
        optimizer = torch.optim.AdamW(parameters.values(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
        losses, norms, each = [], [], {}
        for step in range(STEPS):
            optimizer.zero_grad()
            logits = self.model(
                input_ids=ids, attention_mask=mask, pixel_values=pixels, image_grid_thw=grids
            ).logits
            logprobs = torch.log_softmax(logits[:, :-1], -1).gather(-1, ids[:, 1:, None])[..., 0]
            loss = -logprobs[counted].sum() / counted.sum()
            loss.backward()
            losses.append(loss.item())
            norms.append(torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0).item())
            if step == 0:
                out["logprobs_step0"] = logprobs.detach().clone()
                each = {released(name): parameter.grad.norm().item() for name, parameter in parameters.items()}
                stored = sampled(self.model.config)
                chosen = [name for name in parameters if released(name) in stored]
                out |= {f"grad_step0.{released(name)}": parameters[name].grad.clone() for name in chosen}
            optimizer.step()
        out |= {f"param_step5.{released(name)}": parameters[name].detach().clone() for name in chosen}
        return {"losses": losses, "grad_norms": norms, "grad_norm_per_param_step0": each}, out


def spread(one, two):
    """How far two runs of the reference are apart: losses and log-probabilities at most, the rest relative to its norm."""
    (answers, batch), (others, other) = one, two

    def relative(prefix):
        names = [name for name in batch if name.startswith(prefix)]
        return max(((batch[name] - other[name]).norm() / batch[name].norm()).item() for name in names)

    counted = batch["labels"][:, 1:] >= 0
    apart = (batch["logprobs_step0"] - other["logprobs_step0"])[counted].abs().max().item()
    worst = max((batch[name] - other[name]).abs().max().item() for name in batch if name.startswith("param_"))
    return {
        "losses": max(abs(a - b) for a, b in zip(answers["losses"], others["losses"], strict=True)),
        "logprobs": apart,
        "grads": relative("grad_"),
        "parameters": relative("param_"),
        "parameter_max": worst,
    }


def sampled(config):
    """Parameters whose gradients are stored whole: some of every kind."""
    text, vision = config.text_config, config.vision_config
    names = ["model.embed_tokens.weight", "model.norm.weight", "visual.patch_embed.proj.weight"]
    names += [f"visual.merger.{name}" for name in ("ln_q.weight", "mlp.0.weight", "mlp.0.bias", "mlp.2.weight", "mlp.2.bias")]
    for i in range(text.num_hidden_layers):
        names += [f"model.layers.{i}.{name}.weight" for name in ("input_layernorm", "post_attention_layernorm")]
    last = text.num_hidden_layers - 1
    names += [f"model.layers.0.self_attn.q_proj.{kind}" for kind in ("weight", "bias")]
    names += [f"model.layers.{last}.mlp.down_proj.weight", f"model.layers.{last}.self_attn.v_proj.bias"]
    names += [f"visual.blocks.{vision.depth - 1}.mlp.gate_proj.{kind}" for kind in ("weight", "bias")]
    names.append("visual.blocks.0.attn.qkv.weight")
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--like", required=True, help="a set: its chats, tokenizer, `grpo` and `images` are taken")
    parser.add_argument("--shape", required=True, choices=sorted(SHAPES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True, help="a new folder")
    options = parser.parse_args()
    old, new = (f"{folder}/tiny-qwen2_5_vl" for folder in (options.like, options.out))
    os.makedirs(options.out)
    for folder in ("grpo", "images"):
        shutil.copytree(f"{options.like}/{folder}", f"{options.out}/{folder}")
    with open(f"{old}/checkpoint/config.json", encoding="utf-8") as file:
        config = merged(json.load(file), SHAPES[options.shape])
    model = drawn(config, options.seed)
    checkpoint(model, config, f"{old}/checkpoint", f"{new}/checkpoint")

    with open(f"{old}/cases.json", encoding="utf-8") as file:
        known = json.load(file)
    known["reference"] = f"transformers, torch {torch.__version__}, float32, eager attention, CPU"
    known["padded_vocab"] = config["vocab_size"]
    draw = numpy.random.default_rng(options.seed)
    os.makedirs(f"{new}/images")
    for name in sorted({image for case in known["cases"].values() for image in case["images"]}):
        picture(name, draw, f"{new}/images/{name}")
    reference, tensors = Reference(model, f"{new}/checkpoint"), {}
    for name, answer in known["cases"].items():
        images = [f"{new}/images/{image}" for image in answer["images"]]
        known["cases"][name], tensors[name] = reference.case(answer, images)
        save_file(tensors[name], f"{new}/{name}.safetensors")
    if reference.margin < MARGIN:
        shutil.rmtree(options.out)
        sys.exit(f"seed {options.seed}: the two best logits of a greedy run are {reference.margin:.1e} apart; take another")
    with open(f"{old}/train.json", encoding="utf-8") as file:
        training = json.load(file)
    answers, batch = reference.train(training["rows"], tensors)
    other = Reference(drawn(config, options.seed, "sdpa"), f"{new}/checkpoint")
    answers["reference_spread_sdpa_against_eager"] = spread((answers, batch), other.train(training["rows"], tensors))
    save_file(batch, f"{new}/train.safetensors")
    for name, content in (("cases", known), ("train", training | answers)):
        with open(f"{new}/{name}.json", "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, ensure_ascii=False)
    spread_of = answers["reference_spread_sdpa_against_eager"]
    print(json.dumps({"shape": options.shape, "seed": options.seed, "margin": reference.margin, "spread": spread_of}))


main()
