/* The operations: all arithmetic of the project, on tensors of one device.
 *
 * Each is a pair name_forward / name_backward where a gradient exists; forward operations keep what backward
 * needs (`inverse_rms`, `log_sum`) when they are asked to. `d_name` is the gradient of `name`. Shapes are
 * checked here, once for all backends, by assert: a wrong shape is our own mistake. Tensors are f32 or bf16
 * where not said otherwise ("float"); arithmetic is in f32 inside an operation, and results are rounded once,
 * when stored. Sums have a fixed order: the same input gives the same bits.
 */
#ifndef VS2_TENSOR_OPS_H
#define VS2_TENSOR_OPS_H

#include <stdint.h>

#include "tensor/device.h"

/* ---- Copies ------------------------------------------------------------------------------------------ */

/* out[r, c] = x[r, c], converted. x: f32, bf16, f16 (to a float) or i32 (to i32); same shape. */
void convert(struct device *device, struct tensor out, struct tensor x);

/* out[r] = table[index[r]]. out: [rows, cols], table: [any, cols] same or other float type,
 * index: i32 [1, rows], 0 <= index < table rows (an index out of range fails the device). */
void gather_rows(struct device *device, struct tensor out, struct tensor table, struct tensor index);

/* out[index[r]] = x[r]; indices are distinct. x: [rows, cols], index: i32 [1, rows]. */
void scatter_rows(struct device *device, struct tensor out, struct tensor x, struct tensor index);

/* out[index[r]] += x[r]: the gradient of gather_rows. out: f32 [any, cols]; x: float [rows, cols]; index: i32
 * [1, rows], -1: the row is left out. An index may come again; its rows are added in order. */
void scatter_add_rows(struct device *device, struct tensor out, struct tensor x, struct tensor index);

/* out += x, same shape. */
void add(struct device *device, struct tensor out, struct tensor x);

/* All elements become zero. */
void clear(struct device *device, struct tensor out);

/* ---- Matrix product ---------------------------------------------------------------------------------- */

struct matmul_options {
    bool transpose_a, transpose_b;
    bool accumulate;    /* out += product instead of out = product */
    struct tensor bias; /* float [1, N] added to every row; none when data is NULL */
};

/* out[M, N] = op(a)[M, K] op(b)[K, N] (+ bias) (+ out). f32 accumulation. a and b may each be f32 or bf16,
 * out too; products of bf16 with bf16 reach the device's bf16 units. A linear layer's weights are stored
 * [outputs, inputs], so y = x W^T is transpose_b. In such products of up to matmul_exact_rows
 * rows (16 on the CPU, 64 on GPUs) a row of out does not depend on the other rows of a: batching sequences in
 * decoding leaves each one's bits alone. */
enum { MATMUL_EXACT_ROWS = 16, MATMUL_EXACT_ROWS_GPU = 64 };
int64_t matmul_exact_rows(const struct device *device);

/* How many rows to take at once of an activation that is too wide to be kept whole: enough for the matrix
 * units, few enough for a CPU's caches. Each part reads and writes the weights' f32 gradients once more,
 * which takes an H100 as long, from its data sheet, as the products of some 350 rows. */
enum { MATMUL_PART_ROWS = 1024, MATMUL_PART_ROWS_GPU = 4096 };
int64_t matmul_part_rows(const struct device *device);
void matmul(struct device *device, struct tensor out, struct tensor a, struct tensor b,
            struct matmul_options options);

/* ---- Norms and activations --------------------------------------------------------------------------- */

/* out[r] = x[r] / sqrt(mean(x[r]^2) + epsilon) * weight. out, x: float [rows, cols]; weight: f32 [1, cols];
 * inverse_rms: f32 [1, rows], kept for the backward pass, or no tensor. The normalised value is rounded to
 * x's type before the product with the weight, as the reference does. */
void rmsnorm_forward(struct device *device, struct tensor out, struct tensor inverse_rms, struct tensor x,
                     struct tensor weight, float epsilon);

