#!/usr/bin/env python3
"""Supervised fine-tuning by transformers' own Trainer: makes tests/golden/trainer/, or compares vs2-train with it.

    python tests/reference/sft.py                         writes the golden values
    python tests/reference/sft.py --check                 makes them again and compares with the committed ones
    python tests/reference/sft.py --vs2-train PROGRAM     runs PROGRAM on the same work and compares, live

The data set is five conversations over clips of tests/golden/video. A run is 20 steps with the published loss
scaling: each micro-batch's own token mean (model_accepts_loss_kwargs is False, as LLaMA-Factory sets it for
models with a processor), then the mean over the micro-batches of a step. bf16 is autocast over f32 weights, as
the published ZeRO-3 run computes; its rate is low, because random weights are sharp and bf16 rounds them. How far
such a run lies from the same one in f32 is kept beside it ("noise"). Frames come from pipeline.py, in LLaMA-Factory's
way.

What training did to a weight is kept as the norm of the difference between its end and its beginning, and that
difference's projections on the signs of gradients.py: squares of the projections of what two runs differ in have the
square of its norm in the mean.
"""

import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
from accelerate.state import AcceleratorState
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainingArguments, set_seed

import checkpoints
import gradients
import model as goldens
from pipeline import Pipeline, frames_llamafactory

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "tests" / "golden" / "trainer"
VIDEOS = ROOT / "tests" / "golden" / "video"
STEPS = 20

ANSWER = (
    "\n<think>\n{}\n</think>\n\n(1) visual quality: {}\n(2) text-to-video alignment: {}\n"
    "(3) physical/common-sense consistency: {}\n"
)
ROWS = [
    ([("human", "<video>Judge it. its text prompt: a red ball."), ("gpt", ANSWER.format("The ball is sharp.", 4, 3, 5))],
     ["bframes.mp4"]),
    ([("human", "<video>Judge it. its text prompt: two trees."), ("gpt", ANSWER.format("It flickers; no trees.", 2, 1, 3))],
     ["uneven.mp4"]),
    ([("human", "What is it?<video>"), ("gpt", "A test."), ("human", "And the light?"), ("gpt", "Even, très calme.")],
     ["odd444.mp4"]),
    # Never alone in a step: PyTorch leaves out parameters without a gradient, where DeepSpeed, and we, have zeros.
    ([("human", "No video here."), ("gpt", "Then no scores.")], []),
    ([("human", "First <video> or second <video>?"), ("gpt", "The second.")], ["uneven.mp4", "odd444.mp4"]),
]

# name: checkpoint under tests/golden/model, and the settings that differ from COMMON.
COMMON = dict(
    per_device_train_batch_size=1, gradient_accumulation_steps=2, learning_rate=5e-5, lr_scheduler_type="cosine",
    warmup_ratio=0.1, weight_decay=0.0, max_grad_norm=1.0, bf16=False,
)
FROZEN = dict(freeze_vision_tower=True, freeze_multi_modal_projector=True, freeze_language_model=False)
OPEN = dict(freeze_vision_tower=False, freeze_multi_modal_projector=False, freeze_language_model=False)
BF16 = dict(bf16=True, learning_rate=1e-5)
CASES = {
    "published": ("untied", {}, FROZEN),
    "published-bf16": ("untied", BF16, FROZEN),
    "tied-published-bf16": ("tied", BF16, FROZEN),
    "open-bf16": ("untied", dict(BF16, weight_decay=0.01), OPEN),
    "tied-open-bf16": ("tied", dict(BF16, weight_decay=0.01), OPEN),
    "tied-open": ("tied", dict(weight_decay=0.01, max_grad_norm=5.0, lr_scheduler_type="linear", warmup_ratio=0.25), OPEN),
    "batches": ("square", dict(per_device_train_batch_size=2, lr_scheduler_type="constant_with_warmup"),
                dict(OPEN, freeze_vision_tower=True)),
    # Without the rows after the third: one of them gives PyTorch nothing to differentiate.
    "vision-only": ("untied", dict(lr_scheduler_type="constant"), dict(OPEN, freeze_language_model=True, max_samples=3)),
}


