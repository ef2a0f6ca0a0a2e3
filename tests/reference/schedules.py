"""Golden values of learning rates and lengths of runs: transformers' schedulers and Trainer.

tests/golden/schedules.json holds {"rates": [...], "runs": [...]}. A rate's object has the configuration's keys of the same
names, "steps" of the run, "rates" at the steps "at". A run's object has the keys that decide how many steps it takes,
"samples", and what came of it: "total", "warmup" and the intervals of logging. Usage: python tests/reference/schedules.py
(requirements.txt)
"""
import json
import tempfile
import types
from pathlib import Path

import torch
from transformers import Trainer, TrainingArguments, get_scheduler
from transformers.trainer_callback import TrainerState

SHAPES = [
    ("linear", {}), ("cosine", {}), ("constant", {}), ("constant_with_warmup", {}),
    ("cosine_with_min_lr", {"min_lr": 1e-6}), ("cosine_with_min_lr", {"min_lr_rate": 0.1}),
]
RUNS = [  # samples, batch, accumulation, epochs, max_steps, warmup_ratio, warmup_steps, logging_steps
    (27168, 1, 8, 2.0, -1, 0.1, 0, 5),
    (27168, 1, 64, 2.0, -1, 0.1, 0, 5),
    (1, 8, 8, 1.0, -1, 0.03, 0, 0.1),
    (100, 3, 4, 0.25, -1, 0.5, 0, 0.07),
    (100, 3, 4, 2.5, -1, 0.07, 3, 0.5),
    (100, 1, 1, 1e-6, -1, 1.0, 0, 0.999),
    (100, 1, 1, 3.0, 17, 0.1, 0, 1),
    (7, 2, 3, 1.1, -1, 0.0, 5, 1000),
]


def rates(name, extra, rate, steps, warmup):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=rate)
    scheduler = get_scheduler(name, optimizer, warmup, steps, scheduler_specific_kwargs=extra)
    every = max(1, steps // 12)
    at, values = [], []
    for step in range(steps):
        if step % every == 0 or abs(step - warmup) <= 1 or step == steps - 1:
            at.append(step)
            values.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return {"lr_scheduler_type": name, **extra, "learning_rate": rate, "steps": steps, "warmup_steps": warmup, "at": at,
            "rates": values}


def run(folder, samples, batch, accumulation, epochs, max_steps, ratio, warmup, logging):
    keys = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation, "num_train_epochs": epochs,
            "max_steps": max_steps, "warmup_ratio": ratio, "warmup_steps": warmup, "logging_steps": logging}
    arguments = TrainingArguments(output_dir=folder, report_to=[], use_cpu=True, **keys)
    loader = torch.utils.data.DataLoader(range(samples), batch_size=batch)
    trainer = types.SimpleNamespace(num_examples=lambda loader: len(loader.dataset))
    total = Trainer.set_initial_training_values(trainer, arguments, loader, batch * accumulation)[6]
    state = TrainerState()
    state.compute_steps(arguments, total)
    return {**keys, "samples": samples, "total": total, "warmup": arguments.get_warmup_steps(total),
            "logging_interval": int(state.logging_steps)}


def main():
    shapes = [(5e-5, 3396, 340), (1e-3, 10, 0), (2e-6, 7, 3), (1.0, 3, 8), (3e-4, 1, 0)]
    golden = {"rates": [rates(name, extra, *shape) for name, extra in SHAPES for shape in shapes
                        if shape[0] > extra.get("min_lr", 0)]}
    with tempfile.TemporaryDirectory() as folder:
        golden["runs"] = [run(folder, *values) for values in RUNS]
    path = Path(__file__).resolve().parent.parent / "golden" / "schedules.json"
    lines = [f' "{name}": [\n' + ",\n".join("  " + json.dumps(row) for row in rows) + "\n ]" for name, rows in golden.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
