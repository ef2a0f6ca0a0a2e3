"""The published pipeline in PyTorch and transformers: from a video and a prompt to token ids and scores.

Two frame policies: LLaMA-Factory's (PyAV, Pillow) and qwen-vl-utils' as Video-R1 ships it (torchvision).
The rest is transformers' own processor, model and generate().
"""

import dataclasses
import math
import pathlib
import re

import av
import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resize
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration, Qwen2VLVideoProcessor
from transformers.utils import logging

logging.disable_progress_bar()

CELL = 28  # pixels a side of a merged patch
CHAT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    "<|vision_start|><|video_pad|><|vision_end|>{}<|im_end|>\n<|im_start|>assistant\n"
)
LABELS = {"v": "visual quality:", "t": "text-to-video alignment:", "p": "physical/common-sense consistency:"}


@dataclasses.dataclass
class Frames:
    indices: list
    frames: object  # PIL images, or a float tensor [frames, 3, height, width]
    second_per_grid: float


def frames_llamafactory(path, fps=2.0, max_frames=10, max_pixels=691200, min_pixels=16 * 16):
    """LLaMA-Factory's choice of frames, and its resizes before the processor's."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        duration = float(stream.duration * stream.time_base)
        count = min(stream.frames, max_frames, max(1, math.floor(duration * fps)))
        indices = np.linspace(0, stream.frames - 1, count).astype(np.int32).tolist()
        wanted = set(indices)
        frames = [f.to_image() for i, f in enumerate(container.decode(stream)) if i in wanted]

    def fit(image):
        for limit, beyond in ((max_pixels, lambda a: a > max_pixels), (min_pixels, lambda a: a < min_pixels)):
            if beyond(image.width * image.height):
                factor = math.sqrt(limit / (image.width * image.height))
                image = image.resize((int(image.width * factor), int(image.height * factor)))
        if min(image.size) < CELL:
            image = image.resize((max(image.width, CELL), max(image.height, CELL)))
        return image.convert("RGB")

    second_per_grid = 2 / (len(indices) / duration)
    if len(frames) % 2:
        frames.append(frames[-1])
    return Frames(indices, [fit(frame) for frame in frames], second_per_grid)


def frames_qwen(path, fps=2.0, max_frames=16):
    """qwen-vl-utils' choice of frames and resize; time positions as the published inference has them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        video = np.stack([f.to_rgb().to_ndarray() for f in container.decode(stream)])
        rate = float(stream.average_rate)
    total = len(video)
    most = min(max_frames, total) // 2 * 2
    count = int(min(min(max(total / rate * fps, 4), most), total) // 2 * 2)
    indices = torch.linspace(0, total - 1, count).round().long().tolist()
    frames = torch.from_numpy(video[indices]).permute(0, 3, 1, 2)
    least = 128 * CELL * CELL
    limit = max(min(128 * CELL * CELL, 128000 * CELL * CELL * 0.9 / count * 2), int(least * 1.05))
    height, width = smart_size(frames.shape[2], frames.shape[3], least, limit)
    frames = resize(frames, [height, width], InterpolationMode.BICUBIC, antialias=True).float()
    return Frames(indices, frames, 2 / fps)


def smart_size(height, width, least, most):
    """Multiples of CELL with an area between the limits and nearly the same aspect."""
    h, w = (max(CELL, round(side / CELL) * CELL) for side in (height, width))
    if h * w > most:
        beta = math.sqrt(height * width / most)
        h, w = (math.floor(side / beta / CELL) * CELL for side in (height, width))
    elif h * w < least:
        beta = math.sqrt(least / (height * width))
        h, w = (math.ceil(side * beta / CELL) * CELL for side in (height, width))
    return h, w


POLICIES = {"llamafactory": frames_llamafactory, "qwen": frames_qwen}


class Pipeline:
    """A checkpoint folder in transformers."""

    def __init__(self, folder, dtype, config=None, attention="sdpa"):
        folder = pathlib.Path(folder)
        extra = {"config": config} if config is not None else {}
        self.model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder, dtype=dtype, attn_implementation=attention, **extra
        ).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.processor = Qwen2VLVideoProcessor.from_pretrained(folder)

    def prepare(self, frames, text):
        """Model inputs for one video and the text of the user's turn."""
        video = self.processor(videos=[frames.frames], return_tensors="pt")
        grid = video["video_grid_thw"]
        chat = CHAT.format(text).replace("<|video_pad|>", "<|video_pad|>" * (int(grid.prod()) // 4), 1)
        ids = self.tokenizer(chat, return_tensors="pt")
        return {
            "input_ids": ids["input_ids"],
            "attention_mask": ids["attention_mask"],
            "pixel_values_videos": video["pixel_values_videos"].to(self.model.dtype),
            "video_grid_thw": grid,
            "second_per_grid_ts": torch.tensor([frames.second_per_grid]),
        }

    def greedy(self, inputs, new_tokens, **options):
        """Greedy completion: (ids, processed scores [tokens, vocab] in f32)."""
        with torch.no_grad():
            out = self.model.generate(
                **inputs, do_sample=False, temperature=None, top_k=None, top_p=None, max_new_tokens=new_tokens,
                output_scores=True, return_dict_in_generate=True, **options,
            )
        ids = out.sequences[0, inputs["input_ids"].shape[1]:].tolist()
        return ids, torch.stack([row[0].float() for row in out.scores])

    def scores(self, ids, scores):
        """The published reading of a completion: hard, normed, expected and confidence of each dimension."""
        text = self.tokenizer.decode(ids, skip_special_tokens=False)
        pattern = r".*?".join(re.escape(label) + r"\s*(\d+)" for label in LABELS.values())
        found = re.search(pattern, text, re.DOTALL | re.IGNORECASE)
        result = {}
        for number, letter in enumerate(LABELS, 1):
            if not found:
                result[letter] = None
                continue
            prefix = text[: found.end(number)]
            index = next(i for i in range(len(ids)) if self.tokenizer.decode(ids[: i + 1]) == prefix)
            digits = [self.tokenizer.encode(str(s))[0] for s in range(1, 6)]
            q = torch.softmax(scores[index][digits].double(), 0)
            best = int(q.argmax())
            result[letter] = {
                "hard_score": int(found.group(number)),
                "normed_score": (best + 1) * float(q[best]),
                "expected_score": float(sum((s + 1) * q[s] for s in range(5))),
                "confidence": float(q[best]),
            }
        return result
