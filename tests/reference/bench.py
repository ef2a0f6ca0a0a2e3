#!/usr/bin/env python3
"""Times vs2-score and vs2-bench rollout beside transformers, on the same checkpoint, video and work.

    python tests/reference/bench.py --build build [--model DIR --data ROWS.json --media-dir DIR]

Without --model, `vs2-data synth --preset bench-0.4b` makes the checkpoint and a clip. Two measurements, each run in a
process of its own:

  cold     a process starts, loads the model, reads the video and gives the first token of the completion
           (files in the page cache).
  rollout  G samples of N tokens of the first row's prompt, vision and prompt included, without loading and
           without reading the video; transformers: generate(num_return_sequences=G), as the published GRPO.

--dtype is what vs2 computes in, --reference-dtype what transformers does; "published" loads as the published script
does, without naming a type. On a CPU without bf16 units bf16 is not worth waiting for in PyTorch.
Prints a JSON object a measurement, and last a table of ratios, every one against every other.
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
    importing, loading, reference = load(arguments.model, arguments.reference_dtype[0])
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
            **inputs, do_sample=True, temperature=1.0, top_k=0, top_p=0.95, repetition_penalty=1.0, eos_token_id=None,
            max_new_tokens=arguments.new_tokens if rollout else 1,
            num_return_sequences=arguments.num_samples if rollout else 1,
        )
    done = time.perf_counter()
    prompt = inputs["input_ids"].shape[1]
    tokens = out.numel() - prompt * len(out)
    print(json.dumps({
        "import_seconds": importing, "load_seconds": loading, "video_seconds": prepared - start,
        "generate_seconds": done - prepared, "prompt_tokens": prompt, "new_tokens": tokens,
        "tokens_per_second": tokens / (done - prepared),
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


def common_options(arguments):
    return ["--model", arguments.model, "--data", arguments.data, "--media-dir", arguments.media_dir,
            "--fps", arguments.fps, "--max-frames", arguments.max_frames,
            "--num-samples", arguments.num_samples, "--new-tokens", arguments.new_tokens]


def measure_ours(arguments, kind, dtype):
    row = json.loads(arguments.data.read_text())[0]
    if kind == "rollout":
        _, out = run([arguments.build / "vs2-bench", "rollout", *common_options(arguments), "--dtype", dtype])
        return show(program="vs2-bench", kind=kind, **json.loads(out))
    seconds, out = run([
        arguments.build / "vs2-score", "--model", arguments.model, "--video", arguments.media_dir / row["video"],
        "--prompt", row["prompt"], "--template", arguments.template, "--fps", arguments.fps,
        "--max-frames", arguments.max_frames, "--max-new-tokens", 1, "--dtype", dtype, "--format", "json",
    ])
    return show(program="vs2-score", kind=kind, dtype=dtype, seconds=seconds,
                prompt_tokens=json.loads(out)["prompt_tokens"])


def measure_theirs(arguments, kind, dtype):
    wall, out = run([sys.executable, __file__, "--worker", kind, *common_options(arguments),
                     "--reference-dtype", dtype])
    result = json.loads(out)
    seconds = wall if kind == "cold" else result.pop("generate_seconds")
    return show(program="transformers", kind=kind, dtype=dtype, seconds=seconds, **result)


def measure(arguments):
    table = []
    for kind in arguments.kind:
        theirs = [measure_theirs(arguments, kind, d) for d in arguments.reference_dtype
                  if kind == "cold" or d != "published"]
        ours = [measure_ours(arguments, kind, d) for d in arguments.dtype]
        assert len({r["prompt_tokens"] for r in theirs + ours}) == 1, "prompts are not equal"
        table += [(kind, a, b) for a in ours for b in theirs]
    print(f"{'':8} {'vs2':>12} {'s':>8}   {'transformers':>12} {'s':>8}   times")
    for kind, a, b in table:
        print(f"{kind:8} {a['dtype']:>12} {a['seconds']:8.2f}   {b['dtype']:>12} {b['seconds']:8.2f}"
              f"   {b['seconds'] / a['seconds']:5.1f}")


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
    parser.add_argument("--dtype", nargs="+", default=["bf16", "f32"], choices=["bf16", "f32"])
    parser.add_argument("--reference-dtype", nargs="+", default=["bf16", "f32", "published"],
                        choices=["bf16", "f32", "published"])
    parser.add_argument("--kind", nargs="+", default=["cold", "rollout"], choices=["cold", "rollout"])
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return worker(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if arguments.model is None:
            run([arguments.build / "vs2-data", "synth", "--out", folder, "--preset", "bench-0.4b", "--videos", 1])
            arguments.model, arguments.data, arguments.media_dir = folder / "model", folder / "rows.json", folder
        # One row for both, and a query that is the prompt alone.
        rows = json.loads(arguments.data.read_text())[:1]
        arguments.data, arguments.template = folder / "row.json", folder / "template.txt"
        arguments.data.write_text(json.dumps(rows))
        arguments.template.write_text("{prompt}")
        measure(arguments)
    return None


if __name__ == "__main__":
    main()