def open_pipeline(folder, checkpoint):
    """A folder in transformers, whose 4.57 cannot read rope_parameters: it gets the configuration."""
    shape = next(shape for shape in goldens.SHAPES if shape.name == checkpoint)
    tokens = checkpoints.Tokens.from_tokenizer(goldens.make_tokenizer(), goldens.VOCAB)
    config = checkpoints.make_config(shape, tokens) if shape.config_style == "parameters" else None
    return Pipeline(folder, torch.float32, config)


def encode(pipeline, turns, videos):
    """One row as LLaMA-Factory encodes it: each turn tokenized by itself, labels on the answers."""
    inputs, pads = {}, []
    if videos:
        frames = [frames_llamafactory(VIDEOS / name) for name in videos]
        made = [pipeline.processor(videos=[f.frames], return_tensors="pt") for f in frames]
        inputs["pixel_values_videos"] = torch.cat([m["pixel_values_videos"] for m in made])
        inputs["video_grid_thw"] = torch.cat([m["video_grid_thw"] for m in made])
        inputs["second_per_grid_ts"] = [f.second_per_grid for f in frames]
        pads = [int(m["video_grid_thw"].prod()) // 4 for m in made]
    ids, labels = [], []
    for number, (who, text) in enumerate(turns):
        while "<video>" in text:
            text = text.replace("<video>", f"<|vision_start|>{'<|video_pad|>' * pads.pop(0)}<|vision_end|>", 1)
        if who == "human":
            start = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" if number == 0 else ""
            text = f"{start}<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
        else:
            text += "<|im_end|>\n"
        tokens = pipeline.tokenizer.encode(text, add_special_tokens=False)
        ids += tokens
        labels += tokens if who == "gpt" else [-100] * len(tokens)
    return dict(inputs, input_ids=ids, labels=labels)


def collate(rows):
    """Right padding, as LLaMA-Factory's collator pads."""
    width = max(len(row["input_ids"]) for row in rows)
    batch = {
        "input_ids": torch.tensor([row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in rows]),
        "labels": torch.tensor([row["labels"] + [-100] * (width - len(row["labels"])) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(r["input_ids"]) + [0] * (width - len(r["input_ids"])) for r in rows]),
    }
    with_video = [row for row in rows if "pixel_values_videos" in row]
    for key in ("pixel_values_videos", "video_grid_thw"):
        if with_video:
            batch[key] = torch.cat([row[key] for row in with_video])
    if with_video:
        batch["second_per_grid_ts"] = torch.tensor(sum((row["second_per_grid_ts"] for row in with_video), []))
    return batch


class Recorder(Trainer):
    """The Trainer in the data's own order, with unrounded losses."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.model_accepts_loss_kwargs = False
        self.losses, self.records = [], []

    def _get_train_sampler(self, *_):
        return SequentialSampler(self.train_dataset)

    def training_step(self, *arguments, **options):
        loss = super().training_step(*arguments, **options)
        self.losses.append(float(loss))
        return loss

    def log(self, logs, *_, **__):
        if "grad_norm" in logs:
            self.records.append({"loss": sum(self.losses), "grad_norm": logs["grad_norm"], "lr": logs["learning_rate"]})
            self.losses = []


def freeze(model, frozen):
    for name, parameter in model.named_parameters():
        if "visual.merger" in name:
            key = "freeze_multi_modal_projector"
        elif "visual." in name:
            key = "freeze_vision_tower"
        else:
            key = "freeze_language_model"
        parameter.requires_grad_(not frozen[key])


def reference_run(checkpoint, settings, frozen):
    """20 steps: a record a step, the model's parameters afterwards and before, and the rows."""
    # TrainingArguments and accelerate remember bf16 from the run before.
    os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
    AcceleratorState._reset_state(reset_partial_state=True)
    set_seed(0)
    pipeline = open_pipeline(ROOT / "tests/golden/model" / checkpoint, checkpoint)
    model = pipeline.model.train()
    freeze(model, frozen)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    rows = [encode(pipeline, *row) for row in ROWS[: frozen.get("max_samples")]]
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch, max_steps=STEPS, logging_steps=1, save_strategy="no", report_to=[], use_cpu=True,
            disable_tqdm=True, optim="adamw_torch", remove_unused_columns=False, dataloader_num_workers=0, **settings,
        )
        trainer = Recorder(model, arguments, data_collator=collate, train_dataset=rows)
        trainer.train()
    return trainer.records, dict(model.named_parameters()), before, rows


