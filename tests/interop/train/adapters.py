"""Adapters of `trainer export --adapter` in PEFT: the same logits; then adapters that PEFT makes, with its logits.

    python adapters.py CHECKPOINT CASES.safetensors OURS THEIRS

CASES is as in roundtrip.py, its logits computed with the adapters in OURS. Exits with 1 where logits differ by more than
1e-4 of the largest. THEIRS gets a folder for each of ADAPTERS: what PEFT's `save_pretrained` writes of random matrices, and
`logits.safetensors`, the logits with them, `NAME` [1, T, V].
"""

import json
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import Qwen2_5_VLForConditionalGeneration

ADAPTERS = {
    # PEFT stores the adapted head's own weight besides, as `lm_head.base_layer.weight`.
    "head": {"r": 6, "lora_alpha": 24, "target_modules": ["q_proj", "down_proj", "lm_head"]},
    # Everything in the tower that PEFT can adapt, and the merger.
    "tower": {
        "r": 3,
        "lora_alpha": 5,
        "use_rslora": True,
        "target_modules": r"model\.visual\.(blocks\.\d+\.(attn\.(qkv|proj)|mlp\.\w+_proj)|merger\.mlp\.[02])",
    },
    "language": {
        "r": 4,
        "lora_alpha": 12,
        "use_rslora": True,
        "target_modules": "all-linear",
        "exclude_modules": r".*visual.*",
    },
    "patterns": {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj", "v_proj", "up_proj", "attn.proj"],
        "rank_pattern": {"layers.0.self_attn.q_proj": 7, "q_proj": 2, "^model.visual.blocks.0.attn.proj": 5},
        "alpha_pattern": {"up_proj": 20, "layers.1.self_attn.v_proj": 3},
    },
}


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
    for name, settings in ADAPTERS.items():
        made = get_peft_model(base(checkpoint), LoraConfig(**settings)).eval()
        for parameter, values in made.named_parameters():
            if "lora_B" in parameter:
                torch.nn.init.normal_(values, std=0.2)
        made.save_pretrained(f"{theirs}/{name}")
        with_it = {case: logits(made, tensors, case).contiguous() for case in names}
        save_file(with_it, f"{theirs}/{name}/logits.safetensors")
        # A fresh base with what was saved: the file says all there is to say.
        again = PeftModel.from_pretrained(base(checkpoint), f"{theirs}/{name}").eval()
        for case, want in with_it.items():
            assert torch.equal(logits(again, tensors, case), want), f"{name}, {case}: PEFT's own file gives other logits"
    print(json.dumps(errors))


main()
