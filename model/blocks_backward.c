/* The backward passes of model/blocks.h. Products are spent only on gradients that are wanted. */
#include <math.h>

#include "model/blocks.h"

static const struct tensor none;

static bool linear_is_trained(struct linear gradient) {
    return gradient.weight.data || gradient.bias.data;
}

/* ---- The MLP ----------------------------------------------------------------------------------------- */

/* Some rows of mlp_backward. both: what mlp_forward kept of them; product: scratch, [rows, wide]. */
static void mlp_backward_part(struct device *device, struct tensor d_x, struct tensor d_out,
                              struct tensor both, struct tensor product, struct tensor x,
                              const struct mlp *mlp, const struct mlp *gradient) {
    int64_t wide = product.cols;
    struct tensor d_gate = tensor_cols(both, 0, wide), d_up = tensor_cols(both, wide, wide);
    if (linear_is_trained(gradient->down)) {
        swiglu_forward(device, product, both);
        linear_backward_weights(device, gradient->down, d_out, product);
    }
    linear_backward_input(device, product, d_out, mlp->down.weight, false);
    swiglu_backward(device, both, product, both);
    linear_backward_weights(device, gradient->gate, d_gate, x);
    linear_backward_weights(device, gradient->up, d_up, x);
    if (!d_x.data) return;
    linear_backward_input(device, d_x, d_gate, mlp->gate.weight, false);
    linear_backward_input(device, d_x, d_up, mlp->up.weight, true);
}

void mlp_backward(struct device *device, struct arena *arena, struct tensor d_x, struct tensor d_out,
                  struct tensor gate_up, struct tensor x, const struct mlp *mlp, const struct mlp *gradient) {
    if (x.rows == 0) return;
    struct arena_mark mark = arena_mark(arena);
    int64_t wide = mlp->gate.weight.rows, rows = mlp_part_rows(device, x.rows);
    struct tensor scratch = gate_up.data ? gate_up : arena_tensor(arena, x.dtype, rows, 2 * wide);
    struct tensor product = arena_tensor(arena, x.dtype, rows, wide);
    for (int64_t first = 0; first < x.rows; first += rows) {
        int64_t count = x.rows - first < rows ? x.rows - first : rows;
        struct tensor both = tensor_rows(scratch, gate_up.data ? first : 0, count);
        struct tensor in = tensor_rows(x, first, count);
        if (!gate_up.data) mlp_inner_forward(device, both, in, mlp);
        mlp_backward_part(device, d_x.data ? tensor_rows(d_x, first, count) : none,
                          tensor_rows(d_out, first, count), both, tensor_rows(product, 0, count), in, mlp,
                          gradient);
    }
    arena_release(arena, mark);
}

/* ---- Blocks ------------------------------------------------------------------------------------------ */

static bool projections_are_trained(const struct block *gradient) {
    return linear_is_trained(gradient->project[0]) || linear_is_trained(gradient->project[1]) ||
           linear_is_trained(gradient->project[2]);
}

/* What lies before the scores: the projections and the norm. */
static bool attention_is_trained(const struct block *gradient) {
    return gradient->attention_norm.data || projections_are_trained(gradient);
}

bool block_is_trained(const struct block *gradient) {
    return attention_is_trained(gradient) || linear_is_trained(gradient->output) || gradient->mlp_norm.data ||
           linear_is_trained(gradient->mlp.gate) || linear_is_trained(gradient->mlp.up) ||
           linear_is_trained(gradient->mlp.down);
}

/* Computes the attention half again from the block's input, into tensors that take the place of the kept
 * ones.
 */
