#include "tests/train/support_runs.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "model/parameters.h"
#include "tensor/ops.h"
#include "tests/model/projections.h"

static struct error err;

void say(struct words *words, const char *format, ...) {
    assert_true(words->count < WORDS);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words->text[words->count], WORD, format, arguments);
    va_end(arguments);
    words->list[words->count] = words->text[words->count];
    words->count++;
}

void say_settings(struct words *words, const json_t *settings) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)settings, key, value) {
        char *text = json_dumps(value, JSON_ENCODE_ANY);
        say(words, "%s=%s", key, text);
        free(text);
    }
}

json_t *read_lines(const char *folder, const char *name, const char *member) {
    char path[256], *text;
    size_t length;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (file_read(path, 1 << 20, &text, &length, &err) != STATUS_OK) fail_msg("%s", err.message);
    json_t *lines = json_array();
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *json = json_loads(line, 0, NULL);
        assert_non_null(json);
        if (json_object_get(json, member)) json_array_append(lines, json);
        json_decref(json);
    }
    free(text);
    return lines;
}

double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value)) fail_msg("no number %s", key);
    return json_number_value(value);
}

/* ---- Weights ----------------------------------------------------------------------------------------- */

/* A checkpoint's parameters in f32. */
struct checkpoint_values {
    struct device device;
    struct model model;
    struct parameter *parameters;
    size_t count;
};

static void open_values(struct checkpoint_values *values, const char *path) {
    assert_int_equal(device_open("cpu", &values->device, &err), STATUS_OK);
    if (model_open(path, &values->device, DTYPE_F32, &values->model, &err)) fail_msg("%s", err.message);
    values->parameters = parameters_list(&values->model.config, &values->count, &err);
    assert_non_null(values->parameters);
}

static void close_values(struct checkpoint_values *values) {
    free(values->parameters);
    model_close(&values->model);
    device_close(&values->device);
}

/* One parameter's, contiguous; free() them. */
static float *read_values(struct checkpoint_values *values, size_t p, int64_t *count) {
    struct tensor t = *parameter_tensor(&values->model, &values->parameters[p]);
    *count = t.rows * t.cols;
    float *host = calloc((size_t)*count, sizeof *host);
    float *copy = device_allocate(&values->device, (size_t)*count * sizeof *copy, "a weight", &err);
    assert_non_null(host);
    assert_non_null(copy);
    struct tensor f32 = tensor_at(copy, DTYPE_F32, t.rows, t.cols);
    convert(&values->device, f32, t);
    assert_int_equal(device_read(&values->device, host, f32, &err), STATUS_OK);
    device_release(&values->device, copy);
    return host;
}

void check_moves(const char *before, const char *after, const json_t *moves, double limit) {
    struct checkpoint_values old, new;
    double error = 0, norm = 0;
    open_values(&old, before);
    open_values(&new, after);
    for (size_t p = 0; p < new.count; p++) {
        const json_t *expected = json_object_get(moves, new.parameters[p].name);
        assert_int_equal(json_array_size(expected), 1 + PROJECTIONS);
        int64_t count;
        float *from = read_values(&old, p, &count), *to = read_values(&new, p, &count);
        double projections[PROJECTIONS] = {0};
        for (int64_t i = 0; i < count; i++) projections_add(projections, i, (double)to[i] - (double)from[i]);
        for (size_t k = 0; k < PROJECTIONS; k++) {
            double d = projections[k] - json_number_value(json_array_get(expected, 1 + k));
            error += d * d / PROJECTIONS;
        }
        double length = json_number_value(json_array_get(expected, 0));
        norm += length * length;
        free(from);
        free(to);
    }
    close_values(&old);
    close_values(&new);
    print_message("%s: the weights' changes lie within %.1e of the reference's\n", after, sqrt(error / norm));
    if (!(error <= limit * limit * norm))
        fail_msg("%s: the weights' changes differ by %.3g", after, sqrt(error / norm));
}
