/* Sampling: a block a row. Nothing is sorted and nothing is kept: every pass over the row makes the values
 * anew from the logits. A filter is the rank from which on tokens stay. Cuts are found digit by digit of the
 * rank; probabilities are summed as whole numbers, so that no order of summing changes a bit. */
#include "tensor/cuda/cuda.h"

#include <math.h>
#include <stdlib.h>

#include "tensor/cuda/block.cuh"

extern "C" {
#include "base/random.h"
}

/* What a row's rules come to. */
struct row_rules {
    float temperature, min_p, repetition_penalty;
    float top_p_rest; /* 1 - top_p; below 0: off */
    float scale;      /* of the logits that the log-probability of the token is asked for in */
    int32_t top_k;
    double draw; /* uniform in [0, 1) */
};

struct sample_kernel_arguments {
    struct tensor logits, seen, watched, watched_raw, watched_final, distribution;
    int32_t *token;
    float *logprob;
    const struct row_rules *rules;
    float mass; /* whole units of a probability weight of 1 */
    struct cuda_fault *fault;
};

enum { SAMPLE_THREADS = 1024, DIGITS = 256 };

struct sample_shared {
    double scratch[WARP];
    unsigned mass_low[DIGITS], mass_high[DIGITS], counts[DIGITS];
    unsigned long long sums[SAMPLE_THREADS]; /* of each thread's stretch of tokens */
    unsigned long long rank, below;          /* what one thread found for all */
    int64_t chosen;
    bool single;
};

/* One row, and which of its tokens are still in the draw. */
struct row {
    const struct sample_kernel_arguments *a;
    struct sample_shared *shared;
    struct row_rules rules;
    int64_t index, vocabulary;
    const unsigned *seen; /* NULL: no penalty */
    float largest;        /* of the values */
    unsigned long long cut;
    float least_weight;
    unsigned long long total; /* mass of the tokens that are left */
};

/* ---- Tokens ------------------------------------------------------------------------------------------ */

/* The logit after penalty and temperature. */
static __device__ float value_of(const struct row *row, int64_t id) {
    float value = load(row->a->logits, row->index, id), penalty = row->rules.repetition_penalty;
    if (row->seen && row->seen[id / 32] >> id % 32 & 1)
        value = value < 0 ? __fmul_rn(value, penalty) : __fdiv_rn(value, penalty);
    if (row->rules.temperature > 0 && row->rules.temperature != 1)
        value = __fdiv_rn(value, row->rules.temperature);
    return value;
}

/* Whole numbers in the order of values, and among equal values the highest id lowest. */
static __device__ unsigned long long rank_of(float value, int64_t id) {
    unsigned bits = __float_as_uint(value == 0 ? 0.0f : value);
    unsigned order = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return (unsigned long long)order << 32 | (0xffffffffu - (unsigned)id);
}

static __device__ float weight_of(const struct row *row, float value) {
    return expf(value - row->largest);
}

static __device__ unsigned long long mass_of(const struct row *row, float value) {
    return (unsigned long long)(weight_of(row, value) * row->a->mass);
}

static __device__ bool is_left(const struct row *row, float value, int64_t id) {
    return rank_of(value, id) >= row->cut && weight_of(row, value) >= row->least_weight;
}

static __device__ unsigned long long total_mass(const struct row *row) {
    unsigned long long sum = 0;
    for (int64_t id = threadIdx.x; id < row->vocabulary; id += blockDim.x) {
        float value = value_of(row, id);
        if (is_left(row, value, id)) sum += mass_of(row, value);
    }
    return block_join(sum, sum_of(), row->shared->scratch);
}

/* ---- Cuts -------------------------------------------------------------------------------------------- */

/* Whether more has been summed up than may be dropped. The reference compares in f32. */
static __device__ bool exceeds(unsigned long long sum, unsigned long long total, float limit) {
    return (float)((double)sum / (double)total) > limit;
}

/* How a cut is wanted: the lowest rank at which the sum from the lowest rank on exceeds `limit` parts of
 * `total`; else the highest. Every token counts as its mass, or as 1. */
struct cut {
    unsigned long long total;
    float limit;
    bool by_count;
};

