#!/usr/bin/env python3
"""Compares vs2-score with transformers end to end, on fresh random checkpoints and videos.

    python tests/reference/live.py --vs2-score build/vs2-score [--clip VIDEO ...] [--seed N]

Three shapes with the full vocabulary, each once with random weights and once trained for a moment to write an
answer, so that there are scores to compare. In f32 everything must agree: frame indices, prompt length, the
greedy token ids, the scores. bf16 is reported beside how far transformers' own bf16 is from its f32.
"""

import argparse
import dataclasses
import importlib.util
import json
import math
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

import av
import numpy as np
import torch

import checkpoints
import tokenizer as vocabulary
from checkpoints import Shape, Tokens
from pipeline import CHAT, POLICIES, Pipeline

TEMPLATE = (
    "You judge a generated video in three dimensions:\n(1) visual quality\n(2) text-to-video alignment\n"
    "(3) physical/common-sense consistency\nIts text prompt is: {prompt}\nThink, then answer.\n"
)
PROMPT = "A red ball rolls past two trees — 猫 watches, très calme 🎬"
ANSWER = (
    "\n<think>\nThe ball {verb} and the light is {light}; nothing is torn.\n</think>\n\n"
    "(1) visual quality: {v}\n(2) text-to-video alignment: {t}\n(3) physical/common-sense consistency: {p}\n<|im_end|>"
)
DIGITS = {"v": (0, 0.05, 0.25, 0.6, 0.1), "t": (0.1, 0.2, 0.4, 0.2, 0.1), "p": (0, 0, 0.1, 0.3, 0.6)}
SCORE_TOLERANCE = 2e-4  # scores are rounded to four decimals

SHAPES = [
    Shape("flat-tied-bf16", 96, 3, 6, 2, 160, [2, 3, 3], True, 80, 4, 4, 96, [1, 3], "published", False, 1, "bf16"),
    Shape("parameters-untied-f16", 64, 2, 2, 1, 120, [4, 6, 6], False, 48, 3, 3, 64, [2], "parameters", True, 4, "f16"),
    Shape("nested-untied-f32", 80, 2, 4, 4, 96, [2, 4, 4], False, 40, 2, 4, 56, [0, 3], "nested", True, 2, "f32",
          rms_epsilon=1e-5, tokens_per_second=4),
]


TIE = 5e-4  # two greedy scores nearer than this may fall either way in f32


class Report:
    """Counts checks and prints those that fail."""

    def __init__(self):
        self.passed = self.failed = self.ties = 0

    def check(self, what, ours, theirs, same=None):
        if same is None:
            same = ours == theirs
        if same:
            self.passed += 1
        else:
            self.failed += 1
            print(f"    DIFFERS {what}:\n      vs2          {str(ours)[:300]}\n      transformers {str(theirs)[:300]}")
        return same


def render_clip(path, seed):
    """A short clip of moving shapes over a texture, in an odd size."""
    rng = np.random.default_rng(seed)
    width, height, rate, count = 218, 162, 24, int(rng.integers(70, 90))
    y, x = np.mgrid[0:height, 0:width]
    base = rng.uniform(0, 60, (height, width, 3)) + 80 + 60 * np.sin(x / rng.uniform(9, 30))[..., None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for k in range(count):
            frame = base.copy()
            frame[(x - 20 - 2 * k) ** 2 + (y - 80 - 40 * math.sin(k / 9)) ** 2 < 400] = (230, 40, 30)
            frame[20 : 20 + k, 150:190] = (30, 90, 220)
            image = av.VideoFrame.from_ndarray(np.clip(frame, 0, 255).astype(np.uint8), format="rgb24")
            for packet in stream.encode(image):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def full_tokenizer(folder):
    """tokenizer.json with the whole Qwen vocabulary, from the file that qwen-agent ships."""
    package = pathlib.Path(importlib.util.find_spec("qwen_agent").origin).parent
    vocab, merges = vocabulary.full_vocabulary(package / "utils" / "qwen.tiktoken")
    vocabulary.save_json(str(folder), vocab, merges, pretty=False)
    config = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
              "bos_token": None, "unk_token": None, "clean_up_tokenization_spaces": False, "model_max_length": 131072}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def run_program(program, folder, policy, template, *options):
    """vs2-score's results, a parsed JSON object a line."""
    command = [program, "--model", folder, "--template", template, "--frame-policy", policy, "--format", "json",
               "--token-ids", *options]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"vs2-score failed: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def run_score(program, folder, clip, policy, template, *options):
    return run_program(program, folder, policy, template, "--video", clip, "--prompt", PROMPT, *options)[0]


