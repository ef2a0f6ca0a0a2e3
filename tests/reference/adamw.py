"""Golden values of the optimizer's step: torch.optim.AdamW in f32, one tensor at a time.

tests/golden/tensor/adamw.bin holds, little-endian, for every run of tests/tensor/test_adamw.c: the weights, then for each
of STEPS steps the gradient and the weights after it, at the end both moments. Usage: python tests/reference/adamw.py
(requirements.txt)
"""
from pathlib import Path

import torch

COUNT, STEPS = 203, 4
RUNS = [  # learning rate, betas, epsilon, decay, factor of the gradient
    (5e-5, (0.9, 0.999), 1e-8, 0.0, 1.0),
    (1e-3, (0.9, 0.95), 1e-8, 0.1, 0.37),
    (1e-2, (0.3, 0.99), 1e-6, 0.01, 1.0),
]


def main():
    torch.manual_seed(11)
    torch.set_num_threads(1)
    data = b""
    for rate, betas, epsilon, decay, factor in RUNS:
        weight = torch.nn.Parameter(torch.randn(COUNT) * torch.logspace(-4, 0, COUNT))
        optimizer = torch.optim.AdamW([weight], lr=rate, betas=betas, eps=epsilon, weight_decay=decay, foreach=False)
        arrays = [weight.detach().clone()]
        for _ in range(STEPS):
            gradient = torch.randn(COUNT) * torch.logspace(-6, 1, COUNT).flip(0)
            weight.grad = gradient * torch.tensor(factor)
            optimizer.step()
            arrays += [gradient, weight.detach().clone()]
        arrays += [optimizer.state[weight]["exp_avg"], optimizer.state[weight]["exp_avg_sq"]]
        data += b"".join(a.numpy().tobytes() for a in arrays)
    folder = Path(__file__).resolve().parent.parent / "golden" / "tensor"
    (folder / "adamw.bin").write_bytes(data)


if __name__ == "__main__":
    main()
