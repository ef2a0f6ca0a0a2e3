/* The elementary functions of the kernels over the whole range of f32, and the 16-bit formats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "tensor/cpu/kernels/math.h"

enum { STRIDE = 9973 }; /* a prime number of floats from one to the next: some 430,000 of them */

/* The distance of neighbouring floats at this magnitude. */
static double spacing(double value) {
    int exponent;
    frexp(value, &exponent);
    return ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
}

/* The largest error in units of the last place over [low, high]. */
static double largest_error(float (*function)(float), double (*exact)(double), double low, double high) {
    double largest = 0;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += STRIDE) {
        float x = float_from_bits((uint32_t)bits);
        if (!(x >= low && x <= high)) continue;
        double error = fabs(function(x) - exact(x)) / spacing(exact(x));
        if (!(error <= largest)) largest = error;
    }
    return largest;
}

static double exact_silu(double x) {
    return x / (1 + exp(-x));
}
static double exact_gelu(double x) {
    return x / 2 * erfc(-x * 0.70710678118654752440);
}

static void exponential(void **state) {
    (void)state;
    assert_true(largest_error(math_exp, exp, -104, 88.72) < 1.1);
    assert_true(math_exp(0) == 1);
    assert_true(math_exp(89) == INFINITY && math_exp(INFINITY) == INFINITY);
    assert_true(math_exp(-104) == 0 && math_exp(-INFINITY) == 0);
    assert_true(isnan(math_exp(NAN)));
}

static void error_function(void **state) {
    (void)state;
    assert_true(largest_error(math_erf, erf, -INFINITY, INFINITY) < 1.3);
    assert_true(isnan(math_erf(NAN)));
}

static void activations(void **state) {
    (void)state;
    assert_true(largest_error(math_silu, exact_silu, -80, 3e38) < 3);
    assert_true(math_silu(INFINITY) == INFINITY && math_silu(-200) == 0 && isnan(math_silu(NAN)));
    /* The negative tail of the GELU is a difference near zero, as in the reference: judged against x. */
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += STRIDE) {
        float x = float_from_bits((uint32_t)bits);
        if (fabsf(x) < 1e30f)
            assert_true(fabs(math_gelu(x) - exact_gelu(x)) <= 2.5 * 0x1p-24 * fabs((double)x) + 1e-44);
    }
}

/* Every bf16 converts to f32 and back to itself; halfway values go to the even neighbour. */
static void bf16_round_trip(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits <= 0xffff; bits++) {
        float value = float_from_bf16((uint16_t)bits);
        if (isnan(value)) {
            assert_true(isnan(float_from_bf16(float_to_bf16(value))));
            continue;
        }
        assert_int_equal(float_to_bf16(value), bits);
        if ((bits & 0x7f80) == 0x7f80) continue;
        uint32_t even = bits & 1 ? bits + 1 : bits;
        assert_int_equal(float_to_bf16(float_from_bits(bits << 16 | 0x8000)), even);
        assert_int_equal(float_to_bf16(float_from_bits(bits << 16 | 0x8001)), bits + 1);
        assert_int_equal(float_to_bf16(float_from_bits(bits << 16 | 0x7fff)), bits);
    }
    assert_true(isnan(float_from_bf16(float_to_bf16(float_from_bits(0x7f800001)))));
    assert_true(isnan(float_from_bf16(float_to_bf16(float_from_bits(0xffffffff)))));
}

/* Every f16, by its definition. */
static void f16_values(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits <= 0xffff; bits++) {
        int exponent = bits >> 10 & 31;
        double fraction = bits & 0x3ff, sign = bits >> 15 ? -1 : 1;
        float value = float_from_f16((uint16_t)bits);
        if (exponent == 31)
            assert_true(fraction != 0 ? isnan(value) : value == sign * INFINITY);
        else if (exponent == 0)
            assert_true(value == sign * ldexp(fraction, -24));
        else
            assert_true(value == sign * ldexp(1024 + fraction, exponent - 25));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exponential),     cmocka_unit_test(error_function), cmocka_unit_test(activations),
        cmocka_unit_test(bf16_round_trip), cmocka_unit_test(f16_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
