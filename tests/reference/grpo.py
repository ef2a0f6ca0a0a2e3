#!/usr/bin/env python3
"""Training steps of GRPO by PyTorch and transformers, from recorded rollouts: makes tests/golden/grpo/SHAPE/.

    python tests/reference/grpo.py [--check] [FOLDER]
    python tests/reference/grpo.py --live build/tests/grpo_test_parity [--seed N]

The options are those of gradients.py.

The published way: every completion is a sequence of its own with the prompt and the video before it. Rollouts are
recorded, three steps of two problems with G completions each, so that nothing is drawn. A case is three optimizer
steps from a checkpoint of tests/golden/model under the settings that it is kept with, in the keys of vs2-train;
num_iterations 2 trains on the first two problems twice. Loss by token and weights are those of grpo_math.py, which
are TRL's and Video-R1's; AdamW, its groups, the schedule and clipping are torch's and transformers' own. In f32.

Kept are what is logged of each step, the advantages, the log-probabilities when a completion is trained on first (the
sum over its tokens), and what three steps did to the weights, as sft.py keeps it.
"""

import argparse
import copy
import json
import pathlib
import random
import sys
import tempfile
from collections import defaultdict

import torch
from transformers import Trainer, get_scheduler

import gradients
import grpo_math
import model as reference
import sft
from pipeline import CHAT, frames_llamafactory, frames_qwen

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "tests" / "golden" / "grpo"
VIDEOS = ROOT / "tests" / "golden" / "video"
STEPS = 3
STOP = "<|im_end|>"
DIMENSIONS = ("visual quality", "text-to-video alignment", "physical/common-sense consistency")

PROBLEMS = [("1", "A red ball rolls.", "bframes.mp4"), ("2", "Two trees.", "uneven.mp4"),
            ("trees-3", "Three trees.", "odd444.mp4"), ("4", "A cat.", "odd.avi")]
# step, problem, [(what was said, reward, whether it came to an end)]
ROLLOUTS = [
    (1, "1", [("\n<think>\nSharp.\n</think>\n\n(1) visual quality: 4", 1.2, True), ("Four, three, five", 0.0, True),
              ("(1) visual quality: 3\n(2) text-to-video alignment: 3", 0.7, True), ("No", 0.1, False)]),
    (1, "trees-3", [("Three.", 0.4, True), ("I see no trees, and the light is", 0.1, False),
                    ("\n<think>\nTwo only.\n</think>\n\n(2) text-to-video alignment: 2", 0.9, True), ("5", 0.0, True)]),
    (2, "2", [("Two trees, both green.", 0.7, True), ("Two trees; one flickers.", 0.7, True), ("Green", 0.7, True),
              ("", 0.7, True)]),
    (2, "4", [("A cat: visual quality: 5", 1.0, True), ("It is a dog.", 0.0, True), ("A cat, très calme.", 1.2, True),
              ("(3) physical/common-sense consistency: 1\n(3) physical", 0.0, False)]),
    (3, "1", [("The ball is red.", 1.0, True), ("It rolls over the grass, and the shadow stays.", 0.4, True),
              ("red", 0.0, True), ("visual quality: 2", 0.1, True)]),
    (3, "2", [("One tree.", 0.0, True), ("Two trees", 1.0, False), ("two", 0.4, True), ("Trees: 2.", 0.9, True)]),
]

