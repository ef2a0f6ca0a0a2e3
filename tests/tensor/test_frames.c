/* Frames resized and cut to patches against plain loops, to the bit. That the bytes are those of the
 * published pipelines is tested in tests/data/test_device_frames.c. */
#include "tests/tensor/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

static uint32_t random_word(uint64_t seed, int64_t position) {
    uint32_t words[4];
    random_words((struct random_key){.seed = seed, .position = (uint64_t)position}, words);
    return words[0];
}

/* Zeroed memory of `count` elements, freed by the caller. */
static void *zeros(int64_t count, size_t size) {
    void *memory = calloc((size_t)count + 1, size);
    assert_non_null(memory);
    return memory;
}

static uint8_t *random_bytes(int64_t count, uint64_t seed) {
    uint8_t *bytes = zeros(count, 1);
    for (int64_t i = 0; i < count; i++) bytes[i] = (uint8_t)random_word(seed, i);
    return bytes;
}

/* ---- Resizing ---------------------------------------------------------------------------------------- */

enum { TAPS = 7, PRECISION = 14 };

/* The halves of a resize: of columns or rows, in fixed point or f32. */
struct half {
    bool down, fixed, from_floats;
    int64_t inputs, outputs, others; /* others: pixels along the axis that stays */
    int32_t *starts, *counts, *weights;
    float *floats;
};

/* Runs of up to TAPS inputs; weights from -1/2 to 1, so that sums leave [0, 255] on both sides. */
static void fill(struct half *half) {
    int64_t cells = half->outputs * TAPS;
    half->starts = zeros(half->outputs, sizeof *half->starts);
    half->counts = zeros(half->outputs, sizeof *half->counts);
    half->weights = zeros(cells, sizeof *half->weights);
    half->floats = zeros(cells, sizeof *half->floats);
    int64_t most = half->inputs < TAPS ? half->inputs : TAPS;
    for (int64_t i = 0; i < half->outputs; i++) {
        half->counts[i] = (int32_t)(random_word(1, i) % (uint32_t)(most + 1));
        half->starts[i] = (int32_t)(random_word(2, i) % (uint32_t)(half->inputs - half->counts[i] + 1));
    }
    for (int64_t i = 0; i < cells; i++) {
        half->weights[i] = (int32_t)(random_word(3, i) % 24576) - 8192;
        half->floats[i] = (float)half->weights[i] / (1 << PRECISION) * 1.0000001f;
    }
}

static void forget(struct half *half) {
    free(half->starts);
    free(half->counts);
    free(half->weights);
    free(half->floats);
}

static double clamped(double value) {
    return value < 0 ? 0 : value > 255 ? 255 : value;
}

/* Output i of the column (or channel of the row) whose inputs begin at `x`, `step` apart. */
static double expected_output(const struct half *half, int64_t i, const uint8_t *bytes, const float *floats,
                              int64_t step) {
    int64_t fixed = 1 << (PRECISION - 1);
    float sum = 0;
    for (int64_t k = 0; k < half->counts[i]; k++) {
        int64_t at = (half->starts[i] + k) * step;
        fixed += (int64_t)half->weights[i * TAPS + k] * bytes[at];
        sum = fmaf(half->floats[i * TAPS + k], half->from_floats ? floats[at] : bytes[at], sum);
    }
    if (half->fixed) return clamped(floor((double)fixed / (1 << PRECISION)));
    return half->from_floats ? rint(clamped(sum)) : sum;
}

