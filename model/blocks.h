/* What the vision tower and the language model are both built from: linear layers, the gated MLP, and
 * transformer blocks of them around a residual stream. Inference and training share the forward functions;
 * the backward ones are in blocks_backward.c. */
#ifndef VS2_MODEL_BLOCKS_H
#define VS2_MODEL_BLOCKS_H

#include "model/tape.h"
#include "model/weights.h"
#include "tensor/arena.h"
#include "tensor/ops.h"

enum { MAX_HEAD = 256 }; /* the widest head that attention takes */

/* theta^(-2i/width) for i < width / 2, as the reference rounds them. */
void rope_frequencies(double theta, int64_t width, float *frequencies);

/* ---- Linear layers and the MLP ----------------------------------------------------------------------- */

/* out = x W^T + bias. x: [rows, inputs], out: [rows, outputs], possibly views of columns. */
void linear_forward(struct device *device, struct tensor out, struct tensor x, struct tensor weight,
                    struct tensor bias);

/* Adds to the gradients of a linear layer's weight and bias, those of them that have data. x: its input,
 * d_out: the gradient of its output. */
void linear_backward_weights(struct device *device, struct linear gradient, struct tensor d_out,
                             struct tensor x);

/* d_x (+)= d_out W, the gradient of a linear layer's input. */
void linear_backward_input(struct device *device, struct tensor d_x, struct tensor d_out,
                           struct tensor weight, bool accumulate);

/* The gated MLP: down(silu(gate(x)) * up(x)). */
struct mlp {
    struct linear gate, up, down;
};

/* Computes it some rows at a time, so that the wide activations stay small. x, out: [rows, width], not
 * overlapping; gate_up: [rows, 2 * wide], keeps what the backward pass needs, or no tensor. */
void mlp_forward(struct device *device, struct arena *arena, struct tensor out, struct tensor gate_up,
                 struct tensor x, const struct mlp *mlp);

/* Their parts: how many of `rows` rows are computed at once (parts of equal size), and gate_up = the two
 * inner products of x. */
int64_t mlp_part_rows(const struct device *device, int64_t rows);
void mlp_inner_forward(struct device *device, struct tensor gate_up, struct tensor x, const struct mlp *mlp);

/* Adds to the gradients that have data, and sets d_x (float; it may be x where the types are equal) unless
 * it is no tensor. gate_up: as mlp_forward kept it, and used up; or no tensor: it is computed again. */
void mlp_backward(struct device *device, struct arena *arena, struct tensor d_x, struct tensor d_out,
                  struct tensor gate_up, struct tensor x, const struct mlp *mlp, const struct mlp *gradient);

/* ---- Transformer blocks ------------------------------------------------------------------------------ */

/* The weights of one block, or their gradients. */
struct block {
    struct tensor attention_norm, mlp_norm; /* f32 [1, hidden] */
    struct linear project[3];               /* queries, keys, values; or one for all, two without data */
    struct linear output;
    struct mlp mlp;
};

/* Any gradient that has data. */
bool block_is_trained(const struct block *gradient);

/* A pass through a stack of blocks. */
struct block_pass {
    struct device *device;
    struct arena *arena;
    enum dtype compute; /* of operands and results of products */
    enum dtype stream;  /* of the stream between the blocks and its gradient: compute, or f32 */
    struct block_shape shape;
    struct tensor cosine, sine; /* f32 [tokens, head_dim / 2] */
    /* The stream is residual + update while update is pending; all [rows, hidden]. */
    struct tensor residual; /* of the stream's type */
    struct tensor update;   /* of the compute type, as is */
    bool pending;
    struct tensor normed; /* [rows, hidden]: scratch */
};

/* What is one block's own. */
struct block_call {
    struct attention_segments segments;
    struct tensor cache; /* [any, 2 * kv_heads * head_dim]: where keys and values go and come from; or none */
    struct tensor cache_rows; /* i32 [1, tokens]: their rows in it */
    /* Once the keys and values are known only these rows go on; or no tensors: all. */
    struct tensor wanted;    /* i32 [1, wanted] */
    struct tensor narrow;    /* [wanted, hidden], as pass->residual: where their stream goes */
    struct block_tape *tape; /* NULL, or what to keep: its tensors that have data */
};

/* One block: the stream before it becomes the stream behind it. Call it through block after block. */
void block_forward(struct block_pass *pass, const struct block *block, const struct block_call *call);

/* The first half of block_forward, up to the norm before the MLP, which it leaves in pass->normed; `tape` is
 * used, not call->tape. The backward pass computes it again. */
void block_attention_forward(struct block_pass *pass, const struct block *block,
                             const struct block_call *call, const struct block_tape *tape);

/* The stream at the end: out = its norm; it then lies in pass->residual. */
void block_finish(struct block_pass *pass, struct tensor out, struct tensor weight);

/* The backward pass of a block, which uses its tape up. d_stream: the gradient of the stream behind it, which
 * becomes that of the stream before it. Where rows were left out (call->wanted), the latter has more rows:
 * d_before, [tokens, hidden], which is not used otherwise. Nothing is computed that only gradients below this
 * block need unless `below`. */
void block_backward(const struct block_pass *pass, const struct block *block, const struct block *gradient,
                    const struct block_call *call, struct tensor *d_stream, struct tensor d_before,
                    bool below);

#endif
