/* A model's state shared by processes. Run alone here; test_processes.sh runs it by mpirun with several. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tensor/ops.h"
#include "tests/device.h"
#include "tests/model/support_golden.h"
#include "tests/refuse.h"
#include "train/buckets.h"
#include "train/pass.h"

static struct error err;
static struct communicator *all;
static int rank, size;
static const struct optimizer_settings settings = {
    .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.1, .max_grad_norm = 1};

static int meet(void **state) {
    (void)state;
    if (communicator_open(&all, &err) != STATUS_OK) return -1;
    rank = communicator_rank(all);
    size = communicator_size(all);
    const char *wanted = getenv("VS2_TEST_PROCESSES");
    return size == (wanted ? atoi(wanted) : 1) ? 0 : -1;
}

static int part(void **state) {
    (void)state;
    communicator_close(all, STATUS_OK);
    return 0;
}

struct fixture {
    struct device device;
    struct model model;
    struct optimizer optimizer;
};

static void open_all(struct fixture *f, const char *name, enum dtype compute, int stage, bool overlaps) {
    const struct freeze freeze = {0};
    const struct optimizer_sharing sharing = {.processes = all, .stage = stage, .overlaps = overlaps};
    test_device_open("cpu", &f->device);
    if (optimizer_open_model(name, &f->device, compute, &freeze, &f->model, &err) != STATUS_OK ||
        optimizer_open(&f->optimizer, &f->model, &freeze, sharing, &err) != STATUS_OK)
        fail_msg("%s", err.message);
}

static void close_all(struct fixture *f) {
    optimizer_close(&f->optimizer);
    model_close(&f->model);
    device_close(&f->device);
}

/* What process r adds to element i of the gradient of parameter p in step s. */
static float gradient_of(int r, size_t p, int64_t i, int s) {
    return sinf((float)(i % 101) + (float)p * 0.7f + (float)r * 0.3f + (float)s) * 1e-2f;
}

/* Adds this process's gradients as a step's only pass does, unit by unit from the last to the first; `bad`:
 * one of them is no number. */
static void write_gradients(struct fixture *f, int step, bool bad) {
    optimizer_last_pass(&f->optimizer);
    for (size_t p = f->optimizer.count; p-- > 0;) {
        const struct parameter *parameter = f->optimizer.trained[p].parameter;
        const struct parameter *next = p > 0 ? parameter - 1 : NULL;
        struct tensor gradient = f->optimizer.trained[p].gradient;
        int64_t elements = gradient.rows * gradient.cols;
        float *values = malloc((size_t)elements * sizeof *values);
        assert_non_null(values);
        for (int64_t i = 0; i < elements; i++) values[i] = gradient_of(rank, p, i, step);
        if (bad && p == 3) values[elements - 1] = NAN;
        device_write(&f->device, gradient, values);
        free(values);
        if (!next || next->unit != parameter->unit || next->layer != parameter->layer)
            model_leave(&f->optimizer.gradients, parameter->unit, parameter->layer);
    }
    if (f->optimizer.buckets) assert_true(buckets_begun(f->optimizer.buckets) > UNIT_KINDS); /* all have */
    assert_int_equal(optimizer_end_passes(&f->optimizer, &err), STATUS_OK);
}

static double take_step(struct fixture *f, int step, double norm) {
    double own;
    write_gradients(f, step, false);
    assert_int_equal(optimizer_reduce(&f->optimizer, &err), STATUS_OK);
    assert_int_equal(optimizer_norm(&f->optimizer, 1.0 / size, &own, &err), STATUS_OK);
    optimizer_step(&f->optimizer, &settings, 1e-2, 1.0 / size, norm > 0 ? norm : own);
    return own;
}

static void assert_same(struct fixture *a, struct fixture *b, struct tensor x, struct tensor y,
                        const char *name) {
    size_t bytes = (size_t)(x.rows * x.cols) * dtype_size(x.dtype);
    char *ours = malloc(bytes), *theirs = malloc(bytes);
    assert_true(x.dtype == y.dtype && ours && theirs);
    assert_int_equal(device_read(&a->device, ours, x, &err), STATUS_OK);
    assert_int_equal(device_read(&b->device, theirs, y, &err), STATUS_OK);
    if (memcmp(ours, theirs, bytes) != 0) fail_msg("%s", name);
    free(ours);
    free(theirs);
}

