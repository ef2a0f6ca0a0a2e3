#!/usr/bin/env python3
"""Chat encoding against LLaMA-Factory and transformers: writes tests/golden/chat.jsonl.

    python tests/reference/chat.py LLAMA_FACTORY_SOURCE    (the folder that holds src/llamafactory)

Conversations go through LLaMA-Factory's own template qwen2_vl and its Qwen2VLPlugin; the grids, which it would
compute from pixels, are given. Rows with "visuals_first" are what transformers makes of a content list of
visuals and a text: the text of Qwen2.5-VL's chat template, tokenized whole.
Pinned: transformers 4.57.6; LLaMA-Factory at any commit whose data/template.py has qwen2_vl.
"""
import importlib.machinery
import json
import os
import random
import sys
import types

import torch
from transformers import Qwen2TokenizerFast

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
GOLDEN = os.path.join(ROOT, "tests", "golden")
ABSENT = ("torchaudio", "torchcodec", "datasets", "peft", "peft.utils", "trl", "omegaconf")  # imported, not used here


class Absent(types.ModuleType):
    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def load_template(source):
    """LLaMA-Factory's data.template without the rest of it."""
    base = os.path.join(source, "src", "llamafactory")
    for name in ABSENT:
        if importlib.util.find_spec(name.split(".")[0]) is None or "." in name and name not in sys.modules:
            sys.modules[name] = Absent(name)
            sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)
    for name, path in (("llamafactory", base), ("llamafactory.data", base + "/data"),
                       ("llamafactory.extras", base + "/extras")):
        module = types.ModuleType(name)
        module.__path__ = [path]
        sys.modules[name] = module
    from llamafactory.data import template
    return template.TEMPLATES["qwen2_vl"]


def grids(rng, count):
    return [(rng.randint(1, 3), 2 * rng.randint(1, 3), 2 * rng.randint(1, 3)) for _ in range(count)]


def pads(grid):
    return grid[0] * grid[1] * grid[2] // 4


def conversation(rng):
    """Messages with marks in them, and how many images and videos they want."""
    words = ["What is in <video>?", "<video>", "<image> and <image>", "two: <video><video>", "plain", "\n\nlines\n", "  ",
             "e\u0301<image>\u0301", "<|im_end|>", "<|im_start|>user", "\u4f60\u597d", "<vide", "o>", "its text prompt: 'a cat'",
             "<think>", "\U0001F3AC", "'s<image>'s", "{x}", "<imag<video>e>"]
    turns = []
    for i in range(rng.choice([1, 1, 2, 2, 4, 6])):
        text = " ".join(rng.choice(words) for _ in range(rng.randint(0, 4)))
        if i % 2:
            text = rng.choice(["\n<think>\n", "", " "]) + text.replace("<video>", "").replace("<image>", "") + rng.choice(["\n", ""])
        turns.append({"role": "assistant" if i % 2 else "user", "content": text})
    system = rng.choice([None, None, "", "Judge the <video>.\n"])
    return system, turns


def encode_pairs(template, tokenizer, system, turns, image_grids, video_grids):
    """[(ids of the prompt, ids of the answer)] of each exchange; the last answer is None when there is none."""
    plugin = template.mm_plugin
    metadata = {"image_grid_thw": torch.tensor(image_grids), "video_grid_thw": torch.tensor(video_grids)}
    plugin._get_mm_token_metadata = lambda *_: metadata
    processor = types.SimpleNamespace(image_processor=types.SimpleNamespace(merge_size=2))
    processor.video_processor = processor.image_processor
    messages = plugin.process_messages(turns, [0] * len(image_grids), [0] * len(video_grids), [], processor)
    open_end = len(messages) % 2 == 1
    if open_end:
        messages.append({"role": "assistant", "content": ""})
    pairs = template.encode_multiturn(tokenizer, messages, system)
    return pairs[:-1] + [(pairs[-1][0], None)] if open_end else pairs


def row_of_llama_factory(rng, template, tokenizer):
    system, turns = conversation(rng)
    images, videos = (grids(rng, sum(turn["content"].count(mark) for turn in turns)) for mark in ("<image>", "<video>"))
    ids, answers = [], []
    for prompt, answer in encode_pairs(template, tokenizer, system, turns, images, videos):
        ids += prompt
        if answer is not None:
            answers.append([len(ids), len(ids) + len(answer)])
            ids += answer
    messages = [["system", system]] if system is not None else []
    messages += [[turn["role"], turn["content"]] for turn in turns]
    return {"messages": messages, "images": [pads(g) for g in images], "videos": [pads(g) for g in videos],
            "visuals_first": False, "ids": ids, "answers": answers}


def row_of_transformers(rng, tokenizer):
    text = conversation(rng)[1][0]["content"]
    images, videos = [pads(g) for g in grids(rng, rng.randint(0, 1))], [pads(g) for g in grids(rng, rng.randint(1, 2))]
    visuals = "".join("<|vision_start|>%s<|vision_end|>" % (pad * count)
                      for pad, counts in (("<|image_pad|>", images), ("<|video_pad|>", videos)) for count in counts)
    whole = ("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n" + visuals + text +
             "<|im_end|>\n<|im_start|>assistant\n")
    return {"messages": [["user", text]], "images": images, "videos": videos, "visuals_first": True,
            "ids": tokenizer.encode(whole, add_special_tokens=False), "answers": []}


def main(source):
    template = load_template(source)
    tokenizer = Qwen2TokenizerFast.from_pretrained(os.path.join(GOLDEN, "tokenizer"))
    rng = random.Random(4)
    rows = [row_of_llama_factory(rng, template, tokenizer) for _ in range(100)]
    rows += [row_of_transformers(rng, tokenizer) for _ in range(30)]
    with open(os.path.join(GOLDEN, "chat.jsonl"), "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
