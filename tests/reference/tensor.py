"""Golden values of operations whose roundings must be the reference's: tests/golden/tensor/*.bin.

Each file holds its arrays one after the other, little-endian, bf16 as 16-bit words; the layouts are
repeated in tests/tensor/test_golden.c. Usage: python tests/reference/tensor.py  (requirements.txt)
"""
from pathlib import Path

import torch
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

torch.manual_seed(20240607)
torch.set_num_threads(1)
folder = Path(__file__).resolve().parent.parent / "golden" / "tensor"
folder.mkdir(parents=True, exist_ok=True)


def write(name, *arrays):
    data = b"".join((a.view(torch.int16) if a.dtype == torch.bfloat16 else a).contiguous().numpy().tobytes()
                    for a in arrays)
    (folder / f"{name}.bin").write_bytes(data)


ROWS, COLS = 8, 200
with torch.no_grad():
    # Every f32 whose rounding to bf16 is delicate: ties, subnormals, overflow, infinities, NaN.
    bits = [sign << 31 | high << 16 | low for sign in (0, 1) for high in (0, 1, 0x80, 0x3F80, 0x3F81, 0x7F7F, 0x7F80)
            for low in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF)]
    f32 = torch.tensor([b - (1 << 32) if b >> 31 else b for b in bits], dtype=torch.int32).view(torch.float32)
    write("convert", f32, f32.to(torch.bfloat16))  # 84 each

    x = torch.randn(ROWS, COLS) * torch.logspace(-3, 3, ROWS)[:, None]
    delta = torch.randn(ROWS, COLS)
    norm = Qwen2RMSNorm(COLS, eps=1e-6)
    norm.weight.copy_(1 + 0.3 * torch.randn(COLS))
    half = Qwen2RMSNorm(COLS, eps=1e-6).to(torch.bfloat16)
    half.weight.copy_(norm.weight)
    bx, bdelta = x.to(torch.bfloat16), delta.to(torch.bfloat16)
    bsum = bx + bdelta
    # x, weight, out; then in bf16 (the weight as f32): x, delta, weight, norm(x), x + delta, norm(x + delta)
    write("rmsnorm", x, norm.weight, norm(x), bx, bdelta, half.weight.float(), half(bx), bsum, half(bsum))

    gate_up = 4 * torch.randn(ROWS, 2 * COLS)
    bgate_up = gate_up.to(torch.bfloat16)
    gate, up = gate_up.chunk(2, dim=1)
    bgate, bup = bgate_up.chunk(2, dim=1)
    silu, gelu = torch.nn.SiLU(), torch.nn.GELU()
    # gate_up, silu(gate) up, gelu(gate_up); then the same in bf16
    write("activations", gate_up, silu(gate) * up, gelu(gate_up), bgate_up, silu(bgate) * bup, gelu(bgate_up))