/* residual += x, then out = rmsnorm(residual): one pass over memory. residual, x, out: float [rows, cols]. */
void add_rmsnorm_forward(struct device *device, struct tensor out, struct tensor inverse_rms,
                         struct tensor residual, struct tensor x, struct tensor weight, float epsilon);

/* The gradients of rmsnorm_forward: d_x += what comes through the norm (it accumulates, as the gradient of a
 * residual stream does), d_weight += its own. d_x, d_out, x: float [rows, cols]; weight, d_weight: f32
 * [1, cols], d_weight may be no tensor; inverse_rms: f32 [1, rows], as the forward pass kept it. */
void rmsnorm_backward(struct device *device, struct tensor d_x, struct tensor d_weight, struct tensor d_out,
                      struct tensor x, struct tensor weight, struct tensor inverse_rms);

/* out = silu(gate) * up. out: [rows, cols]; gate_up: [rows, 2 * cols], gate first. silu(gate) is rounded to
 * the type before the product, as the reference does. */
void swiglu_forward(struct device *device, struct tensor out, struct tensor gate_up);

/* d_gate_up: float [rows, 2 * cols], may be gate_up; d_out: float [rows, cols]. */
void swiglu_backward(struct device *device, struct tensor d_gate_up, struct tensor d_out,
                     struct tensor gate_up);

/* out = x/2 * (1 + erf(x / sqrt 2)), the exact GELU; out may be x. */
void gelu_forward(struct device *device, struct tensor out, struct tensor x);

/* d_x = d_out * gelu'(x); d_x may be d_out. All of one shape. */
void gelu_backward(struct device *device, struct tensor d_x, struct tensor d_out, struct tensor x);

/* ---- Rotary positions -------------------------------------------------------------------------------- */

/* Angles of rotary positions: cosine[t, i] = cos(positions[axis[i], t] * inverse_frequency[i]), and sine.
 * cosine, sine: f32 [tokens, half]; positions: i32 [axes, tokens]; axis: i32 [1, half];
 * inverse_frequency: f32 [1, half]. Serves mRoPE (axes time, height, width by section) and the vision
 * tower's two-dimensional positions. */
void rope_table(struct device *device, struct tensor cosine, struct tensor sine, struct tensor positions,
                struct tensor axis, struct tensor inverse_frequency);

/* Rotates halves of every head in place: (x1, x2) -> (x1 c - x2 s, x2 c + x1 s), x1 the first half of the
 * head. x: float [tokens, heads * 2 * half], possibly a view of columns; cosine, sine: f32 [tokens, half].
 * inverse turns the other way (the backward pass). */
void rope_forward(struct device *device, struct tensor x, struct tensor cosine, struct tensor sine, int heads,
                  bool inverse);

/* ---- Frames ------------------------------------------------------------------------------------------ */

/* A frame is a tensor [height, width * FRAME_CHANNELS], the channels of a pixel side by side. */
enum { FRAME_CHANNELS = 3 };

/* One half of a resize, along one axis: output i, a row of the frame or a pixel of a row, is the sum over
 * k < counts[i] of weights[i, k] * input[starts[i] + k]. */
struct resize_pass {
    bool down;             /* rows of the frame are mixed; else the pixels of a row */
    struct tensor starts;  /* i32 [1, outputs] */
    struct tensor counts;  /* i32 [1, outputs], at most taps */
    struct tensor weights; /* [outputs, taps], i32 (fixed point) or f32 */
    int precision;         /* bits of a fixed point's fraction, at least 1 */
};

/* out = x, resized along one axis. With fixed-point weights out and x are u8: a half is added to a sum,
 * which is cut to a whole number and held in [0, 255]. With f32 weights a sum starts at 0 and takes one fused
 * multiply-add after another; x is u8 and out f32, or x is f32 and out u8, rounded half to even and held in
 * [0, 255]. An input that x has not fails the device. */
void resize_frame(struct device *device, struct tensor out, struct tensor x, struct resize_pass pass);

/* How frames become rows of patches: `temporal` frames, each in patches of patch x patch pixels, which come
 * in groups of merge x merge. */
