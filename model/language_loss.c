/* What follows the final states: logits of some rows at a time, their log-probabilities, and the way back. */
#include "model/blocks.h"
#include "model/language.h"

/* Logits held at once; their gradients take their place. Both are of the compute type, as torch.autocast has
 * them. */
enum { LOGIT_BYTES = 64 << 20, LOSS_BYTES = 192 << 20 };

/* How many of `rows` rows to take at once: parts of equal size that fill the bytes. */
static int64_t part_rows(int64_t rows, int64_t bytes, int64_t row_bytes) {
    int64_t most = bytes / row_bytes > 0 ? bytes / row_bytes : 1;
    int64_t parts = rows > most ? (rows + most - 1) / most : 1;
    return (rows + parts - 1) / parts;
}

static struct tensor some_columns(struct tensor t, int64_t first, int64_t count) {
    return t.data ? tensor_cols(t, first, count) : t;
}

void language_logits(const struct model *model, struct tensor logits, struct tensor states) {
    linear_forward(model->device, logits, states, model->language.head, (struct tensor){0});
}

void language_logprob(const struct model *model, struct arena *arena, struct tensor states,
                      struct tensor target, struct tensor logprob, struct tensor log_sum,
                      struct tensor entropy, float scale) {
    int64_t vocab = model->config.vocab;
    model_enter(model, UNIT_HEAD, 0);
    int64_t rows = part_rows(states.rows, LOGIT_BYTES, vocab * (int64_t)dtype_size(model->compute));
    for (int64_t first = 0; first < states.rows; first += rows) {
        int64_t count = states.rows - first < rows ? states.rows - first : rows;
        struct arena_mark mark = arena_mark(arena);
        struct tensor logits = arena_tensor(arena, model->compute, count, vocab);
        language_logits(model, logits, tensor_rows(states, first, count));
        logprob_forward(model->device, tensor_cols(logprob, first, count),
                        some_columns(log_sum, first, count), some_columns(entropy, first, count), logits,
                        tensor_cols(target, first, count), scale);
        arena_release(arena, mark);
    }
}

/* Rows [first, first + count) of the loss. */
static void loss_part(const struct model *model, struct tensor d_head, struct arena *arena,
                      const struct language_loss *loss, int64_t first, int64_t count) {
    struct arena_mark mark = arena_mark(arena);
    struct device *device = model->device;
    struct tensor states = tensor_rows(loss->states, first, count);
    struct tensor target = tensor_cols(loss->target, first, count);
    struct tensor log_sum = loss->log_sum.data ? tensor_cols(loss->log_sum, first, count)
                                               : arena_tensor(arena, DTYPE_F32, 1, count);
    struct tensor entropy = some_columns(loss->entropy, first, count);
    if (loss->d_entropy.data && !entropy.data) entropy = arena_tensor(arena, DTYPE_F32, 1, count);
    struct tensor logits = arena_tensor(arena, model->compute, count, model->config.vocab);
    language_logits(model, logits, states);
    if (!loss->known)
        logprob_forward(device, tensor_cols(loss->logprob, first, count), log_sum, entropy, logits, target,
                        loss->scale);
    logprob_backward(device, logits, tensor_cols(loss->d_logprob, first, count),
                     some_columns(loss->d_entropy, first, count), logits, log_sum, entropy, target,
                     loss->scale);
    linear_backward_weights(device, (struct linear){.weight = d_head}, logits, states);
    if (loss->d_states.data)
        linear_backward_input(device, tensor_rows(loss->d_states, first, count), logits, model->language.head,
                              false);
    arena_release(arena, mark);
}

static int64_t logit_row_bytes(const struct model *model) {
    return model->config.vocab * (int64_t)dtype_size(model->compute);
}

void language_loss(const struct model *model, const struct model *gradients, struct arena *arena,
                   const struct language_loss *loss) {
    struct tensor d_head =
        model->config.tied_embeddings ? gradients->language.embedding : gradients->language.head;
    int64_t rows = part_rows(loss->states.rows, LOSS_BYTES, logit_row_bytes(model));
    model_enter(model, UNIT_HEAD, 0);
    for (int64_t first = 0; first < loss->states.rows; first += rows) {
        int64_t count = loss->states.rows - first < rows ? loss->states.rows - first : rows;
        loss_part(model, d_head, arena, loss, first, count);
    }
    model_leave(gradients, UNIT_HEAD, 0);
}
