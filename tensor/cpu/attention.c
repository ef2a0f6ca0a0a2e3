/* Attention over a segment table: see attention_plan.h for how the work is divided, kernels/attention.h for
 * the arithmetic. Blocks are done whole, one a thread; where there are too few of them (decoding), their
 * chunks are spread over the threads and joined afterwards: the same operations in the same order. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/activity.h"
#include "base/memory.h"
#include "tensor/cpu/attention_plan.h"
#include "tensor/cpu/cpu.h"

struct attention_call {
    const struct attention_kernels *kernels;
    struct tensor out, log_sum, q, k, v;
    int heads, kv_heads, group, head_dim;
    enum attention_form form;
    float factor; /* of the scores: scale * log2(e) */
    struct attention_plan plan;
    float *workspaces;    /* one a thread */
    float *partial;       /* states of the parts, when they are spread over threads */
    size_t *partial_rows; /* before each part, for one key head */
};

/* What a thread works in. */
struct workspace {
    float *q, *scratch;
    struct attention_state total, chunk;
};

enum {
    STATE_FLOATS = ATTENTION_ROWS * (ATTENTION_STRIDE + 2),
    WORKSPACE_FLOATS = ATTENTION_ROWS * ATTENTION_STRIDE + ATTENTION_SCRATCH + 2 * STATE_FLOATS,
};
_Static_assert(ATTENTION_ROWS % 16 == 0 && ATTENTION_STRIDE % 16 == 0 && ATTENTION_SCRATCH % 16 == 0,
               "all arrays of a workspace are aligned to 64 bytes");

static struct attention_state state_at(float *memory, size_t rows) {
    return (struct attention_state){memory + rows * ATTENTION_STRIDE, memory + rows * (ATTENTION_STRIDE + 1),
                                    memory};
}

static struct workspace workspace_of_thread(const struct attention_call *call) {
    float *at = call->workspaces + (size_t)omp_get_thread_num() * WORKSPACE_FLOATS;
    struct workspace space = {.q = at, .scratch = at + ATTENTION_ROWS * ATTENTION_STRIDE};
    space.total = state_at(space.scratch + ATTENTION_SCRATCH, ATTENTION_ROWS);
    space.chunk = state_at(space.scratch + ATTENTION_SCRATCH + STATE_FLOATS, ATTENTION_ROWS);
    return space;
}

static struct attention_state state_from(struct attention_state state, int row) {
    return (struct attention_state){state.maximum + row, state.sum + row,
                                    state.value + (size_t)row * ATTENTION_STRIDE};
}

/* The columns of a head in the row of q or out that belongs to row i of a piece. */
static void *piece_row(const struct attention_call *call, struct tensor t,
                       const struct attention_piece *piece, int i, int kv_head) {
    int64_t row = piece->first + i;
    int64_t head = (int64_t)kv_head * call->group + row % call->group;
    char *start = tensor_row(t, piece->segment->query + row / call->group);
    return start + (size_t)(head * call->head_dim) * dtype_size(t.dtype);
}

/* Rows [row, row + rows) of the block's queries, times the factor or as pairs. */
static void load_queries(const struct attention_call *call, const struct attention_block *block, int kv_head,
                         int row, int rows, float *to) {
    for (int64_t p = block->piece; p < block->piece + block->pieces; p++) {
        const struct attention_piece *piece = &call->plan.pieces[p];
        for (int i = 0; i < piece->rows; i++) {
            int at = piece->row + i;
            if (at < row || at >= row + rows) continue;
            float *q = to + (size_t)at * ATTENTION_STRIDE;
            const void *from = piece_row(call, call->q, piece, i, kv_head);
            if (call->form == ATTENTION_PAIRS)
                memcpy(q, from, (size_t)call->head_dim * dtype_size(DTYPE_BF16));
            else
                call->kernels->load(q, from, call->q.dtype, call->head_dim, call->factor);
        }
    }
}

