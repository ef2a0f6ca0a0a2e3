"""Times `vs2-bench video` beside PyAV + Pillow + torchvision + transformers on the same clip, in turns.

    python tests/reference/video_bench.py CLIP [--bench build/vs2-bench] [--rounds 3] [--repeat 10]

The reference decodes as LLaMA-Factory does, with PyAV's default threads and torch on all cores. Prints JSON:
wall seconds a video of both (the least of the rounds), CPU seconds a video, and their ratios.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import av
import numpy as np
import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import video  # noqa: E402


def reference(path, fps, most, pixels):
    container = av.open(path, "r")
    stream = next(s for s in container.streams if s.type == "video")
    duration = float(stream.duration * stream.time_base)
    indices = video.llamafactory_indices(stream.frames, duration, fps, most)
    container.seek(0)
    frames = [f.to_image() for i, f in enumerate(container.decode(stream)) if i in indices]
    if len(frames) % 2:
        frames.append(frames[-1])
    frames = [video.llamafactory_image(frame, pixels, 16 * 16) for frame in frames]
    return video.VIDEO(videos=[frames], return_tensors="pt")["pixel_values_videos"]


def cpu(who):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def time_reference(arguments):
    start, used = time.monotonic(), cpu(resource.RUSAGE_SELF)
    for _ in range(arguments.repeat):
        reference(arguments.clip, arguments.fps, arguments.max_frames, arguments.max_pixels)
    return (time.monotonic() - start) / arguments.repeat, \
        (cpu(resource.RUSAGE_SELF) - used) / arguments.repeat


def time_vs2(arguments, rows):
    used = cpu(resource.RUSAGE_CHILDREN)
    out = subprocess.run([arguments.bench, "video", "--data", rows, "--fps", str(arguments.fps),
                          "--max-frames", str(arguments.max_frames), "--max-pixels", str(arguments.max_pixels),
                          "--repeat", str(arguments.repeat)], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)["seconds_per_video"], \
        (cpu(resource.RUSAGE_CHILDREN) - used) / arguments.repeat


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip")
    parser.add_argument("--bench", default="build/vs2-bench")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--fps", type=float, default=2.0)
    parser.add_argument("--max-frames", type=int, default=10)
    parser.add_argument("--max-pixels", type=int, default=691200)
    arguments = parser.parse_args()
    arguments.clip = os.path.abspath(arguments.clip)
    torch.set_num_threads(os.cpu_count())
    reference(arguments.clip, arguments.fps, arguments.max_frames, arguments.max_pixels)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as rows:
        json.dump([{"video": arguments.clip}], rows)
        rows.flush()
        runs = [(*time_reference(arguments), *time_vs2(arguments, rows.name)) for _ in range(arguments.rounds)]
    best = np.array(runs).min(axis=0)
    print(json.dumps({"reference_seconds": best[0], "reference_cpu_seconds": best[1], "vs2_seconds": best[2],
                      "vs2_cpu_seconds": best[3], "ratio": best[0] / best[2], "cpu_ratio": best[1] / best[3],
                      "load": os.getloadavg()[0]}, indent=1))


if __name__ == "__main__":
    main()
