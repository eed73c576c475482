"""Prefill and greedy decoding in transformers, for `cargo xtask bench decode`.

    python bench_decode.py CASES

CASES is JSON: a list of {"shape", "config", "context", "tokens"}, `config` being a `config.json`. Weights are random, in
bf16; on CUDA where it is there, else on the CPU. Prints one JSON object.
"""

import json
import sys
import time

import torch
import transformers
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

try:
    from transformers.initialization import no_init_weights
except ImportError:  # before version 5
    from transformers.modeling_utils import no_init_weights


def timed(run, device):
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def measure(case, device):
    config = Qwen2_5_VLConfig.from_dict(case["config"])
    with torch.device(device), no_init_weights():
        model = Qwen2_5_VLForConditionalGeneration._from_config(config).to(torch.bfloat16).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(0.01)
    model.generation_config.eos_token_id = None
    ids = torch.tensor([[i * 7 % 400 + 20 for i in range(case["context"])]], device=device)
    mask = torch.ones_like(ids)

    def generate(tokens):
        with torch.inference_mode():
            model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=0)

    generate(2)
    first = min(timed(lambda: generate(1), device) for _ in range(2))
    tokens = case["tokens"]
    whole = min(timed(lambda: generate(tokens + 1), device) for _ in range(2))
    return {
        "shape": case["shape"],
        "layers": case["config"]["num_hidden_layers"],
        "context": case["context"],
        "prefill_tokens_per_second": case["context"] / first,
        "decode_tokens_per_second": tokens / (whole - first),
    }


def main():
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = [measure(case, device) for case in json.loads(sys.argv[1])]
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    print(json.dumps({"device": name, "dtype": "bf16", "torch": torch.__version__, "transformers": transformers.__version__, "rows": rows}))


main()