def tie(ours, ids, scores):
    """Where two greedy texts part at scores too near to call, that place; else None."""
    place = next((i for i, (a, b) in enumerate(zip(ours, ids)) if a != b), None)
    if place is None or float(scores[place, ids[place]] - scores[place, ours[place]]) > TIE:
        return None
    return place


def agreement(a, b):
    """Length of the common beginning over the longer length."""
    same = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    return same / max(len(a), len(b), 1)


def compare_clip(report, arguments, folder, template, models, clip, policy, new_tokens):
    """One checkpoint, clip and policy in f32; the agreement of bf16 is printed."""
    reference = models["f32"]
    frames = POLICIES[policy](clip)
    inputs = reference.prepare(frames, TEMPLATE.format(prompt=PROMPT))
    ids, scores = reference.greedy(inputs, new_tokens)
    fixed = ("--temperature", 0, "--max-new-tokens", new_tokens)
    ours = run_score(arguments.vs2_score, folder, clip, policy, template, "--dtype", "f32", *fixed)
    name = f"{folder.name} {clip.name} {policy}"
    report.check(f"{name} frames", ours["frames"], frames.indices)
    report.check(f"{name} prompt tokens", ours["prompt_tokens"], inputs["input_ids"].shape[1])
    if "prompt_ids" in ours:
        report.check(f"{name} prompt ids", ours["prompt_ids"], inputs["input_ids"][0].tolist())
    place = tie(ours["completion_ids"], ids, scores)
    if place is not None:
        report.ties += 1
        print(f"  {clip.name} {policy}: a tie at new token {place}; compared up to there")
        report.check(f"{name} token ids", ours["completion_ids"][:place], ids[:place])
        return
    report.check(f"{name} token ids", ours["completion_ids"], ids)
    wanted = reference.tokenizer.decode(ids, skip_special_tokens=True)
    report.check(f"{name} text", ours["output"], wanted)
    values = reference.scores(ids, scores)
    for letter, value in values.items():
        for key in ("hard_score", "normed_score", "expected_score", "confidence"):
            got = ours.get(f"{letter}_{key}")
            if value is None:
                report.check(f"{name} {letter}_{key}", got, None)
            else:
                near = got is not None and abs(got - value[key]) <= SCORE_TOLERANCE
                report.check(f"{name} {letter}_{key}", got, value[key], near)
    half = models["bf16"]
    ids16, _ = half.greedy({**inputs, "pixel_values_videos": inputs["pixel_values_videos"].bfloat16()}, new_tokens)
    ours16 = run_score(arguments.vs2_score, folder, clip, policy, template, "--dtype", "bf16", *fixed)
    half_agrees = agreement(ours16["completion_ids"], ids16), agreement(ids16, ids)
    print(f"  {clip.name} {policy}: {inputs['input_ids'].shape[1]} prompt tokens, {len(ids)} new, scores "
          + " ".join(f"{k}={'-' if v is None else round(v['expected_score'], 4)}" for k, v in values.items())
          + f"; bf16 equal up to {half_agrees[0]:.0%} of the text (transformers' bf16 to its own f32: {half_agrees[1]:.0%})")