/* masses[digit] += mass, in halves: a GPU adds words in shared memory by itself, but not two at once. */
static __device__ void add_mass(struct sample_shared *shared, unsigned digit, unsigned long long mass) {
    unsigned low = (unsigned)mass, before = atomicAdd(&shared->mass_low[digit], low);
    unsigned high = (unsigned)(mass >> 32) + (before > ~low);
    if (high) atomicAdd(&shared->mass_high[digit], high);
}

/* What the tokens of a digit count as. */
static __device__ unsigned long long sum_of_digit(const struct sample_shared *shared, const struct cut *cut,
                                                  int digit) {
    if (cut->by_count) return shared->counts[digit];
    return (unsigned long long)shared->mass_high[digit] << 32 | shared->mass_low[digit];
}

/* The masses and counts of the digit at `shift`, of the tokens whose higher digits are `prefix`. */
static __device__ void count_digits(const struct row *row, const struct cut *cut, unsigned long long prefix,
                                    int shift) {
    struct sample_shared *shared = row->shared;
    for (int i = (int)threadIdx.x; i < DIGITS; i += (int)blockDim.x)
        shared->mass_low[i] = shared->mass_high[i] = shared->counts[i] = 0;
    __syncthreads();
    for (int64_t id = threadIdx.x; id < row->vocabulary; id += blockDim.x) {
        float value = value_of(row, id);
        unsigned long long rank = rank_of(value, id);
        if ((shift < 56 && rank >> (shift + 8) != prefix) || !is_left(row, value, id)) continue;
        unsigned digit = (unsigned)(rank >> shift) & (DIGITS - 1);
        if (!cut->by_count) add_mass(shared, digit, mass_of(row, value));
        atomicAdd(&shared->counts[digit], 1u);
    }
    __syncthreads();
}

/* The digit in which the cut lies, of those counted; by one thread. */
static __device__ void choose_digit(struct sample_shared *shared, const struct cut *cut,
                                    unsigned long long prefix) {
    unsigned long long sum = shared->below;
    int chosen = -1;
    for (int digit = 0; digit < DIGITS; digit++) {
        if (!shared->counts[digit]) continue;
        if (chosen >= 0) sum += sum_of_digit(shared, cut, chosen);
        chosen = digit;
        if (exceeds(sum + sum_of_digit(shared, cut, digit), cut->total, cut->limit)) break;
    }
    shared->below = sum;
    shared->rank = prefix << 8 | (unsigned)chosen;
    shared->single = shared->counts[chosen] == 1;
}

static __device__ unsigned long long find_cut(const struct row *row, const struct cut *cut) {
    struct sample_shared *shared = row->shared;
    unsigned long long prefix = 0;
    if (threadIdx.x == 0) shared->below = 0;
    for (int shift = 56; shift >= 0; shift -= 8) {
        count_digits(row, cut, prefix, shift);
        if (threadIdx.x == 0) choose_digit(shared, cut, prefix);
        __syncthreads();
        prefix = shared->rank;
        bool single = shared->single;
        __syncthreads();
        if (!single || shift == 0) continue;
        for (int64_t id = threadIdx.x; id < row->vocabulary; id += blockDim.x) {
            float value = value_of(row, id);
            unsigned long long rank = rank_of(value, id);
            if (rank >> shift == prefix && is_left(row, value, id)) shared->rank = rank;
        }
        __syncthreads();
        prefix = shared->rank;
        __syncthreads();
        break;
    }
    return prefix;
}

/* The distribution to draw from; false when there is none. All threads agree. */
static __device__ bool apply_rules(struct row *row) {
    bool greedy = row->rules.temperature == 0;
    float largest = -INFINITY;
    for (int64_t id = threadIdx.x; id < row->vocabulary; id += blockDim.x)
        largest = fmaxf(largest, value_of(row, id));
    row->largest = block_join(largest, largest_of(), row->shared->scratch);
    if (!isfinite(row->largest)) return false;
    if (!greedy && row->rules.top_k > 0 && row->rules.top_k < row->vocabulary) {
        struct cut cut = {1, (float)(row->vocabulary - row->rules.top_k), true};
        row->cut = find_cut(row, &cut) >> 32 << 32; /* with all that equal it */
    }
    row->total = total_mass(row);
    if (!greedy && row->rules.top_p_rest >= 0) {
        struct cut cut = {row->total, row->rules.top_p_rest, false};
        row->cut = find_cut(row, &cut);
        row->total = total_mass(row);
    }
    if (!greedy && row->rules.min_p > 0) {
        row->least_weight = row->rules.min_p;
        row->total = total_mass(row);
    }
    return true;
}

