/* The gradients of attention over a segment table: see attention_backward_plan.h for how the work is divided,
 * kernels/attention_backward.h for the arithmetic. */
#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/activity.h"
#include "base/memory.h"
#include "tensor/cpu/attention_backward_plan.h"
#include "tensor/cpu/attention_plan.h"
#include "tensor/cpu/cpu.h"

struct backward_call {
    const struct attention_kernels *rows;
    const struct attention_backward_kernels *kernels;
    struct tensor d_q, d_k, d_v, d_out, out, log_sum, q, k, v;
    int heads, kv_heads, group, head_dim;
    float scale;
    enum attention_form form;
    struct backward_plan plan;
    int64_t width;     /* head_dim rounded up to whole vectors */
    float *delta;      /* [tokens, heads]: rowsum(d_out * out) */
    float *sums;       /* [kv_heads, rows of the plan, width]: d_q, without the scale */
    float *workspaces; /* one a thread */
    atomic_int *turns; /* [kv_heads, blocks of the plan]: how many tasks have added to these rows */
    atomic_llong next; /* task */
};

enum {
    QUERY_FLOATS = GRADIENT_ROWS * ATTENTION_STRIDE,
    WEIGHT_FLOATS = GRADIENT_ROWS * ATTENTION_KEYS,
    KEY_FLOATS = ATTENTION_KEYS * ATTENTION_STRIDE,
    PAIR_FLOATS = 2 * (QUERY_FLOATS / 2) + WEIGHT_FLOATS / 2,
    WORKSPACE_FLOATS = 2 * QUERY_FLOATS + 2 * WEIGHT_FLOATS + 3 * GRADIENT_ROWS + 2 * GRADIENT_PACKED +
                       GRADIENT_PANELS + 2 * KEY_FLOATS + PAIR_FLOATS,
};
_Static_assert(GRADIENT_ROWS % 16 == 0 && ATTENTION_STRIDE % 16 == 0 && GRADIENT_PANELS % 16 == 0,
               "all arrays of a workspace are aligned to 64 bytes");

/* What a thread works in. */
struct workspace {
    struct gradient_keys keys;
    struct gradient_queries queries;
};

/* Scores to the base 2. */
static float score_factor(const struct backward_call *call) {
    return (float)((double)call->scale * 1.44269504088896340736);
}

static struct workspace workspace_of_thread(const struct backward_call *call) {
    float *at = call->workspaces + (size_t)omp_get_thread_num() * WORKSPACE_FLOATS;
    struct workspace space = {.keys.head_dim = call->head_dim, .keys.form = call->form};
    space.queries.factor = call->form == ATTENTION_PAIRS ? score_factor(call) : 1;
    space.queries.q = at, at += QUERY_FLOATS;
    space.queries.d_out = at, at += QUERY_FLOATS;
    space.queries.weight = at, at += WEIGHT_FLOATS;
    space.queries.d_score = at, at += WEIGHT_FLOATS;
    space.queries.log_sum = at, at += GRADIENT_ROWS;
    space.queries.delta = at, at += GRADIENT_ROWS;
    space.queries.visible = (int32_t *)(void *)at, at += GRADIENT_ROWS;
    space.keys.key_columns = at, at += GRADIENT_PACKED;
    space.keys.value_columns = at, at += GRADIENT_PACKED;
    space.keys.key_rows = at, at += GRADIENT_PANELS;
    space.keys.d_key = at, at += KEY_FLOATS;
    space.keys.d_value = at, at += KEY_FLOATS;
    space.queries.q_pairs = at, at += QUERY_FLOATS / 2;
    space.queries.d_out_pairs = at, at += QUERY_FLOATS / 2;
    space.queries.d_score_pairs = at;
    return space;
}

/* The columns of a head in a row. */
static void *head_at(const struct backward_call *call, struct tensor t, int64_t row, int64_t head) {
    return (char *)tensor_row(t, row) + (size_t)(head * call->head_dim) * dtype_size(t.dtype);
}

/* ---- One block of keys with one block of query rows ---------------------------------------------------- */

/* A row of q or d_out, times the factor unless it is taken as pairs. */
static void load_query(const struct backward_call *call, float *to, const void *from, enum dtype kind,
                       float factor) {
    if (call->form == ATTENTION_PAIRS) {
        memcpy(to, from, (size_t)call->head_dim * dtype_size(DTYPE_BF16));
        return;
    }
    call->rows->load(to, from, kind, call->head_dim, factor);
    memset(to + call->head_dim, 0, (size_t)(call->width - call->head_dim) * sizeof *to);
}

