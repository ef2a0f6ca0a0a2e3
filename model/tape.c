#include "model/tape.h"

enum { ALIGNMENT = 64 }; /* of an arena's tensors */

size_t tape_tensor_bytes(enum dtype dtype, int64_t rows, int64_t cols) {
    size_t bytes = (size_t)rows * (size_t)cols * dtype_size(dtype);
    return bytes ? (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT : ALIGNMENT;
}

/* Shapes of what block `number` keeps; no rows and columns: it does not. */
static struct block_tape block_shapes(const struct tape_shape *shape, int64_t number) {
    const struct block_shape *block = &shape->block;
    int64_t q = block->heads * block->head_dim, kv = block->kv_heads * block->head_dim;
    int64_t rows = number == shape->blocks - 1 ? shape->last_rows : shape->tokens;
    int64_t place = number - shape->depth.frozen;
    struct block_tape tape = {0};
    if (place < 0) return tape;
    tape.input = tensor_at(NULL, shape->stream, shape->tokens, block->hidden);
    if (place >= shape->depth.attention && place >= shape->depth.whole) return tape;
    tape.qkv = tensor_at(NULL, shape->compute, shape->tokens, q + 2 * kv);
    tape.attended = tensor_at(NULL, shape->compute, shape->tokens, q);
    tape.log_sum = tensor_at(NULL, DTYPE_F32, shape->tokens, block->heads);
    tape.middle = tensor_at(NULL, shape->stream, rows, block->hidden);
    if (place >= shape->depth.whole) return tape;
    tape.gate_up = tensor_at(NULL, shape->compute, rows, 2 * block->intermediate);
    return tape;
}

/* Gives a tensor of that shape its data. */
static void allocate(struct arena *arena, struct tensor *tensor) {
    if (tensor->cols > 0) *tensor = arena_tensor(arena, tensor->dtype, tensor->rows, tensor->cols);
}

static size_t bytes_of(struct tensor tensor) {
    return tensor.cols > 0 ? tape_tensor_bytes(tensor.dtype, tensor.rows, tensor.cols) : 0;
}

void tape_make(struct block_tape *tapes, struct arena *arena, const struct tape_shape *shape) {
    for (int64_t i = 0; i < shape->blocks; i++) {
        tapes[i] = block_shapes(shape, i);
        allocate(arena, &tapes[i].input);
        allocate(arena, &tapes[i].qkv);
        allocate(arena, &tapes[i].attended);
        allocate(arena, &tapes[i].log_sum);
        allocate(arena, &tapes[i].middle);
        allocate(arena, &tapes[i].gate_up);
    }
}

size_t tape_bytes(const struct tape_shape *shape) {
    size_t bytes = 0;
    for (int64_t i = 0; i < shape->blocks; i++) {
        struct block_tape tape = block_shapes(shape, i);
        bytes += bytes_of(tape.input) + bytes_of(tape.qkv) + bytes_of(tape.attended) +
                 bytes_of(tape.log_sum) + bytes_of(tape.middle) + bytes_of(tape.gate_up);
    }
    return bytes;
}

struct tape_depth tape_depth_within(const struct tape_shape *shape, size_t bytes) {
    struct tape_shape trial = *shape;
    int64_t blocks = shape->blocks - shape->depth.frozen;
    trial.depth.attention = trial.depth.whole = blocks;
    while (trial.depth.whole > 0 && tape_bytes(&trial) > bytes) trial.depth.attention = --trial.depth.whole;
    while (trial.depth.attention < blocks) {
        trial.depth.attention++;
        if (tape_bytes(&trial) <= bytes) continue;
        trial.depth.attention--;
        break;
    }
    return trial.depth;
}
