/* The figures as JSON. */
#include <math.h>
#include <stdlib.h>

#include "eval/metrics.h"

/* Each takes its values along and is NULL, or false, when memory ran out. */

static json_t *number(double value) {
    return isnan(value) ? json_null() : json_real(value);
}

static double percent(double share) {
    return metric_shown(&(struct metric){.unit = METRIC_PERCENT}, share);
}

static bool set(json_t *object, const char *key, json_t *value) {
    return json_object_set_new(object, key, value) == 0;
}

static bool append(json_t *array, json_t *value) {
    return json_array_append_new(array, value) == 0;
}

static json_t *whole_or_nothing(json_t *json, bool done) {
    if (done) return json;
    json_decref(json);
    return NULL;
}

static json_t *counts_json(const size_t *counts, int count) {
    json_t *array = json_array();
    bool done = true;
    for (int i = 0; i < count && done; i++) done = append(array, json_integer((json_int_t)counts[i]));
    return whole_or_nothing(array, done);
}

/* {"levels": [...], "counts": [truth][model], "outside": N} */
static json_t *confusion_json(const struct confusion *confusion) {
    json_t *levels = json_array(), *counts = json_array(), *object = json_object();
    bool done = true;
    for (int i = 0; i < confusion->count && done; i++)
        done = append(levels, json_integer(confusion->levels[i])) &&
               append(counts, counts_json(confusion->cells[i], confusion->count));
    done = set(object, "levels", levels) && done;
    done = set(object, "counts", counts) && done;
    return whole_or_nothing(object,
                            done && set(object, "outside", json_integer((json_int_t)confusion->outside)));
}

/* {"count": N, "bins": [{"low", "high", "count", "confidence", "accuracy"}, ...]} */
static json_t *calibration_json(const struct calibration *calibration) {
    json_t *bins = json_array(), *object = json_object();
    bool done = true;
    for (int i = 0; i < CALIBRATION_BINS && done; i++) {
        const struct calibration_bin *bin = &calibration->bins[i];
        json_t *item = json_object();
        done = set(item, "low", number(percent((double)i / CALIBRATION_BINS))) &&
               set(item, "high", number(percent((double)(i + 1) / CALIBRATION_BINS))) &&
               set(item, "count", json_integer((json_int_t)bin->count)) &&
               set(item, "confidence", number(percent(bin->confidence))) &&
               set(item, "accuracy", number(percent(bin->accuracy)));
        done = append(bins, item) && done;
    }
    done = set(object, "bins", bins) && done;
    return whole_or_nothing(object,
                            done && set(object, "count", json_integer((json_int_t)calibration->count)));
}

/* [[coverage, risk], ...] */
static json_t *risk_json(const struct calibration *calibration) {
    json_t *curve = json_array();
    bool done = true;
    for (int i = 0; i < COVERAGE_STEPS && done; i++) {
        json_t *point = json_array();
        done = append(point, number(percent((double)(i + 1) / COVERAGE_STEPS))) &&
               append(point, number(percent(calibration->risk[i])));
        done = append(curve, point) && done;
    }
    return whole_or_nothing(curve, done);
}

/* The columns' matrices and curves; of columns without points there are none. */
static bool set_columns(json_t *object, const struct metrics *metrics) {
    json_t *confusions = json_object(), *calibrations = json_object(), *risks = json_object();
    bool done = true;
    for (int c = 0; c < COLUMNS && done; c++) {
        const struct column_metrics *column = &metrics->columns[c];
        if (column->confusion.count)
            done = set(confusions, column_name(c), confusion_json(&column->confusion));
        if (!column->calibration.count || !done) continue;
        done = set(calibrations, column_name(c), calibration_json(&column->calibration)) &&
               set(risks, column_name(c), risk_json(&column->calibration));
    }
    done = set(object, "confusion", confusions) && done;
    done = set(object, "calibration", calibrations) && done;
    return set(object, "risk_coverage", risks) && done;
}

static bool set_counts(json_t *object, const struct metrics *metrics) {
    bool done = set(object, "benchmark", json_string(metrics->benchmark->name)) &&
                set(object, "score", json_string(metrics->whole ? "hard" : "float")) &&
                set(object, "rows", json_integer((json_int_t)metrics->rows)) &&
                set(object, "scored", json_integer((json_int_t)metrics->scored)) &&
                set(object, "missing", json_integer((json_int_t)metrics->missing)) &&
                set(object, "read_from_text", json_integer((json_int_t)metrics->read_from_text));
    if (done && metrics->has_pairs)
        done = set(object, "pairs", json_integer((json_int_t)metrics->pairs.pairs)) &&
               set(object, "pairs_dropped", json_integer((json_int_t)metrics->pairs.dropped)) &&
               set(object, "pairs_unknown", json_integer((json_int_t)metrics->pairs.unknown));
    return done;
}

static json_t *interval_json(const struct metric *metric) {
    json_t *array = json_array();
    return whole_or_nothing(array, append(array, number(metric_shown(metric, metric->interval.low))) &&
                                       append(array, number(metric_shown(metric, metric->interval.high))));
}

json_t *metrics_json(const struct metrics *metrics) {
    struct metric list[METRICS_MOST];
    const size_t count = metrics_list(metrics, list);
    json_t *object = json_object(), *intervals = json_object();
    bool done = set_counts(object, metrics);
    for (size_t i = 0; i < count && done; i++) {
        done = set(object, list[i].key, number(metric_shown(&list[i], list[i].value)));
        if (done && !isnan(list[i].interval.low)) done = set(intervals, list[i].key, interval_json(&list[i]));
    }
    done = set(object, "intervals", intervals) && done;
    return whole_or_nothing(object, done && set_columns(object, metrics));
}
