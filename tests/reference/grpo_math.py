"""Golden values of GRPO's losses and advantages: torch autograd in f64, by the formulas of TRL and Video-R1.

    python tests/reference/grpo_math.py             writes tests/golden/grpo/losses.json and advantages.json
    python tests/reference/grpo_math.py --check     compares with them
    python tests/reference/grpo_math.py --trl       puts every case through TRL's own GRPOTrainer._compute_loss, too
                                                    (pip install trl==1.16.0 datasets)

A case is a micro-batch of few completions under one setting of the loss: the loss, its gradient by every log-probability
and entropy, and what is logged. The losses are written here a second time, a sequence at a time and in no one's words;
--trl shows that they are TRL's. TRL does not clamp the KL term's exponent and counts masked completions in the shares of
the sequence level, so those are left out there; the clamp is Video-R1's, whose loss is written out in `video_r1`.
"""
import argparse
import json
import math
import sys
import types
from collections import defaultdict
from pathlib import Path

import torch

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "grpo"
LOSSES = ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "gspo"]
PLAIN = {"epsilon": 0.2, "epsilon_high": 0.2, "delta": 0.0, "beta": 0.0, "sequence_level": False, "entropy_coef": 0.0,
         "importance_cap": 2.0, "max_completion_length": 12, "old": False, "rollout": False}
# Which batch, and what of PLAIN is otherwise. "old", "rollout": whether the batch's values are given to the loss.
OPTIONS = [
    ("near", {}),
    ("near", {"beta": 0.04}),
    ("far", {"beta": 0.5}),
    ("near", {"old": True}),
    ("near", {"old": True, "beta": 0.04, "epsilon_high": 0.28}),
    ("near", {"old": True, "sequence_level": True, "epsilon": 0.02, "epsilon_high": 0.03}),
    ("near", {"old": True, "delta": 1.1}),
    ("near", {"old": True, "delta": 1.4, "sequence_level": True}),
    ("near", {"old": True, "epsilon_high": 0.0, "epsilon": 0.0}),
    ("near", {"rollout": True}),
    ("near", {"old": True, "rollout": True, "importance_cap": 1.05}),
    ("near", {"old": True, "rollout": True, "sequence_level": True, "importance_cap": 1.05, "beta": 0.1}),
    ("near", {"entropy_coef": 0.01}),
    ("masked", {"beta": 0.04, "entropy_coef": -0.02, "old": True}),
    ("masked", {"old": True, "rollout": True, "sequence_level": True, "beta": 0.04, "entropy_coef": 0.1}),
    ("nothing", {"beta": 0.04, "entropy_coef": 0.1}),
]
SEQUENCE_INPUTS = ["logprob", "old_logprob", "reference", "rollout", "entropy"]


# ---- Batches -----------------------------------------------------------------------------------------------------------

def eighths(generator, count, middle, spread):
    """Numbers that f32 holds exactly and that print short."""
    values = middle + spread * torch.randn(count, generator=generator)
    return (torch.round(values * 256) / 256).tolist()


def batch(seed, lengths, masked, far, rest_tokens, micro_batches):
    generator = torch.Generator().manual_seed(seed)
    sequences = []
    for i, length in enumerate(lengths):
        logprob = [min(x, -1 / 256) for x in eighths(generator, length, -1.0, 0.8)]

        def beside(spread):
            return [min(a + b, 0.0) for a, b in zip(logprob, eighths(generator, length, 0.0, spread))]

        sequences.append({"advantage": [1.25, -0.75, 0.5, -1.5, 0.0][i % 5], "masked": i in masked, "logprob": logprob,
                          "old_logprob": beside(0.25), "reference": beside(9.0 if far else 0.3), "rollout": beside(0.05),
                          "entropy": [abs(x) for x in eighths(generator, length, 1.0, 0.5)]})
        if far:  # on both sides of the clamp
            for t in range(0, length, 2):
                sequences[i]["reference"][t] = logprob[t] + (9.5 if t % 4 else 12.0)
    return {"sequences": sequences, "rest_tokens": rest_tokens, "micro_batches": micro_batches}


BATCHES = {
    "near": batch(1, [5, 3, 7, 1, 4], set(), False, 0, 1),
    "far": batch(2, [5, 6], set(), True, 0, 1),
    "masked": batch(3, [4, 6, 2, 5], {1}, False, 23, 3),
    "nothing": batch(4, [3, 4], {0, 1}, False, 0, 2),
}


# ---- The loss ----------------------------------------------------------------------------------------------------------

