"""Golden values of the video path: clips rendered here, and what PyAV, Pillow, torchvision and transformers
make of them with the formulas of LLaMA-Factory and of qwen-vl-utils as Video-R1 ships it.

    python tests/reference/video.py                 writes tests/golden/video/ (clips are kept when present)
    python tests/reference/video.py --clip FILE --output DIR
                                                    golden values of one more clip, to be checked with
                                                    VS2_VIDEO_GOLDEN=DIR build/tests/data_test_visual

Pinned: torch 2.9.1, torchvision 0.24.1, transformers 4.57.6, av 16.0.1, pillow 13.0.0, numpy 2.4.6; the clips
are rendered by the ffmpeg program.
"""

import argparse
import json
import math
import os
import random
import subprocess
import zlib

import av
import numpy as np
import torch
import torchvision.transforms.functional as transforms_v1
import torchvision.transforms.v2.functional as F
from PIL import Image
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize
from transformers.models.qwen2_vl.image_processing_qwen2_vl_fast import Qwen2VLImageProcessorFast
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "golden", "video")
MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
STD = np.array([0.26862954, 0.26130258, 0.27577711])
SAMPLES = 600
CELL = 28 * 28
BICUBIC = F.InterpolationMode.BICUBIC

X264 = ["-c:v", "libx264", "-crf", "38", "-pix_fmt", "yuv420p"]
SOURCE = "testsrc2=size=96x72:rate=10:duration=5"
ODD = "testsrc2=size=97x71:rate=12.5:duration=2"
UNEVEN = ["-vf", "select='not(mod(n,3))+gt(mod(n,17),12)'", "-vsync", "vfr"]
# name: (source, encoder and container options)
CLIPS = {
    "bframes.mp4": (SOURCE, X264 + ["-g", "12", "-bf", "3"]),
    "opengop.mp4": (SOURCE, X264 + ["-x264-params", "open-gop=1:keyint=12:bframes=3:b-pyramid=normal"]),
    "interlaced.mp4": (SOURCE, X264 + ["-flags", "+ildct+ilme", "-x264opts", "tff=1"]),
    "odd444.mp4": (ODD, X264 + ["-pix_fmt", "yuv444p"]),
    "odd.avi": (ODD, ["-c:v", "mpeg4", "-q:v", "20"]),
    "uneven.mp4": ("testsrc2=size=98x70:rate=30:duration=3", UNEVEN + X264),
    "uneven.mkv": ("testsrc2=size=98x70:rate=30:duration=3", UNEVEN + X264),
    "uneven.avi": ("testsrc2=size=64x48:rate=30:duration=2", UNEVEN + ["-c:v", "mpeg4", "-q:v", "25"]),
    # 25 frames a second: what newer FFmpegs assume of raw streams, and older ones read from this one
    "stream.h264": ("testsrc2=size=96x72:rate=25:duration=2", X264 + ["-g", "20"]),
    "live.mkv": (SOURCE, X264 + ["-f", "matroska", "-live", "1"]),
    "tenbit.mp4": (SOURCE, ["-c:v", "libx265", "-x265-params", "log-level=error:keyint=20", "-crf", "38",
                            "-pix_fmt", "yuv420p10le"]),
    "tenbit422.mp4": (SOURCE, X264 + ["-pix_fmt", "yuv422p10le"]),
    "hidden.webm": (SOURCE, ["-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "16", "-b:v", "30k"]),
    "vp9.webm": (SOURCE, ["-c:v", "libvpx-vp9", "-b:v", "25k"]),
    "alpha.webm": ("testsrc2=size=64x48:rate=10:duration=2",
                   ["-vf", "format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='X*4',format=yuva420p",
                    "-c:v", "libvpx-vp9", "-b:v", "20k", "-auto-alt-ref", "0"]),
    "mpeg2.ts": ("testsrc2=size=64x48:rate=25:duration=1", ["-c:v", "mpeg2video", "-bf", "2", "-q:v", "20"]),
    "full.mov": ("testsrc2=size=64x48:rate=10:duration=1", ["-c:v", "mjpeg", "-q:v", "20", "-pix_fmt", "yuvj420p"]),
    "animation.gif": ("testsrc=size=64x48:rate=10:duration=2", []),
    "animation.webp": ("testsrc=size=64x48:rate=10:duration=2",
                       ["-c:v", "libwebp_anim", "-loop", "0", "-q:v", "30"]),
    "short.mp4": ("testsrc2=size=96x72:rate=10:duration=0.1", X264),
    "audio.m4a": (None, ["-f", "lavfi", "-i", "sine=duration=0.2", "-c:a", "aac", "-b:a", "16k"]),
}
# name: (the clip it is made of, options before and after it)
COPIES = {
    "turned90.mp4": ("bframes.mp4", ["-display_rotation", "90"], ["-t", "1"]),
    "turned180.mp4": ("bframes.mp4", ["-display_rotation", "180"], ["-t", "1"]),
    "turned270.mp4": ("bframes.mp4", ["-display_rotation", "270"], ["-t", "1"]),
    "edited.mp4": ("bframes.mp4", ["-ss", "1.23"], []),
}


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], check=True)


