/* Frames to patches: resizing along one axis, and cutting. The arithmetic is that of data/, so that the bytes
 * are the same ones. */
#include "tensor/cuda/cuda.h"

#include "tensor/cuda/values.cuh"

/* ---- Resizing ---------------------------------------------------------------------------------------- */

/* Elements of a frame that one thread makes of neighbouring columns: a 4-byte or a 16-byte vector. */
enum { FRAME_RUN = 4 };

static bool is_frame_wide(struct tensor t) {
    size_t run = FRAME_RUN * dtype_size(t.dtype);
    return (uintptr_t)t.data % run == 0 && t.cols % FRAME_RUN == 0 &&
           (t.stride % FRAME_RUN == 0 || t.rows <= 1);
}

template <int WIDTH>
static __device__ __forceinline__ void load_bytes(int (&x)[WIDTH], struct tensor t, int64_t at) {
    const unsigned char *bytes = (const unsigned char *)t.data + at;
    if constexpr (WIDTH == 1) {
        x[0] = *bytes;
    } else {
        uchar4 v = *(const uchar4 *)bytes;
        x[0] = v.x;
        x[1] = v.y;
        x[2] = v.z;
        x[3] = v.w;
    }
}

template <int WIDTH>
static __device__ __forceinline__ void store_bytes(struct tensor t, int64_t at, const int (&x)[WIDTH]) {
    unsigned char *bytes = (unsigned char *)t.data + at;
    if constexpr (WIDTH == 1)
        *bytes = (unsigned char)x[0];
    else
        *(uchar4 *)bytes =
            make_uchar4((unsigned char)x[0], (unsigned char)x[1], (unsigned char)x[2], (unsigned char)x[3]);
}

/* Fixed-point weights: bytes to bytes. */
struct fixed_mix {
    int precision;

    template <int WIDTH>
    __device__ __forceinline__ void run(struct tensor out, int64_t to, struct tensor x, int64_t at,
                                        int64_t step, const int32_t *weights, int count) const {
        int sum[WIDTH], bytes[WIDTH];
        for (int i = 0; i < WIDTH; i++) sum[i] = 1 << (precision - 1);
        for (int k = 0; k < count; k++, at += step) {
            load_bytes(bytes, x, at);
            for (int i = 0; i < WIDTH; i++) sum[i] += weights[k] * bytes[i];
        }
        for (int i = 0; i < WIDTH; i++) {
            int value = sum[i] >> precision;
            bytes[i] = value < 0 ? 0 : value > 255 ? 255 : value;
        }
        store_bytes(out, to, bytes);
    }
};

/* f32 weights: bytes to f32, or back. */
template <bool FROM_BYTES> struct float_mix {
    template <int WIDTH>
    static __device__ __forceinline__ void load_inputs(float (&x)[WIDTH], struct tensor t, int64_t at) {
        if constexpr (FROM_BYTES) {
            int bytes[WIDTH];
            load_bytes(bytes, t, at);
            for (int i = 0; i < WIDTH; i++) x[i] = (float)bytes[i];
        } else if constexpr (WIDTH == 1) {
            x[0] = ((const float *)t.data)[at];
        } else {
            load_four(x, *(const float4 *)((const float *)t.data + at));
        }
    }

    template <int WIDTH>
    static __device__ __forceinline__ void store_sums(struct tensor t, int64_t at, float (&sum)[WIDTH]) {
        if constexpr (!FROM_BYTES) {
            int bytes[WIDTH];
            for (int i = 0; i < WIDTH; i++)
                bytes[i] = (int)rintf(sum[i] < 0 ? 0.0f : sum[i] > 255 ? 255.0f : sum[i]);
            store_bytes(t, at, bytes);
        } else if constexpr (WIDTH == 1) {
            ((float *)t.data)[at] = sum[0];
        } else {
            *(float4 *)((float *)t.data + at) = make_float4(sum[0], sum[1], sum[2], sum[3]);
        }
    }

    template <int WIDTH>
    __device__ __forceinline__ void run(struct tensor out, int64_t to, struct tensor x, int64_t at,
                                        int64_t step, const int32_t *bits, int count) const {
        const float *weights = (const float *)bits;
        float sum[WIDTH] = {0}, values[WIDTH];
        for (int k = 0; k < count; k++, at += step) {
            load_inputs(values, x, at);
            for (int i = 0; i < WIDTH; i++) sum[i] = __fmaf_rn(weights[k], values[i], sum[i]);
        }
        store_sums(out, to, sum);
    }
};

/* Rows are mixed in runs of columns; pixels of a row channel by channel, neighbours reading overlapping
 * bytes. */