def tensors(sequences):
    return [{name: torch.tensor(s[name], dtype=torch.float64, requires_grad=name in ("logprob", "entropy"))
             for name in SEQUENCE_INPUTS} for s in sequences]


def token_weight(loss, setting, batch, sequences, length):
    tokens = sum(len(s["logprob"]) for s in sequences if not s["masked"])
    if loss == "bnpo":
        return 1 / (max(tokens, 1) * batch["micro_batches"])
    if loss == "dr_grpo":
        return 1 / (len(sequences) * setting["max_completion_length"] * batch["micro_batches"])
    if loss in ("dapo", "cispo"):
        return 1 / max(tokens + batch["rest_tokens"], 1)
    return 1 / (len(sequences) * max(length, 1) * batch["micro_batches"])


def sequence_loss(loss, setting, advantage, values, seen):
    """The losses of a sequence's tokens; `seen` gets what is logged."""
    logprob = values["logprob"]
    old = values["old_logprob"] if setting["old"] else logprob.detach()
    log_ratio = logprob - old
    shared = setting["sequence_level"] or loss == "gspo"
    if shared:
        log_ratio = log_ratio.mean().expand_as(logprob)
    ratio = log_ratio.exp()
    low, high = 1 - setting["epsilon"], 1 + setting["epsilon_high"]
    if loss == "cispo":
        policy = -ratio.clamp(max=setting["epsilon_high"]).detach() * advantage * logprob
        over, under = (ratio > setting["epsilon_high"]) & (advantage > 0), torch.zeros_like(ratio, dtype=torch.bool)
    else:
        bounded = ratio.clamp(max=setting["delta"]) if setting["delta"] else ratio
        policy = -torch.min(bounded * advantage, ratio.clamp(low, high) * advantage)
        over, under = (bounded > high) & (advantage > 0), (bounded < low) & (advantage < 0)
    some = slice(0, 1) if shared else slice(None)
    for name, value in (("ratio", ratio), ("low", under), ("high", over)):
        seen[name].append(value[some].detach().double())
    if setting["rollout"]:
        correction = (old - values["rollout"]).exp().clamp(max=setting["importance_cap"]).detach()
        policy = policy * correction
        seen["correction"].append(correction)
        seen["mismatch"].append((old - values["rollout"]).abs().detach())
    if setting["beta"]:
        x = (values["reference"] - logprob).clamp(-10, 10)
        kl = x.exp() - x - 1
        policy = policy + setting["beta"] * kl
        seen["kl"].append(kl.detach())
    seen["entropy"].append(values["entropy"].detach())
    return policy


def statistics(seen, loss):
    """What is logged; zeros where there was nothing."""
    def of(function, name):
        return function(torch.cat(seen[name])).item() if seen[name] else 0.0

    def by_sequence(function, name, per):
        return function([per(x).item() for x in seen[name]]) if seen[name] else 0.0

    mean, least, most = torch.mean, torch.min, torch.max
    return {
        "loss": loss, "kl": of(mean, "kl"),
        "kl_completion": by_sequence(lambda v: sum(v) / len(v), "kl", mean), "entropy": of(mean, "entropy"),
        "clip_low_mean": of(mean, "low"), "clip_high_mean": of(mean, "high"),
        "clip_region_mean": of(mean, "low") + of(mean, "high"),
        "clip_low_min": by_sequence(min, "low", mean), "clip_high_max": by_sequence(max, "high", mean),
        "ratio_mean": of(mean, "ratio"), "ratio_min": of(least, "ratio"), "ratio_max": of(most, "ratio"),
        "correction_mean": of(mean, "correction"), "correction_min": of(least, "correction"),
        "correction_max": of(most, "correction"),
        "mismatch_mean": of(mean, "mismatch"), "mismatch_max": of(most, "mismatch"),
    }


def compute(loss, setting, batch):
    sequences, values, seen = batch["sequences"], tensors(batch["sequences"]), defaultdict(list)
    tokens = sum(len(s["logprob"]) for s in sequences if not s["masked"])
    total = torch.zeros((), dtype=torch.float64)
    for given, value in zip(sequences, values):
        if given["masked"]:
            continue
        weight = token_weight(loss, setting, batch, sequences, len(given["logprob"]))
        total = total + weight * sequence_loss(loss, setting, given["advantage"], value, seen).sum()
        total = total - setting["entropy_coef"] * value["entropy"].sum() / max(tokens, 1) / batch["micro_batches"]
    if total.requires_grad:
        total.backward()

    def gradients(name):
        return [(v[name].grad if v[name].grad is not None else torch.zeros_like(v[name])).tolist() for v in values]

    return {"d_logprob": gradients("logprob"), "d_entropy": gradients("entropy"),
            "statistics": statistics(seen, total.item())}


