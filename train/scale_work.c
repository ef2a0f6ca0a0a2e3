/* Floating-point operations and bytes of a step's parts. */
#include <stdlib.h>

#include "base/memory.h"
#include "model/cost.h"
#include "model/tape.h"
#include "train/scale_parts.h"

static void add_work(struct scale_work *to, struct scale_work work, double times) {
    to->flops += times * work.flops;
    to->product_bytes += times * work.product_bytes;
    to->other_bytes += times * work.other_bytes;
}

/* Bytes of activations that one block of either tower moves for a row, forward: in and out of its products
 * and its attention, and through norms with their additions, rotary positions and the gate. */
static struct scale_work block_traffic(const struct block_shape *b, double product, double stream) {
    double hidden = (double)b->hidden, inner = (double)b->intermediate;
    double queries = (double)(b->heads * b->head_dim), keys = (double)(b->kv_heads * b->head_dim);
    return (struct scale_work){
        .product_bytes = product * ((hidden + queries + 2 * keys) + (2 * queries + 2 * keys) +
                                    (queries + hidden) + (hidden + 2 * inner) + (inner + hidden)),
        .other_bytes = 2 * hidden * (2 * stream + 2 * product) + product * (2 * (queries + keys) + 3 * inner),
    };
}

/* The vision tower over the pass's videos. */
static struct scale_work vision_work(const struct scale_shape *shape) {
    const struct vision_config *v = &shape->model.config.vision;
    const struct block_shape block = {v->hidden,       v->heads, v->heads, v->hidden / v->heads,
                                      v->intermediate, 0};
    double size = (double)dtype_size(shape->model.compute);
    struct cost cost = vision_cost(&shape->model, &shape->vision);
    struct scale_work work = {cost.flops, cost.bytes, 0};
    add_work(&work, block_traffic(&block, size, size), (double)(shape->vision.patches * v->depth));
    return work;
}

/* The language model's layers over `tokens` tokens. */
static struct scale_work layers_work(const struct scale_shape *shape, int64_t tokens,
                                     struct attention_segments segments) {
    const struct model_config *c = &shape->model.config;
    const struct block_shape block = {c->hidden, c->heads, c->kv_heads, c->head_dim, c->intermediate, 0};
    struct cost cost = language_cost(&shape->model, tokens, segments, 0);
    struct scale_work work = {cost.flops, cost.bytes, 0};
    add_work(&work,
             block_traffic(&block, (double)dtype_size(shape->model.compute),
                           (double)dtype_size(shape->model.stream)),
             (double)(tokens * c->layers));
    return work;
}

/* Logits of `rows` states, in f32, and what is made of them. */
static struct scale_work head_work(const struct scale_shape *shape, int64_t rows) {
    struct cost cost = language_cost(&shape->model, 0, (struct attention_segments){0}, rows);
    double logits = (double)dtype_size(DTYPE_F32) * (double)(rows * shape->model.config.vocab);
    return (struct scale_work){cost.flops, cost.bytes + logits, 2 * logits};
}

/* All completions of a step, token by token, as many at once as rollouts take: each sees its prompt and, on
 * average, half of itself. */
static enum status decoding_work(const struct scale_shape *shape, struct scale_work *work,
                                 struct error *err) {
    const struct scale_settings *s = shape->settings;
    const int64_t all = s->rows * s->accumulation * s->generations;
    const int64_t count = all < MATMUL_EXACT_ROWS_GPU ? all : MATMUL_EXACT_ROWS_GPU;
    const double passes = (double)s->answer_tokens * (double)all / (double)count;
    struct attention_segment *segments = memory_new((size_t)count, sizeof *segments, "segments", err);
    if (!segments) return STATUS_FAILED;
    for (int64_t i = 0; i < count; i++)
        segments[i] = (struct attention_segment){.query = i,
                                                 .queries = 1,
                                                 .prefix = i / s->generations * shape->prompt,
                                                 .prefix_keys = shape->prompt,
                                                 .keys = (s->answer_tokens + 1) / 2,
                                                 .causal = true};
    add_work(work, layers_work(shape, count, (struct attention_segments){segments, count}), passes);
    add_work(work, head_work(shape, count), passes);
    free(segments);
    return STATUS_OK;
}

/* The prompts of a pass alone. */
static struct scale_work prompt_work(const struct scale_shape *shape) {
    struct scale_work work = {0};
    const struct attention_segment prompt = {.queries = shape->prompt, .keys = shape->prompt, .causal = true};
    add_work(&work, layers_work(shape, shape->prompt, (struct attention_segments){&prompt, 1}),
             (double)shape->settings->rows);
    return work;
}

enum status scale_count_work(const struct scale_shape *shape, struct scale_step *step, struct error *err) {
    const struct scale_settings *s = shape->settings;
    struct scale_work *work = step->work;
    double passes = (double)s->accumulation;
    bool trains_vision = !s->freeze.vision_tower;
    struct scale_work vision = vision_work(shape), language = {0};
    struct attention_segments segments = {shape->segments, shape->segment_count};
    struct scale_work layers = layers_work(shape, shape->pass_tokens, segments);
    struct scale_work head = head_work(shape, shape->pass_wanted);
    add_work(&language, layers, 1);
    add_work(&language, head, 1);
    add_work(&work[SCALE_FORWARD], vision, passes);
    add_work(&work[SCALE_FORWARD], language, passes);
    /* Gradients of inputs and of weights; the head's logits are not computed again. */
    add_work(&work[SCALE_BACKWARD], language, 2 * passes);
    if (trains_vision) add_work(&work[SCALE_BACKWARD], vision, 2 * passes);
    step->useful_flops = work[SCALE_FORWARD].flops + work[SCALE_BACKWARD].flops;
    if (s->recompute) add_work(&work[SCALE_BACKWARD], layers, passes);
    if (s->recompute && trains_vision) add_work(&work[SCALE_BACKWARD], vision, passes);
    /* Gradients of weights are added up in f32. */
    work[SCALE_BACKWARD].product_bytes += passes * 2 * (double)dtype_size(DTYPE_F32) * shape->trained;
    /* AdamW reads four parts and writes three and a bf16 copy; gradients are cleared, and read for their
     * norm. */
    double shards = s->zero >= 1 ? (double)s->gpus : 1;
    work[SCALE_OPTIMIZER].other_bytes = (9.0 * (double)dtype_size(DTYPE_F32) + 2) * shape->trained / shards;
    step->tokens = s->accumulation * shape->pass_tokens;
    if (s->stage != TRAIN_STAGE_GRPO) return STATUS_OK;
    add_work(&work[SCALE_PROMPTS], vision, passes);
    add_work(&work[SCALE_PROMPTS], prompt_work(shape), passes);
    add_work(&work[SCALE_REFERENCE], vision, passes);
    add_work(&work[SCALE_REFERENCE], language, passes);
    enum status status = decoding_work(shape, &work[SCALE_DECODING], err);
    step->useful_flops +=
        work[SCALE_PROMPTS].flops + work[SCALE_REFERENCE].flops + work[SCALE_DECODING].flops;
    step->drawn = s->accumulation * s->rows * s->generations * s->answer_tokens;
    return status;
}