# AdamW's first steps are the signs of gradients, however small; with the usual epsilon rounding decides many of them, and
# three steps tell little of the gradients. So it is larger than usual in all cases but the published one.
COMMON = dict(
    bf16=False, per_device_train_batch_size=1, gradient_accumulation_steps=2, learning_rate=1e-4, lr_scheduler_type="cosine",
    warmup_ratio=0.0, weight_decay=0.01, max_grad_norm=5.0, adam_epsilon=1e-5, loss_type="grpo", beta=0.04, epsilon=0.2,
    epsilon_high=0.2, scale_rewards="group", temperature=1.0, num_iterations=1, max_completion_length=128,
    frame_policy="llamafactory", video_maxlen=4, question_template="Rate it: {problem}", freeze_vision_tower=False,
    freeze_multi_modal_projector=False,
)
# By checkpoint and name: what is other than in COMMON.
CASES = {
    "untied": {
        # As published, also in the time positions of the training pass.
        "grpo": dict(frame_policy="qwen", max_pixels=589824, question_template=None, second_per_grid="unit",
                     adam_epsilon=1e-8),
        "dapo": dict(loss_type="dapo", beta=0.0, num_iterations=2, epsilon_high=0.28, entropy_coef=0.01,
                     freeze_vision_tower=True, freeze_multi_modal_projector=True),
        "cispo": dict(loss_type="cispo", epsilon_high=1.02, num_iterations=2, importance_sampling_cap=1.05),
    },
    "tied": {
        "grpo-again": dict(num_iterations=2, delta=1.15, epsilon_high=0.28, learning_rate=3e-5),
        "dr_grpo": dict(loss_type="dr_grpo", scale_rewards="none", mask_truncated_completions=True, temperature=0.8),
    },
    "square": {
        "bnpo": dict(loss_type="bnpo", beta=0.0, per_device_train_batch_size=2, gradient_accumulation_steps=1),
        "gspo": dict(loss_type="gspo", num_iterations=2, epsilon=0.03, epsilon_high=0.04, scale_rewards="batch",
                     mask_truncated_completions=True, learning_rate=2e-5),
    },
}


# ---- Data ------------------------------------------------------------------------------------------------------------

def rows():
    """The problems as published rows."""
    solution = "<answer>" + "; ".join(f"{name}: {score}" for name, score in zip(DIMENSIONS, (4, 3, 5))) + "</answer>"
    return [{"problem_id": name, "problem": problem, "data_type": "video", "problem_type": "video eval", "options": [],
             "solution": solution, "path": f"./{video}", "data_source": ""} for name, problem, video in PROBLEMS]


def question(problem, template):
    """The user's turn: by the template, or the published one of another problem with this one in its place."""
    if template:
        return template.replace("{problem}", problem)
    known = json.loads((GOLDEN / "rewards.json").read_text())["questions"]
    case = next(case for case in known if case["problem_type"] == "video eval")
    return problem + case["question"].removeprefix(case["problem"])


def record(pipeline):
    """The rollouts with their ids, and log-probabilities of the untrained model with a little noise."""
    generator = torch.Generator().manual_seed(1)
    prompts = make_prompts(pipeline, COMMON)
    stop = pipeline.tokenizer.convert_tokens_to_ids(STOP)
    lines = []
    for step, name, said in ROLLOUTS:
        for text, reward, ended in said:
            ids = pipeline.tokenizer.encode(text, add_special_tokens=False) + [stop] * ended
            with torch.no_grad():
                logprob, _ = values_of(pipeline.model, prompts[name], ids, 1.0)
            noise = 0.05 * torch.randn(len(ids), generator=generator)
            lines.append({"step": step, "problem_id": name, "completion_ids": ids, "reward": reward,
                          "logprobs": [round(float(x), 4) for x in logprob + noise]})
    return lines


# ---- A step ----------------------------------------------------------------------------------------------------------

def make_prompts(pipeline, settings):
    """Model inputs of every problem."""
    most = settings["video_maxlen"]
    processor, prompts = pipeline.processor, {}
    if "max_pixels" in settings:
        processor = copy.copy(processor)
        processor.size = {**processor.size, "longest_edge": settings["max_pixels"]}
    for row in rows():
        path = VIDEOS / row["path"]
        qwen = settings["frame_policy"] == "qwen"
        frames = frames_qwen(path, max_frames=most) if qwen else frames_llamafactory(path, max_frames=most)
        video = processor(videos=[frames.frames], return_tensors="pt")
        pads = int(video["video_grid_thw"].prod()) // 4
        chat = CHAT.format(question(row["problem"], settings["question_template"]))
        chat = chat.replace("<|video_pad|>", "<|video_pad|>" * pads, 1)
        seconds = 1.0 if settings.get("second_per_grid") == "unit" else frames.second_per_grid
        prompts[row["problem_id"]] = {
            "input_ids": pipeline.tokenizer(chat, return_tensors="pt")["input_ids"],
            "pixel_values_videos": video["pixel_values_videos"], "video_grid_thw": video["video_grid_thw"],
            "second_per_grid_ts": torch.tensor([seconds])}
    return prompts