struct patch_shape {
    int64_t patch, temporal, merge;
};

/* Writes frame `place` (0 to temporal - 1) of a temporal group into the group's rows: out[row, (channel *
 * temporal + place) * patch^2 + y * patch + x] = values[channel, byte of that pixel]. The rows are groups of
 * merge x merge patches, each group left to right, top to bottom, as are the groups. x: u8 [height, width *
 * FRAME_CHANNELS], both sides multiples of patch * merge; out: f32 [height * width / patch^2, FRAME_CHANNELS
 * * temporal * patch^2]; values: f32 [FRAME_CHANNELS, 256]. */
void cut_patches(struct device *device, struct tensor out, struct tensor x, struct tensor values,
                 struct patch_shape shape, int64_t place);

/* ---- Attention --------------------------------------------------------------------------------------- */

/* Who sees whom. Query rows [query, query + queries) see key rows [prefix, prefix + prefix_keys), all of
 * them, and of their own keys [key, key + keys) all, or, when causal, query i those up to
 * key + i + (keys - queries): the last query sees the last key. queries <= keys when causal. */
struct attention_segment {
    int64_t query, queries;
    int64_t prefix, prefix_keys; /* shared with other segments; prefix_keys 0: none */
    int64_t key, keys;
    bool causal;
};

/* A table of segments ready for a device. The host array is the caller's and must outlive the use. Query
 * ranges of different segments do not overlap; query rows in no segment are left alone. */
struct attention_segments {
    const struct attention_segment *host;
    int64_t count;
};

/* out = softmax(q k^T * scale over visible keys) v, for each head; groups of heads / kv_heads query heads
 * share a key head. q, out: float [tokens, heads * head_dim]; k, v: float [rows, kv_heads * head_dim], k and
 * v of the same type, possibly a cache; log_sum: f32 [tokens, heads] (log of the sum of exp of the scaled
 * scores), kept for the backward pass, or no tensor. head_dim is a multiple of 4, at most 256. */
void attention_forward(struct device *device, struct tensor out, struct tensor log_sum, struct tensor q,
                       struct tensor k, struct tensor v, struct attention_segments segments, int heads,
                       int kv_heads, float scale);

/* The gradients of attention_forward: out and log_sum as it made them, d_out the gradient of out. d_q, d_k
 * and d_v (shapes of q, k and v, float) are set whole: rows that no segment names become zero; key rows that
 * several segments see (shared prefixes) get the sum, in the order of the segments. */
void attention_backward(struct device *device, struct tensor d_q, struct tensor d_k, struct tensor d_v,
                        struct tensor d_out, struct tensor out, struct tensor log_sum, struct tensor q,
                        struct tensor k, struct tensor v, struct attention_segments segments, int heads,
                        int kv_heads, float scale);

/* ---- Softmax over the vocabulary --------------------------------------------------------------------- */

/* For a chunk of rows of logits, with x = scale * logits (scale: 1 / temperature):
 * logprob[r] = log softmax(x[r])[target[r]], log_sum[r] = log sum exp x[r], entropy[r] = -sum p log p with
 * p = softmax(x[r]). logits: float [rows, vocab]; target: i32 [1, rows], -1: logprob 0; the others f32
 * [1, rows]; log_sum and entropy may be no tensor. The cross-entropy of a row is -logprob. */
void logprob_forward(struct device *device, struct tensor logprob, struct tensor log_sum,
                     struct tensor entropy, struct tensor logits, struct tensor target, float scale);

/* The gradient of logprob and entropy, H: d_logits[r, c] = scale * (d_logprob[r] * ((c == target[r]) - p[c])
 * - d_entropy[r] * p[c] * (log p[c] + H[r])), zeros where the target is -1. d_logits: float [rows, vocab],
 * may be logits; d_logprob, d_entropy, log_sum, entropy: f32 [1, rows]; d_entropy may be no tensor, and
 * entropy is then not looked at. */
void logprob_backward(struct device *device, struct tensor d_logits, struct tensor d_logprob,
                      struct tensor d_entropy, struct tensor logits, struct tensor log_sum,
                      struct tensor entropy, struct tensor target, float scale);