def moves(after, before):
    """What training did to each parameter, under transformers' names."""
    return {name: (after[name].detach().double() - before[name].double()).flatten().numpy() for name in before}


def summary(moved):
    """Norm and projections of each move, to eight digits."""
    return {name: [float(f"{x:.8g}") for x in [numpy.linalg.norm(move), *(gradients.signs(len(move)) @ move)]]
            for name, move in moved.items()}


def summaries_apart(a, b):
    """|a - b| / |b| of the moves that two summaries are of, as their projections have it in the mean."""
    pairs = [(numpy.array(a[n]), numpy.array(b[n])) for n in b]
    return math.sqrt(sum(((x[1:] - y[1:]) ** 2).mean() for x, y in pairs) / sum(y[0] ** 2 for _, y in pairs))


def moves_apart(a, b):
    """|a - b| / |b| over all parameters together."""
    return math.sqrt(sum(((a[n] - b[n]) ** 2).sum() for n in b) / sum((b[n] ** 2).sum() for n in b))


def steps_apart(a, b, key):
    """The largest relative difference of two runs' records."""
    return max(relative(x[key], y[key]) for x, y in zip(a, b) if y[key] != 0)


def write_data(folder):
    """The data set in LLaMA-Factory's form."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"conversations": [{"from": who, "value": text} for who, text in turns], "videos": videos}
            for turns, videos in ROWS]
    (folder / "rows.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    info = {"golden": {"file_name": "rows.json", "formatting": "sharegpt",
                       "columns": {"messages": "conversations", "videos": "videos"}}}
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=1) + "\n")


def golden_text(made):
    """JSON with a line for each step and each weight."""
    text = lambda value: json.dumps(value, ensure_ascii=False)
    lines = [f'"{key}": {text(value)}' for key, value in made.items() if key not in ("steps", "moves")]
    lines.append('"steps": [\n' + ",\n".join(map(text, made["steps"])) + "\n]")
    moved = [f"{text(name)}: {text(values)}" for name, values in made["moves"].items()]
    lines.append('"moves": {\n' + ",\n".join(moved) + "\n}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def make_case(name):
    checkpoint, settings, frozen = CASES[name]
    settings = {**COMMON, **settings}
    records, after, before, rows = reference_run(checkpoint, settings, frozen)
    moved, noise = moves(after, before), {}
    if settings["bf16"]:
        exact, exact_after, _, _ = reference_run(checkpoint, dict(settings, bf16=False), frozen)
        noise = {"loss": steps_apart(records, exact, "loss"), "grad_norm": steps_apart(records, exact, "grad_norm"),
                 "moves": moves_apart(moved, moves(exact_after, before))}
        print(f"  {name}: the reference's bf16 lies from its f32 by", noise)
    return {
        "checkpoint": checkpoint,
        "settings": {**settings, **frozen},
        "noise": noise,
        "tokens": [len(row["input_ids"]) for row in rows],
        "labels": [sum(label != -100 for label in row["labels"]) for row in rows],
        "steps": records,
        "moves": summary(moved),
    }


def relative(ours, theirs):
    return abs(ours - theirs) / max(abs(theirs), 1e-12)


def agrees(name, made, kept):
    """Whether two goldens say the same, within what another machine may round differently: in bf16 within the
    reference's own noise."""
    fixed = ("checkpoint", "settings", "tokens", "labels")
    if any(made[key] != kept[key] for key in fixed) or made["moves"].keys() != kept["moves"].keys():
        print(f"  {name}: another case")
        return False
    apart = {key: steps_apart(made["steps"], kept["steps"], key) for key in ("loss", "grad_norm", "lr")}
    apart["moves"] = summaries_apart(made["moves"], kept["moves"])
    print(f"  {name}:", ", ".join(f"{key} {value:.1e}" for key, value in apart.items()), "apart")
    limits = {"loss": 2e-3, "grad_norm": 2e-3, "lr": 1e-9, "moves": 1e-2, **{k: 1.5 * v for k, v in kept["noise"].items()}}
    return all(apart[key] <= limits[key] for key in apart)


def yaml_lines(settings):
    return [f"{key}: {json.dumps(value)}" for key, value in settings.items()]