/* Rows [first, first + count) of a segment. */
static void load_queries(const struct backward_call *call, const struct attention_segment *segment,
                         int kv_head, int64_t first, int count, struct gradient_queries *to) {
    const float to_base_2 = 1.44269504088896340736f;
    to->rows = count;
    for (int i = 0; i < count; i++) {
        int64_t token = segment->query + (first + i) / call->group;
        int64_t head = (int64_t)kv_head * call->group + (first + i) % call->group;
        float *q = to->q + (size_t)i * ATTENTION_STRIDE, *d_out = to->d_out + (size_t)i * ATTENTION_STRIDE;
        load_query(call, q, head_at(call, call->q, token, head), call->q.dtype, score_factor(call));
        load_query(call, d_out, head_at(call, call->d_out, token, head), call->d_out.dtype, 1);
        to->log_sum[i] = tensor_float(call->log_sum, token, head) * to_base_2;
        to->delta[i] = call->delta[token * call->heads + head];
    }
    if (call->form == ATTENTION_PAIRS) call->kernels->pair(to, call->head_dim);
}

/* How many of `keys` keys from `offset` on each row sees. */
static void set_visible(const struct attention_segment *segment, int64_t first, int group, bool own,
                        int64_t offset, int keys, struct gradient_queries *to) {
    for (int i = 0; i < to->rows; i++) {
        int64_t seen = own ? attention_own_keys(segment, first + i, group) - offset : keys;
        to->visible[i] = seen < 0 ? 0 : seen < keys ? (int32_t)seen : keys;
    }
}

/* Adds to d_q of a block of rows when it is this part's turn. */
static void add_in_turn(struct backward_call *call, const struct workspace *space, int kv_head, int64_t block,
                        int64_t row, int turn) {
    atomic_int *turns = &call->turns[kv_head * call->plan.block_count + block];
    float *sums = call->sums + (kv_head * call->plan.row_count + row) * call->width;
    while (atomic_load_explicit(turns, memory_order_acquire) != turn) sched_yield();
    if (turn == 0) memset(sums, 0, (size_t)(space->queries.rows * call->width) * sizeof *sums);
    call->kernels->collect(&space->keys, &space->queries, sums, call->width);
    atomic_store_explicit(turns, turn + 1, memory_order_release);
}

/* All rows of a segment that see some of a block of keys. */
static void attend_part(struct backward_call *call, struct workspace *space, int64_t index,
                        const struct backward_part *part, int kv_head) {
    const struct backward_segment *s = &call->plan.segments[part->segment];
    const struct backward_keys *keys = &call->plan.keys[index];
    int64_t rows = s->segment->queries * call->group, offset = keys->key - s->segment->key;
    int64_t first = 0;
    while (part->own && first < rows) {
        int64_t last = first + GRADIENT_ROWS < rows ? first + GRADIENT_ROWS - 1 : rows - 1;
        if (attention_own_keys(s->segment, last, call->group) > offset) break;
        first = last + 1;
    }
    for (; first < rows; first += GRADIENT_ROWS) {
        int count = rows - first < GRADIENT_ROWS ? (int)(rows - first) : GRADIENT_ROWS;
        load_queries(call, s->segment, kv_head, first, count, &space->queries);
        set_visible(s->segment, first, call->group, part->own, offset, keys->keys, &space->queries);
        call->kernels->weigh(&space->keys, &space->queries);
        int64_t turn = backward_plan_turn(&call->plan, index, part, first + count - 1, call->group);
        add_in_turn(call, space, kv_head, s->block + first / GRADIENT_ROWS, s->row + first, (int)turn);
    }
}

/* ---- Tasks ------------------------------------------------------------------------------------------- */

static void attend_keys(struct backward_call *call, struct workspace *space, int64_t index, int kv_head) {
    const struct backward_keys *keys = &call->plan.keys[index];
    if (keys->parts == 0) return;
    struct gradient_source source = {head_at(call, call->k, keys->key, kv_head),
                                     head_at(call, call->v, keys->key, kv_head), call->k.dtype,
                                     call->k.stride, call->v.stride};
    space->keys.keys = keys->keys;
    activity_step();
    call->kernels->pack(&space->keys, &source);
    for (int64_t p = keys->part; p < keys->part + keys->parts; p++)
        attend_part(call, space, index, &call->plan.parts[p], kv_head);
    /* Queries were loaded times the scale and log2(e), or as they are. */
    float factor = call->form == ATTENTION_PAIRS ? call->scale : 0.693147180559945309f;
    for (int i = 0; i < keys->keys; i++) {
        const float *d_key = space->keys.d_key + (size_t)i * ATTENTION_STRIDE;
        const float *d_value = space->keys.d_value + (size_t)i * ATTENTION_STRIDE;
        call->rows->store(head_at(call, call->d_k, keys->key + i, kv_head), call->d_k.dtype, d_key,
                          call->head_dim, factor);
        call->rows->store(head_at(call, call->d_v, keys->key + i, kv_head), call->d_v.dtype, d_value,
                          call->head_dim, 1);
    }
}

