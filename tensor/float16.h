/* The 16-bit float formats, bit by bit, without branches so that loops over them vectorise. */
#ifndef VS2_TENSOR_FLOAT16_H
#define VS2_TENSOR_FLOAT16_H

#include <stdint.h>
#include <string.h>

static inline float float_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t float_to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float float_from_bf16(uint16_t half) {
    return float_from_bits((uint32_t)half << 16);
}

/* Rounds to nearest, ties to even; a NaN stays a NaN. */
static inline uint16_t float_to_bf16(float value) {
    uint32_t bits = float_to_bits(value);
    uint32_t rounded = bits + 0x7fffu + (bits >> 16 & 1u);
    return (uint16_t)((rounded | -(uint32_t)(value != value)) >> 16);
}

/* What bf16 makes of a value, still as an f32. */
static inline float float_round_bf16(float value) {
    uint32_t bits = float_to_bits(value);
    uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u;
    return float_from_bits(rounded | -(uint32_t)(value != value));
}

/* IEEE binary16. The product moves the exponent's bias and makes subnormals normal, exactly. */
static inline float float_from_f16(uint16_t half) {
    uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t finite = float_to_bits(float_from_bits(magnitude) * 0x1p112f);
    uint32_t special = magnitude | 0x7f800000u; /* infinity or NaN */
    return float_from_bits(sign | ((half & 0x7c00) == 0x7c00 ? special : finite));
}

#endif