def video_r1(batch, beta):
    """The published loss, as its paper and trainer have it."""
    values = tensors(batch["sequences"])
    losses = []
    for given, value in zip(batch["sequences"], values):
        logp = value["logprob"]
        x = torch.clamp(value["reference"] - logp, -10, 10)
        losses.append(-(torch.exp(logp - logp.detach()) * given["advantage"] - beta * (torch.exp(x) - x - 1)).mean())
    loss = torch.stack(losses).mean()
    loss.backward()
    return loss.item(), [v["logprob"].grad.tolist() for v in values]


def make_losses():
    cases = []
    for name, options in OPTIONS:
        for loss in LOSSES:
            setting = {**PLAIN, **options}
            if loss == "cispo":  # a bound of the ratio itself
                setting["epsilon_high"] = 1 + setting["epsilon_high"]
            cases.append({"batch": name, "loss_type": loss, **setting, **compute(loss, setting, BATCHES[name])})
            if loss == "grpo" and setting["beta"] and set(options) == {"beta"}:
                published, gradient = video_r1(BATCHES[name], setting["beta"])
                assert math.isclose(published, cases[-1]["statistics"]["loss"], rel_tol=1e-12)
                assert near(gradient, cases[-1]["d_logprob"])
    return {"batches": BATCHES, "cases": cases}


# ---- Advantages --------------------------------------------------------------------------------------------------------

GROUPS = [
    [[1.0, 0.7, 0.4, 0.1], [0.0, 0.2, 1.2, 0.9]],
    [[0.7, 0.7, 0.7], [1.0, 0.4, 0.1], [0.1, 0.1, 0.1]],
    [[2.0, 2.5], [2.0, 2.0], [3.0, -4.0]],
    [[0.3] * 8],
    [[1e6, 1e6 + 0.5, 1e6 - 0.5, 1e6]],
    [[0.7], [0.1]],
]


def advantages(scale, groups):
    rewards = torch.tensor(groups, dtype=torch.float64)
    count = rewards.shape[1]
    group_std = rewards.std(dim=1, keepdim=True) if count > 1 else torch.zeros_like(rewards)
    std = rewards.std().expand_as(group_std) if scale == "batch" else group_std
    flat = (rewards == rewards[:, :1]).all(dim=1, keepdim=True)
    result = rewards - rewards.mean(dim=1, keepdim=True)
    if scale != "none":
        result = result / (std + 1e-4)
    return {"scale_rewards": scale, "rewards": groups, "advantages": torch.where(flat, 0.0, result).tolist(),
            "reward": rewards.mean().item(), "reward_std": torch.where(flat & torch.tensor(scale != "batch"), 0.0, std).mean().item(),
            "frac_reward_zero_std": flat.double().mean().item(),
            "all_wrong": (rewards <= 1).all(dim=1).double().mean().item(),
            "all_correct": (rewards >= 2).all(dim=1).double().mean().item()}


def make_advantages():
    return {"cases": [advantages(scale, groups) for groups in GROUPS for scale in ("group", "batch", "none")]}


# ---- TRL ---------------------------------------------------------------------------------------------------------------

def pad(rows, value=0.0):
    width = max(len(row) for row in rows)
    return torch.tensor([list(row) + [value] * (width - len(row)) for row in rows], dtype=torch.float64)


def trl_inputs(case, batch, logprob):
    sequences = batch["sequences"]
    mask = pad([[0.0 if s["masked"] else 1.0] * len(s["logprob"]) for s in sequences])
    old = pad([s["old_logprob"] for s in sequences]) if case["old"] else None
    inputs = {"prompt_ids": mask, "prompt_mask": mask, "completion_ids": mask, "completion_mask": mask,
              "advantages": torch.tensor([s["advantage"] for s in sequences], dtype=torch.float64),
              "old_per_token_logps": old, "ref_per_token_logps": pad([s["reference"] for s in sequences]),
              "num_items_in_batch": mask.sum() + batch["rest_tokens"]}
    if case["rollout"]:
        sampled = old if old is not None else logprob.detach()
        difference = (sampled - pad([s["rollout"] for s in sequences])) * mask
        inputs["importance_sampling_ratio"] = difference.exp().clamp(max=case["importance_cap"])
    return inputs