def compare_many(report, arguments, folder, template, model, clips, new_tokens):
    """Several videos and prompts in one run, which are generated for together."""
    rows, wanted = [], []
    for prompt in (PROMPT, "Waves.", PROMPT + " It is dusk, and the shadows are long."):
        for clip in clips:
            inputs = model.prepare(POLICIES["llamafactory"](clip), TEMPLATE.format(prompt=prompt))
            rows.append({"video": str(clip), "prompt": prompt})
            wanted.append(model.greedy(inputs, new_tokens))
    listed = folder / "rows.jsonl"
    listed.write_text("".join(json.dumps(row) + "\n" for row in rows))
    results = run_program(arguments.vs2_score, folder, "llamafactory", template, "--input", listed, "--dtype", "f32",
                          "--temperature", 0, "--max-new-tokens", new_tokens)
    report.check(f"{folder.name} number of results", len(results), len(rows))
    for number, (ours, (ids, scores)) in enumerate(zip(results, wanted), 1):
        place = tie(ours["completion_ids"], ids, scores)
        report.ties += place is not None
        report.check(f"{folder.name} row {number} of many", ours["completion_ids"][:place], ids[:place])
    print(f"  {len(rows)} rows in one run")


def compare_samples(report, arguments, folder, template, model, clip, count):
    """The first digits of many samples against the probabilities of the model: a sampler that draws right."""
    frames = POLICIES["llamafactory"](clip)
    inputs = model.prepare(frames, TEMPLATE.format(prompt=PROMPT))
    ours = run_score(arguments.vs2_score, folder, clip, "llamafactory", template, "--dtype", "f32", "--num-samples",
                     count, "--temperature", 1.0, "--top-k", 0, "--top-p", 1.0, "--repetition-penalty", 1.0,
                     "--max-new-tokens", 90, "--seed", arguments.seed % 2**31)
    samples = [s["completion_ids"] for s in ours["samples"]]
    # The first token that differs among samples: group samples by the text before it and compare frequencies.
    groups = {}
    for ids in samples:
        for k in range(len(ids)):
            groups.setdefault(tuple(ids[:k]), []).append(ids[k])
    worst, tested = 0.0, 0
    for prefix, chosen in sorted(groups.items(), key=lambda item: -len(item[1]))[:60]:
        if len(chosen) < count / 4:
            continue
        extra = torch.tensor([list(prefix)], dtype=torch.long)
        full = {**inputs, "input_ids": torch.cat([inputs["input_ids"], extra], 1)}
        full["attention_mask"] = torch.ones_like(full["input_ids"])
        with torch.no_grad():
            p = torch.softmax(model.model(**full, logits_to_keep=1).logits[0, -1].double(), 0)
        for token in set(chosen) | {int(p.argmax())}:
            n, q = len(chosen), float(p[token])
            deviation = abs(chosen.count(token) - n * q) / math.sqrt(n * q * (1 - q) + 1)
            worst, tested = max(worst, deviation), tested + 1
    report.check(f"{folder.name} sampled frequencies", f"{worst:.1f} standard deviations off", "< 5", worst < 5)
    print(f"  {count} samples on one prompt: {tested} frequencies, the worst {worst:.1f} standard deviations off; "
          f"{len({tuple(s) for s in samples})} distinct texts")


def train(pipeline, clip, seed, steps):
    """Teaches the language model to answer the prompt, with digits drawn from DIGITS; f32, Adam."""
    rng, model = random.Random(seed), pipeline.model
    prompts = [pipeline.prepare(POLICIES[p](clip), TEMPLATE.format(prompt=PROMPT)) for p in POLICIES]
    with torch.no_grad():
        features = [model.model.get_video_features(p["pixel_values_videos"], p["video_grid_thw"])[0] for p in prompts]
    parameters = list(model.model.language_model.layers.parameters())
    model.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(parameters, lr=3e-3)
    start = time.time()
    for step in range(steps):
        which = step % len(prompts)
        digits = {k: rng.choices("12345", weights)[0] for k, weights in DIGITS.items()}
        words = {"verb": rng.choice(["rolls", "spins", "jumps"]), "light": rng.choice(["even", "soft"])}
        answer = pipeline.tokenizer(ANSWER.format(**digits, **words), return_tensors="pt")["input_ids"]
        ids = torch.cat([prompts[which]["input_ids"], answer], 1)
        positions, _ = model.model.get_rope_index(
            ids, None, prompts[which]["video_grid_thw"], prompts[which]["second_per_grid_ts"]
        )
        embeds = model.get_input_embeddings()(ids)
        mask = (ids == model.config.video_token_id)[..., None].expand_as(embeds)
        hidden = model.model.language_model(
            inputs_embeds=embeds.masked_scatter(mask, features[which]), position_ids=positions
        )[0][0, -answer.shape[1] - 1 : -1]
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden), answer[0])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / steps)
    print(f"  trained {steps} steps in {time.time() - start:.0f} s, loss {loss.item():.3f}")


