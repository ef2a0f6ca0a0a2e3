#include "model/blocks.h"

#include <math.h>

static const struct tensor none;

void rope_frequencies(double theta, int64_t width, float *frequencies) {
    for (int64_t i = 0; i < width / 2; i++) {
        float exponent = (float)(2 * i) / (float)width;
        frequencies[i] = 1.0f / (float)pow(theta, (double)exponent);
    }
}

void linear_forward(struct device *device, struct tensor out, struct tensor x, struct tensor weight,
                    struct tensor bias) {
    matmul(device, out, x, weight, (struct matmul_options){.transpose_b = true, .bias = bias});
}

void linear_backward_weights(struct device *device, struct linear gradient, struct tensor d_out,
                             struct tensor x) {
    if (gradient.weight.data)
        matmul(device, gradient.weight, d_out, x,
               (struct matmul_options){.transpose_a = true, .accumulate = true});
    if (gradient.bias.data) sum_rows(device, gradient.bias, d_out);
}

void linear_backward_input(struct device *device, struct tensor d_x, struct tensor d_out,
                           struct tensor weight, bool accumulate) {
    matmul(device, d_x, d_out, weight, (struct matmul_options){.accumulate = accumulate});
}

int64_t mlp_part_rows(const struct device *device, int64_t rows) {
    int64_t most = matmul_part_rows(device), parts = (rows + most - 1) / most;
    return (rows + parts - 1) / parts;
}

void mlp_inner_forward(struct device *device, struct tensor gate_up, struct tensor x, const struct mlp *mlp) {
    int64_t wide = gate_up.cols / 2;
    linear_forward(device, tensor_cols(gate_up, 0, wide), x, mlp->gate.weight, mlp->gate.bias);
    linear_forward(device, tensor_cols(gate_up, wide, wide), x, mlp->up.weight, mlp->up.bias);
}

void mlp_forward(struct device *device, struct arena *arena, struct tensor out, struct tensor gate_up,
                 struct tensor x, const struct mlp *mlp) {
    if (x.rows == 0) return;
    struct arena_mark mark = arena_mark(arena);
    int64_t wide = mlp->gate.weight.rows, rows = mlp_part_rows(device, x.rows);
    struct tensor scratch = gate_up.data ? gate_up : arena_tensor(arena, x.dtype, rows, 2 * wide);
    struct tensor product = arena_tensor(arena, x.dtype, rows, wide);
    for (int64_t first = 0; first < x.rows; first += rows) {
        int64_t count = x.rows - first < rows ? x.rows - first : rows;
        struct tensor both = tensor_rows(scratch, gate_up.data ? first : 0, count);
        struct tensor part = tensor_rows(product, 0, count);
        mlp_inner_forward(device, both, tensor_rows(x, first, count), mlp);
        swiglu_forward(device, part, both);
        linear_forward(device, tensor_rows(out, first, count), part, mlp->down.weight, mlp->down.bias);
    }
    arena_release(arena, mark);
}

/* A tensor that is kept, or else scratch. */
static struct tensor kept_or_scratch(struct block_pass *pass, struct tensor kept, int64_t rows,
                                     int64_t cols) {
    return kept.data ? kept : arena_tensor(pass->arena, pass->compute, rows, cols);
}

static void keep(struct block_pass *pass, struct tensor kept, struct tensor x) {
    if (kept.data) convert(pass->device, kept, x);
}

/* normed = norm of the stream, of which the pending update becomes part. */
static void norm_stream(struct block_pass *pass, struct tensor out, struct tensor weight) {
    if (pass->pending)
        add_rmsnorm_forward(pass->device, out, none, pass->residual, pass->update, weight,
                            pass->shape.epsilon);
    else
        rmsnorm_forward(pass->device, out, none, pass->residual, weight, pass->shape.epsilon);
    pass->pending = false;
}

