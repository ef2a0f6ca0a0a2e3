#!/usr/bin/env python3
"""Times vs2-score and vs2-bench rollout beside transformers, on the same checkpoint, video and work.

    python tests/reference/bench.py --build build [--model DIR --data ROWS.json --media-dir DIR]

Without --model, `vs2-data synth --preset bench-0.4b` makes the checkpoint and the clips. Two measurements, each in
every --dtype, each in a process of its own:

  cold     a process starts, loads the model, reads the video and gives the first token of the completion
           (files in the page cache). "published" loads as the published script does: without naming a type.
  rollout  G samples of N tokens of one video prompt, vision and prompt included, the model loaded before;
           transformers: generate(num_return_sequences=G), as the published GRPO does.

Prints a JSON object a measurement, and last a table with the ratios.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time


def load(model, dtype):
    """Seconds to import and to load, and the pipeline."""
    start = time.perf_counter()
    import torch

    import pipeline

    torch.set_num_threads(2)
    imported = time.perf_counter()
    type_of = {"f32": torch.float32, "bf16": torch.bfloat16, "published": None}[dtype]
    loaded = pipeline.Pipeline(model, type_of)
    return imported - start, time.perf_counter() - imported, loaded


def worker(arguments):
    """One measurement of transformers, printed as JSON; runs in its own process."""
    importing, loading, reference = load(arguments.model, arguments.dtype[0])
    import torch

    import pipeline

    row = json.loads(arguments.data.read_text())[0]
    start = time.perf_counter()
    frames = pipeline.frames_llamafactory(arguments.media_dir / row["video"], arguments.fps, arguments.max_frames)
    inputs = reference.prepare(frames, row["prompt"])
    prepared = time.perf_counter()
    rollout = arguments.worker == "rollout"
    with torch.no_grad():
        out = reference.model.generate(
            **inputs, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0, eos_token_id=None,
            max_new_tokens=arguments.new_tokens if rollout else 1,
            num_return_sequences=arguments.num_samples if rollout else 1,
        )
    done = time.perf_counter()
    prompt = inputs["input_ids"].shape[1]
    tokens = out.numel() - prompt * len(out)
    print(json.dumps({
        "import_seconds": importing, "load_seconds": loading, "video_seconds": prepared - start,
        "generate_seconds": done - prepared, "seconds": done - start, "prompt_tokens": prompt, "new_tokens": tokens,
        "tokens_per_second": tokens / (done - start),
    }))


def run(command):
    """(wall seconds, standard output) of a command."""
    start = time.perf_counter()
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"failed: {' '.join(map(str, command))}")
    return time.perf_counter() - start, done.stdout


def show(**result):
    print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in result.items()}), flush=True)
    return result


def measure(arguments, kind, dtype):
    """(ours, theirs) in seconds."""
    row = json.loads(arguments.data.read_text())[0]
    options = ["--fps", arguments.fps, "--max-frames", arguments.max_frames]
    common = ["--model", arguments.model, "--data", arguments.data, "--media-dir", arguments.media_dir, *options,
              "--num-samples", arguments.num_samples, "--new-tokens", arguments.new_tokens]
    ours_dtype = "bf16" if dtype == "published" else dtype  # what the checkpoint is stored in
    if kind == "cold":
        command = [arguments.build / "vs2-score", "--model", arguments.model, "--video",
                   arguments.media_dir / row["video"], "--prompt", row["prompt"], *options, "--max-new-tokens", 1,
                   "--dtype", ours_dtype, "--format", "json"]
        seconds, out = run(command)
        ours = show(program="vs2-score", kind=kind, dtype=ours_dtype, seconds=seconds,
                    prompt_tokens=json.loads(out)["prompt_tokens"])
    else:
        _, out = run([arguments.build / "vs2-bench", "rollout", *common, "--dtype", dtype])
        ours = show(program="vs2-bench", kind=kind, dtype=dtype, **json.loads(out))
    wall, out = run([sys.executable, __file__, "--worker", kind, *common, "--dtype", dtype])
    theirs = json.loads(out)
    theirs["wall_seconds"] = wall
    show(program="transformers", kind=kind, dtype=dtype, **theirs)
    return ours["seconds"], theirs["wall_seconds"] if kind == "cold" else theirs["seconds"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"), help="folder of the programs")
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, help="rows with video and prompt; the first is used")
    parser.add_argument("--media-dir", type=pathlib.Path)
    parser.add_argument("--num-samples", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--fps", type=float, default=2.0)
    parser.add_argument("--max-frames", type=int, default=10)
    parser.add_argument("--dtype", nargs="+", default=["bf16", "f32"], choices=["bf16", "f32", "published"])
    parser.add_argument("--kind", nargs="+", default=["cold", "rollout"], choices=["cold", "rollout"])
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return worker(arguments)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.model is None:
            made = pathlib.Path(folder)
            run([arguments.build / "vs2-data", "synth", "--out", made, "--preset", "bench-0.4b", "--videos", 1])
            arguments.model, arguments.data, arguments.media_dir = made / "model", made / "rows.json", made
        table = []
        for kind in arguments.kind:
            kinds = ["published", *arguments.dtype] if kind == "cold" else arguments.dtype
            table += [(kind, dtype, *measure(arguments, kind, dtype)) for dtype in dict.fromkeys(kinds)]
    print(f"{'':8} {'':9} {'vs2 s':>8} {'torch s':>8} {'times':>6}")
    for kind, dtype, ours, theirs in table:
        print(f"{kind:8} {dtype:9} {ours:8.2f} {theirs:8.2f} {theirs / ours:6.1f}")
    return None


if __name__ == "__main__":
    main()
