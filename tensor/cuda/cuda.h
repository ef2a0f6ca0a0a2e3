/* What the files of the CUDA backend share. Host code is C17 (.c), kernels with the few lines that launch
 * them are .cu, in C style; both see this header.
 *
 * Operations and copies of a device are queued on one stream: memory that an arena hands out again is written
 * only after the operations that still read it. Collectives have a stream of their own (side_stream.c), and
 * so have copies of what later operations read (tensor/ahead.h). The same sources compile for the test device
 * "emulated" against tests/emulator. */
#ifndef VS2_TENSOR_CUDA_CUDA_H
#define VS2_TENSOR_CUDA_CUDA_H

#include <assert.h>
#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "tensor/backend.h"

/* A value on the device that an operation cannot take. Kernels pass over it and note the first one found;
 * cuda_synchronize makes it the device's failure. */
enum cuda_fault_kind {
    FAULT_NONE,
    FAULT_GATHER,
    FAULT_SCATTER,
    FAULT_SCATTER_ADD,
    FAULT_AXIS,
    FAULT_TARGET,
    FAULT_TARGET_BACKWARD,
    FAULT_WATCHED,
    FAULT_RESIZE_COUNT,
    FAULT_RESIZE_START,
    FAULT_KINDS,
};

struct cuda_fault {
    unsigned kind; /* enum cuda_fault_kind */
    int32_t value; /* not in [low, limit) */
    int32_t low;
    int64_t index, limit;
};

/* Pinned memory in sections that are filled in turn; a section is used again when the copies out of it are
 * done. */
enum { STAGING_SECTIONS = 8, STAGING_LANDINGS = DEVICE_FETCHES, STAGING_BYTES = DEVICE_FETCH_BYTES };
struct cuda_staging {
    char *memory; /* STAGING_SECTIONS * STAGING_BYTES, and STAGING_LANDINGS sections that results land in */
    cudaEvent_t copied[STAGING_SECTIONS];
    int section;
    size_t used; /* bytes of the current section */
};

/* The operations of a group, captured (graph.c). */
struct cuda_graph {
    bool known; /* there was a group, of that key */
    int64_t key;
    bool capturing;
    cudaGraphExec_t executable; /* of the last capture, or NULL */
    cudaEvent_t done;           /* the last launch: `memory` is free again */
    char *memory;               /* pinned, what its copies read */
    size_t used;
};

/* A stream beside that of the operations (side_stream.c). */
enum { SIDE_MARKS = 3 };
struct cuda_side_stream {
    cudaStream_t stream, operations; /* operations: set between begin and end, the other one then */
    cudaEvent_t begun, marks[SIDE_MARKS];
};

struct cuda_products; /* matmul.c */
struct cuda_nccl;     /* nccl.c */
struct cuda_cudnn;    /* cudnn.h */

struct cuda_state {
    cudaStream_t stream; /* that work is queued on */
    struct cuda_staging staging;
    struct cuda_side_stream copies; /* to the GPU and back, beside the operations */
    struct cuda_staging copy_staging;
    struct cuda_graph graph;
    struct cuda_fault *fault; /* on the device */
    void *workspace;          /* of one operation; grows, is kept */
    size_t workspace_bytes;
    struct cuda_products *products;
    struct cuda_nccl *nccl;          /* NULL: it has not joined others */
    struct attention_tables *tables; /* attention_plan.c */
    struct cuda_cudnn *cudnn;
};

static inline struct cuda_state *cuda_state(const struct device *device) {
    return (struct cuda_state *)device->state;
}

/* False, and the device has failed, unless error is cudaSuccess. */
bool cuda_check(struct device *device, cudaError_t error, const char *what);

/* At least `bytes` of device memory, aligned to 256, until the next operation; NULL: the device has failed.
 */
void *cuda_workspace(struct device *device, size_t bytes);

