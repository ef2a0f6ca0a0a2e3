/* The checks of shapes, once for all backends, and the way to the backend. Empty tensors and failed devices
 * stop here. */
#include "tensor/ops.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/activity.h"
#include "tensor/backend.h"

/* A wrong shape would write over foreign memory, so these checks stay in release builds: they cost nothing
 * beside the operations. */
static void require_at(bool holds, const char *operation, int line) {
    if (holds) return;
    fprintf(stderr, "%s: wrong tensor (tensor/ops.c:%d)\n", operation, line);
    abort();
}
#define require(condition) require_at(condition, __func__, __LINE__)

static bool is_float(struct tensor t) {
    return t.dtype == DTYPE_F32 || t.dtype == DTYPE_BF16;
}
static bool is_empty(struct tensor t) {
    return t.rows == 0 || t.cols == 0;
}

static bool has_shape(struct tensor t, int64_t rows, int64_t cols) {
    return t.rows == rows && t.cols == cols && (t.stride >= t.cols || t.rows <= 1);
}

static bool same_shape(struct tensor a, struct tensor b) {
    return has_shape(a, b.rows, b.cols) && has_shape(b, a.rows, a.cols);
}

static bool is_row(struct tensor t, enum dtype dtype, int64_t cols) {
    return t.dtype == dtype && has_shape(t, 1, cols);
}

/* No tensor, or a row. */
static bool is_row_or_none(struct tensor t, enum dtype dtype, int64_t cols) {
    return !t.data || is_row(t, dtype, cols);
}

/* Before every operation; false: the device does nothing, as it failed, or counts. */
static bool begins(const struct device *device) {
    activity_step();
    return !device->failed && !device->counts;
}

int64_t matmul_exact_rows(const struct device *device) {
    return device->stands_for_gpu ? MATMUL_EXACT_ROWS_GPU : device->backend->exact_rows;
}

int64_t matmul_part_rows(const struct device *device) {
    return device->stands_for_gpu ? MATMUL_PART_ROWS_GPU : device->backend->part_rows;
}

void convert(struct device *device, struct tensor out, struct tensor x) {
    if (!begins(device)) return;
    require(same_shape(out, x));
    require(x.dtype == DTYPE_I32 ? out.dtype == DTYPE_I32 : is_float(out) && x.dtype != DTYPE_U8);
    if (is_empty(out)) return;
    device->backend->convert(device, out, x);
}

void gather_rows(struct device *device, struct tensor out, struct tensor table, struct tensor index) {
    if (!begins(device)) return;
    require(is_float(out) && is_float(table) && out.cols == table.cols);
    require(is_row(index, DTYPE_I32, out.rows));
    if (is_empty(out)) return;
    device->backend->gather_rows(device, out, table, index);
}

void scatter_rows(struct device *device, struct tensor out, struct tensor x, struct tensor index) {
    if (!begins(device)) return;
    require(is_float(out) && is_float(x) && out.cols == x.cols);
    require(is_row(index, DTYPE_I32, x.rows));
    if (is_empty(x)) return;
    device->backend->scatter_rows(device, out, x, index);
}

void scatter_add_rows(struct device *device, struct tensor out, struct tensor x, struct tensor index) {
    if (!begins(device)) return;
    require(out.dtype == DTYPE_F32 && is_float(x) && has_shape(out, out.rows, x.cols));
    require(is_row(index, DTYPE_I32, x.rows) && has_shape(x, x.rows, x.cols));
    if (is_empty(x)) return;
    device->backend->scatter_add_rows(device, out, x, index);
}

void add(struct device *device, struct tensor out, struct tensor x) {
    if (!begins(device)) return;
    require(is_float(out) && is_float(x) && same_shape(out, x));
    if (is_empty(out)) return;
    device->backend->add(device, out, x);
}

void clear(struct device *device, struct tensor out) {
    if (!begins(device)) return;
    require(has_shape(out, out.rows, out.cols));
    if (is_empty(out)) return;
    device->backend->clear(device, out);
}

void matmul(struct device *device, struct tensor out, struct tensor a, struct tensor b,
            struct matmul_options options) {
    if (!begins(device)) return;
    require(is_float(out) && is_float(a) && is_float(b));
    int64_t depth = options.transpose_a ? a.rows : a.cols;
    require(has_shape(a, options.transpose_a ? depth : out.rows, options.transpose_a ? out.rows : depth));
    require(has_shape(b, options.transpose_b ? out.cols : depth, options.transpose_b ? depth : out.cols));
    require(has_shape(out, out.rows, out.cols));
    require(!options.bias.data || (is_float(options.bias) && has_shape(options.bias, 1, out.cols)));
    if (is_empty(out)) return;
    device->backend->matmul(device, out, a, b, options);
}