/* The bits of what the model computes with, when a pass comes to it. */
static void assert_same_model(struct fixture *a, struct fixture *b) {
    for (size_t p = 0; p < a->optimizer.parameter_count; p++) {
        const struct parameter *parameter = &a->optimizer.parameters[p];
        model_enter(&b->model, parameter->unit, parameter->layer);
        assert_same(a, b, *parameter_tensor(&a->model, parameter), *parameter_tensor(&b->model, parameter),
                    parameter->name);
    }
    model_enter(&b->model, UNIT_HEAD, 0);
    assert_same(a, b, a->model.language.head, b->model.language.head, "the head");
}

/* Steps of shared states are those of whole ones, to the bit, but for the order in which the norm is summed.
 */
static void test_steps(void **state) {
    (void)state;
    static const char *const models[] = {"tests/golden/model/tied", "tests/golden/model/untied"};
    static const enum dtype types[] = {DTYPE_F32, DTYPE_BF16};
    for (int test = 0; test < 28; test++) { /* the last 16 with exchanges beside the passes */
        if (on_emulated_device() && test % 4 % 3 != 0) continue; /* it takes its time for each */
        struct fixture whole, shared;
        int stage = test < 12 ? 1 + test / 4 : test / 4 - 3;
        open_all(&whole, models[test / 2 % 2], types[test % 2], 0, false);
        open_all(&shared, models[test / 2 % 2], types[test % 2], stage, test >= 12);
        assert_int_equal(shared.optimizer.stage, size > 1 ? stage : 0);
        assert_same_model(&whole, &shared);
        assert_true(shared.optimizer.elements == whole.optimizer.elements);
        for (int step = 0; step < 2; step++) {
            double norm = take_step(&whole, step, 0), other = take_step(&shared, step, norm);
            assert_true(fabs(other / norm - 1) < 1e-6);
        }
        optimizer_refresh(&shared.optimizer);
        assert_same_model(&whole, &shared);
        close_all(&shared);
        close_all(&whole);
    }
}

/* Shares of the parameters add up to all of them, and gradients are zero after a step. */
static void test_shares(void **state) {
    (void)state;
    struct fixture f;
    open_all(&f, "tests/golden/model/untied", DTYPE_BF16, 3, false);
    double kept = 0, norm;
    for (size_t p = 0; p < f.optimizer.count; p++) {
        const struct trained_parameter *trained = &f.optimizer.trained[p];
        kept += (double)trained->shard.count;
        for (int t = 0; t < OPTIMIZER_PARTS; t++)
            assert_true(trained->parts[t].rows * trained->parts[t].cols == trained->shard.count);
    }
    assert_true(size == 1 || kept < 0.8 * (double)f.optimizer.elements);
    assert_int_equal(communicator_sum_values(all, &kept, 1, &err), STATUS_OK);
    assert_true(kept == (double)f.optimizer.elements);
    take_step(&f, 0, 0);
    assert_int_equal(optimizer_reduce(&f.optimizer, &err), STATUS_OK);
    assert_int_equal(optimizer_norm(&f.optimizer, 1, &norm, &err), STATUS_OK);
    assert_true(norm == 0);
    close_all(&f);
}

/* Whole weights for generating are those of a model that is whole, lie in one chunk that is used again, and
 * where one process has no memory for them none gets them. */
