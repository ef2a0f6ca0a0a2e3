"""Makes tests/golden/gradients/: losses and gradients of every parameter of the tiny checkpoints of
tests/golden/model/, by transformers and torch's autograd.

    python tests/reference/gradients.py [--check] [FOLDER]
    python tests/reference/gradients.py --live build/tests/model_test_backward [--seed N]

--check compares what it makes with the committed files and writes nothing. --live makes checkpoints of the same
shapes with other weights, and runs the test program on them. tests/golden/gradients/README.md says what the
files hold.
"""

import argparse
import copy
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import numpy
import torch
import transformers
from safetensors.torch import load_file, save_file

import checkpoints
import model as reference
from checkpoints import Tokens

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden" / "gradients"
PROJECTIONS = 16
SAMPLES = 32


def signs(count):
    """[PROJECTIONS, count] of +1 and -1: bit p of a hash of the element's number (the finalizer of MurmurHash3)."""
    h = numpy.arange(count, dtype=numpy.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h ^= h >> shift
        h *= numpy.uint32(factor)
    h ^= h >> 16
    bits = (h[None, :] >> numpy.arange(PROJECTIONS, dtype=numpy.uint32)[:, None]) & 1
    return 1.0 - 2.0 * bits.astype(numpy.float64)


def summary(gradient):
    """The norm, the projections on `signs`, and values at equal steps, in one vector."""
    flat = gradient.detach().double().flatten().numpy()
    step = max(1, len(flat) // SAMPLES)
    parts = [[numpy.linalg.norm(flat)], signs(len(flat)) @ flat, flat[::step][:SAMPLES]]
    return torch.tensor(numpy.concatenate(parts), dtype=torch.float32)


def labels_of(ids):
    """Ordinary text tokens carry labels, but for the first two and every fifth."""
    limit = reference.VOCAB - len(reference.SPECIAL)
    place = torch.arange(len(ids))
    return torch.where((ids < limit) & (place >= 2) & (place % 5 != 0), ids, -100)


def run(model, case, labels):
    """(mean cross-entropy over the labels, gradients by name)."""
    model.zero_grad(set_to_none=True)
    out = model(**reference.typed(case, model.dtype), labels=labels[None])
    out.loss.backward()
    gradients = {n: p.grad.double() for n, p in model.named_parameters() if p.grad is not None}
    return float(out.loss.detach()), gradients


def distance(a, b):
    """|a - b| / |b| over all gradients together."""
    return float(sum((a[n] - b[n]).square().sum() for n in b).sqrt() / sum(b[n].square().sum() for n in b).sqrt())


def make_shape(shape, folder):
    tokens = Tokens.from_tokenizer(reference.make_tokenizer(), reference.VOCAB)
    state = checkpoints.random_state(shape, tokens)
    models = {k: checkpoints.load_model(shape, tokens, state, k) for k in ("f64", "f32", "bf16")}
    golden = {}
    for name, case in reference.make_cases(tokens).items():
        labels = labels_of(case["input_ids"][0])
        loss, gradients = run(models["f64"], case, labels)
        errors = {}
        for kind in ("f32", "bf16"):
            other_loss, other = run(models[kind], case, labels)
            errors[kind] = distance(other, gradients)
            print(f"{shape.name} {name}: {kind} gradients off by {errors[kind]:.2g}, loss by {abs(other_loss - loss):.2g}")
        golden[f"{name}/labels"] = labels.to(torch.int32)
        golden[f"{name}/loss"] = torch.tensor([loss], dtype=torch.float32)
        golden[f"{name}/bf16.error"] = torch.tensor([errors["bf16"]], dtype=torch.float32)
        for key, gradient in gradients.items():
            golden[f"{name}/{key}"] = summary(gradient)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(golden, folder / "model.safetensors")
    (folder / "model.safetensors").chmod(0o644)


def write_case(golden, name, case):
    """What the tests read of a prompt, as model.py writes it."""
    golden[f"{name}/input_ids"] = case["input_ids"][0].to(torch.int32)
    for kind in ("image", "video"):
        if f"{kind}_grid_thw" in case:
            golden[f"{name}/{kind}_grid"] = case[f"{kind}_grid_thw"].to(torch.int32)
    if "second_per_grid_ts" in case:
        golden[f"{name}/second_per_grid"] = case["second_per_grid_ts"].to(torch.float32)


def live(program, seed, kind="gradients", make=None):
    """The exit code of the test program on weights drawn with other seeds, with goldens that `make` makes under
    `kind`."""
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        for number, shape in enumerate(reference.SHAPES):
            shape = copy.copy(shape)
            shape.seed = seed + number
            folder = root / "model" / shape.name
            (folder / "golden").mkdir(parents=True)
            tokens = Tokens.from_tokenizer(reference.make_tokenizer(folder), reference.VOCAB)
            checkpoints.write_checkpoint(folder, shape, tokens, checkpoints.random_state(shape, tokens))
            golden = {}
            for name, case in reference.make_cases(tokens).items():
                write_case(golden, name, case)
            save_file(golden, folder / "golden" / "model.safetensors")
            (make or make_shape)(shape, root / kind / shape.name)
        return subprocess.run([program], env={**os.environ, "VS2_GOLDEN": scratch}).returncode


def differs(made, committed):
    """Whether two files differ by more than what sums in another order do."""
    a, b = load_file(made), load_file(committed)
    if a.keys() != b.keys():
        return True
    for key in a:
        if key.endswith("bf16.error"):
            continue
        scale = max(1.0, float(b[key].flatten()[0].abs())) if a[key].is_floating_point() else 0
        if a[key].shape != b[key].shape or float((a[key] - b[key]).abs().max()) > 1e-5 * scale:
            print(f"{committed}: {key} differs")
            return True
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=GOLDEN)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--live", metavar="PROGRAM", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    checkpoints.TYPES["f64"] = torch.float64
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    if arguments.live:
        sys.exit(live(arguments.live.resolve(), arguments.seed))
    with tempfile.TemporaryDirectory() as scratch:
        target = pathlib.Path(scratch) if arguments.check else arguments.folder
        for shape in reference.SHAPES:
            make_shape(shape, target / shape.name)
        if arguments.check:
            files = [pathlib.Path(shape.name) / "model.safetensors" for shape in reference.SHAPES]
            sys.exit(1 if any([differs(target / f, arguments.folder / f) for f in files]) else 0)


if __name__ == "__main__":
    main()
