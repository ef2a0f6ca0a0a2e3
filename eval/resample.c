#include "eval/resample.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "eval/correlation.h"

/* ---- Binomial ---------------------------------------------------------------------------------------- */

static double log_binomial(size_t k, size_t n, double p) {
    const double hits = (double)k, all = (double)n;
    double chance = lgamma(all + 1) - lgamma(hits + 1) - lgamma(all - hits + 1);
    if (k) chance += hits * log(p);
    if (k < n) chance += (all - hits) * log1p(-p);
    return chance;
}

/* The least k with P(K <= k) >= level. The walk begins where what lies below cannot matter. */
static size_t binomial_quantile(size_t n, double p, double level) {
    const double far = 12 * sqrt((double)n * p * (1 - p)) + 12, start = floor((double)n * p - far);
    double sum = 0;
    for (size_t k = start > 0 ? (size_t)start : 0; k < n; k++) {
        sum += exp(log_binomial(k, n, p));
        if (sum >= level) return k;
    }
    return n;
}

struct interval share_interval(size_t hits, size_t count) {
    if (!count) return (struct interval){NAN, NAN};
    const double n = (double)count, share = (double)hits / n;
    if (hits == 0 || hits == count) return (struct interval){share, share};
    return (struct interval){(double)binomial_quantile(count, share, 0.025) / n,
                             (double)binomial_quantile(count, share, 0.975) / n};
}

/* ---- Random numbers ---------------------------------------------------------------------------------- */

/* A stream of words: replicate r of a stream has positions of its own. */
struct words {
    struct random_key key;
    uint32_t words[4];
    int left;
};

static uint32_t next_word(struct words *source) {
    if (!source->left) {
        random_words(source->key, source->words);
        source->key.position++;
        source->left = 4;
    }
    return source->words[--source->left];
}

/* Below `limit`; limits are far below 2^32, so that no value is noticeably more frequent. */
static size_t next_below(struct words *source, size_t limit) {
    return (size_t)((uint64_t)next_word(source) * limit >> 32);
}

/* The stream's draws that no replicate has. */
static const uint32_t choice_of_items = UINT32_MAX;

/* ---- Bootstrap of two columns ------------------------------------------------------------------------ */

/* Items that have the same x and y. */
struct cell {
    double x, y;
    size_t x_group, y_group; /* which of the different values, ascending */
    size_t weight;           /* how often it is in the resample */
};

struct sample {
    size_t count; /* items that are resampled */
    struct cell *cells;
    size_t cell_count;
    uint32_t *cell_of; /* [count] */
    size_t x_groups, y_groups;
    double *x_ranks, *y_ranks; /* [groups]: of the resample, from its mean on */
};

static void sample_free(struct sample *sample) {
    free(sample->cells);
    free(sample->cell_of);
    free(sample->x_ranks);
    free(sample->y_ranks);
}

/* Puts `chosen` of the places 0 to count - 1 first, at random. */
static void choose(size_t *places, size_t count, size_t chosen, uint64_t seed, uint32_t stream) {
    struct words source = {.key = {.seed = seed, .stream = stream, .sample = choice_of_items}};
    for (size_t i = 0; i < count; i++) places[i] = i;
    for (size_t i = 0; i < chosen && chosen < count; i++) {
        const size_t k = i + next_below(&source, count - i), place = places[i];
        places[i] = places[k];
        places[k] = place;
    }
}

static int by_x_and_y(const void *a, const void *b) {
    const struct cell *p = a, *q = b;
    if (p->x != q->x) return p->x < q->x ? -1 : 1;
    return (p->y > q->y) - (p->y < q->y);
}

/* Numbers the different values of y; x is numbered while cells are made. */
static enum status group_y(struct sample *sample, struct error *err) {
    double *values = memory_new(sample->cell_count, sizeof *values, "a resample", err);
    size_t *order = memory_new(sample->cell_count, sizeof *order, "a resample", err);
    enum status status = values && order ? STATUS_OK : STATUS_FAILED;
    for (size_t i = 0; i < sample->cell_count && status == STATUS_OK; i++) {
        values[i] = sample->cells[i].y;
        order[i] = i;
    }
    if (status == STATUS_OK) status = sort_order(values, sample->cell_count, order, err);
    for (size_t i = 0; i < sample->cell_count && status == STATUS_OK; i++) {
        if (i && values[order[i]] != values[order[i - 1]]) sample->y_groups++;
        sample->cells[order[i]].y_group = sample->y_groups;
    }
    sample->y_groups++;
    free(values);
    free(order);
    return status;
}

