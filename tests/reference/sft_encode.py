#!/usr/bin/env python3
"""Samples of SFT against LLaMA-Factory: writes tests/golden/sft/.

    python tests/reference/sft_encode.py LLAMA_FACTORY_SOURCE    (the folder that holds src/llamafactory)

Rows of every kind that is read (sharegpt, its OpenAI spelling, alpaca; one or several turns, videos and images)
go through LLaMA-Factory's own converter, its Qwen2VLPlugin with the videos of tests/golden/video, and its
supervised data processor, at cutoff lengths that cut in every way. Packing and infer_seqlen come from there too.
Pinned: transformers 4.57.6; LLaMA-Factory at any commit with data/processor/supervised.py.
"""
import json
import os
import random
import sys
import types
from collections import defaultdict

from transformers import Qwen2TokenizerFast, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

import chat

OUT = os.path.join(chat.GOLDEN, "sft")
MEDIA = os.path.join(chat.GOLDEN, "video")
VIDEOS = ["bframes.mp4", "short.mp4", "uneven.mp4", "vp9.webm", "tenbit.mp4"]
SETTINGS = {"video_fps": 2.0, "video_maxlen": 4, "video_max_pixels": 5000, "video_min_pixels": 256,
            "image_max_pixels": 4000, "image_min_pixels": 1024}
SIZE = {"shortest_edge": 3136, "longest_edge": 12845056}  # the published preprocessor_config.json
INFO = {
    "plain": {"file_name": "plain.json", "formatting": "sharegpt", "columns": {"messages": "conversations", "videos": "videos"}},
    "many": {"file_name": "many.jsonl", "formatting": "sharegpt",
             "columns": {"messages": "messages", "videos": "clips", "images": "pictures", "system": "rules"},
             "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
                      "system_tag": "system"}},
    "alpaca": {"file_name": "alpaca.json",
               "columns": {"prompt": "instruction", "query": "input", "response": "output", "system": "system",
                           "history": "history", "videos": "video"}},
}


def answer(rng):
    v, t, p = (rng.randint(1, 5) for _ in range(3))
    words = " ".join(rng.choice(["the", "ball", "jumps", "blurred", "edges", "matches", "text"]) for _ in range(rng.randint(3, 25)))
    return (f"\n<think>\n{words}\n</think>\n\n(1) visual quality: {v}\n(2) text-to-video alignment: {t}\n"
            f"(3) physical/common-sense consistency: {p}\n")


def question(rng, marks):
    prompt = rng.choice(["A cat \u732b jumps.", "two red balls", "a dog's {x}"])
    return "".join(marks) + rng.choice(["", "\n"]) + (f"Here is its text prompt: {prompt}\nBased on the video content and the "
                                                      "dimension definitions, judge." + " please" * rng.randint(0, 12))


def plain_rows(rng):
    return [{"conversations": [{"from": "human", "value": question(rng, ["<video>"])},
                               {"from": "gpt", "value": answer(rng)}],
             "videos": [rng.choice(VIDEOS)]} for _ in range(4)]


def many_rows(rng):
    rows = []
    for i in range(8):
        messages = [{"role": "system", "content": "Judge strictly.\n"}] if i % 3 == 1 else []
        for turn in range(1 + i % 3):
            marks = rng.choice([["<video>"], ["<video>", "<image>"], ["<image>"], ["<video> and <video>"], []])
            messages.append({"role": "user", "content": question(rng, marks)})
            messages.append({"role": "assistant", "content": rng.choice([answer(rng), "4", "<think>"])})
        text = "".join(m["content"] for m in messages)
        row = {"messages": messages, "clips": [rng.choice(VIDEOS) for _ in range(text.count("<video>"))],
               "pictures": ["stills/" + rng.choice(sorted(PICTURES)) for _ in range(text.count("<image>"))]}
        row["rules"] = "Be fair." if i % 2 else None
        rows.append(row)
    return rows


def alpaca_rows(rng):
    rows = [{"instruction": question(rng, ["<video>"]), "input": "", "output": answer(rng), "video": VIDEOS[0]},
            {"instruction": question(rng, []), "input": "<video> again", "output": "5", "video": [VIDEOS[1]],
             "history": [["hello", "hi"], ["what is this?", "a test"]], "system": "Short."},
            {"instruction": "", "input": "no video here", "output": answer(rng)}]
    return [{"history": None, "system": None, "video": None, **row} for row in rows]


PICTURES = [name for name in os.listdir(os.path.join(MEDIA, "stills")) if name.endswith((".jpg", ".png"))]