static void test_whole_weights(void **state) {
    (void)state;
    for (int test = 0; test < 4; test++) {
        const char *name = test / 2 ? "tests/golden/model/untied" : "tests/golden/model/tied";
        struct fixture whole, shared;
        struct arena arena;
        open_all(&whole, name, test % 2 ? DTYPE_BF16 : DTYPE_F32, 0, false);
        open_all(&shared, name, test % 2 ? DTYPE_BF16 : DTYPE_F32, 3, false);
        arena_init(&arena, &shared.device, 1);
        arena_tensor(&arena, DTYPE_F32, 1, 1); /* a chunk that is too small, and free */
        arena_release(&arena, (struct arena_mark){0});
        take_step(&shared, 0, take_step(&whole, 0, 0));
        allocations_left = rank == size - 1 ? 0 : -1;
        assert_int_equal(optimizer_gather_weights(&shared.optimizer, &arena, &err),
                         size > 1 ? STATUS_FAILED : STATUS_OK);
        allocations_left = -1;
        if (size > 1 && !strstr(err.message, "whole weights to generate with")) fail_msg("%s", err.message);
        assert_same_model(&whole, &shared);
        for (int time = 0; time < 2; time++) {
            assert_int_equal(optimizer_gather_weights(&shared.optimizer, &arena, &err), STATUS_OK);
            assert_true(arena.count == (size_t)(size > 1 ? 2 : 1));
            for (size_t p = 0; p < whole.optimizer.parameter_count; p++) {
                const struct parameter *parameter = &whole.optimizer.parameters[p];
                assert_same(&whole, &shared, *parameter_tensor(&whole.model, parameter),
                            *parameter_tensor(&shared.model, parameter), parameter->name);
            }
            assert_same(&whole, &shared, whole.model.language.head, shared.model.language.head, "the head");
            optimizer_drop_weights(&shared.optimizer);
            assert_true(arena.in_use == 0 && arena.current == 0 && arena.used == 0);
            assert_same_model(&whole, &shared);
        }
        arena_free(&arena);
        close_all(&shared);
        close_all(&whole);
    }
}

/* What is planned is what is taken, by the process that has most. */
static void test_bytes(void **state) {
    (void)state;
    const struct freeze freeze = {0};
    for (int stage = 0; stage <= 3 && rank == 0; stage++) {
        struct fixture f;
        open_all(&f, "tests/golden/model/tied", DTYPE_BF16, stage, false);
        const struct optimizer *o = &f.optimizer;
        const struct optimizer_sharing sharing = {.processes = all, .stage = stage};
        int64_t bytes = units_bytes(&f.model, o->parameters, o->parameter_count, &freeze, sharing);
        for (size_t p = 0; p < o->count; p++) {
            const struct trained_parameter *trained = &o->trained[p];
            int64_t all_of_it = trained->weight.rows * trained->weight.cols, shard = trained->shard.count;
            int64_t copied = trained->operand.rows * trained->operand.cols;
            int64_t learned = trained->gradient.rows * trained->gradient.cols;
            bytes += 8 * shard + 4 * (o->stage >= 2 ? shard : learned);
            bytes += o->stage >= 3 ? 4 * shard : 4 * (all_of_it > 0 ? all_of_it : shard);
            bytes += 2 * (o->stage >= 3 && copied > 0 ? shard : copied);
        }
        assert_true(bytes ==
                    optimizer_shared_bytes(&f.model, o->parameters, o->parameter_count, &freeze, sharing));
        assert_true(bytes == o->bytes);
        const struct optimizer_sharing planned = {.stage = stage, .plans_processes = size};
        assert_true(bytes ==
                    optimizer_shared_bytes(&f.model, o->parameters, o->parameter_count, &freeze, planned));
        close_all(&f);
    }
}

/* Between GPUs layers that follow each other have their gradients in two rooms, when exchanges overlap. */
static void test_planned_rooms(void **state) {
    (void)state;
    const struct freeze freeze = {.vision_tower = true, .projector = true};
    struct fixture f;
    open_all(&f, "tests/golden/model/tied", DTYPE_F32, 0, false);
    const struct optimizer *o = &f.optimizer;
    for (int stage = 0; stage <= 3; stage++) {
        struct optimizer_sharing sharing = {.processes = all, .stage = stage, .plans_gpus = true};
        int64_t layer = 0, one, two;
        for (size_t p = 0; p < o->parameter_count; p++)
            if (o->parameters[p].unit == UNIT_LAYER && o->parameters[p].layer == 1)
                layer += (o->parameters[p].rows * o->parameters[p].cols + 15) / 16 * 64;
        one = optimizer_shared_bytes(&f.model, o->parameters, o->parameter_count, &freeze, sharing);
        sharing.overlaps = true;
        two = optimizer_shared_bytes(&f.model, o->parameters, o->parameter_count, &freeze, sharing);
        assert_true(two - one == (size > 1 && stage >= 2 ? layer : 0));
    }
    close_all(&f);
}

