"""A checkpoint of `trainer init` in transformers: it loads whole, and answers as `trainer ask --json` did.

    trainer init --preset XS --tokenizer-from rows.jsonl --out xs
    trainer ask --checkpoint xs --image a.png --question '...' --json --max-new-tokens 8 --min-new-tokens 8 > ours.json
    python loads.py xs a.png ours.json

Prints one JSON object with the number of parameters; exits with 1 where anything differs.
"""

import json
import sys

import torch
from PIL import Image
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor


def main():
    checkpoint, image, ours = sys.argv[1:4]
    ours = json.load(open(ours, encoding="utf-8"))
    model, report = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        checkpoint, dtype=torch.float32, output_loading_info=True
    )
    wrong = {key: sorted(value) for key, value in report.items() if value and key != "error_msgs"}
    # A tied head is not stored.
    wrong["missing_keys"] = [key for key in wrong.get("missing_keys", []) if key != "lm_head.weight"]
    assert not any(wrong.values()), wrong

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    pixels = Qwen2VLImageProcessor.from_pretrained(checkpoint)(Image.open(image).convert("RGB"), return_tensors="pt")
    ids = torch.tensor([tokenizer(ours["prompt"], add_special_tokens=False)["input_ids"]])
    images = int((ids == model.config.image_token_id).sum())
    expected = int(pixels["image_grid_thw"].prod()) // 4
    assert images == expected, f"{images} image tokens, {expected} expected"

    wanted = ours["token_ids"]
    with torch.no_grad():
        greedy = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **pixels,
            do_sample=False,
            max_new_tokens=len(wanted),
            min_new_tokens=len(wanted),
            bad_words_ids=[[model.config.image_token_id], [model.config.video_token_id]],
        )[0, ids.shape[1] :].tolist()
    assert greedy == wanted, f"transformers {greedy}, trainer {wanted}"
    print(json.dumps({"parameters": sum(p.numel() for p in model.parameters()), "tokens": greedy}))


main()