/* staging.c: copies through pinned memory. Writes have read the host memory when they return; reads wait. */
enum status cuda_staging_open(struct cuda_staging *staging, struct error *err);
void cuda_staging_close(struct cuda_staging *staging);
void cuda_write(struct device *device, void *to, const void *from, size_t bytes);
void cuda_read(struct device *device, void *to, const void *from, size_t bytes);
void cuda_write_ahead(struct device *device, void *to, const void *from, size_t bytes);
void cuda_turn_ahead(struct device *device);
void cuda_fetch(struct device *device, int place, const void *from, size_t bytes);
void cuda_fetched(struct device *device, int place, void *to, size_t bytes);

/* side_stream.c. Between begin and end work is queued on the side's stream, behind the operations that were
 * queued before; nothing may be read or written meanwhile, and nothing allocated. `mark` is put behind it,
 * and what is queued after cuda_side_wait runs after the mark of that number that was put last. Nothing here
 * waits. Failures are the device's, but for cuda_side_open; close also after its failure. */
enum status cuda_side_open(struct cuda_side_stream *side, struct error *err);
void cuda_side_close(struct cuda_side_stream *side);
void cuda_side_begin(struct device *device, struct cuda_side_stream *side);
void cuda_side_end(struct device *device, struct cuda_side_stream *side, int mark);
void cuda_side_wait(struct device *device, struct cuda_side_stream *side, int mark);

/* graph.c. cuda_group_end also ends a capture early, for what cannot be done within one: waiting, and
 * allocating and freeing memory. Outside a capture it does nothing. */
enum status cuda_graph_open(struct cuda_graph *graph, struct error *err);
void cuda_graph_close(struct cuda_graph *graph);
void cuda_group_begin(struct device *device, int64_t key);
void cuda_group_end(struct device *device);
/* Room for what a captured copy reads; NULL when nothing is captured or there is none. */
char *cuda_graph_room(struct cuda_graph *graph, size_t bytes);

/* matmul.c */
enum status cuda_products_open(struct cuda_products **products, struct error *err);
void cuda_products_close(struct cuda_products *products);
void cuda_matmul(struct device *device, struct tensor out, struct tensor a, struct tensor b,
                 struct matmul_options options);

/* product.cu: products of up to MATMUL_EXACT_ROWS_GPU rows, out[m] = a[m] b^T (+ bias) (+ out); and what is
 * left to do of a product in f32 (or of none, all zeros): out = product (+ bias) (+ out), rounded. */
void cuda_narrow_product(struct device *device, struct tensor out, struct tensor a, struct tensor b,
                         struct matmul_options options);
void cuda_finish_product(struct device *device, struct tensor out, struct tensor product,
                         struct matmul_options options);

/* peak.c */
void cuda_measure(struct device *device, struct device_peak *peak);

/* rows.cu */
void cuda_convert(struct device *device, struct tensor out, struct tensor x);
void cuda_gather_rows(struct device *device, struct tensor out, struct tensor table, struct tensor index);
void cuda_scatter_rows(struct device *device, struct tensor out, struct tensor x, struct tensor index);
void cuda_scatter_add_rows(struct device *device, struct tensor out, struct tensor x, struct tensor index);
void cuda_add(struct device *device, struct tensor out, struct tensor x);
void cuda_clear(struct device *device, struct tensor out);

/* sums.cu */
void cuda_reduce_sum(struct device *device, struct tensor out, struct tensor x);
void cuda_reduce_sum_squares(struct device *device, struct tensor out, struct tensor x);
void cuda_sum_rows(struct device *device, struct tensor out, struct tensor x);
/* d_weight[c] += the sum over rows of d_out[r, c] * normal, with normal = x[r, c] * inverse_rms[r] rounded to
 * x's type. */
void cuda_norm_weight_gradient(struct device *device, struct tensor d_weight, struct tensor d_out,
                               struct tensor x, struct tensor inverse_rms);

/* norm.cu */
void cuda_rmsnorm_forward(struct device *device, struct tensor out, struct tensor inverse_rms,
                          struct tensor x, struct tensor weight, float epsilon);