/* qkv = queries, keys and values of `normed`, turned by their positions. */
static void project(struct block_pass *pass, const struct block *block, struct tensor qkv) {
    const struct block_shape *shape = &pass->shape;
    int64_t heads = shape->heads + shape->kv_heads;
    for (int64_t i = 0, column = 0; i < 3 && block->project[i].weight.data; i++) {
        int64_t width = block->project[i].weight.rows;
        linear_forward(pass->device, tensor_cols(qkv, column, width), pass->normed, block->project[i].weight,
                       block->project[i].bias);
        column += width;
    }
    rope_forward(pass->device, tensor_cols(qkv, 0, heads * shape->head_dim), pass->cosine, pass->sine,
                 (int)heads, false);
}

/* attended = attention of the queries over the keys and values, by way of the cache if there is one. */
static void attend(struct block_pass *pass, const struct block_call *call, struct tensor attended,
                   struct tensor log_sum, struct tensor qkv) {
    const struct block_shape *shape = &pass->shape;
    int64_t q = shape->heads * shape->head_dim, kv = shape->kv_heads * shape->head_dim;
    struct tensor both = tensor_cols(qkv, q, 2 * kv);
    if (call->cache.data) {
        scatter_rows(pass->device, call->cache, both, call->cache_rows);
        both = call->cache;
    }
    attention_forward(pass->device, attended, log_sum, tensor_cols(qkv, 0, q), tensor_cols(both, 0, kv),
                      tensor_cols(both, kv, kv), call->segments, (int)shape->heads, (int)shape->kv_heads,
                      1.0f / sqrtf((float)shape->head_dim));
}

/* From here on only the wanted rows are computed; returns those of `attended`. */
static struct tensor narrow(struct block_pass *pass, const struct block_call *call, struct tensor attended) {
    int64_t rows = call->wanted.cols;
    struct tensor out = arena_tensor(pass->arena, attended.dtype, rows, attended.cols);
    gather_rows(pass->device, out, attended, call->wanted);
    gather_rows(pass->device, call->narrow, pass->residual, call->wanted);
    pass->residual = call->narrow;
    pass->update = tensor_rows(pass->update, 0, rows);
    pass->normed = tensor_rows(pass->normed, 0, rows);
    return out;
}

void block_attention_forward(struct block_pass *pass, const struct block *block,
                             const struct block_call *call, const struct block_tape *tape) {
    const struct block_shape *shape = &pass->shape;
    int64_t q = shape->heads * shape->head_dim, kv = shape->kv_heads * shape->head_dim;
    int64_t tokens = pass->residual.rows;
    struct arena_mark mark = arena_mark(pass->arena);
    norm_stream(pass, pass->normed, block->attention_norm);
    keep(pass, tape->input, pass->residual);
    struct tensor qkv = kept_or_scratch(pass, tape->qkv, tokens, q + 2 * kv);
    project(pass, block, qkv);
    /* `normed` has served, so it can take the result where that is as wide. */
    struct tensor attended = tape->attended.data || q != shape->hidden
                                 ? kept_or_scratch(pass, tape->attended, tokens, q)
                                 : pass->normed;
    attend(pass, call, attended, tape->log_sum, qkv);
    if (call->wanted.data) attended = narrow(pass, call, attended);
    linear_forward(pass->device, pass->update, attended, block->output.weight, block->output.bias);
    pass->pending = true;
    norm_stream(pass, pass->normed, block->mlp_norm);
    keep(pass, tape->middle, pass->residual);
    arena_release(pass->arena, mark);
}

void block_forward(struct block_pass *pass, const struct block *block, const struct block_call *call) {
    const struct block_tape nothing = {0};
    const struct block_tape *tape = call->tape ? call->tape : &nothing;
    block_attention_forward(pass, block, call, tape);
    mlp_forward(pass->device, pass->arena, pass->update, tape->gate_up, pass->normed, &block->mlp);
    pass->pending = true;
}

void block_finish(struct block_pass *pass, struct tensor out, struct tensor weight) {
    norm_stream(pass, out, weight);
}
