"""An export of `trainer export` in transformers: the same logits; then saved by transformers, to be loaded back.

    python roundtrip.py EXPORT CASES.safetensors OUT

CASES holds, for each NAME: `NAME/ids` [1, T], `NAME/logits` [1, T, V], and with pictures `NAME/pixel_values` and
`NAME/grids`. Exits with 1 where logits differ by more than 1e-4 of the largest. OUT gets what `save_pretrained` writes.
"""

import json
import sys

import torch
from safetensors.torch import load_file
from transformers import Qwen2_5_VLForConditionalGeneration


def main():
    export, cases, out = sys.argv[1:4]
    model, report = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        export, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    wrong = {key: sorted(value) for key, value in report.items() if value}
    assert not wrong, wrong
    model.eval()
    tensors = load_file(cases)
    errors = {}
    for name in sorted({key.split("/")[0] for key in tensors}):
        ids = tensors[f"{name}/ids"]
        pictures = {}
        if f"{name}/grids" in tensors:
            pictures = {
                "pixel_values": tensors[f"{name}/pixel_values"],
                "image_grid_thw": tensors[f"{name}/grids"],
            }
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **pictures).logits
        want = tensors[f"{name}/logits"]
        error = (logits - want).abs().max().item()
        errors[name] = error
        assert error <= 1e-4 * max(1.0, want.abs().max().item()), f"{name}: off by {error}"
    assert errors, "no cases"
    model.save_pretrained(out)
    print(json.dumps(errors))


main()
