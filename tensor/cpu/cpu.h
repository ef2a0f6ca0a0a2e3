/* What the files of the CPU backend share. */
#ifndef VS2_TENSOR_CPU_CPU_H
#define VS2_TENSOR_CPU_CPU_H

#include "tensor/backend.h"
#include "tensor/cpu/kernels.h"
#include "tensor/float16.h"

struct onednn;

struct cpu_state {
    const struct cpu_kernels *kernels;
    struct onednn *onednn;
    int threads;
    bool native_bf16; /* oneDNN multiplies bf16 on units of its own */
    float *workspace; /* of one operation; grows, is kept */
    int64_t workspace_floats;
};

static inline const struct cpu_state *cpu_state(const struct device *device) {
    return device->state;
}
static inline const struct cpu_kernels *cpu_kernels(const struct device *device) {
    return cpu_state(device)->kernels;
}

/* Uninitialised memory of at least `floats` floats, aligned to 64, until the next call; NULL: the device has
 * failed. */
float *cpu_workspace(struct device *device, int64_t floats);

/* The address of element (row, 0). */
static inline void *tensor_row(struct tensor t, int64_t row) {
    return (char *)t.data + (size_t)(row * t.stride) * dtype_size(t.dtype);
}

/* Element (row, col) of a tensor of f32 or bf16. */
static inline float tensor_float(struct tensor t, int64_t row, int64_t col) {
    const void *at = tensor_row(t, row);
    return t.dtype == DTYPE_F32 ? ((const float *)at)[col] : float_from_bf16(((const uint16_t *)at)[col]);
}

/* Below this many elements starting threads costs more than it gives. */
enum { CPU_PARALLEL_ELEMENTS = 16384 };
static inline bool worth_threads(struct tensor t) {
    return t.rows * t.cols >= CPU_PARALLEL_ELEMENTS;
}

/* Sums over the rows of a matrix, column by column, that have the same bits on any number of threads: rows
 * are cut into groups, by their number alone; each has partial sums, which are joined in order. */
struct column_sums {
    int64_t groups; /* group g: rows [rows * g / groups, rows * (g + 1) / groups) */
    int64_t cols, stride;
    float *partial; /* in the device's workspace */
};

int64_t column_groups(int64_t rows);
/* False: the device has failed. */
bool column_sums_start(struct device *device, struct column_sums *sums, int64_t rows, int64_t cols);
/* The partial sums of a group, set to zero. */
float *column_sums_of_group(const struct column_sums *sums, int64_t group);
/* out (f32 [1, cols]) += the sums of all groups. */
void column_sums_finish(struct device *device, const struct column_sums *sums, struct tensor out);

/* peak.c */
void cpu_measure(struct device *device, struct device_peak *peak);

/* rows.c */
void cpu_convert(struct device *device, struct tensor out, struct tensor x);
void cpu_gather_rows(struct device *device, struct tensor out, struct tensor table, struct tensor index);
void cpu_scatter_rows(struct device *device, struct tensor out, struct tensor x, struct tensor index);
void cpu_scatter_add_rows(struct device *device, struct tensor out, struct tensor x, struct tensor index);
void cpu_add(struct device *device, struct tensor out, struct tensor x);
void cpu_clear(struct device *device, struct tensor out);
void cpu_reduce_sum(struct device *device, struct tensor out, struct tensor x);
void cpu_reduce_sum_squares(struct device *device, struct tensor out, struct tensor x);

/* layers.c */
void cpu_rmsnorm_forward(struct device *device, struct tensor out, struct tensor inverse_rms, struct tensor x,
                         struct tensor weight, float epsilon);
void cpu_add_rmsnorm_forward(struct device *device, struct tensor out, struct tensor inverse_rms,
                             struct tensor residual, struct tensor x, struct tensor weight, float epsilon);
void cpu_swiglu_forward(struct device *device, struct tensor out, struct tensor gate_up);
void cpu_gelu_forward(struct device *device, struct tensor out, struct tensor x);
void cpu_rope_table(struct device *device, struct tensor cosine, struct tensor sine, struct tensor positions,
                    struct tensor axis, struct tensor inverse_frequency);
void cpu_rope_forward(struct device *device, struct tensor x, struct tensor cosine, struct tensor sine,
                      int heads, bool inverse);

/* layers_backward.c */
void cpu_rmsnorm_backward(struct device *device, struct tensor d_x, struct tensor d_weight,
                          struct tensor d_out, struct tensor x, struct tensor weight,
                          struct tensor inverse_rms);
void cpu_swiglu_backward(struct device *device, struct tensor d_gate_up, struct tensor d_out,
                         struct tensor gate_up);
void cpu_gelu_backward(struct device *device, struct tensor d_x, struct tensor d_out, struct tensor x);

/* column_sums.c */
void cpu_sum_rows(struct device *device, struct tensor out, struct tensor x);

/* adamw.c */
void cpu_adamw_step(struct device *device, struct tensor weight, struct tensor first, struct tensor second,
                    struct tensor gradient, struct tensor copy, struct adamw_options options);

/* matmul.c */
void cpu_matmul(struct device *device, struct tensor out, struct tensor a, struct tensor b,
                struct matmul_options options);

/* frames.c */
void cpu_resize_frame(struct device *device, struct tensor out, struct tensor x, struct resize_pass pass);
void cpu_cut_patches(struct device *device, struct tensor out, struct tensor x, struct tensor values,
                     struct patch_shape shape, int64_t place);

/* attention.c */
void cpu_attention_forward(struct device *device, struct tensor out, struct tensor log_sum, struct tensor q,
                           struct tensor k, struct tensor v, struct attention_segments segments, int heads,
                           int kv_heads, float scale);
/* attention_backward.c */
void cpu_attention_backward(struct device *device, struct tensor d_q, struct tensor d_k, struct tensor d_v,
                            struct tensor d_out, struct tensor out, struct tensor log_sum, struct tensor q,
                            struct tensor k, struct tensor v, struct attention_segments segments, int heads,
                            int kv_heads, float scale);
/* logprob.c */
void cpu_logprob_forward(struct device *device, struct tensor logprob, struct tensor log_sum,
                         struct tensor entropy, struct tensor logits, struct tensor target, float scale);
void cpu_logprob_backward(struct device *device, struct tensor d_logits, struct tensor d_logprob,
                          struct tensor d_entropy, struct tensor logits, struct tensor log_sum,
                          struct tensor entropy, struct tensor target, float scale);
/* sample.c */
void cpu_sample_tokens(struct device *device, struct sample_arguments arguments);

#endif
