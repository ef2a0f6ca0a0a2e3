#include "tensor/cpu/attention_backward_plan.h"

#include <stdlib.h>

#include "base/memory.h"
#include "tensor/cpu/attention_plan.h"
#include "tensor/cpu/kernels/attention_backward.h"

static int compare_bounds(const void *left, const void *right) {
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

/* The ends of all ranges of keys that some query sees. */
static enum status find_bounds(struct backward_plan *plan, struct attention_segments segments,
                               struct error *err) {
    plan->bounds = memory_new((size_t)segments.count, 4 * sizeof *plan->bounds, "attention segments", err);
    if (!plan->bounds) return STATUS_FAILED;
    int64_t count = 0, *bounds = plan->bounds;
    for (int64_t i = 0; i < segments.count; i++) {
        const struct attention_segment *s = &segments.host[i];
        if (s->queries == 0) continue;
        if (s->prefix_keys) bounds[count++] = s->prefix, bounds[count++] = s->prefix + s->prefix_keys;
        if (s->keys) bounds[count++] = s->key, bounds[count++] = s->key + s->keys;
    }
    qsort(bounds, (size_t)count, sizeof *bounds, compare_bounds);
    for (int64_t i = 0; i < count; i++)
        if (plan->bound_count == 0 || bounds[i] != bounds[plan->bound_count - 1])
            bounds[plan->bound_count++] = bounds[i];
    return STATUS_OK;
}

/* Cuts what lies between two bounds into blocks, also where no segment looks. */
static enum status cut_keys(struct backward_plan *plan, struct error *err) {
    for (int64_t i = 0; i + 1 < plan->bound_count; i++) {
        for (int64_t at = plan->bounds[i]; at < plan->bounds[i + 1];) {
            int64_t left = plan->bounds[i + 1] - at;
            int keys = left < ATTENTION_KEYS ? (int)left : ATTENTION_KEYS;
            if (memory_grow(&plan->keys, &plan->key_capacity, (size_t)plan->key_count + 1, sizeof *plan->keys,
                            "attention blocks", err) != STATUS_OK)
                return STATUS_FAILED;
            plan->keys[plan->key_count++] = (struct backward_keys){.key = at, .keys = keys};
            at += keys;
        }
    }
    return STATUS_OK;
}

/* The first block of keys at or after `key`. */
static int64_t block_at(const struct backward_plan *plan, int64_t key) {
    int64_t low = 0, high = plan->key_count;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (plan->keys[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static enum status place_segments(struct backward_plan *plan, struct attention_segments segments, int group,
                                  struct error *err) {
    plan->segments = memory_new((size_t)segments.count, sizeof *plan->segments, "attention segments", err);
    if (!plan->segments) return STATUS_FAILED;
    for (int64_t i = 0; i < segments.count; i++) {
        const struct attention_segment *s = &segments.host[i];
        struct backward_segment *to = &plan->segments[i];
        *to = (struct backward_segment){.segment = s, .block = plan->block_count, .row = plan->row_count};
        if (s->queries == 0) continue;
        to->prefix = block_at(plan, s->prefix);
        to->prefixes = s->prefix_keys ? block_at(plan, s->prefix + s->prefix_keys) - to->prefix : 0;
        to->own = block_at(plan, s->key);
        to->owns = s->keys ? block_at(plan, s->key + s->keys) - to->own : 0;
        plan->row_count += s->queries * group;
        plan->block_count += (s->queries * group + GRADIENT_ROWS - 1) / GRADIENT_ROWS;
    }
    plan->segment_count = segments.count;
    return STATUS_OK;
}

/* Lists the segments of each block of keys, in the table's order. */
static enum status list_parts(struct backward_plan *plan, struct error *err) {
    for (int64_t i = 0; i < plan->segment_count; i++) {
        const struct backward_segment *s = &plan->segments[i];
        for (int64_t n = 0; n < s->prefixes; n++) plan->keys[s->prefix + n].parts++;
        for (int64_t n = 0; n < s->owns; n++) plan->keys[s->own + n].parts++;
        plan->part_count += s->prefixes + s->owns;
    }
    plan->parts = memory_new((size_t)plan->part_count, sizeof *plan->parts, "attention blocks", err);
    if (!plan->parts) return STATUS_FAILED;
    int64_t before = 0;
    for (int64_t i = 0; i < plan->key_count; i++) {
        plan->keys[i].part = before;
        before += plan->keys[i].parts;
        plan->keys[i].parts = 0;
    }
    for (int64_t i = 0; i < plan->segment_count; i++) {
        const struct backward_segment *s = &plan->segments[i];
        for (int64_t n = 0; n < s->prefixes + s->owns; n++) {
            bool own = n >= s->prefixes;
            struct backward_keys *keys = &plan->keys[own ? s->own + n - s->prefixes : s->prefix + n];
            plan->parts[keys->part + keys->parts++] = (struct backward_part){i, own};
        }
    }
    return STATUS_OK;
}

enum status backward_plan_make(struct backward_plan *plan, struct attention_segments segments, int group,
                               struct error *err) {
    *plan = (struct backward_plan){0};
    enum status status = find_bounds(plan, segments, err);
    if (status == STATUS_OK) status = cut_keys(plan, err);
    if (status == STATUS_OK) status = place_segments(plan, segments, group, err);
    if (status == STATUS_OK) status = list_parts(plan, err);
    return status;
}

void backward_plan_free(struct backward_plan *plan) {
    free(plan->segments);
    free(plan->keys);
    free(plan->parts);
    free(plan->bounds);
    *plan = (struct backward_plan){0};
}

static int64_t within(int64_t count, int64_t most) {
    return count < 0 ? 0 : count < most ? count : most;
}

int64_t backward_plan_turn(const struct backward_plan *plan, int64_t index, const struct backward_part *part,
                           int64_t last, int group) {
    const struct backward_segment *s = &plan->segments[part->segment];
    int64_t prefixes =
        within(index + part->own - s->prefix, s->prefixes); /* a prefix comes before own keys */
    int64_t owns = within(index - s->own, s->owns);
    int64_t seen = attention_own_keys(s->segment, last, group);
    while (owns > 0 && plan->keys[s->own + owns - 1].key - s->segment->key >= seen) owns--;
    return prefixes + owns;
}
