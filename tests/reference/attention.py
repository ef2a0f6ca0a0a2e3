"""Golden values of attention: PyTorch's scaled_dot_product_attention, segment by segment, with explicit masks.

    python tests/reference/attention.py > tests/golden/attention.json                           (torch 2.9.1)
"""

import json

import torch

torch.set_num_threads(1)

HEADS, KV_HEADS, HEAD_DIM, QUERIES, KEYS = 6, 2, 12, 21, 46
SEGMENTS = [  # query, queries, prefix, prefix_keys, key, keys, causal
    (0, 5, 0, 0, 0, 5, True),  # a prompt
    (5, 4, 0, 0, 5, 7, False),  # a window
    (9, 1, 12, 9, 21, 1, True),  # two sequences decoded on one prompt
    (10, 1, 12, 9, 24, 6, True),
    (11, 6, 12, 9, 30, 6, True),  # a completion in training
    (17, 3, 2, 3, 36, 10, True),  # a prompt continued: more keys than queries
    (20, 1, 40, 6, 0, 0, False),  # nothing but a prefix
]


def visible(segment):
    """[queries, KEYS] booleans."""
    _, queries, prefix, prefix_keys, key, keys, causal = segment
    mask = torch.zeros(queries, KEYS, dtype=torch.bool)
    mask[:, prefix : prefix + prefix_keys] = True
    for i in range(queries):
        mask[i, key : key + (i + 1 + keys - queries if causal else keys)] = True
    return mask


def main():
    torch.manual_seed(3)
    # Multiples of 1/64: short in decimal, exact in f32.
    q, k, v = (
        (torch.randn(rows, heads, HEAD_DIM) * 64).round() / 64
        for rows, heads in [(QUERIES, HEADS), (KEYS, KV_HEADS), (KEYS, KV_HEADS)]
    )
    out = torch.zeros_like(q)
    for segment in SEGMENTS:
        rows = slice(segment[0], segment[0] + segment[1])
        result = torch.nn.functional.scaled_dot_product_attention(
            q[rows].transpose(0, 1).double(),
            k.transpose(0, 1).double(),
            v.transpose(0, 1).double(),
            attn_mask=visible(segment),
            scale=0.3,
            enable_gqa=True,
        )
        out[rows] = result.transpose(0, 1).float()
    fields = {"heads": HEADS, "kv_heads": KV_HEADS, "head_dim": HEAD_DIM, "scale": 0.3}
    fields["segments"] = [[int(x) for x in segment] for segment in SEGMENTS]
    for name, tensor in [("q", q), ("k", k), ("v", v)]:
        fields[name] = tensor.flatten().tolist()
    fields["out"] = [float(f"{x:.8g}") for x in out.flatten().tolist()]
    print("{" + ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items()) + "}")


if __name__ == "__main__":
    main()
