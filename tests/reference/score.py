#!/usr/bin/env python3
"""Makes tests/golden/score/: a tiny checkpoint taught to answer, and what transformers writes with it.

    python tests/reference/score.py [--check] [--steps N]

expected.json holds, for each case, the clip, the prompt and the options of vs2-score, and its frames, prompt ids,
greedy completion ids, text and scores. --check compares the committed checkpoint's answers with transformers again
and writes nothing. Clips are those of tests/golden/video.
"""

import argparse
import json
import pathlib
import random
import shutil
import sys
import time

import torch

import checkpoints
from checkpoints import Shape, Tokens
from pipeline import POLICIES, Pipeline

TESTS = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = TESTS / "golden" / "score"
TOKENIZER = TESTS / "golden" / "model" / "tied"
CLIPS = TESTS / "golden" / "video"
SHAPE = Shape("score", 64, 2, 4, 2, 160, [2, 3, 3], True, 32, 2, 2, 40, [1], "nested", True, 1, "bf16", logit_gain=4.0)
TEMPLATE = "\nJudge this video. Its text prompt:\n{prompt}\nThink, then answer.\n"
PROMPTS = ["A red ball rolls.", "猫 jumps très haut 🎬"]
ANSWER = (
    "\n<think>\nThe light is even. visual quality: 1?\n</think>\n\n(1) visual quality: {v}\n"
    "(2) text-to-video alignment: {t}\n(3) physical/common-sense consistency: {p}\n<|im_end|>"
)
DIGITS = [  # shares of 1 to 5, for each prompt
    {"v": (0, 0.05, 0.2, 0.65, 0.1), "t": (0.1, 0.1, 0.6, 0.2, 0), "p": (0, 0, 0.05, 0.15, 0.8)},
    {"v": (0.1, 0.65, 0.2, 0.05, 0), "t": (0, 0, 0.1, 0.3, 0.6), "p": (0.7, 0.2, 0.1, 0, 0)},
]
CASES = [
    ("bframes.mp4", 0, "llamafactory", 1.05),
    ("bframes.mp4", 1, "llamafactory", 1.0),
    ("bframes.mp4", 0, "qwen", 1.0),
    ("odd444.mp4", 0, "llamafactory", 1.0),
    ("tenbit.mp4", 1, "qwen", 1.05),
]
MIN_GAP = 0.02  # between the best and the second best logit of every greedy step
LETTERS = "vtp"


def read_published(pipeline, ids, scores):
    """Scores as published, read from the answer block: this text's rationale quotes a score of its own."""
    text = pipeline.tokenizer.decode(ids)
    end = text.rfind("</think>")
    skip = next(i for i in range(len(ids)) if len(pipeline.tokenizer.decode(ids[: i + 1])) >= end)
    return pipeline.scores(ids[skip:], scores[skip:])


def make_prompts(pipeline):
    """Model inputs of every case, by (clip, prompt, policy)."""
    return {
        case[:3]: (frames := POLICIES[case[2]](str(CLIPS / case[0])),
                   pipeline.prepare(frames, TEMPLATE.format(prompt=PROMPTS[case[1]])))
        for case in CASES
    }


def teach(pipeline, steps):
    """Teaches the language layers to answer each case's prompt, digits drawn from DIGITS; f32, Adam."""
    rng, model = random.Random(0), pipeline.model
    words = [case[1] for case in CASES]
    prompts = [inputs for _, inputs in make_prompts(pipeline).values()]
    parameters = list(model.model.language_model.layers.parameters())
    model.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    with torch.no_grad():
        features = [model.model.get_video_features(p["pixel_values_videos"], p["video_grid_thw"])[0] for p in prompts]
    optimizer = torch.optim.Adam(parameters, lr=3e-3)
    start = time.time()
    for step in range(steps):
        inputs, feature = prompts[step % len(prompts)], features[step % len(prompts)]
        digits = {k: rng.choices("12345", weights)[0] for k, weights in DIGITS[words[step % len(words)]].items()}
        answer = pipeline.tokenizer(ANSWER.format(**digits), return_tensors="pt")["input_ids"]
        ids = torch.cat([inputs["input_ids"], answer], 1)
        positions, _ = model.model.get_rope_index(
            ids, None, inputs["video_grid_thw"], inputs["second_per_grid_ts"]
        )
        embeds = model.get_input_embeddings()(ids)
        mask = (ids == model.config.video_token_id)[..., None].expand_as(embeds)
        hidden = model.model.language_model(
            inputs_embeds=embeds.masked_scatter(mask, feature), position_ids=positions
        )[0][0, -answer.shape[1] - 1 : -1]
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden), answer[0])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / steps)
        if step % 50 == 0:
            print(f"step {step}, loss {loss.item():.3f}, {time.time() - start:.0f} s", flush=True)


def make_checkpoint(folder, steps):
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, folder)
    (folder / "query_template.txt").write_text(TEMPLATE)
    vocab = json.loads((folder / "tokenizer.json").read_text())
    special = {token["content"]: token["id"] for token in vocab["added_tokens"]}
    names = "endoftext im_start im_end vision_start vision_end vision_pad image_pad video_pad".split()
    tokens = Tokens(300, *[special[f"<|{name}|>"] for name in names])
    checkpoints.write_checkpoint(folder, SHAPE, tokens, checkpoints.random_state(SHAPE, tokens))
    pipeline = Pipeline(folder, torch.float32)
    teach(pipeline, steps)
    state = {name: p.detach().to(torch.bfloat16).clone() for name, p in pipeline.model.named_parameters()}
    checkpoints.write_checkpoint(folder, SHAPE, tokens, state)


def expected(folder):
    """What transformers makes of every case, in f32."""
    pipeline = Pipeline(folder, torch.float32)
    prompts = make_prompts(pipeline)
    rows = []
    for clip, prompt, policy, penalty in CASES:
        frames, inputs = prompts[clip, prompt, policy]
        ids, scores = pipeline.greedy(inputs, 256, repetition_penalty=penalty)
        top = scores.topk(2).values
        gap = float((top[:, 0] - top[:, 1]).min())
        text = pipeline.tokenizer.decode(ids, skip_special_tokens=True)
        print(f"{clip} {policy} {penalty}: {len(ids)} tokens, smallest gap {gap:.3f}: {text!r}")
        assert gap > MIN_GAP, "a near tie: the greedy text is not safe to compare"
        read = read_published(pipeline, ids, scores)
        row = {
            "clip": clip, "prompt": PROMPTS[prompt], "policy": policy, "repetition_penalty": penalty,
            "frames": frames.indices, "prompt_ids": inputs["input_ids"][0].tolist(), "completion_ids": ids,
            "output": text,
        }
        for letter in LETTERS:
            for key, value in read[letter].items():
                row[f"{letter}_{key}"] = round(value, 4)
        rows.append(row)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed files, write nothing")
    parser.add_argument("--steps", type=int, default=400)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    if not arguments.check:
        make_checkpoint(GOLDEN, arguments.steps)
    rows = expected(GOLDEN)
    text = "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n"
    if not arguments.check:
        (GOLDEN / "expected.json").write_text(text)
    elif (GOLDEN / "expected.json").read_text() != text:
        sys.exit("expected.json differs from what transformers gives now")


if __name__ == "__main__":
    main()
