#include "tests/model/support_golden.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tensor/ops.h"
#include "tests/device.h"

const char *const golden_shapes[] = {"tied", "untied", "square", NULL};
const char *const golden_cases[] = {"text", "video", "mixed", NULL};

const char *golden_root(void) {
    const char *root = getenv("VS2_GOLDEN");
    return root ? root : "tests/golden";
}

struct safetensors golden_open(const char *shape) {
    struct safetensors golden;
    struct error err;
    char folder[256];
    snprintf(folder, sizeof folder, "%s/model/%s/golden", golden_root(), shape);
    if (safetensors_open(folder, &golden, &err)) fail_msg("%s", err.message);
    return golden;
}

bool golden_has(const struct safetensors *golden, const char *format, ...) {
    char name[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    return safetensors_find(golden, name) != NULL;
}

struct golden_tensor golden_get(const struct safetensors *golden, const char *format, ...) {
    char name[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    const struct stored_tensor *stored = safetensors_find(golden, name);
    if (!stored) fail_msg("no golden tensor %s", name);
    assert_true(stored_tensor_aligned(stored));
    struct golden_tensor tensor = {.data = stored->data, .rows = 1, .cols = 1};
    for (int i = 0; i < stored->rank; i++)
        *(i + 1 == stored->rank ? &tensor.cols : &tensor.rows) *= stored->shape[i];
    return tensor;
}

/* The patches of tests/reference/model.py: value n is (((n + seed) * 2654435761 mod 2^32) >> 24) / 128 - 1.
 */
static float *make_patches(int64_t rows, int64_t first, int64_t seed) {
    float *values = malloc((size_t)rows * 1176 * sizeof *values);
    assert_non_null(values);
    for (int64_t n = 0; n < rows * 1176; n++) {
        uint32_t hash = (uint32_t)((uint64_t)(n + first * 1176 + seed) * 2654435761u);
        values[n] = (float)(hash >> 24) / 128 - 1;
    }
    return values;
}

static void add_visuals(const struct safetensors *golden, const char *name, const char *kind, int64_t seed,
                        struct golden_case *prompt) {
    if (!golden_has(golden, "%s/%s_grid", name, kind)) return;
    struct golden_tensor grids = golden_get(golden, "%s/%s_grid", name, kind);
    int64_t first = 0;
    for (int64_t i = 0; i < grids.rows; i++) {
        const int32_t *grid = (const int32_t *)grids.data + 3 * i;
        struct visual_grid *visual = &prompt->visuals[prompt->visual_count];
        *visual = (struct visual_grid){grid[0], grid[1], grid[2], 0};
        if (strcmp(kind, "video") == 0)
            visual->second_per_grid = ((const float *)golden_get(golden, "%s/second_per_grid", name).data)[i];
        int64_t rows = visual->t * visual->h * visual->w;
        prompt->patches[prompt->visual_count++] = make_patches(rows, first, seed);
        first += rows;
    }
}

struct golden_case golden_case_get(const struct safetensors *golden, const char *name) {
    struct golden_case prompt = {0};
    struct golden_tensor tokens = golden_get(golden, "%s/input_ids", name);
    prompt.tokens = tokens.data;
    prompt.count = tokens.cols;
    add_visuals(golden, name, "image", 0, &prompt);
    prompt.images = prompt.visual_count;
    add_visuals(golden, name, "video", 5000, &prompt);
    return prompt;
}

void golden_case_free(struct golden_case *prompt) {
    for (int64_t i = 0; i < prompt->visual_count; i++) free(prompt->patches[i]);
    *prompt = (struct golden_case){0};
}

void golden_model_open(struct golden_model *opened, const char *shape, const char *device,
                       enum dtype compute) {
    struct error err;
    char folder[256];
    snprintf(folder, sizeof folder, "%s/model/%s", golden_root(), shape);
    test_device_open(device, &opened->device);
    if (model_open(folder, &opened->device, compute, &opened->model, &err)) fail_msg("%s", err.message);
    arena_init(&opened->arena, &opened->device, 1 << 20);
}

void golden_model_close(struct golden_model *opened) {
    arena_free(&opened->arena);
    model_close(&opened->model);
    device_close(&opened->device);
}

float *read_floats(struct golden_model *opened, struct tensor tensor) {
    struct error err;
    struct tensor copy = arena_tensor(&opened->arena, DTYPE_F32, tensor.rows, tensor.cols);
    float *values = malloc((size_t)(tensor.rows * tensor.cols) * sizeof *values);
    assert_non_null(values);
    convert(&opened->device, copy, tensor);
    if (device_read(&opened->device, values, copy, &err)) fail_msg("%s", err.message);
    return values;
}

void assert_close(const float *a, const float *b, int64_t count, double tolerance, const char *what) {
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)a[i] - (double)b[i]) <= tolerance))
            fail_msg("%s: element %lld is %.9g, not %.9g (within %g)", what, (long long)i, (double)a[i],
                     (double)b[i], tolerance);
}

double distance(const float *a, const float *b, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = (double)a[i] - (double)b[i];
        sum += d * d;
    }
    return sqrt(sum / (double)count);
}