/* ---- Reductions -------------------------------------------------------------------------------------- */

/* out[0] = sum of x, or of x^2, over all elements; out: f32 [1, 1]; accumulated in double, in fixed order. */
void reduce_sum(struct device *device, struct tensor out, struct tensor x);
void reduce_sum_squares(struct device *device, struct tensor out, struct tensor x);

/* out[0, c] += sum over the rows of x[r, c]: the gradient of a bias. out: f32 [1, cols]; x: float
 * [rows, cols]. */
void sum_rows(struct device *device, struct tensor out, struct tensor x);

/* ---- Optimizer --------------------------------------------------------------------------------------- */

/* One step of AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019), rounded as
 * torch.optim.AdamW rounds it. */
struct adamw_options {
    double learning_rate, beta1, beta2, epsilon, weight_decay;
    double gradient_scale; /* the gradient is multiplied by it first: clipping */
    int64_t step;          /* counted from 1, for the bias correction */
};

/* weight *= 1 - lr * decay; first = lerp(first, g, 1 - beta1); second = beta2 second + (1 - beta2) g^2;
 * weight -= lr / (1 - beta1^step) * first / (sqrt(second) / sqrt(1 - beta2^step) + epsilon); copy = weight,
 * rounded; gradient = 0: all in one pass over memory. weight, first, second, gradient: f32 of one shape;
 * copy: bf16 of that shape, or no tensor. */
void adamw_step(struct device *device, struct tensor weight, struct tensor first, struct tensor second,
                struct tensor gradient, struct tensor copy, struct adamw_options options);

/* ---- Sampling ---------------------------------------------------------------------------------------- */

/* How one row's next token is drawn, in Hugging Face's order: repetition penalty, temperature, top-k, top-p,
 * min-p, softmax, draw. A setting out of its range fails the device. */
struct sampling {
    float temperature;        /* 0: greedy, the first largest logit after the repetition penalty */
    int32_t top_k;            /* at least 0; 0: off */
    double top_p;             /* 0 to 1; 1: off; as typed: the reference compares with 1 - top_p in f32 */
    float min_p;              /* 0 to 1; 0: off */
    float repetition_penalty; /* above 0; 1: off; applies to tokens in the row's `seen` set */
    bool tempered;            /* logprob is asked for in softmax(logits / temperature) */
    uint64_t seed;            /* the draw is keyed by seed, stream, sample and position (base/random.h) */
    uint32_t stream, sample;
    uint64_t position;
};

struct sample_arguments {
    struct tensor logits; /* float [rows, vocab], unchanged */
    struct tensor seen;   /* i32 [rows, (vocab + 31) / 32], a bit a token of prompt and completion; the
                             chosen token is added. No tensor: nothing seen, nothing kept */
    const struct sampling *rules; /* host array [rows] */
    struct tensor watched; /* i32 [1, watches] token ids whose probabilities are wanted, or no tensor */
    /* results */
    struct tensor token;         /* i32 [1, rows] */
    struct tensor logprob;       /* f32 [1, rows]: log-probability of the token in softmax(logits), or in
                                    softmax(logits / temperature) when `tempered` and not greedy */
    struct tensor watched_raw;   /* f32 [rows, watches]: log-probabilities in softmax(logits) */
    struct tensor watched_final; /* f32 [rows, watches]: in the distribution drawn from (greedy: after the
                                    repetition penalty), -inf where filtered out */
    struct tensor distribution;  /* f32 [rows, vocab]: the distribution drawn from, or no tensor */
};

/* Draws a token for each row. What top-k, top-p and min-p keep is exactly what Hugging Face's filters keep;
 * top-k keeps all that tie with the last. Where top-p cuts through equal logits (the reference leaves that to
 * its sort) the lowest ids stay; they also win a greedy choice. A row with NaN or +inf (also after the
 * division by the temperature), or with no finite logit, gives token -1 and NaN for every number, and its
 * seen set stays. */
void sample_tokens(struct device *device, struct sample_arguments arguments);

#endif
