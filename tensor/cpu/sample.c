/* Sampling. A row's logits become candidates, which each filter thins out. Nothing is sorted: a cut is
 * looked for in bins of logits, then by halves in the one bin that it falls into. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tensor/cpu/cpu.h"

struct ranked {
    float value, weight;
    int32_t id;
};

/* The tokens still in the draw, by rising id. */
struct candidates {
    float *value;        /* logits after penalty and temperature */
    float *weight;       /* exp(value - largest) */
    int32_t *id;         /* of each, when `filtered`; else its index */
    uint16_t *bin;       /* scratch of the filters */
    struct ranked *list; /* likewise */
    int64_t count;
    bool filtered;
    float largest;
    double total; /* sum of weight */
};

static int32_t candidate_id(const struct candidates *c, int64_t i) {
    return c->filtered ? c->id[i] : (int32_t)i;
}

/* The candidate of a token, or -1. */
static int64_t find_candidate(const struct candidates *c, int32_t id) {
    if (!c->filtered) return id;
    int64_t low = 0, high = c->count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (c->id[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < c->count && c->id[low] == id ? low : -1;
}

/* ---- Filters ----------------------------------------------------------------------------------------- */

/* Moves candidate i to place `to`, not after it. */
static void move_candidate(struct candidates *c, int64_t to, int64_t i) {
    c->id[to] = candidate_id(c, i);
    c->value[to] = c->value[i];
    c->weight[to] = c->weight[i];
}

/* Keeps what is larger than `value`, and what equals it up to token `id`. */
static void keep_from(struct candidates *c, float value, int32_t id) {
    int64_t kept = 0;
    for (int64_t i = 0; i < c->count; i++) {
        if (c->value[i] < value || (c->value[i] == value && candidate_id(c, i) > id)) continue;
        move_candidate(c, kept++, i);
    }
    c->count = kept;
    c->filtered = true;
}

/* Whether more has been summed up than may be dropped. The reference compares in f32. */
static bool exceeds(double sum, double total, float limit) {
    return (float)(sum / total) > limit;
}

/* Among equal logits the highest id is the lowest. */
static bool ranks_below(struct ranked a, struct ranked b) {
    return a.value != b.value ? a.value < b.value : a.id > b.id;
}

static void swap_ranked(struct ranked *a, struct ranked *b) {
    struct ranked kept = *a;
    *a = *b;
    *b = kept;
}

/* Moves what ranks below the middle one of three in front of it; returns its place. */
static int64_t partition(struct ranked *list, int64_t count) {
    struct ranked *first = &list[0], *middle = &list[count / 2], *last = &list[count - 1];
    if (ranks_below(*middle, *first)) swap_ranked(middle, first);
    if (ranks_below(*last, *first)) swap_ranked(last, first);
    if (ranks_below(*last, *middle)) swap_ranked(last, middle);
    swap_ranked(middle, last);
    int64_t place = 0;
    for (int64_t i = 0; i < count - 1; i++)
        if (ranks_below(list[i], *last)) swap_ranked(&list[i], &list[place++]);
    swap_ranked(&list[place], last);
    return place;
}

/* The lowest of a list at which the sum of weights, from `sum` and the lowest on, exceeds the limit; else the
 * highest. Narrows the list down around it, as quickselect does. */
static struct ranked select_cut(struct ranked *list, int64_t count, double sum, double total, float limit) {
    for (;;) {
        int64_t place = partition(list, count);
        double below = sum;
        for (int64_t i = 0; i < place; i++) below += (double)list[i].weight;
        if (place > 0 && exceeds(below, total, limit)) {
            count = place;
            continue;
        }
        sum = below + (double)list[place].weight;
        if (place == count - 1 || exceeds(sum, total, limit)) return list[place];
        list += place + 1;
        count -= place + 1;
    }
}

/* The lowest candidate at which the sum of weights, from `sum` and the lowest on, exceeds `limit` parts of
 * `total`; else the highest. */
static struct ranked find_cut(const struct candidates *c, const struct sample_kernels *kernels, double sum,
                              double total, float limit) {
    double masses[SAMPLE_BINS] = {0};
    kernels->bin(c->bin, c->value, c->count, c->largest);
    for (int64_t i = 0; i < c->count; i++) masses[c->bin[i]] += (double)c->weight[i];
    int bin = SAMPLE_BINS - 1;
    for (; bin > 0 && !exceeds(sum + masses[bin], total, limit); bin--) sum += masses[bin];
    int64_t count = 0;
    for (int64_t i = 0; i < c->count; i++)
        if (c->bin[i] == bin)
            c->list[count++] = (struct ranked){c->value[i], c->weight[i], candidate_id(c, i)};
    return select_cut(c->list, count, sum, total, limit);
}

/* A logit that at least k of the candidates reach, found fast: the k-th largest of the largest logits of
 * stretches. -inf where stretches would be too short to pay. */
static float reached_by(const struct candidates *c, const struct sample_kernels *kernels, int64_t k) {
    int64_t length = c->count / (4 * k), stretches = 0;
    if (length < 16) return -INFINITY;
    for (int64_t i = 0; i + length <= c->count; i += length, stretches++) {
        float largest = kernels->largest(c->value + i, length);
        c->list[stretches] = (struct ranked){largest, 1, (int32_t)stretches};
    }
    return select_cut(c->list, stretches, 0, 1, (float)(stretches - k)).value;
}

/* Keeps the k largest and what equals the k-th. */
static void filter_top_k(struct candidates *c, const struct sample_kernels *kernels, int64_t k) {
    if (k >= c->count) return;
    keep_from(c, reached_by(c, kernels, k), INT32_MAX);
    for (int64_t i = 0; i < c->count; i++) c->weight[i] = 1;
    struct ranked cut = find_cut(c, kernels, 0, 1, (float)(c->count - k));
    keep_from(c, cut.value, INT32_MAX);
}

/* Keeps what has at least that weight. All are moved, and counted or not: as weights come in any order, a
 * branch would often be guessed wrong. */
static void keep_likely(struct candidates *c, double weight) {
    int64_t kept = 0;
    for (int64_t i = 0; i < c->count; i++) {
        bool keep = (double)c->weight[i] >= weight;
        move_candidate(c, kept, i);
        kept += keep;
    }
    c->count = kept;
    c->filtered = true;
}

static double total_weight(const struct candidates *c) {
    double total = 0;
    for (int64_t i = 0; i < c->count; i++) total += (double)c->weight[i];
    return total;
}

/* Drops the lowest as long as their probabilities sum to at most 1 - top_p, never the highest. Those that
 * would not reach that sum if all were like them go first, without being ranked. */
static void filter_top_p(struct candidates *c, const struct sample_kernels *kernels, double top_p) {
    keep_likely(c, 0.999 * (1 - top_p) * c->total / (double)c->count);
    struct ranked cut = find_cut(c, kernels, c->total - total_weight(c), c->total, (float)(1 - top_p));
    keep_from(c, cut.value, cut.id);
    c->total = total_weight(c);
}

/* Keeps what is at least min_p times as likely as the likeliest, whose weight is 1. */
static void filter_min_p(struct candidates *c, float min_p) {
    keep_likely(c, (double)min_p);
    c->total = total_weight(c);
}

static void penalise(struct candidates *c, const uint32_t *seen, float penalty) {
    for (int64_t word = 0; word * 32 < c->count; word++) {
        for (uint32_t bits = seen[word]; bits; bits &= bits - 1) {
            int64_t id = word * 32 + __builtin_ctz(bits);
            if (id >= c->count) break;
            c->value[id] = c->value[id] < 0 ? c->value[id] * penalty : c->value[id] / penalty;
        }
    }
}

/* The distribution to draw from, from logits with their largest, their weights and the total; false when
 * there is none left. */
static bool apply_rules(struct candidates *c, const struct sample_kernels *kernels,
                        const struct sampling *rules, const uint32_t *seen) {
    bool greedy = rules->temperature == 0, penalised = seen && rules->repetition_penalty != 1;
    bool heated = !greedy && rules->temperature != 1, cut = !greedy && rules->top_k > 0;
    if (penalised) penalise(c, seen, rules->repetition_penalty);
    if (heated) kernels->divide(c->value, c->count, rules->temperature);
    if (penalised || heated) c->largest = kernels->largest(c->value, c->count);
    if (!isfinite(c->largest)) return false;
    if (cut) filter_top_k(c, kernels, rules->top_k);
    if (penalised || heated || cut) c->total = kernels->weigh(c->weight, c->value, c->count, c->largest);
    if (greedy) return true;
    if (rules->top_p < 1) filter_top_p(c, kernels, rules->top_p);
    if (rules->min_p > 0) filter_min_p(c, rules->min_p);
    return true;
}

/* ---- Choice ------------------------------------------------------------------------------------------ */

static int64_t choose_largest(const struct candidates *c) {
    int64_t i = 0;
    while (c->value[i] != c->largest) i++;
    return i;
}

/* The first candidate at which the sum of weights exceeds u * total. Sums of whole stretches are skipped. */
static int64_t draw(const struct candidates *c, const struct row_kernels *row, double u) {
    enum { STRETCH = 512 };
    double target = u * c->total, sum = 0;
    int64_t likely = -1;
    for (int64_t i = 0; i < c->count; i += STRETCH) {
        int64_t length = c->count - i < STRETCH ? c->count - i : STRETCH;
        double next = sum + row->sum(c->weight + i, DTYPE_F32, length);
        if (next <= target && i + length < c->count) {
            sum = next;
            continue;
        }
        for (int64_t j = i; j < i + length; j++) {
            if (!(c->weight[j] > 0)) continue;
            likely = j;
            sum += (double)c->weight[j];
            if (sum > target) return j;
        }
        sum = next;
    }
    return likely >= 0 ? likely : choose_largest(c); /* u close to 1, and sums that round differently */
}

/* ---- Rows -------------------------------------------------------------------------------------------- */

static void fail_row(const struct sample_arguments *s, int64_t r) {
    ((int32_t *)s->token.data)[r] = -1;
    ((float *)s->logprob.data)[r] = NAN;
    for (int64_t i = 0; s->watched.data && i < s->watched.cols; i++) {
        ((float *)tensor_row(s->watched_raw, r))[i] = NAN;
        ((float *)tensor_row(s->watched_final, r))[i] = NAN;
    }
    float *distribution = s->distribution.data ? tensor_row(s->distribution, r) : NULL;
    for (int64_t i = 0; distribution && i < s->distribution.cols; i++) distribution[i] = NAN;
}

static void keep_watched(const struct sample_arguments *s, int64_t r, const struct candidates *c,
                         double raw_log_sum) {
    const int32_t *watched = s->watched.data;
    float *raw = tensor_row(s->watched_raw, r), *drawn = tensor_row(s->watched_final, r);
    for (int64_t i = 0; i < s->watched.cols; i++) {
        raw[i] = (float)((double)tensor_float(s->logits, r, watched[i]) - raw_log_sum);
        int64_t at = find_candidate(c, watched[i]);
        drawn[i] = at < 0 ? -INFINITY : (float)((double)c->value[at] - (double)c->largest - log(c->total));
    }
}

static void keep_distribution(const struct candidates *c, float *distribution, int64_t vocab) {
    memset(distribution, 0, (size_t)vocab * sizeof *distribution);
    for (int64_t i = 0; i < c->count; i++)
        distribution[candidate_id(c, i)] = (float)((double)c->weight[i] / c->total);
}

/* The log-probability of a token before any filter. */
static float raw_logprob(const struct sample_arguments *s, const struct cpu_kernels *kernels, int64_t r,
                         int32_t token, double raw_log_sum) {
    const struct sampling *rules = &s->rules[r];
    float logit = tensor_float(s->logits, r, token);
    if (!rules->tempered || rules->temperature == 0 || rules->temperature == 1)
        return (float)((double)logit - raw_log_sum);
    float scale = 1 / rules->temperature;
    struct softmax_sums sums =
        kernels->logprob->sums(tensor_row(s->logits, r), s->logits.dtype, s->logits.cols, scale, false);
    return (float)((double)(scale * logit) - (double)sums.maximum - log(sums.sum));
}

static void sample_row(const struct sample_arguments *s, const struct cpu_kernels *kernels, int64_t r,
                       struct candidates c) {
    const struct sampling *rules = &s->rules[r];
    uint32_t *seen = s->seen.data ? tensor_row(s->seen, r) : NULL;
    c.count = s->logits.cols;
    kernels->row->convert(c.value, DTYPE_F32, tensor_row(s->logits, r), s->logits.dtype, c.count);
    c.largest = kernels->sample->largest(c.value, c.count);
    c.total = kernels->sample->weigh(c.weight, c.value, c.count, c.largest);
    double raw_log_sum = (double)c.largest + log(c.total); /* NaN, also where a logit is NaN or +inf */
    if (!isfinite(raw_log_sum) || !apply_rules(&c, kernels->sample, rules, seen)) {
        fail_row(s, r);
        return;
    }
    struct random_key key = {rules->seed, rules->stream, rules->sample, rules->position};
    int64_t chosen =
        rules->temperature == 0 ? choose_largest(&c) : draw(&c, kernels->row, random_uniform(key));
    int32_t token = candidate_id(&c, chosen);
    ((int32_t *)s->token.data)[r] = token;
    ((float *)s->logprob.data)[r] = raw_logprob(s, kernels, r, token, raw_log_sum);
    if (s->watched.data) keep_watched(s, r, &c, raw_log_sum);
    if (s->distribution.data) keep_distribution(&c, tensor_row(s->distribution, r), s->logits.cols);
    if (seen) seen[token / 32] |= 1u << token % 32;
}

static bool watched_fit(struct device *device, const struct sample_arguments *s) {
    const int32_t *watched = s->watched.data;
    for (int64_t i = 0; watched && i < s->watched.cols; i++) {
        if (watched[i] >= 0 && watched[i] < s->logits.cols) continue;
        device_fail(device, "sample_tokens: watched token %d, not in [0, %lld)", (int)watched[i],
                    (long long)s->logits.cols);
        return false;
    }
    return true;
}

void cpu_sample_tokens(struct device *device, struct sample_arguments arguments) {
    const struct cpu_kernels *kernels = cpu_kernels(device);
    if (!watched_fit(device, &arguments)) return;
    size_t vocab = (size_t)arguments.logits.cols, threads = (size_t)omp_get_max_threads();
    size_t rows = (size_t)arguments.logits.rows, workers = rows < threads ? rows : threads;
    struct candidates all = {
        .value = malloc(workers * vocab * sizeof(float)),
        .weight = malloc(workers * vocab * sizeof(float)),
        .id = malloc(workers * vocab * sizeof(int32_t)),
        .bin = malloc(workers * vocab * sizeof(uint16_t)),
        .list = malloc(workers * vocab * sizeof(struct ranked)),
    };
    if (!all.value || !all.weight || !all.id || !all.bin || !all.list) {
        device_fail(device, "out of memory for sampling (%zu tokens)", vocab);
    } else {
#pragma omp parallel for num_threads((int)workers) schedule(dynamic)
        for (int64_t r = 0; r < arguments.logits.rows; r++) {
            size_t at = (size_t)omp_get_thread_num() * vocab;
            struct candidates mine = {.value = all.value + at,
                                      .weight = all.weight + at,
                                      .id = all.id + at,
                                      .bin = all.bin + at,
                                      .list = all.list + at};
            sample_row(&arguments, kernels, r, mine);
        }
    }
    free(all.value);
    free(all.weight);
    free(all.id);
    free(all.bin);
    free(all.list);
}