def turn(path, degrees):
    """Writes the rotation into the display matrix of the mp4's video track (tkhd)."""
    matrix = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    data = bytearray(open(path, "rb").read())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    for i, value in zip((0, 1, 3, 4), matrix):
        data[at + 4 * i:at + 4 * i + 4] = (value << 16 & 0xFFFFFFFF).to_bytes(4, "big")
    open(path, "wb").write(data)


def render(folder):
    os.makedirs(folder, exist_ok=True)
    for name, (source, options) in CLIPS.items():
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            ffmpeg(*(["-f", "lavfi", "-i", source] if source else []), *options, path)
    for name, (origin, before, after) in COPIES.items():
        path = os.path.join(folder, name)
        if os.path.exists(path):
            continue
        rotated = before[0] == "-display_rotation"
        ffmpeg(*([] if rotated else before), "-i", os.path.join(folder, origin), "-c", "copy", *after, path)
        if rotated:
            turn(path, int(before[1]))
    render_pictures(os.path.join(folder, "frames"))


def render_pictures(folder):
    """A folder of pictures whose names sort otherwise as text than by number; and stills of every kind."""
    if os.path.isdir(folder):
        return
    os.makedirs(folder)
    x, y = np.meshgrid(np.arange(60), np.arange(44))
    for i in (1, 2, 3, 9, 10, 11, 20):
        rgb = np.stack([x * 4 + i, y * 5 + 7 * i, (x * y + 13 * i)], 2).astype(np.uint8)
        Image.fromarray(rgb).save(os.path.join(folder, f"frame{i}.{'jpg' if i % 2 else 'png'}"), quality=60)
    stills = os.path.join(folder, "..", "stills")
    os.makedirs(stills, exist_ok=True)
    x, y = np.meshgrid(np.arange(83), np.arange(57))
    rgb = np.stack([x * 3, y * 4, x * y // 7], 2).astype(np.uint8)
    alpha = ((x * 5 + y * 3) % 256).astype(np.uint8)
    picture = Image.fromarray(rgb)
    picture.save(os.path.join(stills, "photo.jpg"), quality=70)
    picture.convert("L").save(os.path.join(stills, "grey.jpg"), quality=70)
    picture.convert("L").save(os.path.join(stills, "grey.png"))
    picture.quantize(16).save(os.path.join(stills, "palette.png"))
    picture.save(os.path.join(stills, "photo.webp"), quality=60)
    picture.save(os.path.join(stills, "photo.bmp"))
    Image.fromarray(np.dstack([rgb, alpha])).save(os.path.join(stills, "alpha.png"))
    Image.fromarray(np.dstack([rgb, alpha])).save(os.path.join(stills, "alpha.webp"), lossless=True)
    Image.fromarray(rgb[:3, :]).save(os.path.join(stills, "thin.png"))


# ---- the references ----


class Source:
    """Frames as the references get them: decoded in order, or pictures of a folder or animation."""

    def __init__(self, path):
        self.rate = self.duration = None
        self.stated = 0
        self.pictures = os.path.isdir(path)
        if self.pictures:
            names = sorted(os.listdir(path), key=lambda name: int("".join(c for c in name if c.isdigit())))
            self.frames = [Image.open(os.path.join(path, name)) for name in names]
        elif path.endswith(".webp"):
            with Image.open(path) as picture:
                self.frames, milliseconds = [], 0
                for i in range(picture.n_frames):
                    picture.seek(i)
                    self.frames.append(picture.convert("RGB"))
                    milliseconds += picture.info["duration"]
            self.rate = len(self.frames) * 1000 / milliseconds
            self.stated, self.duration = len(self.frames), milliseconds / 1000
        else:
            self.decode(path)

    def decode(self, path):
        with av.open(path) as container:
            stream = next(s for s in container.streams if s.type == "video")
            self.stated = stream.frames
            if stream.duration is not None:
                self.duration = float(stream.duration * stream.time_base)
            self.rate = float(stream.average_rate)
            times, turns = [], set()
            self.frames = []
            for frame in container.decode(stream):
                self.frames.append(frame.to_image())
                times.append(frame.pts)
                turns.add(frame.rotation)
            (degrees,) = turns
            if degrees:  # the references leave frames as they are stored; vs2 shows them upright
                self.frames = [f.rotate(degrees, expand=True) for f in self.frames]
            # What the container does not say is counted.
            if self.duration is None and None not in times:
                self.duration = float((max(times) - min(times)) * stream.time_base) + 1 / self.rate
            if self.duration is None:
                self.duration = len(self.frames) / self.rate
            packets = 0 if not self.stated else count_packets(path)
            if packets < self.stated:
                self.stated = 0


def count_packets(path):
    with av.open(path) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


def llamafactory_indices(total, duration, fps, most):
    count = min(total, most, max(1, math.floor(duration * fps)))
    return np.linspace(0, total - 1, count).astype(np.int32).tolist()


def qwen_count(total, rate, fps, least, most):
    least, most = math.ceil(least / 2) * 2, math.floor(most / 2) * 2
    return math.floor(min(min(max(total / rate * fps, least), most), total) / 2) * 2


def qwen_indices(total, count):
    return torch.linspace(0, total - 1, count).round().long().tolist()


def qwen_smart_resize(height, width, least, most, factor=28):
    if max(height, width) / min(height, width) > 200:
        raise ValueError("aspect")
    h, w = max(factor, round(height / factor) * factor), max(factor, round(width / factor) * factor)
    if h * w > most:
        beta = math.sqrt((height * width) / most)
        h, w = math.floor(height / beta / factor) * factor, math.floor(width / beta / factor) * factor
    elif h * w < least:
        beta = math.sqrt(least / (height * width))
        h, w = math.ceil(height * beta / factor) * factor, math.ceil(width * beta / factor) * factor
    return h, w


def llamafactory_sizes(width, height, most, least):
    """The sizes an image passes through; the first `own` before it is made RGB."""
    sizes = []
    for out in (lambda area: area > most, lambda area: area < least):
        if out(width * height):
            factor = math.sqrt((most if width * height > most else least) / (width * height))
            width, height = int(width * factor), int(height * factor)
            sizes.append((width, height))
    own = len(sizes)
    if min(width, height) < 28:
        width, height = max(width, 28), max(height, 28)
        sizes.append((width, height))
    if width / height > 200:
        width = height * 180
        sizes.append((width, height))
    if height / width > 200:
        height = width * 180
        sizes.append((width, height))
    return sizes, own


def llamafactory_image(image, most, least):
    sizes, own = llamafactory_sizes(image.width, image.height, most, least)
    for i, size in enumerate(sizes):
        if i == own:
            image = image.convert("RGB")
        image = image.resize(size)
    return image.convert("RGB")


def qwen_image(image):
    if image.mode == "RGBA":
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.split()[3])
        image = white
    image = image.convert("RGB")
    height, width = qwen_smart_resize(image.height, image.width, 4 * CELL, 256 * CELL)
    return image.resize((width, height))


VIDEO = Qwen2VLVideoProcessor(min_pixels=3136, max_pixels=12845056)
STILL = Qwen2VLImageProcessorFast(min_pixels=3136, max_pixels=12845056)


def llamafactory_video(source, fps, most, pixels):
    if source.pictures:
        indices, sample_fps = list(range(len(source.frames))), fps
        if len(indices) > most:
            indices = llamafactory_indices(len(indices), len(indices) / fps, fps, most)
            sample_fps = most / (len(source.frames) / fps)
    else:
        indices = llamafactory_indices(source.stated or len(source.frames), source.duration, fps, most)
        sample_fps = len(indices) / source.duration
    frames = [source.frames[i] for i in indices if i < len(source.frames)]
    if len(frames) % 2:
        frames.append(frames[-1])
    frames = [llamafactory_image(frame, pixels, 16 * 16) for frame in frames]
    made = VIDEO(videos=[frames], return_tensors="pt")
    return indices, 2 / sample_fps, made["video_grid_thw"][0], made["pixel_values_videos"]


def qwen_video(source, fps, most, pixels):
    if source.pictures:
        indices, sample_fps = list(range(len(source.frames))), fps
        frames = [qwen_image(frame) for frame in source.frames]
        if len(frames) % 2:
            frames.append(frames[-1])
        made = VIDEO(videos=[frames], return_tensors="pt")
        return indices, 2 / sample_fps, made["video_grid_thw"][0], made["pixel_values_videos"]
    total = len(source.frames)
    count = qwen_count(total, source.rate, fps, 4, most)
    indices = qwen_indices(total, count)
    frames = torch.stack([F.pil_to_tensor(source.frames[i]) for i in indices])
    limit = max(min(128 * CELL, 128000 * CELL * 0.9 / count * 2), int(128 * CELL * 1.05))
    if pixels:
        limit = min(limit, pixels)
    size = qwen_smart_resize(frames.shape[2], frames.shape[3], 128 * CELL, limit)
    # The first transforms, as that library has them: in f32, rounded; the second ones differ by up to 2 levels.
    frames = transforms_v1.resize(frames, size, interpolation=BICUBIC, antialias=True).float()
    made = VIDEO(videos=[frames], return_tensors="pt")
    sample_fps = count / max(total, 1e-6) * source.rate
    return indices, 2 / sample_fps, made["video_grid_thw"][0], made["pixel_values_videos"]


def levels(patches):
    """Patches back to bytes; which they are exactly."""
    values = patches.numpy().astype(np.float64).reshape(len(patches), 3, -1)
    values = values * (STD * 255)[None, :, None] + (MEAN * 255)[None, :, None]
    assert np.abs(values - np.rint(values)).max() < 1e-3
    return np.rint(values).astype(np.uint8).reshape(-1)


def entry(name, policy, fps, most, pixels, indices, second, grid, patches):
    data = levels(patches)
    at = np.arange(SAMPLES, dtype=np.int64) * len(data) // SAMPLES
    return {"file": name, "policy": policy, "fps": fps, "max_frames": most, "max_pixels": pixels,
            "indices": indices, "second_per_grid": second, "grid": grid.tolist(),
            "mean": float(data.mean()), "crc": zlib.crc32(data.tobytes()), "samples": data[at].tobytes().hex()}


def video_entries(path, name):
    source = Source(path)
    cases = [("llamafactory", 2.0, 10, 691200), ("llamafactory", 3.0, 7, 3000), ("qwen", 2.0, 16, 0)]
    made = []
    for policy, fps, most, pixels in cases:
        run = llamafactory_video if policy == "llamafactory" else qwen_video
        if policy == "qwen" and len(source.frames) < 2:
            continue
        made.append(entry(name, policy, fps, most, pixels, *run(source, fps, most, pixels)))
    return made


def still_entries(folder):
    made = []
    for name in sorted(os.listdir(os.path.join(folder, "stills"))):
        path = os.path.join(folder, "stills", name)
        for policy, pixels in (("llamafactory", 262144), ("llamafactory", 2000), ("qwen", 0)):
            image = Image.open(path)
            image = qwen_image(image) if policy == "qwen" else llamafactory_image(image, pixels, 32 * 32)
            out = STILL(images=[image], return_tensors="pt")
            made.append(entry("stills/" + name, policy, 2.0, 1, pixels, [0], 1.0, out["image_grid_thw"][0],
                              out["pixel_values"]))
    return made


# ---- formulas ----


def pick_sizes(random_state):
    """Sides that come near every limit."""
    side = lambda: int(2 ** random_state.uniform(0, 12))
    return side(), side()


def formula_cases():
    state = random.Random(7)
    frames, sizes, own = [], [], []
    for i in range(1500):
        total = state.choice([state.randint(1, 40), state.randint(1, 700), state.randint(1, 200000)])
        rate = state.choice([30.0, 25.0, 24000 / 1001, 30000 / 1001, 22.29, 10.0, state.uniform(1, 120)])
        duration = state.choice([total / rate, round(total / rate, 3), state.randint(1, 60) / 2])
        fps = state.choice([2.0, 1.0, 0.5, 3.0, 0.1, 29.97, state.uniform(0.1, 8)])
        most = state.choice([10, 7, 1, 16, 128, 768, state.randint(2, 1000)])
        chosen = llamafactory_indices(total, duration, fps, most)
        count = qwen_count(total, rate, fps, 4, most)
        other = qwen_indices(total, count) if count >= 2 else []
        crc = lambda values: zlib.crc32(np.array(values, dtype="<i8").tobytes())
        frames.append([total, rate, duration, fps, most, len(chosen), crc(chosen), len(other), crc(other)])
    for i in range(700):
        width, height = pick_sizes(state)
        least, most = state.choice([(3136, 12845056), (100352, 105369), (3136, 50176), (100352, 602112)])
        row = [width, height, least, most]
        for function in (smart_resize, qwen_smart_resize):
            try:
                h, w = function(height, width, min_pixels=least, max_pixels=most) if function is smart_resize \
                    else function(height, width, least, most)
                row += [w, h] if w * h > 0 else [0, 0]
            except ValueError:
                row += [0, 0]
        sizes.append(row)
    for i in range(700):
        width, height = pick_sizes(state)
        most, least = state.choice([(691200, 256), (262144, 1024), (3000, 256), (65536, 256)])
        try:
            steps, before = llamafactory_sizes(width, height, most, least)
        except ZeroDivisionError:
            steps, before = [(0, 0)], 0
        if any(min(step) < 1 for step in steps):
            steps, before = [], -1
        own.append([width, height, most, least, before, *[side for step in steps for side in step]])
    return {"frames": frames, "smart": sizes, "llamafactory": own}


def noise(width, height, channels, seed):
    """The same bytes as the C test makes: a linear congruential generator, one third of them 0 or 255."""
    state, out = seed, np.empty(width * height * channels, np.uint8)
    for i in range(len(out)):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        value = state >> 24
        out[i] = (255 if value > 127 else 0) if state >> 8 & 3 == 0 else value
    return out.reshape(height, width, channels)


def resize_cases():
    state, rows = random.Random(3), []
    for i in range(90):
        width, height = state.randint(1, 120), state.randint(1, 120)
        to_width, to_height = state.randint(1, 150), state.randint(1, 150)
        if i % 7 == 0:
            to_width = width
        if i % 11 == 0:
            to_height = height
        picture = noise(width, height, 3, i + 1)
        image = Image.fromarray(picture)
        tensor = torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous()
        results = [np.asarray(image.resize((to_width, to_height)))]
        for function in (F.resize, transforms_v1.resize):
            made = function(tensor, [to_height, to_width], interpolation=BICUBIC, antialias=True)[0]
            results.append(made.permute(1, 2, 0).contiguous().numpy())
        results.append(np.asarray(image.resize((to_width, to_height), Image.NEAREST)))
        rows.append([width, height, to_width, to_height, *[zlib.crc32(r.tobytes()) for r in results]])
    return rows


def write(path, value):
    with open(path, "w") as file:
        json.dump(value, file, separators=(",", ":"))
        file.write("\n")
    print(path, os.path.getsize(path), "bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip")
    parser.add_argument("--output")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    if arguments.clip:
        os.makedirs(arguments.output, exist_ok=True)
        path = os.path.abspath(arguments.clip)
        write(os.path.join(arguments.output, "visual.json"), {"videos": video_entries(path, path), "stills": []})
        return
    render(GOLDEN)
    names = [n for n in sorted(CLIPS | COPIES) if n != "audio.m4a"] + ["frames"]
    videos = []
    for name in names:
        videos += video_entries(os.path.join(GOLDEN, name), name)
    write(os.path.join(GOLDEN, "visual.json"), {"videos": videos, "stills": still_entries(GOLDEN)})
    write(os.path.join(GOLDEN, "formulas.json"), formula_cases())
    write(os.path.join(GOLDEN, "resize.json"), resize_cases())


if __name__ == "__main__":
    main()
