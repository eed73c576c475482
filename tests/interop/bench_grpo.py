"""Steps of TRL's GRPOTrainer, for `cargo xtask bench grpo`.

    python bench_grpo.py CHECKPOINT PROMPTS.jsonl SETTINGS.json

PROMPTS holds, for each prompt in the order of the run, `system`, `problem` and `image`, a file's path. Prints one JSON object:
per step the seconds of each phase, tokens sampled and trained on, and peak memory.
"""

import contextlib
import json
import resource
import sys
import time

import torch
from datasets import Dataset
from PIL import Image
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration, TrainerCallback
from trl import GRPOConfig, GRPOTrainer


class Timed(GRPOTrainer):
    """The trainer with a clock around sampling and around everything before the update."""

    def __init__(self, *args, **kwargs):
        self.seconds = {"rollout": 0.0, "before_update": 0.0}
        self.counts = {}
        super().__init__(*args, **kwargs)

    @contextlib.contextmanager
    def timed(self, phase):
        started = time.perf_counter()
        yield
        self.seconds[phase] += time.perf_counter() - started

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        with self.timed("rollout"):
            ids, logprobs = super()._generate_single_turn(prompt_ids, *args, **kwargs)
        sampled = sum(len(row) for row in ids)
        self.counts = {
            "prompt_tokens": [len(row) for row in prompt_ids],
            "sampled": sampled,
            "trained": sampled + sum(len(row) for row in prompt_ids),
        }
        return ids, logprobs

    def _generate_and_score_completions(self, inputs):
        with self.timed("before_update"):
            return super()._generate_and_score_completions(inputs)


class Clock(TrainerCallback):
    """Collects a step's figures."""

    def __init__(self):
        self.steps = []
        self.trainer = None

    def on_step_begin(self, *args, **kwargs):
        self.trainer.seconds = {"rollout": 0.0, "before_update": 0.0}
        self.started = time.perf_counter()

    def on_step_end(self, *args, **kwargs):
        whole = time.perf_counter() - self.started
        seconds = self.trainer.seconds
        self.steps.append(
            {
                "rollout": seconds["rollout"],
                "scoring": seconds["before_update"] - seconds["rollout"],
                "update": whole - seconds["before_update"],
                "step": whole,
                **self.trainer.counts,
                "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
        )


def main():
    checkpoint, prompts, settings = sys.argv[1:4]
    with open(settings) as file:
        settings = json.load(file)
    torch.set_num_threads(settings["threads"])
    with open(prompts) as file:
        rows = [json.loads(line) for line in file]
    data = Dataset.from_list(
        [
            {
                "prompt": [
                    {"role": "system", "content": row["system"]},
                    {"role": "user", "content": row["problem"]},
                ],
                "path": row["image"],
            }
            for row in rows
        ]
    )
    data = data.with_transform(
        lambda batch: {**batch, "images": [[Image.open(path).convert("RGB")] for path in batch["path"]]}
    )
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    # As in the recipe: the tower stays as it is, its merger is trained.
    model.visual.requires_grad_(False)
    model.visual.merger.requires_grad_(True)
    processor = AutoProcessor.from_pretrained(checkpoint)
    clock = Clock()
    trainer = Timed(
        model=model,
        processing_class=processor,
        # Any reward that differs within a group: only times are compared.
        reward_funcs=lambda completions, completion_ids, **rest: [-float(sum(ids)) for ids in completion_ids],
        train_dataset=data,
        callbacks=[clock],
        args=GRPOConfig(
            output_dir=settings["out"],
            per_device_train_batch_size=settings["prompts"] * settings["group"],
            num_generations=settings["group"],
            max_completion_length=settings["max_new_tokens"],
            max_steps=settings["steps"],
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            beta=0.0,
            loss_type="dapo",
            learning_rate=1e-5,
            lr_scheduler_type="constant",
            max_grad_norm=1.0,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            shuffle_dataset=False,
            remove_unused_columns=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            # A random model would sample placeholders of pictures that are not there.
            generation_kwargs={"suppress_tokens": settings["banned"]},
        ),
    )
    clock.trainer = trainer
    with contextlib.redirect_stdout(sys.stderr):
        trainer.train()
    print(json.dumps({"steps": clock.steps}))


main()