class Rule:
    """LLaMA-Factory's converter and supervised processor with fixed settings."""

    def __init__(self, source):
        self.template = chat.load_template(source)
        from llamafactory.data import converter, parser
        from llamafactory.data.processor import processor_utils, supervised
        self.converter, self.parser, self.utils, self.supervised = converter, parser, processor_utils, supervised
        self.tokenizer = Qwen2TokenizerFast.from_pretrained(os.path.join(chat.GOLDEN, "tokenizer"))
        self.tokenizer.pad_token = "<|endoftext|>"
        self.processor = types.SimpleNamespace(
            image_processor=Qwen2VLImageProcessor(size=SIZE), video_processor=Qwen2VLVideoProcessor(size=SIZE),
            model_input_names=["second_per_grid_ts"], **SETTINGS)

    def encode(self, entry, rows, **settings):
        """The processor's output for each row; None where it drops the row."""
        attribute = self.parser.DatasetAttr("file", dataset_name=entry["file_name"])
        attribute.join(entry)
        for tag in ("role_tag", "content_tag", "user_tag", "assistant_tag", "observation_tag", "function_tag", "system_tag"):
            if getattr(attribute, tag) is None:
                setattr(attribute, tag, getattr(self.parser.DatasetAttr("file", dataset_name=""), tag))
        arguments = types.SimpleNamespace(**{"media_dir": MEDIA, "mask_history": False, "train_on_prompt": False, **settings})
        convert = self.converter.get_dataset_converter(attribute.formatting, attribute, arguments)
        process = self.supervised.SupervisedDatasetProcessor(self.template, self.tokenizer, self.processor, arguments)
        results = []
        for row in rows:
            examples = {key: [value] for key, value in convert(row).items()}
            result = process.preprocess_dataset(examples)
            results.append((result["input_ids"][0], result["labels"][0]) if result else None)
        return results


def ranges(labels):
    """[begin, end) of what carries labels."""
    found = []
    for i, label in enumerate(labels):
        if label == -100:
            continue
        if found and found[-1][1] == i:
            found[-1][1] = i + 1
        else:
            found.append([i, i + 1])
    return found


def encode_all(rule, files):
    """One line a data set, row and cutoff; the ids only where nothing was cut."""
    lines = []
    pads = [rule.tokenizer.convert_tokens_to_ids(token) for token in ("<|image_pad|>", "<|video_pad|>")]
    for name, rows in files.items():
        wholes = rule.encode(INFO[name], rows, cutoff_len=100000)
        for number, (row, (whole, labels)) in enumerate(zip(rows, wholes)):
            lines.append({"name": name, "row": number, "cutoff": 100000, "ids": whole, "labels": ranges(labels)})
            for step in (1.0, 0.97, 0.8, 0.5, 0.2):
                cutoff = max(1, int(len(whole) * step))
                for settings in ({}, {"mask_history": True}, {"train_on_prompt": True}):
                    if settings and (step not in (0.8,) or name == "plain"):
                        continue
                    (ids, labels), = rule.encode(INFO[name], [row], cutoff_len=cutoff, **settings)
                    lost = sum(whole.count(pad) - ids.count(pad) for pad in pads)
                    lines.append({"name": name, "row": number, "cutoff": cutoff, **settings, "ids": ids,
                                  "labels": ranges(labels), "lost_pads": lost})
    return lines


def packings(rule, rng):
    """What PackedSupervisedDatasetProcessor puts together: row numbers of each group."""
    cases = []
    for count, cutoff, low, high in ((1, 10, 1, 10), (12, 100, 5, 100), (60, 64, 1, 64), (40, 50, 20, 30), (50, 8, 1, 3)):
        lengths = [rng.randint(low, high) for _ in range(count)]
        indexes = defaultdict(list)
        for i, length in enumerate(lengths):
            indexes[length].append(i)
        groups = rule.utils.greedy_knapsack(list(lengths), cutoff)
        cases.append({"cutoff": cutoff, "lengths": lengths, "groups": [[indexes[n].pop() for n in g] for g in groups]})
    return cases


def cuts(rule, rng):
    triples = [(rng.randint(0, 300), rng.randint(1, 300), rng.randint(1, 400)) for _ in range(300)]
    triples += [(s, t, c) for s in (0, 1, 5, 6) for t in (1, 5, 6) for c in (1, 9, 10, 11, 12, 13)]
    return [[*triple, *rule.utils.infer_seqlen(*triple)] for triple in triples]


def write(name, text):
    with open(os.path.join(OUT, name), "w", encoding="utf-8") as file:
        file.write(text)


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def main(source):
    rng = random.Random(11)
    rule = Rule(source)
    files = {"plain": plain_rows(rng), "many": many_rows(rng), "alpaca": alpaca_rows(rng)}
    os.makedirs(OUT, exist_ok=True)
    write("dataset_info.json", json.dumps(INFO, indent=1) + "\n")
    for name, rows in files.items():
        path = INFO[name]["file_name"]
        write(path, "".join(compact(row) + "\n" for row in rows) if path.endswith("l") else json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    write("encoded.jsonl", "".join(compact(line) + "\n" for line in encode_all(rule, files)))
    write("rules.json", compact({"settings": SETTINGS, "packings": packings(rule, rng), "cuts": cuts(rule, rng)}) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