void cuda_add_rmsnorm_forward(struct device *device, struct tensor out, struct tensor inverse_rms,
                              struct tensor residual, struct tensor x, struct tensor weight, float epsilon);
void cuda_rmsnorm_backward(struct device *device, struct tensor d_x, struct tensor d_weight,
                           struct tensor d_out, struct tensor x, struct tensor weight,
                           struct tensor inverse_rms);

/* activation.cu */
void cuda_swiglu_forward(struct device *device, struct tensor out, struct tensor gate_up);
void cuda_swiglu_backward(struct device *device, struct tensor d_gate_up, struct tensor d_out,
                          struct tensor gate_up);
void cuda_gelu_forward(struct device *device, struct tensor out, struct tensor x);
void cuda_gelu_backward(struct device *device, struct tensor d_x, struct tensor d_out, struct tensor x);

/* rope.cu */
void cuda_rope_table(struct device *device, struct tensor cosine, struct tensor sine, struct tensor positions,
                     struct tensor axis, struct tensor inverse_frequency);
void cuda_rope_forward(struct device *device, struct tensor x, struct tensor cosine, struct tensor sine,
                       int heads, bool inverse);

/* frames.cu */
void cuda_resize_frame(struct device *device, struct tensor out, struct tensor x, struct resize_pass pass);
void cuda_cut_patches(struct device *device, struct tensor out, struct tensor x, struct tensor values,
                      struct patch_shape shape, int64_t place);

/* attention.c */
void cuda_attention_forward(struct device *device, struct tensor out, struct tensor log_sum, struct tensor q,
                            struct tensor k, struct tensor v, struct attention_segments segments, int heads,
                            int kv_heads, float scale);
void cuda_attention_backward(struct device *device, struct tensor d_q, struct tensor d_k, struct tensor d_v,
                             struct tensor d_out, struct tensor out, struct tensor log_sum, struct tensor q,
                             struct tensor k, struct tensor v, struct attention_segments segments, int heads,
                             int kv_heads, float scale);

/* logprob.cu */
void cuda_logprob_forward(struct device *device, struct tensor logprob, struct tensor log_sum,
                          struct tensor entropy, struct tensor logits, struct tensor target, float scale);
void cuda_logprob_backward(struct device *device, struct tensor d_logits, struct tensor d_logprob,
                           struct tensor d_entropy, struct tensor logits, struct tensor log_sum,
                           struct tensor entropy, struct tensor target, float scale);

/* adamw.cu */
void cuda_adamw_step(struct device *device, struct tensor weight, struct tensor first, struct tensor second,
                     struct tensor gradient, struct tensor copy, struct adamw_options options);

/* nccl.c. cuda_wait: for all operations that are queued; cuda_finish_collectives: for all collectives. Where
 * another process is gone, the device fails. cuda_abandon: of a device that has failed, ends collectives that
 * would wait for others, so that the host can wait for the device. */
bool cuda_can_join(void);
void cuda_identify(const struct device *device, struct collective_member *member);
enum status cuda_ready(struct device *device, struct error *err);
enum status cuda_name_collective(struct collective_id *id, struct error *err);
enum status cuda_join(struct device *device, const struct collective_id *id, int rank, int size,
                      struct error *err);
void cuda_abandon(struct device *device);
void cuda_part(struct device *device);
void cuda_begin_collectives(struct device *device);
void cuda_end_collectives(struct device *device, enum collective_mark mark);
void cuda_await_collectives(struct device *device, enum collective_mark mark);
void cuda_finish_collectives(struct device *device);
void cuda_reduce_scatter(struct device *device, struct tensor out, struct tensor x);
void cuda_all_gather(struct device *device, struct tensor out, struct tensor x);
void cuda_wait(struct device *device, const char *what);

/* sample.cu */
void cuda_sample_tokens(struct device *device, struct sample_arguments arguments);

#ifdef __cplusplus
}
#endif

#endif
