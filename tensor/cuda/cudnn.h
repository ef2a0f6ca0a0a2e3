/* Attention through cuDNN, where it can have a segment table: cuDNN's operation node of scaled dot product
 * attention (CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR), through the C interface of its graphs.
 *
 * A table fits when no segment is causal or has a prefix, all have queries and keys, and each begins where
 * the one before ends: the windows and the whole frames of the vision tower. It goes to cuDNN as one batch of
 * sequences of various lengths, q, k, v and out all bf16, rows aligned to 16 bytes, head_dim a multiple of 8
 * up to 128. Everything else, and what no plan can be made for, is left to the kernels of attention.cu: the
 * node of cuDNN 9.19 knows no causal mask, and its backward node (SDPA_BWD) cannot be built into a graph.
 *
 * The library is loaded when a device opens: without it the device works all the same. What a plan is for
 * is rounded up (the number of segments and the longest of them to powers of two), since each plan compiles
 * a kernel; sequences of no tokens fill the batch. A row's bits may so depend on how many segments there are
 * and how long the others are, not on what is in them. Deterministic engines only.
 *
 * Source of formulas and of what the node takes: NVIDIA's cuDNN documentation, "Attention", and the
 * installed cudnn_graph.h. */
#ifndef VS2_TENSOR_CUDA_CUDNN_H
#define VS2_TENSOR_CUDA_CUDNN_H

#include "tensor/cuda/cuda.h"

#ifdef VS2_CUDNN

/* Loads the library for a stream's device. It fails for want of memory only: without cuDNN there is a
 * `*cudnn` that takes no table. */
enum status cuda_cudnn_open(struct cuda_cudnn **cudnn, cudaStream_t stream, struct error *err);
void cuda_cudnn_close(struct cuda_cudnn *cudnn);

/* "cuDNN 9.19.0", or "no cuDNN". */
const char *cuda_cudnn_name(const struct cuda_cudnn *cudnn);

/* attention_forward (tensor/ops.h), if the table fits. False: nothing is queued, another has to do it. True:
 * it is queued, or the device has failed. */
bool cuda_cudnn_attention_forward(struct device *device, struct tensor out, struct tensor log_sum,
                                  struct tensor q, struct tensor k, struct tensor v,
                                  struct attention_segments segments, int heads, int kv_heads, float scale);

#else /* built without it */

static inline enum status cuda_cudnn_open(struct cuda_cudnn **cudnn, cudaStream_t stream, struct error *err) {
    (void)stream, (void)err;
    *cudnn = NULL;
    return STATUS_OK;
}
static inline void cuda_cudnn_close(struct cuda_cudnn *cudnn) {
    (void)cudnn;
}
static inline const char *cuda_cudnn_name(const struct cuda_cudnn *cudnn) {
    (void)cudnn;
    return "no cuDNN";
}
static inline bool cuda_cudnn_attention_forward(struct device *device, struct tensor out,
                                                struct tensor log_sum, struct tensor q, struct tensor k,
                                                struct tensor v, struct attention_segments segments,
                                                int heads, int kv_heads, float scale) {
    (void)device, (void)out, (void)log_sum, (void)q, (void)k, (void)v;
    (void)segments, (void)heads, (void)kv_heads, (void)scale;
    return false;
}

#endif

#endif