static void recompute(const struct block_pass *pass, const struct block *block, const struct block_call *call,
                      struct block_tape *tape) {
    const struct block_shape *shape = &pass->shape;
    int64_t q = shape->heads * shape->head_dim, kv = shape->kv_heads * shape->head_dim;
    int64_t tokens = tape->input.rows;
    struct block_tape made = {.gate_up = tape->gate_up};
    made.qkv = arena_tensor(pass->arena, pass->compute, tokens, q + 2 * kv);
    made.attended = arena_tensor(pass->arena, pass->compute, tokens, q);
    made.log_sum = arena_tensor(pass->arena, DTYPE_F32, tokens, shape->heads);

    struct block_pass again = *pass;
    again.residual = arena_tensor(pass->arena, pass->stream, tokens, shape->hidden);
    struct arena_mark mark = arena_mark(pass->arena);
    again.update = arena_tensor(pass->arena, pass->compute, tokens, shape->hidden);
    again.normed = arena_tensor(pass->arena, pass->compute, tokens, shape->hidden);
    convert(pass->device, again.residual, tape->input);
    block_attention_forward(&again, block, call, &made);
    arena_release(pass->arena, mark);
    made.input = tape->input;
    made.middle = again.residual;
    *tape = made;
}

/* The gradient of the stream as products take it: `d_stream`, or its values of the compute type. */
static struct tensor as_operand(const struct block_pass *pass, struct tensor d_stream) {
    if (d_stream.dtype == pass->compute) return d_stream;
    struct tensor operand = arena_tensor(pass->arena, pass->compute, d_stream.rows, d_stream.cols);
    convert(pass->device, operand, d_stream);
    return operand;
}

/* Where the gradient of a norm's output goes: sums of products, of the stream's type. */
static struct tensor d_normed_of(const struct block_pass *pass, struct tensor normed) {
    if (pass->stream == pass->compute) return normed; /* which has served by then */
    return arena_tensor(pass->arena, pass->stream, normed.rows, normed.cols);
}

/* A norm's output computed again, with what rmsnorm_backward needs. */
static struct tensor norm_again(const struct block_pass *pass, struct tensor *inverse_rms, struct tensor x,
                                struct tensor weight) {
    struct tensor normed = arena_tensor(pass->arena, pass->compute, x.rows, x.cols);
    *inverse_rms = arena_tensor(pass->arena, DTYPE_F32, 1, x.rows);
    rmsnorm_forward(pass->device, normed, *inverse_rms, x, weight, pass->shape.epsilon);
    return normed;
}

/* The MLP and its norm: d_stream becomes the gradient of tape->middle if it is `wanted`. */
static void mlp_half_backward(const struct block_pass *pass, const struct block *block,
                              const struct block *gradient, const struct block_tape *tape,
                              struct tensor d_stream, bool wanted) {
    struct arena_mark mark = arena_mark(pass->arena);
    struct tensor inverse_rms;
    struct tensor normed = norm_again(pass, &inverse_rms, tape->middle, block->mlp_norm);
    bool through = wanted || gradient->mlp_norm.data;
    struct tensor d_normed = through ? d_normed_of(pass, normed) : none;
    mlp_backward(pass->device, pass->arena, d_normed, as_operand(pass, d_stream), tape->gate_up, normed,
                 &block->mlp, &gradient->mlp);
    if (through)
        rmsnorm_backward(pass->device, d_stream, gradient->mlp_norm, d_normed, tape->middle, block->mlp_norm,
                         inverse_rms);
    arena_release(pass->arena, mark);
}

/* out = zeros but for the rows `index`, which are those of x. */
static void spread_rows(struct device *device, struct tensor out, struct tensor x, struct tensor index) {
    clear(device, out);
    scatter_rows(device, out, x, index);
}

/* d_qkv = the gradients of the queries, keys and values before they were turned. */
static void scores_backward(const struct block_pass *pass, const struct block_call *call,
                            const struct block_tape *tape, struct tensor d_qkv, struct tensor d_attended) {
    const struct block_shape *shape = &pass->shape;
    int64_t q = shape->heads * shape->head_dim, kv = shape->kv_heads * shape->head_dim;
    attention_backward(pass->device, tensor_cols(d_qkv, 0, q), tensor_cols(d_qkv, q, kv),
                       tensor_cols(d_qkv, q + kv, kv), d_attended, tape->attended, tape->log_sum,
                       tensor_cols(tape->qkv, 0, q), tensor_cols(tape->qkv, q, kv),
                       tensor_cols(tape->qkv, q + kv, kv), call->segments, (int)shape->heads,
                       (int)shape->kv_heads, 1.0f / sqrtf((float)shape->head_dim));
    rope_forward(pass->device, tensor_cols(d_qkv, 0, q + kv), pass->cosine, pass->sine,
                 (int)(shape->heads + shape->kv_heads), true);
}