def trl_trainer(case, batch, logprob, entropy):
    """What _compute_loss needs of a trainer."""
    return types.SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (logprob, entropy, None), top_entropy_quantile=1.0,
        aux_loss_enabled=False, off_policy_mask_threshold=None, beta=case["beta"], epsilon_low=case["epsilon"],
        epsilon_high=case["epsilon_high"], use_vllm=case["rollout"], vllm_importance_sampling_correction=case["rollout"],
        importance_sampling_level="sequence" if case["sequence_level"] or case["loss_type"] == "gspo" else "token",
        loss_type="grpo" if case["loss_type"] == "gspo" else case["loss_type"],
        current_gradient_accumulation_steps=batch["micro_batches"], max_completion_length=case["max_completion_length"],
        _entropy_bonus_enabled=case["entropy_coef"] != 0, entropy_coef=case["entropy_coef"], use_adaptive_entropy=False,
        args=types.SimpleNamespace(delta=case["delta"] or None, use_bias_correction_kl=False,
                                   steps_per_generation=batch["micro_batches"]),
        accelerator=types.SimpleNamespace(num_processes=1, sync_gradients=True, gather=lambda x: x,
                                          reduce=lambda x, reduction: x),
        model=types.SimpleNamespace(training=True), _metrics={"train": defaultdict(list)})


LOGGED = {"kl": "kl", "entropy": "entropy", "clip_ratio/low_mean": "clip_low_mean", "clip_ratio/high_mean": "clip_high_mean",
          "clip_ratio/region_mean": "clip_region_mean", "clip_ratio/low_min": "clip_low_min",
          "clip_ratio/high_max": "clip_high_max", "cispo_clip_ratio": "clip_high_mean"}


def compare_with_trl(losses):
    from trl import GRPOTrainer

    compared = 0
    for case in losses["cases"]:
        if case["batch"] == "far":
            continue
        batch = losses["batches"][case["batch"]]
        logprob = pad([s["logprob"] for s in batch["sequences"]]).requires_grad_()
        entropy = pad([s["entropy"] for s in batch["sequences"]]).requires_grad_()
        trainer = trl_trainer(case, batch, logprob, entropy)
        loss = GRPOTrainer._compute_loss(trainer, None, trl_inputs(case, batch, logprob))
        loss.backward()
        place = f"{case['batch']} {case['loss_type']} { {k: case[k] for k in PLAIN} }"
        assert math.isclose(loss.item(), case["statistics"]["loss"], rel_tol=1e-9, abs_tol=1e-12), place
        assert near(logprob.grad.tolist(), pad(case["d_logprob"]).tolist()), place
        if entropy.grad is not None:
            assert near(entropy.grad.tolist(), pad(case["d_entropy"]).tolist()), place
        if case["batch"] == "near":
            for name, values in trainer._metrics["train"].items():
                if name in LOGGED:
                    assert near(values[-1], case["statistics"][LOGGED[name]]), f"{place}: {name}"
                    compared += 1
    print(f"{len(losses['cases'])} cases, {compared} logged values: as TRL has them")


# ---- Files -------------------------------------------------------------------------------------------------------------

def near(a, b):
    if isinstance(a, list):
        return len(a) == len(b) and all(map(near, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(near(a[key], b[key]) for key in a)
    if isinstance(a, float) and isinstance(b, (int, float)):
        return math.isclose(a, b, rel_tol=1e-7, abs_tol=1e-12)  # what the files keep
    return a == b


def short(value):
    """Ten digits are more than f32 outputs have."""
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, list):
        return [short(x) for x in value]
    return {key: short(x) for key, x in value.items()} if isinstance(value, dict) else value


def write(name, golden):
    parts = []
    for key, rows in golden.items():
        lines = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in rows.items()] if isinstance(rows, dict) else \
            ["  " + json.dumps(row) for row in rows]
        brackets = "{}" if isinstance(rows, dict) else "[]"
        parts.append(f" {json.dumps(key)}: {brackets[0]}\n" + ",\n".join(lines) + f"\n {brackets[1]}")
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / name).write_text("{\n" + ",\n".join(parts) + "\n}\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--trl", action="store_true")
    options = parser.parse_args()
    made = {"losses.json": make_losses(), "advantages.json": make_advantages()}
    if options.trl:
        compare_with_trl(made["losses.json"])
    for name, golden in made.items():
        if options.check:
            if not near(short(golden), json.loads((GOLDEN / name).read_text())):
                sys.exit(f"{name} differs")
        elif not options.trl:
            write(name, short(golden))


if __name__ == "__main__":
    main()