/* What is no number in one process makes the norm one that is none in all. */
static void test_not_a_number(void **state) {
    (void)state;
    for (int stage = 0; stage <= 3; stage++) {
        struct fixture f;
        double norm;
        open_all(&f, "tests/golden/model/tied", DTYPE_F32, stage, true);
        write_gradients(&f, 0, rank == size - 1);
        assert_int_equal(optimizer_reduce(&f.optimizer, &err), STATUS_OK);
        assert_int_equal(optimizer_norm(&f.optimizer, 1, &norm, &err), STATUS_OK);
        assert_true(isnan(norm));
        optimizer_clear(&f.optimizer);
        assert_int_equal(optimizer_norm(&f.optimizer, 1, &norm, &err), STATUS_OK);
        assert_true(norm == 0);
        close_all(&f);
    }
}

/* ---- Passes ------------------------------------------------------------------------------------------ */

/* A pass over a prompt of the goldens, whose last tokens have labels; its sum of log-probabilities. */
static double run_pass(struct fixture *f, const char *shape, const char *name, bool backward,
                       enum status expected) {
    enum { LABELS = 3 };
    struct safetensors golden = golden_open(shape);
    struct golden_case prompt = golden_case_get(&golden, name);
    int32_t *labels = malloc((size_t)prompt.count * sizeof *labels);
    assert_non_null(labels);
    for (int64_t i = 0; i < prompt.count; i++) labels[i] = i < prompt.count - LABELS ? -1 : prompt.tokens[i];
    const struct pass_sample sample = {
        .count = prompt.count,
        .tokens = prompt.tokens,
        .labels = labels,
        .visuals = {.count = prompt.visual_count,
                    .grids = prompt.visuals,
                    .patches = (const float *const *)prompt.patches},
        .weight = 1,
    };
    const struct pass_settings with = {.model = &f->model,
                                       .gradients = &f->optimizer.gradients,
                                       .units = f->optimizer.units,
                                       .recompute = true};
    struct pass_runner *runner = pass_runner_new(&with, &err);
    double sum = 0;
    assert_non_null(runner);
    enum status status = pass_run(runner, &sample, 1, backward, &sum, &err);
    if (status != expected) fail_msg("%s", err.message);
    pass_runner_free(runner);
    free(labels);
    golden_case_free(&prompt);
    safetensors_close(&golden);
    return sum;
}

static void assert_near(struct fixture *a, struct fixture *b, struct tensor x, struct tensor y,
                        const char *name) {
    int64_t count = x.rows * x.cols;
    float *ours = malloc((size_t)count * sizeof *ours + 1),
          *theirs = malloc((size_t)count * sizeof *ours + 1);
    assert_non_null(ours);
    assert_non_null(theirs);
    if (count > 0) {
        assert_int_equal(device_read(&a->device, ours, x, &err), STATUS_OK);
        assert_int_equal(device_read(&b->device, theirs, y, &err), STATUS_OK);
    }
    for (int64_t i = 0; i < count; i++)
        if (fabsf(ours[i] - theirs[i]) > 1e-5f) fail_msg("%s: %g, not %g", name, theirs[i], ours[i]);
    free(ours);
    free(theirs);
}

