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
    int64_t attention; /* the first blocks from there on that keep their attention: products of q, k, v and
                          output, and the scores are not computed again */
    int64_t whole;     /* the first of them that also keep their MLP: nothing is computed again but norms */
};

/* What one block keeps; tensors without data are not kept. `rows` are the tokens, or in the language model's
 * last layer the wanted ones. */
struct block_tape {
    struct tensor input;    /* [tokens, hidden]: the stream before the block */
    struct tensor qkv;      /* [tokens, (heads + 2 kv_heads) * head_dim]: turned queries and keys, values */
    struct tensor attended; /* [tokens, heads * head_dim] */
    struct tensor log_sum;  /* f32 [tokens, heads] */
    struct tensor middle;   /* [rows, hidden]: the stream between attention and MLP */
    struct tensor gate_up;  /* [rows, 2 * intermediate] */
};

#endif
