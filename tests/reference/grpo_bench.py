#!/usr/bin/env python3
"""Times a GRPO step of PyTorch in the published way, the counterpart of vs2-bench grpo: the same checkpoint, prompt and work.

    python tests/reference/grpo_bench.py rollout|learn --model DIR --data rows.json --media-dir DIR [options]

A step is one prompt of P tokens (video included) with G completions of C tokens: sampled, read by the reference model, and
learnt from, everything trained. The published way (Video-R1's trainer) repeats pixels and prompt for each completion: in
generate() by num_return_sequences, and in the policy's and the reference model's passes, which make logits of all P + C
tokens. Weights and gradients are bf16 with f32 masters in the optimizer (as DeepSpeed has it), gradient checkpointing is on.

Here the passes go one completion at a time, which needs less memory than the published batch of G. `learn` runs --micro of
the G and gives the seconds of its passes times G / micro. Prints JSON with the names of vs2-bench grpo.
"""

import argparse
import json
import pathlib
import resource
import time

import torch

import pipeline


def prompt_of(reference, options):
    """Model inputs of the first row, filled up to P tokens by the first word after the video."""
    row = json.loads(options.data.read_text())[0]
    frames = pipeline.frames_llamafactory(options.media_dir / row["video"])
    inputs = reference.prepare(frames, row["prompt"])
    ids = inputs["input_ids"]
    end = reference.tokenizer.convert_tokens_to_ids("<|vision_end|>")
    at = int((ids[0] == end).nonzero()[-1]) + 1
    more = options.prompt_tokens - ids.shape[1]
    if more < 0:
        raise SystemExit(f"the prompt has {ids.shape[1]} tokens, more than {options.prompt_tokens}")
    inputs["input_ids"] = torch.cat([ids[:, :at], ids[:, at : at + 1].expand(1, more), ids[:, at:]], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    return inputs


class Clock:
    """Seconds by part."""

    def __init__(self):
        self.seconds = {}

    def time(self, part, run):
        start = time.perf_counter()
        result = run()
        self.seconds[part] = self.seconds.get(part, 0) + time.perf_counter() - start
        return result


def rollout(options, dtype):
    """Vision and prompt are what one token costs."""
    policy = pipeline.Pipeline(options.model, dtype)
    inputs, clock = prompt_of(policy, options), Clock()
    for part, tokens in (("prompt", 1), ("rollout", options.completion_tokens)):
        with torch.no_grad():
            clock.time(part, lambda: policy.model.generate(
                **inputs, do_sample=True, temperature=1.0, top_p=0.95, top_k=0, repetition_penalty=1.0, use_cache=True,
                num_return_sequences=options.num_generations, min_new_tokens=tokens, max_new_tokens=tokens))
    clock.seconds["decode"] = clock.seconds["rollout"] - clock.seconds["prompt"]
    return clock.seconds


def logprobs(model, inputs, sequence):
    """Of all tokens but the first, as published; then those of the completion."""
    whole = {**inputs, "input_ids": sequence, "attention_mask": torch.ones_like(sequence)}
    logits = model(**whole).logits[:, :-1, :]
    rows = logits[0].log_softmax(dim=-1).gather(1, sequence[0, 1:, None])[:, 0]
    return rows[inputs["input_ids"].shape[1] - 1 :]


def update(optimizer, masters, trained):
    for master, parameter in zip(masters, trained):
        if master is not parameter:
            master.grad = parameter.grad.float()
            parameter.grad = None
    torch.nn.utils.clip_grad_norm_(masters, 5.0)
    optimizer.step()
    optimizer.zero_grad()
    with torch.no_grad():
        for master, parameter in zip(masters, trained):
            if master is not parameter:
                parameter.copy_(master)


def learn(options, dtype):
    reference = pipeline.Pipeline(options.model, dtype)
    model = pipeline.Pipeline(options.model, dtype).model.train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    trained = list(model.parameters())
    masters = [p.detach().float().requires_grad_() for p in trained] if dtype != torch.float32 else trained
    optimizer = torch.optim.AdamW(masters, lr=1e-6, weight_decay=0.01, fused=True)
    inputs, clock = prompt_of(reference, options), Clock()
    words = reference.tokenizer.convert_tokens_to_ids("<|im_start|>")  # ordinary tokens come before it
    for _ in range(options.micro):
        sequence = torch.cat([inputs["input_ids"], torch.randint(0, words, (1, options.completion_tokens))], 1)
        with torch.no_grad():
            other = clock.time("reference", lambda: logprobs(reference.model, inputs, sequence))
        logprob = clock.time("policy_forward", lambda: logprobs(model, inputs, sequence))
        x = torch.clamp(other - logprob, -10, 10)
        loss = -(torch.exp(logprob - logprob.detach()) * 0.5 - 0.04 * (torch.exp(x) - x - 1)).mean()
        clock.time("policy_backward", lambda: (loss / options.num_generations).backward())
    seconds = {part: spent * options.num_generations / options.micro for part, spent in clock.seconds.items()}
    clock.time("optimizer", lambda: update(optimizer, masters, trained))
    seconds["optimizer"] = clock.seconds["optimizer"]
    return {**seconds, "learn": sum(seconds.values())}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["rollout", "learn"])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--media-dir", type=pathlib.Path, required=True)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="bf16")
    parser.add_argument("--prompt-tokens", type=int, default=1564, help="P")
    parser.add_argument("--num-generations", type=int, default=8, help="G")
    parser.add_argument("--completion-tokens", type=int, default=256, help="C")
    parser.add_argument("--micro", type=int, default=1, help="completions learnt from, of G")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    dtype = {"bf16": torch.bfloat16, "f32": torch.float32}[options.dtype]
    seconds = (rollout if options.part == "rollout" else learn)(options, dtype)
    print(json.dumps({**{key: value for key, value in vars(options).items() if isinstance(value, int)}, "seconds": seconds,
                      "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


if __name__ == "__main__":
    main()