static void set_delta(struct backward_call *call) {
#pragma omp parallel for
    for (int64_t t = 0; t < call->q.rows; t++)
        for (int h = 0; h < call->heads; h++)
            call->delta[t * call->heads + h] =
                call->kernels->dot(head_at(call, call->d_out, t, h), call->d_out.dtype,
                                   head_at(call, call->out, t, h), call->out.dtype, call->head_dim);
}

/* d_q of the rows that saw a key, times the scale; all threads share the rows. */
static void store_queries(struct backward_call *call, const struct backward_segment *s) {
#pragma omp for nowait
    for (int64_t row = 0; row < s->segment->queries * call->group; row++) {
        for (int kv_head = 0; kv_head < call->kv_heads; kv_head++) {
            int64_t block = s->block + row / GRADIENT_ROWS;
            if (atomic_load(&call->turns[kv_head * call->plan.block_count + block]) == 0) continue;
            const float *sum = call->sums + (kv_head * call->plan.row_count + s->row + row) * call->width;
            int64_t head = (int64_t)kv_head * call->group + row % call->group;
            call->rows->store(head_at(call, call->d_q, s->segment->query + row / call->group, head),
                              call->d_q.dtype, sum, call->head_dim, call->scale);
        }
    }
}

static void attend_all(struct backward_call *call) {
    set_delta(call);
    int64_t tasks = call->plan.key_count * call->kv_heads;
#pragma omp parallel
    {
        struct workspace space = workspace_of_thread(call);
        for (int64_t i; (i = atomic_fetch_add(&call->next, 1)) < tasks;)
            attend_keys(call, &space, i / call->kv_heads, (int)(i % call->kv_heads));
    }
#pragma omp parallel
    for (int64_t i = 0; i < call->plan.segment_count; i++) store_queries(call, &call->plan.segments[i]);
}

static enum status allocate(struct backward_call *call, struct error *err) {
    enum status status = STATUS_OK;
    size_t threads = (size_t)omp_get_max_threads(), heads = (size_t)call->kv_heads;
    size_t sums = heads * (size_t)(call->plan.row_count * call->width);
    size_t delta = ((size_t)(call->q.rows * call->heads) + 15) / 16 * 16;
    size_t bytes = (threads * WORKSPACE_FLOATS + sums + delta) * sizeof(float);
    call->workspaces = aligned_alloc(64, bytes);
    if (!call->workspaces) return error_set(err, "out of memory for attention (%zu bytes)", bytes);
    call->sums = call->workspaces + threads * WORKSPACE_FLOATS;
    call->delta = call->sums + sums;
    call->turns = memory_new(heads * (size_t)call->plan.block_count, sizeof *call->turns, "attention", err);
    if (!call->turns) status = STATUS_FAILED;
    return status;
}

void cpu_attention_backward(struct device *device, struct tensor d_q, struct tensor d_k, struct tensor d_v,
                            struct tensor d_out, struct tensor out, struct tensor log_sum, struct tensor q,
                            struct tensor k, struct tensor v, struct attention_segments segments, int heads,
                            int kv_heads, float scale) {
    struct backward_call call = {.rows = cpu_kernels(device)->attention,
                                 .kernels = cpu_kernels(device)->attention_backward,
                                 .d_q = d_q,
                                 .d_k = d_k,
                                 .d_v = d_v,
                                 .d_out = d_out,
                                 .out = out,
                                 .log_sum = log_sum,
                                 .q = q,
                                 .k = k,
                                 .v = v,
                                 .heads = heads,
                                 .kv_heads = kv_heads,
                                 .group = heads / kv_heads,
                                 .head_dim = (int)(q.cols / heads),
                                 .scale = scale};
    call.width = (call.head_dim + 15) / 16 * 16;
    if (d_out.dtype == q.dtype) call.form = call.rows->form(q.dtype, k.dtype, call.head_dim);
    cpu_clear(device, d_q);
    cpu_clear(device, d_k);
    cpu_clear(device, d_v);
    struct error err;
    enum status status = backward_plan_make(&call.plan, segments, call.group, &err);
    if (status == STATUS_OK) status = allocate(&call, &err);
    if (status == STATUS_OK)
        attend_all(&call);
    else
        device_fail(device, "%s", err.message);
    free(call.workspaces);
    free(call.turns);
    backward_plan_free(&call.plan);
}