static void check_rmsnorm(struct tensor out, struct tensor inverse_rms, struct tensor x,
                          struct tensor weight) {
    require(is_float(out) && is_float(x) && same_shape(out, x));
    require(is_row(weight, DTYPE_F32, x.cols) && is_row_or_none(inverse_rms, DTYPE_F32, x.rows));
}

void rmsnorm_forward(struct device *device, struct tensor out, struct tensor inverse_rms, struct tensor x,
                     struct tensor weight, float epsilon) {
    if (!begins(device)) return;
    check_rmsnorm(out, inverse_rms, x, weight);
    if (is_empty(out)) return;
    device->backend->rmsnorm_forward(device, out, inverse_rms, x, weight, epsilon);
}

void add_rmsnorm_forward(struct device *device, struct tensor out, struct tensor inverse_rms,
                         struct tensor residual, struct tensor x, struct tensor weight, float epsilon) {
    if (!begins(device)) return;
    check_rmsnorm(out, inverse_rms, residual, weight);
    require(is_float(x) && same_shape(residual, x));
    if (is_empty(out)) return;
    device->backend->add_rmsnorm_forward(device, out, inverse_rms, residual, x, weight, epsilon);
}

void rmsnorm_backward(struct device *device, struct tensor d_x, struct tensor d_weight, struct tensor d_out,
                      struct tensor x, struct tensor weight, struct tensor inverse_rms) {
    if (!begins(device)) return;
    require(is_float(d_x) && same_shape(d_x, x) && is_float(d_out) && same_shape(d_out, x) && is_float(x));
    require(is_row(weight, DTYPE_F32, x.cols) && is_row_or_none(d_weight, DTYPE_F32, x.cols));
    require(is_row(inverse_rms, DTYPE_F32, x.rows));
    if (is_empty(x)) return;
    device->backend->rmsnorm_backward(device, d_x, d_weight, d_out, x, weight, inverse_rms);
}

void swiglu_forward(struct device *device, struct tensor out, struct tensor gate_up) {
    if (!begins(device)) return;
    require(is_float(out) && is_float(gate_up) && has_shape(gate_up, out.rows, 2 * out.cols));
    if (is_empty(out)) return;
    device->backend->swiglu_forward(device, out, gate_up);
}

void swiglu_backward(struct device *device, struct tensor d_gate_up, struct tensor d_out,
                     struct tensor gate_up) {
    if (!begins(device)) return;
    require(is_float(d_out) && has_shape(d_out, d_out.rows, d_out.cols));
    require(is_float(gate_up) && has_shape(gate_up, d_out.rows, 2 * d_out.cols));
    require(is_float(d_gate_up) && same_shape(d_gate_up, gate_up));
    if (is_empty(d_out)) return;
    device->backend->swiglu_backward(device, d_gate_up, d_out, gate_up);
}

void gelu_forward(struct device *device, struct tensor out, struct tensor x) {
    if (!begins(device)) return;
    require(is_float(out) && is_float(x) && same_shape(out, x));
    if (is_empty(out)) return;
    device->backend->gelu_forward(device, out, x);
}

void gelu_backward(struct device *device, struct tensor d_x, struct tensor d_out, struct tensor x) {
    if (!begins(device)) return;
    require(is_float(x) && is_float(d_x) && same_shape(d_x, x) && is_float(d_out) && same_shape(d_out, x));
    if (is_empty(x)) return;
    device->backend->gelu_backward(device, d_x, d_out, x);
}

void rope_table(struct device *device, struct tensor cosine, struct tensor sine, struct tensor positions,
                struct tensor axis, struct tensor inverse_frequency) {
    if (!begins(device)) return;
    require(cosine.dtype == DTYPE_F32 && sine.dtype == DTYPE_F32 && same_shape(cosine, sine));
    require(positions.dtype == DTYPE_I32 && has_shape(positions, positions.rows, cosine.rows));
    require(is_row(axis, DTYPE_I32, cosine.cols) && is_row(inverse_frequency, DTYPE_F32, cosine.cols));
    if (is_empty(cosine)) return;
    device->backend->rope_table(device, cosine, sine, positions, axis, inverse_frequency);
}

void rope_forward(struct device *device, struct tensor x, struct tensor cosine, struct tensor sine, int heads,
                  bool inverse) {
    if (!begins(device)) return;
    require(is_float(x) && heads > 0 && has_shape(x, cosine.rows, 2 * heads * cosine.cols));
    require(cosine.dtype == DTYPE_F32 && sine.dtype == DTYPE_F32 && same_shape(cosine, sine));
    if (is_empty(x)) return;
    device->backend->rope_forward(device, x, cosine, sine, heads, inverse);
}