/* The state of a part's rows over its keys; q holds the block's rows. */
static void attend_part(const struct attention_call *call, const struct attention_part *part, int kv_head,
                        struct workspace space, struct attention_state state) {
    struct attention_chunk chunk = {
        .form = call->form,
        .factor = call->form == ATTENTION_PAIRS ? call->factor : 1,
        .q = space.q + (size_t)part->row * ATTENTION_STRIDE,
        .rows = part->rows,
        .head_dim = call->head_dim,
        .key = (char *)tensor_row(call->k, part->key) +
               (size_t)(kv_head * call->head_dim) * dtype_size(call->k.dtype),
        .value = (char *)tensor_row(call->v, part->key) +
                 (size_t)(kv_head * call->head_dim) * dtype_size(call->v.dtype),
        .kind = call->k.dtype,
        .key_stride = call->k.stride,
        .value_stride = call->v.stride,
        .keys = part->keys,
        .scratch = space.scratch,
    };
    int32_t visible[ATTENTION_ROWS];
    const struct attention_piece *piece = part->piece < 0 ? NULL : &call->plan.pieces[part->piece];
    if (piece && piece->segment->causal) {
        for (int r = 0; r < part->rows; r++) {
            int64_t row = piece->first + part->row - piece->row + r;
            int64_t seen = attention_own_keys(piece->segment, row, call->group) - part->offset;
            visible[r] = seen < part->keys ? (int32_t)seen : part->keys;
        }
        chunk.visible = visible;
    }
    call->kernels->chunk(&chunk, state);
}

/* Divides by the sums. A row that sees no key gives zeros, and minus infinity. */
static void store_block(const struct attention_call *call, const struct attention_block *block, int kv_head,
                        struct attention_state state) {
    for (int64_t p = block->piece; p < block->piece + block->pieces; p++) {
        const struct attention_piece *piece = &call->plan.pieces[p];
        for (int i = 0; i < piece->rows; i++) {
            int at = piece->row + i;
            float sum = state.sum[at];
            call->kernels->store(piece_row(call, call->out, piece, i, kv_head), call->out.dtype,
                                 state.value + (size_t)at * ATTENTION_STRIDE, call->head_dim,
                                 sum == 0 ? 0 : 1 / sum);
            if (!call->log_sum.data) continue;
            int64_t row = piece->first + i;
            float *logs = tensor_row(call->log_sum, piece->segment->query + row / call->group);
            logs[(int64_t)kv_head * call->group + row % call->group] =
                (state.maximum[at] + log2f(sum)) * 0.693147180559945f;
        }
    }
}

static void empty_state(struct attention_state state, int rows) {
    for (int r = 0; r < rows; r++) {
        /* The analyser does not know that error_set always fails, and walks on without workspaces. */
        state.maximum[r] = -INFINITY; /* NOLINT(clang-analyzer-core.NullDereference) */
        state.sum[r] = 0;
        for (int i = 0; i < ATTENTION_WIDTH; i++) state.value[(size_t)r * ATTENTION_STRIDE + (size_t)i] = 0;
    }
}

static void attend_block(const struct attention_call *call, const struct attention_block *block,
                         int kv_head) {
    struct workspace space = workspace_of_thread(call);
    activity_step(); /* all of a long row's blocks take minutes */
    load_queries(call, block, kv_head, 0, block->rows, space.q);
    if (block->parts == 0) empty_state(space.total, block->rows);
    for (int64_t p = block->part; p < block->part + block->parts; p++) {
        const struct attention_part *part = &call->plan.parts[p];
        struct attention_state total = state_from(space.total, part->row);
        if (part->first) {
            attend_part(call, part, kv_head, space, total);
        } else {
            attend_part(call, part, kv_head, space, space.chunk);
            call->kernels->join(total, space.chunk, part->rows, call->head_dim);
        }
    }
    store_block(call, block, kv_head, space.total);
}

static void attend_blocks(const struct attention_call *call) {
    int64_t blocks = (int64_t)call->plan.block_count;
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < blocks * call->kv_heads; i++) /* late blocks of causal segments cost the most */
        attend_block(call, &call->plan.blocks[blocks - 1 - i % blocks], (int)(i / blocks));
}

