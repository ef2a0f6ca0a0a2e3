#!/usr/bin/env python3
"""Times training steps of vs2-bench sft beside PyTorch, on the same checkpoint, row and work.

    python tests/reference/sft_bench.py --build build [--model DIR --data sft.json --media-dir DIR]

Without --model, `vs2-data synth --preset bench-0.4b` makes the checkpoint, a clip and its row. A step is one row:
decoding and encoding, forward, backward, gradient norm, AdamW, with the vision tower and merger frozen and gradient
checkpointing on, f32 weights and moments; --dtype bf16 computes in bf16 (autocast in PyTorch). Each runs in a process
of its own. Prints a JSON object each and the ratios.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time


def worker(options):
    """PyTorch's steps, printed as JSON; in a process of its own."""
    import torch

    import pipeline
    import sft

    torch.set_num_threads(options.threads)
    reference = pipeline.Pipeline(options.model, torch.float32)
    model = reference.model.train()
    sft.freeze(model, sft.FROZEN)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6, weight_decay=0.0, fused=options.fused or None)
    row = json.loads(options.data.read_text())[0]
    turns = [(turn["from"], turn["value"]) for turn in row["conversations"]]
    videos = [options.media_dir / name for name in row["videos"]]
    sft.VIDEOS = pathlib.Path("/")
    seconds = {"video": 0.0, "forward": 0.0, "backward": 0.0, "optimizer": 0.0}
    losses = []
    for step in range(-options.warmup, options.steps):
        if step == 0:
            seconds = dict.fromkeys(seconds, 0.0)
        marks = [time.perf_counter()]
        batch = sft.collate([sft.encode(reference, turns, videos)])
        marks.append(time.perf_counter())
        with torch.autocast("cpu", torch.bfloat16, enabled=options.dtype == "bf16"):
            loss = model(**batch).loss
        marks.append(time.perf_counter())
        loss.backward()
        marks.append(time.perf_counter())
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        marks.append(time.perf_counter())
        losses.append(float(loss))
        for name, start, end in zip(seconds, marks, marks[1:]):
            seconds[name] += (end - start) / options.steps
    print(json.dumps({
        "tokens": batch["input_ids"].shape[1], "step_seconds": sum(seconds.values()), "seconds": seconds,
        "first_loss": losses[0], "last_loss": losses[-1],
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }))


def run(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} failed: {done.stderr.strip()[-800:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--media-dir", type=pathlib.Path)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--fused", action="store_true", help="PyTorch's fused AdamW")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options)
    with tempfile.TemporaryDirectory() as scratch:
        if not options.model:
            folder = pathlib.Path(scratch)
            subprocess.run([options.build / "vs2-data", "synth", "--out", folder, "--preset", "bench-0.4b",
                            "--videos", "1", "--quiet"], check=True)
            options.model, options.data, options.media_dir = folder / "model", folder / "sft.json", folder
        shared = ["--model", options.model, "--data", options.data, "--media-dir", options.media_dir,
                  "--dtype", options.dtype, "--steps", options.steps, "--warmup", options.warmup]
        program = options.build / "vs2-bench"
        results = {
            "vs2": run([program, "sft", *shared]),
            "vs2, features cached": run([program, "sft", *shared, "--cached"]),
            "PyTorch": run([sys.executable, __file__, "--worker", "--threads", options.threads, *shared,
                            *(["--fused"] if options.fused else [])]),
        }
    for name, result in results.items():
        print(name, json.dumps(result))
    theirs = results["PyTorch"]
    for name, result in results.items():
        print(f"{name}: {theirs['step_seconds'] / result['step_seconds']:.2f} times as fast as PyTorch, "
              f"{result['peak_memory_bytes'] / theirs['peak_memory_bytes']:.2f} of its memory, "
              f"first loss {result['first_loss']:.6f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