/* The shape is rows x pixels of the input; `pad` more columns lie between its rows. */
static void check_half(struct bench *bench, struct half *half, int64_t pad) {
    fill(half);
    int64_t rows = half->down ? half->inputs : half->others;
    int64_t cols = FRAME_CHANNELS * (half->down ? half->others : half->inputs), stride = cols + pad;
    int64_t out_rows = half->down ? half->outputs : half->others;
    int64_t out_cols = FRAME_CHANNELS * (half->down ? half->others : half->outputs);
    uint8_t *bytes = random_bytes(rows * stride, 4);
    float *floats = zeros(rows * stride, sizeof *floats);
    for (int64_t i = 0; i < rows * stride; i++) floats[i] = (float)bytes[i] + 0.25f;

    enum dtype from = half->from_floats ? DTYPE_F32 : DTYPE_U8;
    enum dtype to = half->fixed || half->from_floats ? DTYPE_U8 : DTYPE_F32;
    struct arena_mark mark = arena_mark(&bench->arena);
    struct tensor x = arena_upload(&bench->arena, from, rows, stride,
                                   half->from_floats ? (const void *)floats : (const void *)bytes);
    struct tensor out = arena_tensor(&bench->arena, to, out_rows, out_cols);
    const struct resize_pass pass = {
        .down = half->down,
        .starts = arena_upload(&bench->arena, DTYPE_I32, 1, half->outputs, half->starts),
        .counts = arena_upload(&bench->arena, DTYPE_I32, 1, half->outputs, half->counts),
        .weights = arena_upload(&bench->arena, half->fixed ? DTYPE_I32 : DTYPE_F32, half->outputs, TAPS,
                                half->fixed ? (const void *)half->weights : (const void *)half->floats),
        .precision = PRECISION,
    };
    resize_frame(&bench->device, out, tensor_cols(x, 0, cols), pass);
    double *expected = zeros(out_rows * out_cols, sizeof *expected);
    int64_t step = half->down ? stride : FRAME_CHANNELS;
    for (int64_t r = 0; r < out_rows; r++)
        for (int64_t c = 0; c < out_cols; c++) {
            int64_t first = half->down ? c : r * stride + c % FRAME_CHANNELS;
            expected[r * out_cols + c] = expected_output(half, half->down ? r : c / FRAME_CHANNELS,
                                                         bytes + first, floats + first, step);
        }
    assert_values(bench, out, expected, 0, 0);
    arena_release(&bench->arena, mark);
    free(expected);
    free(floats);
    free(bytes);
    forget(half);
}

static void resizes_on(struct bench *bench) {
    static const int64_t sizes[][3] = {/* inputs, outputs, others */
                                       {1, 1, 1},   {1, 5, 3},   {9, 4, 8},    {30, 61, 7},
                                       {64, 28, 4}, {33, 2, 91}, {100, 90, 60}};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (int choice = 0; choice < 6; choice++)
            for (int64_t pad = 0; pad < 6; pad += s % 2 ? 3 : 4) {
                struct half half = {.down = choice % 2,
                                    .fixed = choice < 2,
                                    .from_floats = choice >= 4,
                                    .inputs = sizes[s][0],
                                    .outputs = sizes[s][1],
                                    .others = sizes[s][2]};
                check_half(bench, &half, pad);
            }
}

static void resizes(void **state) {
    (void)state;
    on_every_device(resizes_on);
}

/* A run of inputs that leaves the frame, or the table, fails the device and says where. */
static void bad_ranges(void **state) {
    (void)state;
    static const struct {
        int32_t start, count;
        const char *words;
    } cases[] = {
        {-1, 1, "resize_frame: start 1 is -1, not in [0, 5)"},
        {3, 3, "resize_frame: start 1 is 3, not in [0, 3)"},
        {0, -1, "resize_frame: count 1 is -1, not in [0, 4)"},
        {0, 4, "resize_frame: count 1 is 4, not in [0, 4)"},
    };
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        struct bench bench;
        bench_open(&bench, "guard");
        const int32_t starts[2] = {0, cases[i / 2].start}, counts[2] = {1, cases[i / 2].count};
        const int32_t weights[6] = {0};
        const uint8_t bytes[5 * 15] = {0};
        bool down = i % 2;
        struct tensor out = arena_tensor(&bench.arena, DTYPE_U8, down ? 2 : 5, down ? 15 : 6);
        struct tensor x = arena_upload(&bench.arena, DTYPE_U8, 5, 15, bytes);
        resize_frame(&bench.device, out, x,
                     (struct resize_pass){.down = down,
                                          .starts = arena_upload(&bench.arena, DTYPE_I32, 1, 2, starts),
                                          .counts = arena_upload(&bench.arena, DTYPE_I32, 1, 2, counts),
                                          .weights = arena_upload(&bench.arena, DTYPE_I32, 2, 3, weights),
                                          .precision = 8});
        struct error err;
        assert_int_equal(device_synchronize(&bench.device, &err), STATUS_FAILED);
        if (!strstr(err.message, cases[i / 2].words)) fail_msg("%s", err.message);
        bench_close(&bench);
    }
}