def compare_live(program, case, scratch):
    """Runs vs2-train on a case and prints the largest relative differences; returns what is out of bounds."""
    checkpoint, settings, frozen = CASES[case]
    settings = {**COMMON, **settings}
    data, out = scratch / "data", scratch / case
    write_data(data)
    config = scratch / f"{case}.yaml"
    lines = yaml_lines({
        "stage": "sft", "model_name_or_path": str(ROOT / "tests/golden/model" / checkpoint), "dataset": "golden",
        "dataset_dir": str(data), "media_dir": str(VIDEOS), "template": "qwen2_vl", "cutoff_len": 4096,
        "output_dir": str(out), "max_steps": STEPS, "logging_steps": 1, "disable_shuffling": True,
        "save_steps": STEPS, "save_dtype": "f32", "video_fps": 2.0, "video_maxlen": 10, "video_max_pixels": 691200, **settings, **frozen,
    })
    config.write_text("\n".join(lines) + "\n")
    done = subprocess.run([program, "--config", str(config)], capture_output=True, text=True)
    if done.returncode != 0:
        return [f"{case}: vs2-train failed: {done.stderr.strip()[-500:]}"]
    ours = [json.loads(line) for line in (out / "trainer_log.jsonl").read_text().splitlines()]
    ours = [line for line in ours if "loss" in line]
    steps, parameters, before, _ = reference_run(checkpoint, settings, frozen)
    limits = {"loss": 1e-2, "grad_norm": 0.1, "lr": 1e-6} if settings["bf16"] else {"loss": 1e-3, "grad_norm": 1e-3, "lr": 1e-6}
    wrong = [] if len(ours) == len(steps) else [f"{case}: {len(ours)} steps, not {len(steps)}"]
    first = relative(ours[0]["loss"], steps[0]["loss"])
    if not settings["bf16"] and first > 1e-4:
        wrong.append(f"{case}: loss of step 1 differs by {first:.2e}")
    for key, limit in limits.items():
        worst = steps_apart(ours, steps, key)
        print(f"  {case:16s} {key:10s} worst relative difference {worst:.2e}")
        if worst > limit:
            wrong.append(f"{case}: {key} differs by {worst:.2e}")
    wrong += compare_weights(case, out, parameters, before, 1.0 if settings["bf16"] else 1e-2)
    return wrong + continue_there(case, out, ours, settings)


def compare_weights(case, out, parameters, before, limit):
    """What training did to the weights of the saved folder, opened by transformers, against the reference's."""
    ours = moves(dict(open_pipeline(out, CASES[case][0]).model.named_parameters()), before)
    apart = moves_apart(ours, moves(parameters, before))
    print(f"  {case:16s} what training did to the weights differs by {apart:.2e} of its norm")
    return [f"{case}: what training did to the weights differs by {apart:.2e}"] if apart > limit else []


def continue_there(case, out, ours, settings):
    """The loss of the saved folder on the first row, computed by transformers, is no surprise."""
    pipeline = open_pipeline(out, CASES[case][0])
    losses = []
    with torch.no_grad():
        for row in ROWS:
            losses.append(float(pipeline.model(**collate([encode(pipeline, *row)])).loss))
    mean, last = sum(losses) / len(losses), [line["loss"] for line in ours[-3:]]
    print(f"  {case:16s} transformers on the saved folder: mean loss {mean:.4f}; last logged {last}")
    return [] if mean < max(line["loss"] for line in ours) else [f"{case}: the saved folder has a loss of {mean:.4f}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--vs2-train")
    parser.add_argument("--case", action="append", choices=list(CASES))
    options = parser.parse_args()
    torch.set_num_threads(2)
    cases = options.case or list(CASES)
    if options.vs2_train:
        with tempfile.TemporaryDirectory() as scratch:
            wrong = sum((compare_live(options.vs2_train, case, pathlib.Path(scratch)) for case in cases), [])
        print("\n".join(wrong) or f"sft: {len(cases)} runs agree")
        return 1 if wrong else 0
    if not options.check:
        write_data(GOLDEN)
    wrong = 0
    for case in cases:
        made, path = make_case(case), GOLDEN / f"{case}.json"
        if options.check:
            wrong += not agrees(case, made, json.loads(path.read_text()))
        else:
            path.write_text(golden_text(made))
            print(f"  {path.name}: loss {made['steps'][0]['loss']:.4f} -> {made['steps'][-1]['loss']:.4f}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
