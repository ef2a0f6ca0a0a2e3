/* Frames to patches. On the CPU frames are resized and cut where they are decoded (data/); these versions say
 * in plain loops what the kernels of other devices must make. */
#include <math.h>

#include "tensor/cpu/cpu.h"

/* Whether the value lies in [0, limit); if not, the device has failed. */
static bool in_range(struct device *device, const char *what, int64_t output, int32_t value, int64_t limit) {
    if (value >= 0 && value < limit) return true;
    device_fail(device, "resize_frame: %s %lld is %d, not in [0, %lld)", what, (long long)output, (int)value,
                (long long)limit);
    return false;
}

static bool inputs_valid(struct device *device, struct tensor x, struct resize_pass pass) {
    const int32_t *starts = pass.starts.data, *counts = pass.counts.data;
    int64_t inputs = pass.down ? x.rows : x.cols / FRAME_CHANNELS;
    for (int64_t i = 0; i < pass.weights.rows; i++)
        if (!in_range(device, "count", i, counts[i], pass.weights.cols + 1) ||
            !in_range(device, "start", i, starts[i], inputs - counts[i] + 1))
            return false;
    return true;
}

static uint8_t mix_fixed(const int32_t *weights, int32_t count, const uint8_t *x, int64_t step,
                         int precision) {
    int32_t sum = 1 << (precision - 1);
    for (int32_t k = 0; k < count; k++) sum += weights[k] * x[k * step];
    sum >>= precision;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

static float mix_bytes(const float *weights, int32_t count, const uint8_t *x, int64_t step) {
    float sum = 0;
    for (int32_t k = 0; k < count; k++) sum = fmaf(weights[k], x[k * step], sum);
    return sum;
}

static uint8_t mix_floats(const float *weights, int32_t count, const float *x, int64_t step) {
    float sum = 0;
    for (int32_t k = 0; k < count; k++) sum = fmaf(weights[k], x[k * step], sum);
    return (uint8_t)rintf(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

void cpu_resize_frame(struct device *device, struct tensor out, struct tensor x, struct resize_pass pass) {
    if (!inputs_valid(device, x, pass)) return;
    const int32_t *starts = pass.starts.data, *counts = pass.counts.data;
    int64_t step = pass.down ? x.stride : FRAME_CHANNELS;
#pragma omp parallel for if (worth_threads(out))
    for (int64_t r = 0; r < out.rows; r++)
        for (int64_t c = 0; c < out.cols; c++) {
            int64_t i = pass.down ? r : c / FRAME_CHANNELS;
            int64_t at = pass.down ? starts[i] * step + c : r * x.stride + starts[i] * step + c % step;
            const void *weights = tensor_row(pass.weights, i);
            void *row = tensor_row(out, r);
            if (pass.weights.dtype == DTYPE_I32)
                ((uint8_t *)row)[c] =
                    mix_fixed(weights, counts[i], (const uint8_t *)x.data + at, step, pass.precision);
            else if (x.dtype == DTYPE_U8)
                ((float *)row)[c] = mix_bytes(weights, counts[i], (const uint8_t *)x.data + at, step);
            else
                ((uint8_t *)row)[c] = mix_floats(weights, counts[i], (const float *)x.data + at, step);
        }
}

void cpu_cut_patches(struct device *device, struct tensor out, struct tensor x, struct tensor values,
                     struct patch_shape shape, int64_t place) {
    (void)device;
    int64_t patch = shape.patch, area = patch * patch, merge = shape.merge;
    int64_t cells_across = x.cols / FRAME_CHANNELS / (patch * merge);
#pragma omp parallel for if (worth_threads(out))
    for (int64_t row = 0; row < out.rows; row++) {
        int64_t cell = row / (merge * merge), in_cell = row % (merge * merge);
        int64_t top = (cell / cells_across * merge + in_cell / merge) * patch;
        int64_t left = (cell % cells_across * merge + in_cell % merge) * patch;
        for (int64_t i = 0; i < FRAME_CHANNELS * area; i++) {
            int64_t channel = i / area, y = i % area / patch, column = i % patch;
            const uint8_t *pixels = tensor_row(x, top + y);
            uint8_t byte = pixels[(left + column) * FRAME_CHANNELS + channel];
            float *to = tensor_row(out, row);
            to[(channel * shape.temporal + place) * area + i % area] =
                ((const float *)tensor_row(values, channel))[byte];
        }
    }
}
