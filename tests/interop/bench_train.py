"""Training steps in PyTorch, for `cargo xtask bench train`.

    python bench_train.py CHECKPOINT BATCHES.safetensors THREADS [--device cuda] [--dtype bfloat16] [--rank R] [--recompute]

With --rank, PEFT's adapters on every map of the language model are trained in place of the weights; with a --dtype other than
float32, arithmetic has that type by autocast, beside float32 weights where they are trained. BATCHES holds, for each step N: `N/ids`, `N/labels`, `N/mask` [B, T], `N/grids` [pictures, 3], `N/pixels` [patches, values].
Prints one JSON object: per step the loss, seconds, tokens and peak memory, and the ten operations that take most time.
"""

import argparse
import json
import resource
import time

import torch
from safetensors.torch import load_file
from torch.profiler import ProfilerActivity, profile
from transformers import Qwen2_5_VLForConditionalGeneration


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("batches")
    parser.add_argument("threads", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rank", type=int)
    parser.add_argument("--recompute", action="store_true")
    return parser.parse_args()


def loaded(args):
    dtype = getattr(torch, args.dtype)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        args.checkpoint, dtype=dtype if args.rank else torch.float32
    ).to(args.device)
    if args.recompute:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if args.rank:
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=args.rank,
            lora_alpha=2 * args.rank,
            target_modules=r"model\.language_model\.layers\..*_proj",
        )
        model = get_peft_model(model, config)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    return model.train()


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    model = loaded(args)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    cuda = args.device.startswith("cuda")
    tensors = load_file(args.batches, device=args.device)
    count = len({key.split("/")[0] for key in tensors})

    def step(number):
        of = lambda name: tensors[f"{number}/{name}"]
        labels = of("labels")[:, 1:]
        dtype = getattr(torch, args.dtype)
        with torch.autocast(args.device, dtype, enabled=dtype != torch.float32):
            logits = model(
                input_ids=of("ids"),
                attention_mask=of("mask"),
                pixel_values=of("pixels"),
                image_grid_thw=of("grids"),
            ).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]).float(), labels.reshape(-1), ignore_index=-100
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
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
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as profiler:
        step(0)
    spent = lambda op: op.self_device_time_total if cuda else op.self_cpu_time_total
    operations = sorted(profiler.key_averages(), key=spent, reverse=True)[:10]
    total = sum(spent(op) for op in profiler.key_averages())
    dearest = [{"name": op.key, "calls": op.count, "share": spent(op) / total} for op in operations]
    print(json.dumps({"steps": steps, "operations": dearest}))


main()