/* ---- Choice ------------------------------------------------------------------------------------------ */

static __device__ int64_t choose_largest(const struct row *row) {
    int64_t first = row->vocabulary;
    for (int64_t id = row->vocabulary - 1 - threadIdx.x; id >= 0; id -= blockDim.x)
        if (value_of(row, id) == row->largest) first = id;
    return block_join(first, least_of(), row->shared->scratch);
}

/* The thread in whose stretch the sum of masses exceeds the target, else the last that has any; `below`: the
 * sum before it. */
static __device__ int find_stretch(struct sample_shared *shared, double target) {
    unsigned long long sum = 0;
    int found = 0;
    for (int i = 0; i < (int)blockDim.x; i++) {
        if (!shared->sums[i]) continue;
        found = i;
        shared->below = sum;
        sum += shared->sums[i];
        if ((double)sum > target) break;
    }
    return found;
}

/* The first token at which the sum of masses, by rising id, exceeds draw * total. */
static __device__ int64_t draw(const struct row *row) {
    struct sample_shared *shared = row->shared;
    int64_t length = parts(row->vocabulary, blockDim.x), begin = threadIdx.x * length;
    int64_t end = min(begin + length, row->vocabulary);
    unsigned long long sum = 0;
    for (int64_t id = begin; id < end; id++) {
        float value = value_of(row, id);
        if (is_left(row, value, id)) sum += mass_of(row, value);
    }
    shared->sums[threadIdx.x] = sum;
    __syncthreads();
    double target = row->rules.draw * (double)row->total;
    if (threadIdx.x == 0) shared->rank = (unsigned long long)find_stretch(shared, target);
    __syncthreads();
    if (threadIdx.x == shared->rank) {
        sum = shared->below;
        for (int64_t id = begin; id < end && !((double)sum > target); id++) {
            float value = value_of(row, id);
            unsigned long long mass = is_left(row, value, id) ? mass_of(row, value) : 0;
            if (mass) shared->chosen = id;
            sum += mass;
        }
    }
    __syncthreads();
    return shared->chosen;
}

/* ---- Rows -------------------------------------------------------------------------------------------- */

static __device__ void fail_row(const struct row *row) {
    const struct sample_kernel_arguments *a = row->a;
    if (threadIdx.x == 0) a->token[row->index] = -1, a->logprob[row->index] = NAN;
    for (int64_t i = threadIdx.x; a->watched.data && i < a->watched.cols; i += blockDim.x) {
        store(a->watched_raw, row->index, i, NAN);
        store(a->watched_final, row->index, i, NAN);
    }
    for (int64_t i = threadIdx.x; a->distribution.data && i < row->vocabulary; i += blockDim.x)
        store(a->distribution, row->index, i, NAN);
}

static __device__ void keep_results(const struct row *row, double raw_log_sum) {
    const struct sample_kernel_arguments *a = row->a;
    double total = (double)row->total / (double)a->mass;
    for (int64_t i = threadIdx.x; a->watched.data && i < a->watched.cols; i += blockDim.x) {
        int32_t id = ((const int32_t *)a->watched.data)[i];
        if (is_fault(a->fault, FAULT_WATCHED, i, id, 0, row->vocabulary)) continue;
        float value = value_of(row, id);
        double final = (double)value - (double)row->largest - log(total);
        store(a->watched_raw, row->index, i, (float)((double)load(a->logits, row->index, id) - raw_log_sum));
        store(a->watched_final, row->index, i, is_left(row, value, id) ? (float) final : -INFINITY);
    }
    for (int64_t id = threadIdx.x; a->distribution.data && id < row->vocabulary; id += blockDim.x) {
        float value = value_of(row, id);
        double weight = is_left(row, value, id) ? (double)weight_of(row, value) : 0;
        store(a->distribution, row->index, id, (float)(weight / total));
    }
}

