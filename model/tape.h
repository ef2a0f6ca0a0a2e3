/* What a forward pass keeps for the backward pass after it.
 *
 * A block of either tower can be computed again from its input, so its input is enough (gradient
 * checkpointing); what is kept beyond that saves time and costs memory. Both ways give the same bits. */
#ifndef VS2_MODEL_TAPE_H
#define VS2_MODEL_TAPE_H

#include "model/weights.h"
#include "tensor/arena.h"

/* How much of a stack of blocks is kept. All zeros: the input of every block. */
struct tape_depth {
    int64_t frozen;    /* the blocks before this one keep nothing: the backward pass does not reach them */
    int64_t attention; /* of the blocks from there on, how many keep their attention: the products around it
                          and the scores are not computed again */
    int64_t whole;     /* how many keep that and their MLP: nothing but norms is computed again */
};

/* What one block keeps; tensors without data are not kept. `rows` are the tokens, or in the language model's
 * last layer the wanted ones. */
struct block_tape {
    struct tensor input;    /* [tokens, hidden], of the stream's type: the stream before the block */
    struct tensor qkv;      /* [tokens, (heads + 2 kv_heads) * head_dim]: turned queries and keys, values */
    struct tensor attended; /* [tokens, heads * head_dim] */
    struct tensor log_sum;  /* f32 [tokens, heads] */
    struct tensor middle;   /* [rows, hidden], so too: the stream between attention and MLP */
    struct tensor gate_up;  /* [rows, 2 * intermediate] */
};

/* What the blocks of a stack have in common. */
struct block_shape {
    int64_t hidden, heads, kv_heads, head_dim, intermediate;
    float epsilon;
};

/* A stack of blocks, and a pass through it. */
struct tape_shape {
    struct block_shape block;
    enum dtype compute, stream; /* model/blocks.h */
    int64_t blocks;
    int64_t tokens;
    int64_t last_rows; /* that go on in the last block: tokens, or fewer */
    struct tape_depth depth;
};

/* Makes tensors for all that the blocks keep; tapes: [blocks]. */
void tape_make(struct block_tape *tapes, struct arena *arena, const struct tape_shape *shape);

/* Bytes that tape_make takes from the arena. */
size_t tape_bytes(const struct tape_shape *shape);

/* The depth that saves most work of those whose tape_bytes do not exceed `bytes`, if there is any: as many
 * blocks whole as fit, and then the attention of further ones. shape->depth.frozen holds, the rest of
 * shape->depth is not used. */
struct tape_depth tape_depth_within(const struct tape_shape *shape, size_t bytes);

/* Bytes of a [rows, cols] tensor in an arena. */
size_t tape_tensor_bytes(enum dtype dtype, int64_t rows, int64_t cols);

#endif