/* The projections and their norm: adds to d_stream, the gradient of tape->input. */
static void projections_backward(const struct block_pass *pass, const struct block *block,
                                 const struct block *gradient, const struct block_tape *tape,
                                 struct tensor d_stream, struct tensor d_qkv, bool below) {
    struct tensor inverse_rms;
    struct tensor normed = norm_again(pass, &inverse_rms, tape->input, block->attention_norm);
    for (int64_t i = 0, column = 0; i < 3 && block->project[i].weight.data; i++) {
        int64_t width = block->project[i].weight.rows;
        linear_backward_weights(pass->device, gradient->project[i], tensor_cols(d_qkv, column, width),
                                normed);
        column += width;
    }
    if (!below && !gradient->attention_norm.data) return;
    struct tensor d_normed = d_normed_of(pass, normed);
    for (int64_t i = 0, column = 0; i < 3 && block->project[i].weight.data; i++) {
        int64_t width = block->project[i].weight.rows;
        linear_backward_input(pass->device, d_normed, tensor_cols(d_qkv, column, width),
                              block->project[i].weight, i > 0);
        column += width;
    }
    rmsnorm_backward(pass->device, d_stream, gradient->attention_norm, d_normed, tape->input,
                     block->attention_norm, inverse_rms);
}

/* Everything before the MLP: d_stream, the gradient of tape->middle, becomes that of tape->input. */
static void attention_half_backward(const struct block_pass *pass, const struct block *block,
                                    const struct block *gradient, const struct block_call *call,
                                    const struct block_tape *tape, struct tensor *d_stream,
                                    struct tensor d_before, bool below) {
    struct device *device = pass->device;
    int64_t q = tape->attended.cols, tokens = tape->attended.rows;
    bool narrowed = call->wanted.data != NULL;
    struct tensor d_attended = arena_tensor(pass->arena, pass->compute, tokens, q), some = tape->attended;
    struct tensor d_out = as_operand(pass, *d_stream);
    if (narrowed) {
        some = arena_tensor(pass->arena, pass->compute, d_out.rows, q);
        gather_rows(device, some, tape->attended, call->wanted);
    }
    linear_backward_weights(device, gradient->output, d_out, some);
    if (!below && !attention_is_trained(gradient)) return;
    if (narrowed) {
        linear_backward_input(device, some, d_out, block->output.weight, false);
        spread_rows(device, d_attended, some, call->wanted);
        spread_rows(device, d_before, *d_stream, call->wanted);
        *d_stream = d_before;
    } else {
        linear_backward_input(device, d_attended, d_out, block->output.weight, false);
    }
    struct tensor d_qkv = arena_tensor(pass->arena, pass->compute, tokens, tape->qkv.cols);
    scores_backward(pass, call, tape, d_qkv, d_attended);
    projections_backward(pass, block, gradient, tape, *d_stream, d_qkv, below);
}

void block_backward(const struct block_pass *pass, const struct block *block, const struct block *gradient,
                    const struct block_call *call, struct tensor *d_stream, struct tensor d_before,
                    bool below) {
    if (pass->device->failed) return;
    struct arena_mark mark = arena_mark(pass->arena);
    struct block_tape tape = *call->tape;
    bool further = below || attention_is_trained(gradient) || linear_is_trained(gradient->output);
    if (!tape.qkv.data) recompute(pass, block, call, &tape);
    mlp_half_backward(pass, block, gradient, &tape, *d_stream, further);
    if (further) attention_half_backward(pass, block, gradient, call, &tape, d_stream, d_before, below);
    arena_release(pass->arena, mark);
}
