"""Makes tests/golden/groups/: log-probabilities, entropies and gradients of several completions of one prompt, by
transformers and torch's autograd, which compute the prompt once for each.

    python tests/reference/groups.py [--check] [FOLDER]
    python tests/reference/groups.py --live build/tests/train_test_pass [--seed N]

The options are those of gradients.py. tests/golden/groups/README.md says what the files hold.
"""

import argparse
import pathlib
import random
import sys
import tempfile

import torch
import transformers
from safetensors.torch import save_file

import checkpoints
import gradients
import model as reference
from checkpoints import Tokens

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden" / "groups"
LENGTHS = [5, 1, 9, 4]
TEMPERATURE = 0.8


def values_of(model, case, completion):
    """Log-probabilities and entropies of a completion's tokens at the temperature, with their graph."""
    prompt = case["input_ids"]
    whole = {**case, "input_ids": torch.cat([prompt, completion[None]], dim=1)}
    logits = model(**reference.typed(whole, model.dtype)).logits[0, prompt.shape[1] - 1 : -1].double()
    logp = torch.log_softmax(logits / TEMPERATURE, dim=-1)
    return logp.gather(1, completion[:, None])[:, 0], -(logp.exp() * logp).sum(-1)


def make_shape(shape, folder):
    tokens = Tokens.from_tokenizer(reference.make_tokenizer(), reference.VOCAB)
    model = checkpoints.load_model(shape, tokens, checkpoints.random_state(shape, tokens), "f64")
    golden = {}
    for number, (name, case) in enumerate(reference.make_cases(tokens).items()):
        ids = torch.tensor(reference.text_ids(sum(LENGTHS), 1000 + 50 * number))
        generator = torch.Generator().manual_seed(number)
        slopes = torch.rand(2, len(ids), generator=generator) - torch.tensor([[0.3], [0.6]])
        model.zero_grad(set_to_none=True)
        logprobs, entropies, first = [], [], 0
        for length in LENGTHS:
            part = slice(first, first + length)
            logprob, entropy = values_of(model, case, ids[part])
            (logprob @ slopes[0, part].double() + entropy @ slopes[1, part].double()).backward()
            logprobs.append(logprob.detach())
            entropies.append(entropy.detach())
            first += length
        golden[f"{name}/lengths"] = torch.tensor(LENGTHS, dtype=torch.int32)
        golden[f"{name}/tokens"] = ids.to(torch.int32)
        golden[f"{name}/slopes"] = slopes
        golden[f"{name}/logprobs"] = torch.cat(logprobs).float()
        golden[f"{name}/entropies"] = torch.cat(entropies).float()
        for key, parameter in model.named_parameters():
            if parameter.grad is not None:
                golden[f"{name}/{key}"] = gradients.summary(parameter.grad)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(golden, folder / "model.safetensors")
    (folder / "model.safetensors").chmod(0o644)


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
        sys.exit(gradients.live(arguments.live.resolve(), arguments.seed, "groups", make_shape))
    with tempfile.TemporaryDirectory() as scratch:
        target = pathlib.Path(scratch) if arguments.check else arguments.folder
        for shape in reference.SHAPES:
            make_shape(shape, target / shape.name)
        if arguments.check:
            files = [pathlib.Path(shape.name) / "model.safetensors" for shape in reference.SHAPES]
            sys.exit(1 if any([gradients.differs(target / f, arguments.folder / f) for f in files]) else 0)


if __name__ == "__main__":
    main()
