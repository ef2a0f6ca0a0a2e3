/* Elementary functions without branches or calls, so that loops over them vectorise. The polynomials are
 * weighted minimax fits (tests/reference/polynomials.py); the errors are held by tests/tensor/test_math.c.
 * Only expressions that a multiply-add may contract: no fmaf, which is a call where the hardware has none.
 * Choices are made on bits: of a ?: the compiler may make separate paths, and compute each for all lanes. */
#ifndef VS2_TENSOR_CPU_KERNELS_MATH_H
#define VS2_TENSOR_CPU_KERNELS_MATH_H

#include "tensor/float16.h"

static inline float math_select(int condition, float yes, float no) {
    uint32_t mask = -(uint32_t)condition;
    return float_from_bits((float_to_bits(yes) & mask) | (float_to_bits(no) & ~mask));
}

/* The nearest to zero of x and +-limit; a NaN becomes a limit. Floats of one sign order as their bits do. */
static inline float math_clamp(float x, float limit) {
    uint32_t bits = float_to_bits(x);
    int32_t magnitude = (int32_t)(bits & 0x7fffffffu), most = (int32_t)float_to_bits(limit);
    magnitude = magnitude < most ? magnitude : most;
    return float_from_bits((uint32_t)magnitude | (bits & 0x80000000u));
}

/* e^x; within 2 units in the last place where the result is normal. Infinity above 88.72, 0 below -104,
 * NaN stays NaN. x = n ln 2 + r, e^r = 1 + r + r^2 p(r), and 2^n in two factors, as n runs from -150 to 150.
 * Adding 1.5 * 2^23 rounds to a whole number whose bits are the low bits of the sum. */
static inline float math_exp(float argument) {
    const float round = 0x1.8p23f;
    float x = math_clamp(argument, 104.0f);
    float shifted = x * 1.44269504088896341f + round;
    uint32_t n = float_to_bits(shifted) - float_to_bits(round);
    float whole = shifted - round;
    float r = x - whole * 0x1.63p-1f; /* ln 2 in two parts, the first short: the product is exact */
    r = r + whole * 0x1.bd0106p-13f;
    float p = 1.381446491e-03f;
    p = p * r + 8.368780836e-03f;
    p = p * r + 4.166839272e-02f;
    p = p * r + 1.666651964e-01f;
    p = p * r + 4.999999404e-01f;
    p = p * (r * r) + r;
    uint32_t half = (uint32_t)((int32_t)n >> 1);
    float scale = float_from_bits((half + 127u) << 23);
    float rest = float_from_bits((n - half + 127u) << 23);
    float result = (p + 1.0f) * scale * rest;
    return float_from_bits(float_to_bits(result) | -(uint32_t)(argument != argument));
}

/* x / (1 + e^-x). */
static inline float math_silu(float x) {
    return x / (1.0f + math_exp(-x));
}

/* The error function: x + x q(x^2) up to 1, then 1 - e^-p(|x|), which is 1 to f32 from 4 on. */
static inline float math_erf(float x) {
    uint32_t sign = float_to_bits(x) & 0x80000000u;
    float a = float_from_bits(float_to_bits(x) & 0x7fffffffu);
    float u = x * x;
    float q = 7.853857824e-05f;
    q = q * u - 8.010192541e-04f;
    q = q * u + 5.188327748e-03f;
    q = q * u - 2.685381100e-02f;
    q = q * u + 1.128358543e-01f;
    q = q * u - 3.761262596e-01f;
    q = q * u + 1.283791671e-01f; /* 2 / sqrt(pi) - 1: the 1 is added exactly */
    float inner = x + x * q;

    float b = math_clamp(a, 4.0f);
    float p = 2.169772961e-05f;
    p = p * b - 4.414740251e-04f;
    p = p * b + 4.205291625e-03f;
    p = p * b - 2.521035820e-02f;
    p = p * b + 1.084221303e-01f;
    p = p * b + 6.332163811e-01f;
    p = p * b + 1.129580379e+00f;
    p = p * b - 1.884706580e-04f;
    float outer = 1.0f - math_exp(-p);
    outer = float_from_bits(float_to_bits(outer) | sign);
    return math_select(a >= 1.0f, outer, inner); /* a NaN is in the inner one */
}

/* x/2 (1 + erf(x / sqrt 2)). */
static inline float math_gelu(float x) {
    return 0.5f * x * (1.0f + math_erf(x * 0.70710678118654752f));
}

/* Its derivative, (1 + erf(x / sqrt 2)) / 2 + x e^(-x^2 / 2) / sqrt(2 pi). */
static inline float math_gelu_slope(float x) {
    float density = 0.39894228040143268f * math_exp(-0.5f * x * x);
    return 0.5f * (1.0f + math_erf(x * 0.70710678118654752f)) + x * density;
}

#endif