template <int WIDTH, typename MIX>
static __global__ void resize_kernel(struct tensor out, struct tensor x, struct resize_pass pass, MIX mix,
                                     unsigned blocks_a_row, struct cuda_fault *fault) {
    struct place p = place_in(blocks_a_row, WIDTH);
    if (p.col >= out.cols) return;
    int64_t i = pass.down ? p.row : p.col / FRAME_CHANNELS;
    int64_t inputs = pass.down ? x.rows : x.cols / FRAME_CHANNELS;
    int32_t start = ((const int32_t *)pass.starts.data)[i], count = ((const int32_t *)pass.counts.data)[i];
    if (is_fault(fault, FAULT_RESIZE_COUNT, i, count, 0, pass.weights.cols + 1) ||
        is_fault(fault, FAULT_RESIZE_START, i, start, 0, inputs - count + 1))
        return;
    int64_t step = pass.down ? x.stride : (int64_t)FRAME_CHANNELS;
    int64_t at = start * step + (pass.down ? p.col : p.row * x.stride + p.col % FRAME_CHANNELS);
    mix.template run<WIDTH>(out, p.row * out.stride + p.col, x, at, step,
                            (const int32_t *)pass.weights.data + i * pass.weights.stride, count);
}

template <typename MIX>
static void resize(struct device *device, struct tensor out, struct tensor x, struct resize_pass pass,
                   MIX mix) {
    bool wide = pass.down && is_frame_wide(out) && is_frame_wide(x);
    struct row_grid g = row_grid(out.rows, out.cols, wide ? FRAME_RUN : 1);
    cuda_launch(device, wide ? resize_kernel<FRAME_RUN, MIX> : resize_kernel<1, MIX>, g.grid, g.threads, 0,
                out, x, pass, mix, g.blocks_a_row, cuda_state(device)->fault);
}

void cuda_resize_frame(struct device *device, struct tensor out, struct tensor x, struct resize_pass pass) {
    if (pass.weights.dtype == DTYPE_I32)
        resize(device, out, x, pass, fixed_mix{pass.precision});
    else if (x.dtype == DTYPE_U8)
        resize(device, out, x, pass, float_mix<true>());
    else
        resize(device, out, x, pass, float_mix<false>());
}

/* ---- Cutting ----------------------------------------------------------------------------------------- */

/* A row of the grid is a patch, whose columns here are [channel][y][x]; a thread writes a run of them as one
 * vector where the sides allow it. */
template <int WIDTH>
static __global__ void cut_kernel(struct tensor out, struct tensor x, struct tensor values,
                                  struct patch_shape shape, int64_t place, unsigned blocks_a_row) {
    struct place p = place_in(blocks_a_row, WIDTH);
    int patch = (int)shape.patch, area = patch * patch, merge = (int)shape.merge;
    if (p.col >= FRAME_CHANNELS * area) return;
    int64_t cells_across = x.cols / FRAME_CHANNELS / (patch * merge);
    int64_t cell = p.row / (merge * merge);
    int in_cell = (int)(p.row % (merge * merge)), channel = (int)p.col / area, pixel = (int)p.col % area;
    int64_t top = (cell / cells_across * merge + in_cell / merge) * patch;
    int64_t left = (cell % cells_across * merge + in_cell % merge) * patch;
    const float *table = (const float *)values.data + channel * values.stride;
    float run[WIDTH];
    for (int i = 0; i < WIDTH; i++) {
        int64_t row = top + (pixel + i) / patch, column = left + (pixel + i) % patch;
        run[i] = table[((const unsigned char *)x.data)[row * x.stride + column * FRAME_CHANNELS + channel]];
    }
    float *to = (float *)out.data + p.row * out.stride + (channel * shape.temporal + place) * area + pixel;
    if constexpr (WIDTH == 1)
        *to = run[0];
    else
        *(float4 *)to = make_float4(run[0], run[1], run[2], run[3]);
}

void cuda_cut_patches(struct device *device, struct tensor out, struct tensor x, struct tensor values,
                      struct patch_shape shape, int64_t place) {
    int64_t area = shape.patch * shape.patch;
    bool wide = is_frame_wide(out) && area % FRAME_RUN == 0;
    struct row_grid g = row_grid(out.rows, FRAME_CHANNELS * area, wide ? FRAME_RUN : 1);
    cuda_launch(device, wide ? cut_kernel<FRAME_RUN> : cut_kernel<1>, g.grid, g.threads, 0, out, x, values,
                shape, place, g.blocks_a_row);
}