void resize_frame(struct device *device, struct tensor out, struct tensor x, struct resize_pass pass) {
    if (!begins(device)) return;
    int64_t outputs = pass.weights.rows;
    bool fixed = pass.weights.dtype == DTYPE_I32;
    require(has_shape(x, x.rows, x.cols) && x.cols % FRAME_CHANNELS == 0);
    require(pass.down ? has_shape(out, outputs, x.cols) : has_shape(out, x.rows, outputs * FRAME_CHANNELS));
    require(fixed ? pass.precision > 0 && pass.precision < 31 : pass.weights.dtype == DTYPE_F32);
    require(x.dtype == DTYPE_U8 || (!fixed && x.dtype == DTYPE_F32));
    require(out.dtype == (fixed || x.dtype == DTYPE_F32 ? DTYPE_U8 : DTYPE_F32));
    require(is_row(pass.starts, DTYPE_I32, outputs) && is_row(pass.counts, DTYPE_I32, outputs));
    require(has_shape(pass.weights, outputs, pass.weights.cols));
    if (is_empty(out)) return;
    device->backend->resize_frame(device, out, x, pass);
}

void cut_patches(struct device *device, struct tensor out, struct tensor x, struct tensor values,
                 struct patch_shape shape, int64_t place) {
    if (!begins(device)) return;
    int64_t area = shape.patch * shape.patch, cell = shape.patch * shape.merge;
    require(shape.patch > 0 && shape.merge > 0 && place >= 0 && place < shape.temporal);
    require(x.dtype == DTYPE_U8 && has_shape(x, x.rows, x.cols));
    require(x.cols % (FRAME_CHANNELS * cell) == 0 && x.rows % cell == 0);
    require(out.dtype == DTYPE_F32 && has_shape(out, x.rows * (x.cols / FRAME_CHANNELS) / area,
                                                FRAME_CHANNELS * shape.temporal * area));
    require(values.dtype == DTYPE_F32 && has_shape(values, FRAME_CHANNELS, 256));
    if (is_empty(out)) return;
    device->backend->cut_patches(device, out, x, values, shape, place);
}

/* The ranges of a segment lie in the tensors they name. */
static bool segment_fits(struct attention_segment s, int64_t queries, int64_t keys) {
    return s.query >= 0 && s.queries >= 0 && s.query + s.queries <= queries && s.prefix >= 0 &&
           s.prefix_keys >= 0 && s.prefix + s.prefix_keys <= keys && s.key >= 0 && s.keys >= 0 &&
           s.key + s.keys <= keys && (!s.causal || s.queries <= s.keys);
}

/* What both halves take. */
static void check_attention(struct tensor out, struct tensor q, struct tensor k, struct tensor v,
                            struct attention_segments segments, int heads, int kv_heads) {
    require(heads > 0 && kv_heads > 0 && heads % kv_heads == 0 && q.cols % heads == 0);
    int64_t head_dim = q.cols / heads;
    require(head_dim % 4 == 0 && head_dim <= 256);
    require(is_float(out) && is_float(q) && same_shape(out, q));
    require(is_float(k) && k.dtype == v.dtype && same_shape(k, v) && k.cols == kv_heads * head_dim);
    for (int64_t i = 0; i < segments.count; i++) require(segment_fits(segments.host[i], q.rows, k.rows));
}

void attention_forward(struct device *device, struct tensor out, struct tensor log_sum, struct tensor q,
                       struct tensor k, struct tensor v, struct attention_segments segments, int heads,
                       int kv_heads, float scale) {
    if (!begins(device)) return;
    check_attention(out, q, k, v, segments, heads, kv_heads);
    require(!log_sum.data || (log_sum.dtype == DTYPE_F32 && has_shape(log_sum, q.rows, heads)));
    if (is_empty(out) || segments.count == 0) return;
    device->backend->attention_forward(device, out, log_sum, q, k, v, segments, heads, kv_heads, scale);
}

void attention_backward(struct device *device, struct tensor d_q, struct tensor d_k, struct tensor d_v,
                        struct tensor d_out, struct tensor out, struct tensor log_sum, struct tensor q,
                        struct tensor k, struct tensor v, struct attention_segments segments, int heads,
                        int kv_heads, float scale) {
    if (!begins(device)) return;
    check_attention(out, q, k, v, segments, heads, kv_heads);
    require(log_sum.dtype == DTYPE_F32 && has_shape(log_sum, q.rows, heads));
    require(is_float(d_q) && same_shape(d_q, q) && is_float(d_out) && same_shape(d_out, q));
    require(is_float(d_k) && same_shape(d_k, k) && is_float(d_v) && same_shape(d_v, v));
    if (is_empty(q) || is_empty(k) || segments.count == 0) {
        clear(device, d_q);
        clear(device, d_k);
        clear(device, d_v);
        return;
    }
    device->backend->attention_backward(device, d_q, d_k, d_v, d_out, out, log_sum, q, k, v, segments, heads,
                                        kv_heads, scale);
}

