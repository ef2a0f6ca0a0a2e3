"""Golden values of the sampler: what Hugging Face's logits processors make of small rows of logits.

    python tests/reference/sampling.py > tests/golden/sampling.json        (torch 2.9.1, transformers 4.57.6)
    python tests/reference/sampling.py --check      compares with it: the same tokens kept, probabilities within 1e-6

Where top-p cuts through equal logits the processors keep those that torch.sort happens to put last, and its
order of equal values is not specified. Here the sort is pinned to the project's rule (the lowest ids stay);
that the choice is otherwise the same is asserted on the probabilities kept.
"""

import json
import math
import pathlib
import random
import sys

import torch
from transformers.generation import logits_process as hf

torch.set_num_threads(1)
GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "sampling.json"


def processors(rule):
    """In the order of transformers' GenerationMixin._get_logits_processor."""
    if rule["repetition_penalty"] != 1:
        yield hf.RepetitionPenaltyLogitsProcessor(penalty=rule["repetition_penalty"])
    if rule["temperature"] == 0:
        return
    if rule["temperature"] != 1:
        yield hf.TemperatureLogitsWarper(rule["temperature"])
    if rule["top_k"]:
        yield hf.TopKLogitsWarper(top_k=rule["top_k"])
    if rule["top_p"] < 1:
        yield hf.TopPLogitsWarper(top_p=rule["top_p"])
    if rule["min_p"]:
        yield hf.MinPLogitsWarper(min_p=rule["min_p"])


def distribution(logits, rule):
    scores = torch.tensor([logits], dtype=torch.float32)
    for processor in processors(rule):
        scores = processor(torch.tensor([rule["seen"]], dtype=torch.int64), scores)
    return scores.softmax(-1)[0]


plain_sort = torch.sort


def pinned_sort(x, dim=-1, descending=False):
    """Ascending; of equal values the highest index first."""
    assert not descending
    values, indices = plain_sort(x.flip(dim), dim=dim, stable=True)
    return values, x.shape[dim] - 1 - indices


def rules(generator, count):
    base = {"repetition_penalty": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seen": []}
    choices = {
        "repetition_penalty": [1.05, 1.5, 0.8],
        "temperature": [0.0, 0.1, 0.7, 2.0],
        "top_k": [1, 2, 7, 50, 1000],
        "top_p": [0.0, 0.001, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.999],
        "min_p": [0.01, 0.1, 0.5, 1.0],
    }
    result = [dict(base)]
    for key, values in choices.items():
        result += [dict(base, **{key: value}) for value in values]
    while len(result) < count:
        picked = dict(base)
        for key, values in choices.items():
            if generator.random() < 0.6:
                picked[key] = generator.choice(values)
        result.append(picked)
    return result


def same(made, kept):
    """Whether two cases say the same; exp() differs in its last bit between machines."""
    a, b = made["kept"], kept["kept"]
    return made["row"] == kept["row"] and made["rule"] == kept["rule"] and a.keys() == b.keys() and all(
        math.isclose(a[key], b[key], rel_tol=1e-6) for key in a)


def main():
    generator = random.Random(5)
    rows = [
        [0.5] * 10,  # uniform: the sums fall on the cuts
        [generator.randint(-24, 24) / 4 for _ in range(70)],  # many ties
        [generator.gauss(0, 2.5) for _ in range(90)],
        [generator.gauss(0, 0.02) for _ in range(50)],
        [generator.gauss(0, 9) if generator.random() < 0.7 else float("-inf") for _ in range(60)],
    ]
    rows = [torch.tensor(row, dtype=torch.float32).tolist() for row in rows]
    cases = []
    for index, logits in enumerate(rows):
        for rule in rules(generator, 45):
            if rule["repetition_penalty"] != 1:
                rule["seen"] = sorted(generator.sample(range(len(logits)), len(logits) // 3))
            torch.sort = plain_sort
            free = distribution(logits, rule)
            torch.sort = pinned_sort
            pinned = distribution(logits, rule)
            assert torch.allclose(free.sort().values, pinned.sort().values, rtol=1e-5, atol=1e-7)
            kept = {str(i): float(f"{p:.8g}") for i, p in enumerate(pinned.tolist()) if p > 0}
            cases.append({"row": index, "rule": rule, "kept": kept})
    if "--check" in sys.argv[1:]:
        kept = json.loads(GOLDEN.read_text())["cases"]
        sys.exit(0 if len(kept) == len(cases) and all(map(same, cases, kept)) else 1)
    finite = [[x if x != float("-inf") else None for x in row] for row in rows]
    print('{"rows": ' + json.dumps(finite) + ',\n"cases": [')
    print(",\n".join(json.dumps(case) for case in cases) + "\n]}")


if __name__ == "__main__":
    main()