def answers(pipeline, clip):
    """Whether the greedy text holds scores, in both policies."""
    for policy in POLICIES.values():
        ids, scores = pipeline.greedy(pipeline.prepare(policy(clip), TEMPLATE.format(prompt=PROMPT)), 120)
        if None in pipeline.scores(ids, scores).values():
            return False
    return True


def load_both(folder, shape, tokens):
    """The folder in transformers, in f32 and bf16. Its 4.57 cannot read rope_parameters: gets the config."""
    config = checkpoints.make_config(shape, tokens) if shape.config_style == "parameters" else None
    return {name: Pipeline(folder, checkpoints.TYPES[name], config) for name in ("f32", "bf16")}


def compare_shape(report, arguments, shape, work, tokenizer_files, template, clips):
    folder = work / shape.name
    folder.mkdir()
    for file in tokenizer_files:
        shutil.copy(file, folder)
    full = vocabulary.Qwen2TokenizerFast.from_pretrained(folder)
    tokens = Tokens.from_tokenizer(full, 151936 if shape.tied else 152064)
    state = checkpoints.random_state(shape, tokens)
    checkpoints.write_checkpoint(folder, shape, tokens, state)
    print(f"{shape.name}, random weights:")
    models = load_both(folder, shape, tokens)
    for clip in clips:
        for policy in POLICIES:
            compare_clip(report, arguments, folder, template, models, clip, policy, arguments.new_tokens)
    compare_many(report, arguments, folder, template, models["f32"], clips, arguments.new_tokens)
    print(f"{shape.name}, trained to answer:")
    for round_number in range(4):
        train(models["f32"], clips[0], arguments.seed + round_number, arguments.steps)
        if answers(models["f32"], clips[0]):
            break
    stored = checkpoints.TYPES[shape.stored]
    state = {name: p.detach().to(stored).clone() for name, p in models["f32"].model.named_parameters()}
    checkpoints.write_checkpoint(folder, shape, tokens, state)
    models = load_both(folder, shape, tokens)
    report.check(f"{folder.name} learnt to answer", answers(models["f32"], clips[0]), True)
    for policy in POLICIES:
        compare_clip(report, arguments, folder, template, models, clips[0], policy, 120)
    compare_samples(report, arguments, folder, template, models["f32"], clips[0], arguments.samples)
    shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vs2-score", required=True, type=pathlib.Path, help="the program")
    parser.add_argument("--clip", action="append", default=[], type=pathlib.Path, help="a video to compare on as well")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--new-tokens", type=int, default=64, help="tokens of the random checkpoints' texts")
    parser.add_argument("--steps", type=int, default=120, help="training steps")
    parser.add_argument("--samples", type=int, default=64, help="samples on one prompt")
    parser.add_argument("--shape", action="append", choices=[s.name for s in SHAPES], help="only these (default: all)")
    parser.add_argument("--work", type=pathlib.Path, help="folder for the checkpoints (default: a temporary one)")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(arguments.seed)
    print(f"seed {arguments.seed}")
    report = Report()
    with tempfile.TemporaryDirectory(dir=arguments.work) as name:
        work = pathlib.Path(name)
        clip, template = work / "rendered.mp4", work / "template.txt"
        render_clip(clip, arguments.seed)
        template.write_text(TEMPLATE)
        full_tokenizer(work)
        files = [work / "tokenizer.json", work / "tokenizer_config.json"]
        for number, shape in enumerate(SHAPES):
            if arguments.shape and shape.name not in arguments.shape:
                continue
            shape = dataclasses.replace(shape, seed=arguments.seed + number)
            compare_shape(report, arguments, shape, work, files, template, [clip, *arguments.clip])
    print(f"{report.passed} checks agree, {report.failed} differ; {report.ties} texts were cut at a tie")
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