/* Processes that have other passes, and not as many: text alone, visuals, or none at all. */
static void test_uneven_passes(void **state) {
    (void)state;
    static const char *const shapes[] = {"tied", "untied"};
    for (int test = 0; test < 12; test++) {
        const char *shape = shapes[test % 2];
        const int stage = test < 4 ? 2 + test / 2 : test / 2 - 2; /* 2, 3; beside the passes 0 to 3 */
        char folder[64];
        snprintf(folder, sizeof folder, "tests/golden/model/%s", shape);
        struct fixture whole, shared, *both[] = {&whole, &shared};
        open_all(&whole, folder, DTYPE_F32, 0, false);
        open_all(&shared, folder, DTYPE_F32, stage, test >= 4);
        double sums[2] = {0};
        for (int f = 0; f < 2; f++) {
            struct optimizer *optimizer = &both[f]->optimizer;
            struct units *units = optimizer->units;
            if (rank == 0) sums[f] += run_pass(both[f], shape, "text", true, STATUS_OK);
            if (rank == size - 1 && rank > 0) optimizer_last_pass(optimizer);
            if (rank == size - 1) sums[f] += run_pass(both[f], shape, "video", true, STATUS_OK);
            if (rank == 0) optimizer_last_pass(optimizer);
            if (rank == 0) sums[f] += run_pass(both[f], shape, "mixed", true, STATUS_OK);
            bool passes = rank == 0 || rank == size - 1;
            if (optimizer->buckets) assert_int_equal(buckets_begun(optimizer->buckets) > 0, passes);
            assert_int_equal(optimizer_end_passes(optimizer, &err), STATUS_OK);
            assert_int_equal(units_finish(units, all, true, STATUS_OK, &err), STATUS_OK);
            if (rank == size - 1) sums[f] += run_pass(both[f], shape, "mixed", false, STATUS_OK);
            assert_int_equal(units_finish(units, all, false, STATUS_OK, &err), STATUS_OK);
            assert_int_equal(optimizer_reduce(&both[f]->optimizer, &err), STATUS_OK);
        }
        assert_true(sums[0] == sums[1]);
        for (size_t p = 0; p < whole.optimizer.count; p++) {
            const struct trained_parameter *trained = &shared.optimizer.trained[p];
            struct tensor sum = shard_view(whole.optimizer.trained[p].gradient, trained->shard);
            assert_near(&whole, &shared, sum, trained->parts[OPTIMIZER_GRADIENT], trained->parameter->name);
            if (stage == 0)
                assert_same(&whole, &shared, whole.optimizer.trained[p].gradient, trained->gradient, "sums");
        }
        close_all(&shared);
        close_all(&whole);
    }
}

/* A device that fails in the last pass of a step makes no sums that the others would wait for: it is told. */
static void test_failed_devices(void **state) {
    (void)state;
    for (int stage = 0; stage <= 1; stage++) {
        struct fixture f;
        open_all(&f, "tests/golden/model/tied", DTYPE_F32, stage, true);
        optimizer_last_pass(&f.optimizer);
        device_fail(&f.device, "a fault");
        assert_int_equal(optimizer_end_passes(&f.optimizer, &err), size > 1 ? STATUS_FAILED : STATUS_OK);
        if (size > 1) assert_non_null(strstr(err.message, "a fault"));
        close_all(&f);
    }
}

/* Where one process has no memory for its optimizer no other one waits for it with an exchange. */
static void test_failure_to_open(void **state) {
    (void)state;
    const struct freeze freeze = {0};
    for (int stage = 0; stage <= 3; stage++) {
        const struct optimizer_sharing sharing = {.processes = all, .stage = stage, .overlaps = true};
        struct fixture f;
        test_device_open("cpu", &f.device);
        assert_int_equal(
            optimizer_open_model("tests/golden/model/tied", &f.device, DTYPE_F32, &freeze, &f.model, &err),
            STATUS_OK);
        allocations_left = rank == size - 1 ? 3 : -1;
        enum status status = optimizer_open(&f.optimizer, &f.model, &freeze, sharing, &err);
        allocations_left = -1;
        assert_int_equal(status, STATUS_FAILED);
        assert_non_null(strstr(err.message, "out of memory for "));
        assert_int_equal(communicator_agree(all, STATUS_OK, &err), STATUS_OK);
        model_close(&f.model);
        device_close(&f.device);
    }
}

/* A process that fails between its passes is heard of by those that have some, and by those that have none.
 */
static void test_failure(void **state) {
    (void)state;
    struct fixture f;
    open_all(&f, "tests/golden/model/tied", DTYPE_F32, 3, true);
    bool fails = rank == size - 1, trains = rank == 0 && size > 1;
    struct error cause;
    enum status status = fails ? error_set(&cause, "the disk is full") : STATUS_OK;
    if (trains) {
        run_pass(&f, "tied", "text", true, STATUS_FAILED);
        cause = err;
        status = STATUS_FAILED;
    }
    assert_int_equal(units_finish(f.optimizer.units, all, true, status, &cause), STATUS_FAILED);
    assert_non_null(strstr(cause.message, "the disk is full"));
    close_all(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),          cmocka_unit_test(test_shares),
        cmocka_unit_test(test_whole_weights),  cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_planned_rooms),  cmocka_unit_test(test_not_a_number),
        cmocka_unit_test(test_uneven_passes),  cmocka_unit_test(test_failure),
        cmocka_unit_test(test_failed_devices), cmocka_unit_test(test_failure_to_open),
    };
    return cmocka_run_group_tests(tests, meet, part);
}
