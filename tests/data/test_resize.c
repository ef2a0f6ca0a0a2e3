/* Resizes bit for bit against Pillow and torchvision, on noise (tests/reference/video.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "data/resize.h"
#include "tests/data/support.h"

/* The same bytes as noise() in tests/reference/video.py. */
static void fill_noise(uint8_t *bytes, size_t count, uint32_t seed) {
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        uint8_t value = (uint8_t)(seed >> 24);
        bytes[i] = (seed >> 8 & 3) == 0 ? (value > 127 ? 255 : 0) : value;
    }
}

/* Runs with rows that are longer than needed, and packs the result. */
static uint32_t resized_crc(enum resize_kind kind, struct size from, struct size to, uint32_t seed) {
    enum { GAP = 5 };
    struct error err;
    size_t row = (size_t)from.width * 3;
    size_t to_row = (size_t)to.width * 3;
    uint8_t *noise = calloc(row * (size_t)from.height, 1);
    uint8_t *source = calloc((row + GAP) * (size_t)from.height, 1);
    uint8_t *result = calloc((to_row + GAP) * (size_t)to.height, 1);
    assert_true(noise && source && result);
    fill_noise(noise, row * (size_t)from.height, seed);
    for (int64_t y = 0; y < from.height; y++)
        memcpy(source + (size_t)y * (row + GAP), noise + (size_t)y * row, row);
    struct resize *resize = resize_new(kind, from, to, 3, &err);
    assert_non_null(resize);
    for (int twice = 0; twice < 2; twice++) resize_run(resize, source, row + GAP, result, to_row + GAP);
    for (int64_t y = 0; y < to.height; y++) {
        for (int i = 0; i < GAP; i++)
            assert_int_equal(result[(size_t)y * (to_row + GAP) + to_row + (size_t)i], 0);
        memmove(result + (size_t)y * to_row, result + (size_t)y * (to_row + GAP), to_row);
    }
    uint32_t crc = support_crc(result, to_row * (size_t)to.height);
    resize_free(resize);
    free(noise);
    free(source);
    free(result);
    return crc;
}

static void test_references(void **state) {
    static const enum resize_kind kinds[] = {RESIZE_PILLOW, RESIZE_TORCH, RESIZE_FLOAT, RESIZE_NEAREST};
    enum { KINDS = sizeof(kinds) / sizeof(kinds[0]), COLUMNS = 4 + KINDS };
    (void)state;
    struct error err;
    int ties = 0;
    json_t *golden = json_read_file(support_golden("resize.json"), 1 << 20, &err);
    assert_non_null(golden);
    assert_true(json_array_size(golden) >= 50);
    size_t i;
    json_t *row;
    json_array_foreach(golden, i, row) {
        int64_t values[COLUMNS];
        for (size_t k = 0; k < COLUMNS; k++) values[k] = json_integer_value(json_array_get(row, k));
        struct size from = {values[0], values[1]};
        struct size to = {values[2], values[3]};
        for (size_t k = 0; k < KINDS; k++) {
            uint32_t crc = resized_crc(kinds[k], from, to, (uint32_t)i + 1);
            if (kinds[k] == RESIZE_FLOAT)
                ties += crc != values[4 + k];
            else
                assert_int_equal(crc, values[4 + k]);
        }
    }
    /* Without fused instructions the last bit of a sum rounds a few bytes of every third picture the other
     * way. */
    if (ties > 0)
        print_message("f32: %d of %zu pictures are not equal to the byte\n", ties, json_array_size(golden));
    assert_true(ties <= 45);
    json_decref(golden);
}

/* Every number of channels gives what each channel alone gives. */
static void test_channels(void **state) {
    (void)state;
    enum { WIDTH = 13, HEIGHT = 11, TO_WIDTH = 9, TO_HEIGHT = 17 };
    struct error err;
    struct size from = {WIDTH, HEIGHT};
    struct size to = {TO_WIDTH, TO_HEIGHT};
    for (int channels = 1; channels <= 4; channels++) {
        uint8_t source[WIDTH * HEIGHT * 4];
        uint8_t plane[WIDTH * HEIGHT];
        uint8_t result[TO_WIDTH * TO_HEIGHT * 4];
        uint8_t alone[TO_WIDTH * TO_HEIGHT];
        fill_noise(source, sizeof source, 99);
        struct resize *together = resize_new(RESIZE_PILLOW, from, to, channels, &err);
        struct resize *single = resize_new(RESIZE_PILLOW, from, to, 1, &err);
        assert_true(together && single);
        resize_run(together, source, (size_t)WIDTH * (size_t)channels, result,
                   (size_t)TO_WIDTH * (size_t)channels);
        for (int c = 0; c < channels; c++) {
            for (int i = 0; i < WIDTH * HEIGHT; i++) plane[i] = source[i * channels + c];
            resize_run(single, plane, WIDTH, alone, TO_WIDTH);
            for (int i = 0; i < TO_WIDTH * TO_HEIGHT; i++)
                assert_int_equal(alone[i], result[i * channels + c]);
        }
        resize_free(together);
        resize_free(single);
    }
}

static void test_same_size(void **state) {
    (void)state;
    struct error err;
    struct size size = {5, 3};
    uint8_t source[45];
    uint8_t result[45] = {0};
    fill_noise(source, sizeof source, 5);
    struct resize *resize = resize_new(RESIZE_TORCH, size, size, 3, &err);
    assert_non_null(resize);
    resize_run(resize, source, 15, result, 15);
    assert_memory_equal(source, result, sizeof source);
    resize_free(resize);
}

static void test_refused(void **state) {
    (void)state;
    struct error err;
    assert_null(resize_new(RESIZE_TORCH, (struct size){0, 1}, (struct size){1, 1}, 3, &err));
    assert_null(resize_new(RESIZE_TORCH, (struct size){1, 1}, (struct size){1 << 20, 1 << 20}, 3, &err));
    assert_string_equal(err.message, "a picture of 1048576 x 1048576 pixels is not supported");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_channels),
        cmocka_unit_test(test_same_size),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