/* The log of the sum of e^(scale * logit); NaN where a logit is NaN or +inf, or none is finite. */
static __device__ double log_sum_of(struct row *row, float scale) {
    float largest = -INFINITY;
    bool wrong = false;
    for (int64_t id = threadIdx.x; id < row->vocabulary; id += blockDim.x) {
        float logit = __fmul_rn(scale, load(row->a->logits, row->index, id));
        wrong = wrong || isnan(logit) || logit == INFINITY;
        largest = fmaxf(largest, logit);
    }
    row->largest = block_join(largest, largest_of(), row->shared->scratch);
    if (__syncthreads_or(wrong || row->largest == -INFINITY)) return NAN;
    unsigned long long sum = 0;
    for (int64_t id = threadIdx.x; id < row->vocabulary; id += blockDim.x)
        sum += mass_of(row, __fmul_rn(scale, load(row->a->logits, row->index, id)));
    sum = block_join(sum, sum_of(), row->shared->scratch);
    return (double)row->largest + log((double)sum / (double)row->a->mass);
}

static __global__ void __launch_bounds__(SAMPLE_THREADS, 1 /* block at least */)
    sample_kernel(struct sample_kernel_arguments a) {
    struct row row = {};
    row.a = &a;
    row.shared = (struct sample_shared *)shared_floats();
    row.index = blockIdx.x;
    row.rules = a.rules[blockIdx.x];
    row.vocabulary = a.logits.cols;
    unsigned *seen = a.seen.data ? (unsigned *)address(a.seen, row.index, 0) : NULL;
    row.seen = row.rules.repetition_penalty != 1 ? seen : NULL;
    double raw_log_sum = log_sum_of(&row, 1), log_sum = raw_log_sum;
    if (isnan(raw_log_sum) || !apply_rules(&row)) {
        fail_row(&row);
        return;
    }
    int64_t token = row.rules.temperature == 0 ? choose_largest(&row) : draw(&row);
    keep_results(&row, raw_log_sum);
    if (row.rules.scale != 1) log_sum = log_sum_of(&row, row.rules.scale);
    __syncthreads(); /* `seen` is read until here */
    if (threadIdx.x != 0) return;
    a.token[row.index] = (int32_t)token;
    a.logprob[row.index] = (float)((double)(row.rules.scale * load(a.logits, row.index, token)) - log_sum);
    if (seen) seen[token / 32] |= 1u << token % 32;
}

/* ---- The operation ----------------------------------------------------------------------------------- */

static struct row_rules rules_of(const struct sampling *s) {
    struct random_key key = {s->seed, s->stream, s->sample, s->position};
    struct row_rules rules;
    rules.temperature = s->temperature;
    rules.min_p = s->min_p;
    rules.repetition_penalty = s->repetition_penalty;
    rules.top_p_rest = s->top_p < 1 ? (float)(1 - s->top_p) : -1;
    rules.scale = s->tempered && s->temperature > 0 ? 1 / s->temperature : 1;
    rules.top_k = s->top_k;
    rules.draw = random_uniform(key);
    return rules;
}

/* The largest power of two of which `vocabulary` fit into 62 bits, at most 2^44. */
static float mass_unit(int64_t vocabulary) {
    int bits = 62;
    for (int64_t n = 1; n < vocabulary; n *= 2) bits--;
    return ldexpf(1, bits < 44 ? bits : 44);
}

void cuda_sample_tokens(struct device *device, struct sample_arguments s) {
    int64_t rows = s.logits.rows, vocabulary = s.logits.cols;
    size_t bytes = (size_t)rows * sizeof(struct row_rules);
    struct row_rules *rules = (struct row_rules *)malloc(bytes);
    void *memory = cuda_workspace(device, bytes);
    if (!rules) device_fail(device, "out of memory for sampling (%lld rows)", (long long)rows);
    if (rules && memory) {
        for (int64_t r = 0; r < rows; r++) rules[r] = rules_of(&s.rules[r]);
        cuda_write(device, memory, rules, bytes);
    }
    free(rules);
    if (device->failed) return;
    struct sample_kernel_arguments a = {};
    a.logits = s.logits, a.seen = s.seen, a.watched = s.watched, a.distribution = s.distribution;
    a.watched_raw = s.watched_raw, a.watched_final = s.watched_final;
    a.token = (int32_t *)s.token.data, a.logprob = (float *)s.logprob.data;
    a.rules = (const struct row_rules *)memory, a.mass = mass_unit(vocabulary),
    a.fault = cuda_state(device)->fault;
    int64_t threads = parts(vocabulary, WARP) * WARP;
    cuda_launch(device, sample_kernel, dim3((unsigned)rows),
                threads < SAMPLE_THREADS ? (unsigned)threads : (unsigned)SAMPLE_THREADS,
                sizeof(struct sample_shared), a);
}