static struct attention_state partial_state(const struct attention_call *call, int64_t part, int kv_head) {
    size_t rows = call->partial_rows[part] + call->partial_rows[call->plan.part_count] * (size_t)kv_head;
    return state_at(call->partial + rows * (ATTENTION_STRIDE + 2), (size_t)call->plan.parts[part].rows);
}

static void attend_spread(const struct attention_call *call) {
    int64_t parts = (int64_t)call->plan.part_count, blocks = (int64_t)call->plan.block_count;
#pragma omp parallel
    {
        struct workspace space = workspace_of_thread(call);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < parts * call->kv_heads; i++) {
            const struct attention_part *part = &call->plan.parts[i % parts];
            int kv_head = (int)(i / parts);
            load_queries(call, &call->plan.blocks[part->block], kv_head, part->row, part->rows, space.q);
            attend_part(call, part, kv_head, space, partial_state(call, i % parts, kv_head));
        }
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < blocks * call->kv_heads; i++) {
            const struct attention_block *block = &call->plan.blocks[i % blocks];
            empty_state(space.total, block->rows);
            for (int64_t p = block->part; p < block->part + block->parts; p++) {
                const struct attention_part *part = &call->plan.parts[p];
                call->kernels->join(state_from(space.total, part->row),
                                    partial_state(call, p, (int)(i / blocks)), part->rows, call->head_dim);
            }
            store_block(call, block, (int)(i / blocks), space.total);
        }
    }
}

/* Memory for the parts' states: 64-byte alignment of each needs whole rows of 16 floats. */
static enum status allocate_partial(struct attention_call *call, struct error *err) {
    size_t parts = call->plan.part_count, rows = 0;
    call->partial_rows = memory_new(parts + 1, sizeof(size_t), "attention chunks", err);
    if (!call->partial_rows) return STATUS_FAILED;
    for (size_t i = 0; i < parts; i++) {
        call->partial_rows[i] = rows;
        rows += ((size_t)call->plan.parts[i].rows + 15) / 16 * 16;
    }
    call->partial_rows[parts] = rows;
    size_t bytes = rows * (size_t)call->kv_heads * (ATTENTION_STRIDE + 2) * sizeof(float);
    call->partial = aligned_alloc(64, bytes);
    return call->partial ? STATUS_OK : error_set(err, "out of memory for attention (%zu bytes)", bytes);
}

void cpu_attention_forward(struct device *device, struct tensor out, struct tensor log_sum, struct tensor q,
                           struct tensor k, struct tensor v, struct attention_segments segments, int heads,
                           int kv_heads, float scale) {
    struct attention_call call = {.kernels = cpu_kernels(device)->attention,
                                  .out = out,
                                  .log_sum = log_sum,
                                  .q = q,
                                  .k = k,
                                  .v = v,
                                  .heads = heads,
                                  .kv_heads = kv_heads,
                                  .group = heads / kv_heads,
                                  .head_dim = (int)(q.cols / heads),
                                  .factor = (float)((double)scale * 1.44269504088896340736)};
    call.form = call.kernels->form(q.dtype, k.dtype, call.head_dim);
    struct error err;
    enum status status = attention_plan_make(&call.plan, segments, call.group, &err);
    size_t threads = (size_t)omp_get_max_threads();
    size_t blocks = call.plan.block_count * (size_t)kv_heads;
    bool spread = threads > 1 && blocks < 2 * threads && call.plan.part_count > call.plan.block_count;
    if (status == STATUS_OK && spread) status = allocate_partial(&call, &err);
    if (status == STATUS_OK) {
        call.workspaces = aligned_alloc(64, threads * WORKSPACE_FLOATS * sizeof(float));
        if (!call.workspaces) status = error_set(&err, "out of memory for attention");
    }
    if (status != STATUS_OK || !call.workspaces)
        device_fail(device, "%s", err.message);
    else if (spread)
        attend_spread(&call);
    else
        attend_blocks(&call);
    free(call.workspaces);
    free(call.partial);
    free(call.partial_rows);
    attention_plan_free(&call.plan);
}