/* Gathers equal items into cells. The cells begin as the items, sorted. */
static void make_cells(struct sample *sample) {
    struct cell *cells = sample->cells;
    size_t last = 0;
    qsort(cells, sample->count, sizeof *cells, by_x_and_y);
    for (size_t i = 0; i < sample->count; i++) {
        if (i && by_x_and_y(&cells[i], &cells[last]) != 0) {
            if (cells[i].x != cells[last].x) sample->x_groups++;
            cells[++last] = cells[i];
        }
        cells[last].x_group = sample->x_groups;
        sample->cell_of[i] = (uint32_t)last;
    }
    sample->cell_count = last + 1;
    sample->x_groups++;
}

static enum status sample_make(const double *x, const double *y, size_t count, uint64_t seed, uint32_t stream,
                               struct sample *sample, struct error *err) {
    const size_t chosen = count < LARGEST_RESAMPLE ? count : LARGEST_RESAMPLE;
    size_t *places = memory_new(count, sizeof *places, "a resample", err);
    *sample = (struct sample){.count = chosen,
                              .cells = memory_new(chosen, sizeof *sample->cells, "a resample", err),
                              .cell_of = memory_new(chosen, sizeof *sample->cell_of, "a resample", err)};
    enum status status = places && sample->cells && sample->cell_of ? STATUS_OK : STATUS_FAILED;
    if (status == STATUS_OK) {
        choose(places, count, chosen, seed, stream);
        for (size_t i = 0; i < chosen; i++)
            sample->cells[i] = (struct cell){.x = x[places[i]], .y = y[places[i]]};
        make_cells(sample);
        status = group_y(sample, err);
    }
    free(places);
    if (status != STATUS_OK) return status;
    sample->x_ranks = memory_new(sample->x_groups, sizeof *sample->x_ranks, "a resample", err);
    sample->y_ranks = memory_new(sample->y_groups, sizeof *sample->y_ranks, "a resample", err);
    return sample->x_ranks && sample->y_ranks ? STATUS_OK : STATUS_FAILED;
}

/* Turns weights of groups into their mean ranks, from the mean of all on. */
static void weights_to_ranks(double *groups, size_t count, double all) {
    double before = -all / 2;
    for (size_t i = 0; i < count; i++) {
        const double weight = groups[i];
        groups[i] = before + weight / 2;
        before += weight;
    }
}

/* Weighted sums of two columns. */
struct sums {
    double n, x, y, xx, yy, xy;
};

static void sums_add(struct sums *sums, double weight, double x, double y) {
    sums->n += weight;
    sums->x += weight * x;
    sums->y += weight * y;
    sums->xx += weight * x * x;
    sums->yy += weight * y * y;
    sums->xy += weight * x * y;
}

/* Pearson's r; NaN where a column is constant but for rounding. */
static double sums_pearson(const struct sums *sums) {
    const double xx = sums->xx - sums->x * sums->x / sums->n, yy = sums->yy - sums->y * sums->y / sums->n;
    if (!(xx > 1e-12 * sums->xx) || !(yy > 1e-12 * sums->yy)) return NAN;
    return fmax(-1, fmin(1, (sums->xy - sums->x * sums->y / sums->n) / sqrt(xx) / sqrt(yy)));
}

/* Figures of a sample. */
enum { PEARSON, SPEARMAN, ERROR, FIGURES };

static void figures_of(struct sample *sample, double figures[FIGURES]) {
    struct sums values = {0}, ranks = {0};
    double error = 0;
    memset(sample->x_ranks, 0, sample->x_groups * sizeof *sample->x_ranks);
    memset(sample->y_ranks, 0, sample->y_groups * sizeof *sample->y_ranks);
    for (const struct cell *c = sample->cells; c < sample->cells + sample->cell_count; c++) {
        sample->x_ranks[c->x_group] += (double)c->weight;
        sample->y_ranks[c->y_group] += (double)c->weight;
    }
    weights_to_ranks(sample->x_ranks, sample->x_groups, (double)sample->count);
    weights_to_ranks(sample->y_ranks, sample->y_groups, (double)sample->count);
    const double x0 = sample->cells[0].x, y0 = sample->cells[0].y;
    for (const struct cell *c = sample->cells; c < sample->cells + sample->cell_count; c++) {
        if (!c->weight) continue;
        const double weight = (double)c->weight;
        sums_add(&values, weight, c->x - x0, c->y - y0);
        sums_add(&ranks, weight, sample->x_ranks[c->x_group], sample->y_ranks[c->y_group]);
        error += weight * fabs(c->x - c->y);
    }
    figures[PEARSON] = sums_pearson(&values);
    figures[SPEARMAN] = sums_pearson(&ranks);
    figures[ERROR] = error / (double)sample->count;
}

