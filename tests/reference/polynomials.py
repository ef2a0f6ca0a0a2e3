"""Fits the polynomials of tensor/cpu/kernels/ (math.h, attention.c) and prints their coefficients, lowest power first.

Minimax by Lawson's iteration (weighted least squares on Chebyshev nodes, weights multiplied by the errors).
Usage: python tests/reference/polynomials.py  (numpy)
"""
from math import erf, erfc, exp, log, log2, pi, sqrt

import numpy as np


def fit(function, weight, low, high, degree, rounds=60, nodes=4000):
    """The coefficients, and the largest error times weight."""
    angles = np.pi * (np.arange(nodes) + 0.5) / nodes
    x = (low + high) / 2 + (high - low) / 2 * np.cos(angles)
    y = np.array([function(v) for v in x])
    w = np.array([weight(v) for v in x])
    basis = np.polynomial.chebyshev.chebvander((2 * x - low - high) / (high - low), degree)
    share = np.full(nodes, 1 / nodes)
    best = None
    for _ in range(rounds):
        scale = np.sqrt(share) * w
        solution = np.linalg.lstsq(basis * scale[:, None], y * scale, rcond=None)[0]
        error = np.abs(basis @ solution - y) * w
        if best is None or error.max() < best[0]:
            best = error.max(), solution
        share = share * error
        share /= share.sum()
    series = np.polynomial.chebyshev.Chebyshev(best[1], domain=[low, high])
    return series.convert(kind=np.polynomial.Polynomial).coef, best[0]


def show(name, coefficients, error):
    print(f"{name}: largest error 2^{log2(error):.1f}")
    for value in coefficients:
        print(f"    {np.float32(value):.9e}f")


def exp_rest(r):
    """(e^r - 1 - r) / r^2, by its series near 0."""
    if abs(r) < 1e-2:
        return sum(r**k / np.prod(np.arange(1.0, k + 3)) for k in range(8))
    return (np.expm1(r) - r) / r**2


half = log(2) / 2 * 1.001
show("exp: p(r), relative to e^r", *fit(exp_rest, lambda r: r * r / exp(r), -half, half, 4))
show(
    "erf: q(u) + 1 with u = x^2, relative",
    *fit(
        lambda u: erf(sqrt(u)) / sqrt(u) if u > 0 else 2 / sqrt(pi),
        lambda u: sqrt(u) / erf(sqrt(u)) if u > 0 else sqrt(pi) / 2,
        0,
        1,
        6,
    ),
)
show("erf: p(a) = -log erfc(a), relative to erf", *fit(lambda a: -log(erfc(a)), lambda a: erfc(a) / erf(a), 1, 4, 7))

# kernels/attention.c
show(
    "2^r: 1 + r p(r), relative",
    *fit(lambda r: np.expm1(r * log(2)) / r, lambda r: abs(r) / 2**r, -0.5, 0.5, 4),
)