def values_of(model, prompt, ids, temperature):
    """Log-probabilities and entropies of a completion's tokens."""
    start = prompt["input_ids"].shape[1]
    whole = {**prompt, "input_ids": torch.cat([prompt["input_ids"], torch.tensor([ids], dtype=torch.long)], dim=1)}
    logits = model(**whole).logits[0, start - 1 : -1].float() / temperature
    logp = torch.log_softmax(logits, -1)
    return logp.gather(1, whole["input_ids"][0, start:, None])[:, 0], -(logp.exp() * logp).sum(-1)


def open_optimizer(model, settings):
    decaying = set(Trainer.get_decay_parameter_names(None, model))
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    groups = [{"params": [p for n, p in trained.items() if n in decaying], "weight_decay": settings["weight_decay"]},
              {"params": [p for n, p in trained.items() if n not in decaying], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings["learning_rate"], betas=(0.9, 0.999), eps=settings["adam_epsilon"])
    return optimizer, get_scheduler(settings["lr_scheduler_type"], optimizer, 0, STEPS), list(trained.values())


def generate(lines, step, settings, policy, frozen, prompts, stop):
    """The groups of a recorded step with advantages, and what the old policy and the reference say of them."""
    groups = defaultdict(list)
    for line in lines:
        if line["step"] == step:
            groups[line["problem_id"]].append(line)
    compared = grpo_math.advantages(settings["scale_rewards"], [[line["reward"] for line in g] for g in groups.values()])
    made = []
    for (name, group), advantages in zip(groups.items(), compared["advantages"]):
        for line, advantage in zip(group, advantages):
            ids = line["completion_ids"]
            with torch.no_grad():
                old, _ = values_of(policy, prompts[name], ids, settings["temperature"])
                other, _ = values_of(frozen, prompts[name], ids, settings["temperature"])
            masked = settings.get("mask_truncated_completions", False) and ids[-1] != stop
            made.append({"problem": name, "ids": ids, "advantage": advantage, "masked": masked, "old_logprob": old,
                         "reference": other, "rollout": torch.tensor(line["logprobs"]), "logprob": ids})
    return made, compared


def loss_setting(settings):
    """In the words of grpo_math.py."""
    return {"epsilon": settings["epsilon"], "epsilon_high": settings["epsilon_high"], "delta": settings.get("delta", 0.0),
            "beta": settings["beta"], "sequence_level": settings["loss_type"] == "gspo",
            "entropy_coef": settings.get("entropy_coef", 0.0), "importance_cap": settings.get("importance_sampling_cap", 2.0),
            "max_completion_length": settings["max_completion_length"], "old": settings["num_iterations"] > 1,
            "rollout": "importance_sampling_cap" in settings}


def backward(model, generation, prompts, settings, seen):
    """Adds the gradients of a step; returns its loss and the sums of log-probabilities."""
    setting, total, sums = loss_setting(settings), 0.0, []
    groups = list(dict.fromkeys(s["problem"] for s in generation))
    batches = settings["gradient_accumulation_steps"]
    tokens = sum(len(s["ids"]) for s in generation if not s["masked"])
    for first in range(0, len(groups), settings["per_device_train_batch_size"]):
        names = groups[first : first + settings["per_device_train_batch_size"]]
        batch = [s for s in generation if s["problem"] in names]
        own = sum(len(s["ids"]) for s in batch if not s["masked"])
        about = {"micro_batches": batches, "rest_tokens": tokens - own}
        for s in batch:
            logprob, entropy = values_of(model, prompts[s["problem"]], s["ids"], settings["temperature"])
            sums.append(float(logprob.detach().double().sum()))
            if s["masked"]:
                continue
            values = {"logprob": logprob.double(), "entropy": entropy.double(),
                      **{key: s[key].double() for key in ("old_logprob", "reference", "rollout")}}
            weight = grpo_math.token_weight(settings["loss_type"], setting, about, batch, len(s["ids"]))
            loss = weight * grpo_math.sequence_loss(settings["loss_type"], setting, s["advantage"], values, seen).sum()
            loss = loss - setting["entropy_coef"] * values["entropy"].sum() / own / batches
            loss.backward()
            total += float(loss.detach())
    return total, sums


LOGGED = ("kl_completion", "entropy", "clip_low_mean", "clip_high_mean", "clip_region_mean", "correction_mean")


def run(pipeline, settings, lines):
    """Three steps: a record of each, and the parameters afterwards and before."""
    model, frozen = pipeline.model.train(), copy.deepcopy(pipeline.model)
    sft.freeze(model, {**{k: settings[k] for k in ("freeze_vision_tower", "freeze_multi_modal_projector")},
                       "freeze_language_model": False})
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer, schedule, trained = open_optimizer(model, settings)
    prompts, stop = make_prompts(pipeline, settings), pipeline.tokenizer.convert_tokens_to_ids(STOP)
    records, recorded = [], 0
    for step in range(STEPS):
        if step % settings["num_iterations"] == 0:
            recorded += 1
            generation, compared = generate(lines, recorded, settings, model, frozen, prompts, stop)
        seen = defaultdict(list)
        loss, sums = backward(model, generation, prompts, settings, seen)
        norm = float(torch.nn.utils.clip_grad_norm_(trained, settings["max_grad_norm"]))
        rate = schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        logged = grpo_math.statistics(seen, loss)
        records.append({"loss": loss, "grad_norm": norm, "lr": rate, **{key: logged[key] for key in LOGGED},
                        **{key: compared[key] for key in ("reward", "reward_std", "frac_reward_zero_std")},
                        "advantages": [s["advantage"] for s in generation], "logprob_sums": sums})
    return records, dict(model.named_parameters()), before


# ---- Files -----------------------------------------------------------------------------------------------------------

def write_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def make_case(checkpoint, pipeline, own, lines):
    settings = {**COMMON, **own}
    records, after, before = run(pipeline, settings, lines)
    steps = [grpo_math.short(step) for step in records]
    return {"checkpoint": checkpoint, "settings": {k: v for k, v in settings.items() if v is not None}, "steps": steps,
            "moves": sft.summary(sft.moves(after, before))}


def make_shape(shape, folder, models):
    """The rollouts and a file for each case of a checkpoint, from models/SHAPE."""
    load = lambda: sft.open_pipeline(models / shape.name, shape.name)
    lines = record(load())
    write_lines(folder.parent / "rows.jsonl", rows())
    write_lines(folder / "rollouts.jsonl", lines)
    for name, own in CASES[shape.name].items():
        made = make_case(shape.name, load(), own, lines)
        (folder / f"{name}.json").write_text(sft.golden_text(made))
        told = [", ".join(f"{key} {step[key]:.4g}" for key in ("loss", "kl_completion", "grad_norm")) for step in made["steps"]]
        print(f"  {name}: {'; '.join(told)}")


def differs(made, kept):
    """Whether two files say other things than what sums in another order do."""
    if made["settings"] != kept["settings"] or made["moves"].keys() != kept["moves"].keys():
        return True
    near = lambda a, b: abs(a - b) <= 2e-3 * abs(b) + 1e-5
    numbers = lambda step: [x for value in step.values() for x in (value if isinstance(value, list) else [value])]
    pairs = [pair for a, b in zip(made["steps"], kept["steps"]) for pair in zip(numbers(a), numbers(b), strict=True)]
    return not all(near(a, b) for a, b in pairs) or sft.summaries_apart(made["moves"], kept["moves"]) > 1e-2


def check(made, kept):
    """The exit code: whether all files of two folders agree."""
    wrong = [name for name in ("rows.jsonl", *(f"{shape}/rollouts.jsonl" for shape in CASES))
             if (made / name).read_text() != (kept / name).read_text()]
    for shape, cases in CASES.items():
        for name in cases:
            a, b = (json.loads((folder / shape / f"{name}.json").read_text()) for folder in (made, kept))
            if differs(a, b):
                wrong.append(f"{shape}/{name}.json")
    print("\n".join(f"{name}: differs" for name in wrong) or "grpo: all files agree")
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=GOLDEN)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--live", metavar="PROGRAM", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    torch.set_num_threads(2)
    if options.live:
        # The checkpoint that was just written lies beside the folder that its goldens go to.
        return gradients.live(options.live.resolve(), options.seed, "grpo",
                              lambda shape, folder: make_shape(shape, folder, folder.parent.parent / "model"))
    with tempfile.TemporaryDirectory() as scratch:
        target = pathlib.Path(scratch) if options.check else options.folder
        for shape in reference.SHAPES:
            make_shape(shape, target / shape.name, ROOT / "tests/golden/model")
        return check(target, options.folder) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