static int by_number(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The quantile of sorted values, linear between two of them. */
static double quantile(const double *sorted, size_t count, double level) {
    const double place = level * (double)(count - 1);
    const size_t below = (size_t)place;
    if (below + 1 == count) return sorted[below];
    return sorted[below] + (place - (double)below) * (sorted[below + 1] - sorted[below]);
}

/* From the replicates of a figure, and the figure itself, of the sample. */
static struct interval percentiles(double *values, double centre, double scale) {
    size_t count = 0;
    for (size_t i = 0; i < REPLICATES; i++)
        if (!isnan(values[i])) values[count++] = values[i];
    if (count < REPLICATES / 2 || isnan(centre)) return (struct interval){NAN, NAN};
    qsort(values, count, sizeof *values, by_number);
    return (struct interval){(quantile(values, count, 0.025) - centre) * scale,
                             (quantile(values, count, 0.975) - centre) * scale};
}

static void resample(struct sample *sample, uint64_t seed, uint32_t stream, uint32_t replicate) {
    struct words source = {.key = {.seed = seed, .stream = stream, .sample = replicate}};
    for (size_t i = 0; i < sample->cell_count; i++) sample->cells[i].weight = 0;
    for (size_t i = 0; i < sample->count; i++)
        sample->cells[sample->cell_of[next_below(&source, sample->count)]].weight++;
}

/* The deviations of the figures from what they are in the sample. */
static enum status deviations(struct sample *sample, size_t count, uint64_t seed, uint32_t stream,
                              struct interval intervals[FIGURES], struct error *err) {
    double centre[FIGURES], figures[FIGURES];
    double *replicates = memory_new((size_t)FIGURES * REPLICATES, sizeof *replicates, "a bootstrap", err);
    if (!replicates) return STATUS_FAILED;
    for (size_t i = 0; i < sample->cell_count; i++) sample->cells[i].weight = 0;
    for (size_t i = 0; i < sample->count; i++) sample->cells[sample->cell_of[i]].weight++;
    figures_of(sample, centre);
    for (uint32_t r = 0; r < REPLICATES; r++) {
        resample(sample, seed, stream, r);
        figures_of(sample, figures);
        for (int f = 0; f < FIGURES; f++) replicates[f * REPLICATES + (int)r] = figures[f];
    }
    for (int f = 0; f < FIGURES; f++)
        intervals[f] = percentiles(replicates + (size_t)f * REPLICATES, centre[f],
                                   sqrt((double)sample->count / (double)count));
    free(replicates);
    return STATUS_OK;
}

/* The interval around the value, inside its range. */
static struct interval around(double value, struct interval deviation, double low, double high) {
    if (isnan(value) || isnan(deviation.low)) return (struct interval){NAN, NAN};
    return (struct interval){fmax(low, value + deviation.low), fmin(high, value + deviation.high)};
}

enum status column_intervals(const double *x, const double *y, size_t count, struct column_figures figures,
                             uint64_t seed, uint32_t stream, struct column_intervals *intervals,
                             struct error *err) {
    const struct interval none = {NAN, NAN};
    struct interval found[FIGURES];
    struct sample sample;
    *intervals = (struct column_intervals){none, none, none};
    if (!count) return STATUS_OK;
    enum status status = sample_make(x, y, count, seed, stream, &sample, err);
    if (status == STATUS_OK) status = deviations(&sample, count, seed, stream, found, err);
    sample_free(&sample);
    if (status != STATUS_OK) return status;
    *intervals = (struct column_intervals){.pearson = around(figures.pearson, found[PEARSON], -1, 1),
                                           .spearman = around(figures.spearman, found[SPEARMAN], -1, 1),
                                           .error = around(figures.error, found[ERROR], 0, INFINITY)};
    return STATUS_OK;
}
