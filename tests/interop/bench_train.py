"""Training steps in PyTorch, for `cargo xtask bench train`.

    python bench_train.py CHECKPOINT BATCHES.safetensors THREADS

BATCHES holds, for each step N: `N/ids`, `N/labels`, `N/mask` [B, T], `N/grids` [pictures, 3], `N/pixels` [patches, values].
Prints one JSON object: per step the loss, seconds, tokens and peak memory, and the ten operations that take most time.
"""

import json
import resource
import sys
import time

import torch
from safetensors.torch import load_file
from torch.profiler import ProfilerActivity, profile
from transformers import Qwen2_5_VLForConditionalGeneration


def main():
    checkpoint, batches, threads = sys.argv[1:4]
    torch.set_num_threads(int(threads))
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    tensors = load_file(batches)
    count = len({key.split("/")[0] for key in tensors})

    def step(number):
        of = lambda name: tensors[f"{number}/{name}"]
        labels = of("labels")[:, 1:]
        logits = model(
            input_ids=of("ids"),
            attention_mask=of("mask"),
            pixel_values=of("pixels"),
            image_grid_thw=of("grids"),
        ).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=-100
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    steps = []
    for number in range(count):
        started = time.perf_counter()
        loss = step(number)
        steps.append(
            {
                "loss": loss,
                "seconds": time.perf_counter() - started,
                "tokens": int(tensors[f"{number}/mask"].sum()),
                "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
        )
    # After the steps that count: profiling slows them down.
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step(0)
    operations = sorted(profiler.key_averages(), key=lambda op: -op.self_cpu_time_total)[:10]
    total = sum(op.self_cpu_time_total for op in profiler.key_averages())
    dearest = [
        {"name": op.key, "calls": op.count, "share": op.self_cpu_time_total / total} for op in operations
    ]
    print(json.dumps({"steps": steps, "operations": dearest}))


main()