void logprob_forward(struct device *device, struct tensor logprob, struct tensor log_sum,
                     struct tensor entropy, struct tensor logits, struct tensor target, float scale) {
    if (!begins(device)) return;
    require(is_float(logits) && is_row(target, DTYPE_I32, logits.rows));
    require(is_row(logprob, DTYPE_F32, logits.rows) && is_row_or_none(log_sum, DTYPE_F32, logits.rows));
    require(is_row_or_none(entropy, DTYPE_F32, logits.rows));
    if (is_empty(logits)) return;
    device->backend->logprob_forward(device, logprob, log_sum, entropy, logits, target, scale);
}

void logprob_backward(struct device *device, struct tensor d_logits, struct tensor d_logprob,
                      struct tensor d_entropy, struct tensor logits, struct tensor log_sum,
                      struct tensor entropy, struct tensor target, float scale) {
    if (!begins(device)) return;
    require(is_float(logits) && is_float(d_logits) && same_shape(d_logits, logits));
    require(is_row(d_logprob, DTYPE_F32, logits.rows) && is_row(log_sum, DTYPE_F32, logits.rows));
    require(is_row(target, DTYPE_I32, logits.rows) && is_row_or_none(d_entropy, DTYPE_F32, logits.rows));
    require(!d_entropy.data || is_row(entropy, DTYPE_F32, logits.rows));
    if (is_empty(logits)) return;
    device->backend->logprob_backward(device, d_logits, d_logprob, d_entropy, logits, log_sum, entropy,
                                      target, scale);
}

void reduce_sum(struct device *device, struct tensor out, struct tensor x) {
    if (!begins(device)) return;
    require(is_row(out, DTYPE_F32, 1) && is_float(x) && has_shape(x, x.rows, x.cols));
    device->backend->reduce_sum(device, out, x);
}

void reduce_sum_squares(struct device *device, struct tensor out, struct tensor x) {
    if (!begins(device)) return;
    require(is_row(out, DTYPE_F32, 1) && is_float(x) && has_shape(x, x.rows, x.cols));
    device->backend->reduce_sum_squares(device, out, x);
}

void sum_rows(struct device *device, struct tensor out, struct tensor x) {
    if (!begins(device)) return;
    require(is_row(out, DTYPE_F32, x.cols) && is_float(x) && has_shape(x, x.rows, x.cols));
    if (is_empty(x)) return;
    device->backend->sum_rows(device, out, x);
}

void adamw_step(struct device *device, struct tensor weight, struct tensor first, struct tensor second,
                struct tensor gradient, struct tensor copy, struct adamw_options options) {
    if (!begins(device)) return;
    const struct tensor all[] = {weight, first, second, gradient};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        require(all[i].dtype == DTYPE_F32 && same_shape(all[i], weight));
    require(!copy.data || (copy.dtype == DTYPE_BF16 && same_shape(copy, weight)));
    require(options.step >= 1);
    if (is_empty(weight)) return;
    device->backend->adamw_step(device, weight, first, second, gradient, copy, options);
}

static void check_sample(struct sample_arguments s) {
    int64_t rows = s.logits.rows, vocab = s.logits.cols, watches = s.watched.data ? s.watched.cols : 0;
    require(is_float(s.logits) && is_row(s.token, DTYPE_I32, rows) && is_row(s.logprob, DTYPE_F32, rows));
    require(!s.seen.data || (s.seen.dtype == DTYPE_I32 && has_shape(s.seen, rows, (vocab + 31) / 32)));
    require(!s.watched.data || is_row(s.watched, DTYPE_I32, watches));
    require(!s.watched.data || (s.watched_raw.dtype == DTYPE_F32 && has_shape(s.watched_raw, rows, watches)));
    require(!s.watched.data ||
            (s.watched_final.dtype == DTYPE_F32 && has_shape(s.watched_final, rows, watches)));
    require(!s.distribution.data ||
            (s.distribution.dtype == DTYPE_F32 && has_shape(s.distribution, rows, vocab)));
}

/* Written so that NaN is out of range too. */
static bool in_range(const struct sampling *s) {
    return s->temperature >= 0 && s->top_k >= 0 && s->top_p >= 0 && s->top_p <= 1 && s->min_p >= 0 &&
           s->min_p <= 1 && s->repetition_penalty > 0;
}

void sample_tokens(struct device *device, struct sample_arguments arguments) {
    if (!begins(device)) return;
    check_sample(arguments);
    if (is_empty(arguments.logits)) return;
    for (int64_t r = 0; r < arguments.logits.rows; r++) {
        if (in_range(&arguments.rules[r])) continue;
        device_fail(device, "sample_tokens: row %lld: a sampling setting is out of range", (long long)r);
        return;
    }
    device->backend->sample_tokens(device, arguments);
}