/* ---- Cutting ----------------------------------------------------------------------------------------- */

/* Frames of random bytes: every pixel must land in its place, and no other value may change. */
static void check_cut(struct bench *bench, struct patch_shape shape, int64_t down, int64_t across) {
    int64_t cell = shape.patch * shape.merge, area = shape.patch * shape.patch;
    int64_t height = down * cell, width = across * cell, rows = height * width / area;
    int64_t cols = FRAME_CHANNELS * shape.temporal * area, bytes_a_row = width * FRAME_CHANNELS + 5;
    uint8_t *bytes = random_bytes(height * bytes_a_row, 5);
    float values[FRAME_CHANNELS * 256];
    for (int i = 0; i < FRAME_CHANNELS * 256; i++) values[i] = (float)(i * 7 % 1024) + 0.5f;
    float *start = zeros(rows * cols, sizeof *start);
    double *expected = zeros(rows * cols, sizeof *expected);
    struct arena_mark mark = arena_mark(&bench->arena);
    struct tensor out = arena_upload(&bench->arena, DTYPE_F32, rows, cols, start);
    struct tensor x = arena_upload(&bench->arena, DTYPE_U8, height, bytes_a_row, bytes);
    struct tensor table = arena_upload(&bench->arena, DTYPE_F32, FRAME_CHANNELS, 256, values);
    int64_t place = shape.temporal - 1;
    cut_patches(&bench->device, out, tensor_cols(x, 0, width * FRAME_CHANNELS), table, shape, place);
    for (int64_t y = 0; y < height; y++)
        for (int64_t column = 0; column < width * FRAME_CHANNELS; column++) {
            int64_t px = column / FRAME_CHANNELS, channel = column % FRAME_CHANNELS;
            int64_t in_cell = y % cell / shape.patch * shape.merge + px % cell / shape.patch;
            int64_t row = (y / cell * across + px / cell) * shape.merge * shape.merge + in_cell;
            int64_t col =
                (channel * shape.temporal + place) * area + y % shape.patch * shape.patch + px % shape.patch;
            expected[row * cols + col] = values[channel * 256 + bytes[y * bytes_a_row + column]];
        }
    assert_values(bench, out, expected, 0, 0);
    arena_release(&bench->arena, mark);
    free(bytes);
    free(start);
    free(expected);
}

static void cuts_on(struct bench *bench) {
    check_cut(bench, (struct patch_shape){.patch = 14, .temporal = 2, .merge = 2}, 2, 3);
    check_cut(bench, (struct patch_shape){.patch = 14, .temporal = 1, .merge = 2}, 1, 1);
    check_cut(bench, (struct patch_shape){.patch = 3, .temporal = 3, .merge = 2}, 3, 2);
    check_cut(bench, (struct patch_shape){.patch = 4, .temporal = 2, .merge = 1}, 5, 1);
}

static void cuts(void **state) {
    (void)state;
    on_every_device(cuts_on);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resizes),
        cmocka_unit_test(bad_ranges),
        cmocka_unit_test(cuts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
