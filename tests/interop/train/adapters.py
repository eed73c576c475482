"""Adapters of `trainer export --adapter` in PEFT: the same logits; then adapters that PEFT makes, with its logits.

    python adapters.py CHECKPOINT CASES.safetensors OURS THEIRS

CASES is as in roundtrip.py, its logits computed with the adapters in OURS. Exits with 1 where logits differ by more than
1e-4 of the largest. THEIRS gets what PEFT's `save_pretrained` writes of random adapters, and `logits.safetensors`, the
logits with them, `NAME` [1, T, V].
"""

import json
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import Qwen2_5_VLForConditionalGeneration


def base(checkpoint):
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager"
    )


def logits(model, tensors, name):
    ids = tensors[f"{name}/ids"]
    pictures = {}
    if f"{name}/grids" in tensors:
        pictures = {"pixel_values": tensors[f"{name}/pixel_values"], "image_grid_thw": tensors[f"{name}/grids"]}
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids), **pictures).logits


def main():
    checkpoint, cases, ours, theirs = sys.argv[1:5]
    tensors = load_file(cases)
    names = sorted({key.split("/")[0] for key in tensors})
    assert names, "no cases"
    plain = base(checkpoint).eval()
    before = {name: logits(plain, tensors, name) for name in names}
    model = PeftModel.from_pretrained(plain, ours).eval()
    errors = {}
    for name in names:
        want = tensors[f"{name}/logits"]
        got = logits(model, tensors, name)
        errors[name] = (got - want).abs().max().item()
        assert errors[name] <= 1e-4 * max(1.0, want.abs().max().item()), f"{name}: off by {errors[name]}"
        assert (got - before[name]).abs().max().item() > 1e-3, f"{name}: the adapters do not show"

    torch.manual_seed(5)
    config = LoraConfig(r=6, lora_alpha=24, target_modules=["q_proj", "down_proj", "qkv", "lm_head"])
    made = get_peft_model(base(checkpoint), config).eval()
    for name, parameter in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    made.save_pretrained(theirs)
    save_file({name: logits(made, tensors, name).contiguous() for name in names}, f"{theirs}/logits.safetensors")
    print(json.dumps(errors))


main()
