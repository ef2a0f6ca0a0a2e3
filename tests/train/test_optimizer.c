#include "train/optimizer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tensor/ops.h"
#include "tests/device.h"
#include "tests/refuse.h"

static struct error err;
static const struct optimizer_sharing alone;

struct fixture {
    struct device device;
    struct model model;
    struct optimizer optimizer;
};

static void open_model(struct fixture *f, const char *name, enum dtype compute, const struct freeze *freeze) {
    test_device_open("guard", &f->device);
    if (optimizer_open_model(name, &f->device, compute, freeze, &f->model, &err) != STATUS_OK)
        fail_msg("%s", err.message);
}

static void open_all(struct fixture *f, const char *name, enum dtype compute, struct freeze freeze) {
    open_model(f, name, compute, &freeze);
    if (optimizer_open(&f->optimizer, &f->model, &freeze, alone, &err) != STATUS_OK)
        fail_msg("%s", err.message);
}

static void close_all(struct fixture *f) {
    optimizer_close(&f->optimizer);
    model_close(&f->model);
    device_close(&f->device);
}

/* transformers' get_decay_parameter_names on Qwen2.5-VL. */
static void test_what_decays(void **state) {
    (void)state;
    static const struct {
        const char *name;
        bool decays;
    } cases[] = {
        {"model.language_model.embed_tokens.weight", true},
        {"model.language_model.layers.0.input_layernorm.weight", false},
        {"model.language_model.layers.0.post_attention_layernorm.weight", false},
        {"model.language_model.layers.0.self_attn.q_proj.weight", true},
        {"model.language_model.layers.0.self_attn.q_proj.bias", false},
        {"model.language_model.norm.weight", false},
        {"model.visual.blocks.0.norm1.weight", true},
        {"model.visual.merger.ln_q.weight", true},
        {"model.visual.patch_embed.proj.weight", true},
        {"lm_head.weight", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct parameter parameter = {0};
        strcpy(parameter.name, cases[i].name);
        if (parameter_decays(&parameter) != cases[i].decays) fail_msg("%s", cases[i].name);
    }
}

/* The trained parts have weights of their own, and gradients where the model has them; the frozen ones not.
 */
static void test_frozen_parts(void **state) {
    (void)state;
    for (int set = 0; set < 7; set++) {
        struct freeze freeze = {set & 1, set & 2, set & 4};
        struct fixture f;
        open_all(&f, "tests/golden/model/tied", DTYPE_BF16, freeze);
        int64_t elements = 0;
        for (size_t i = 0; i < f.optimizer.parameter_count; i++) {
            const struct parameter *p = &f.optimizer.parameters[i];
            struct tensor gradient = *parameter_tensor(&f.optimizer.gradients, p);
            bool frozen = strstr(p->name, "visual.merger") ? freeze.projector
                          : strstr(p->name, "visual")      ? freeze.vision_tower
                                                           : freeze.language_model;
            assert_int_equal(gradient.data == NULL, frozen);
            if (frozen) continue;
            elements += p->rows * p->cols;
            assert_int_equal(gradient.dtype, DTYPE_F32);
        }
        assert_int_equal(f.optimizer.elements, elements);
        assert_int_equal(f.model.stream, DTYPE_F32);
        int64_t bytes =
            optimizer_bytes(&f.model, f.optimizer.parameters, f.optimizer.parameter_count, &freeze);
        assert_true(bytes >= 16 * elements && bytes <= 18 * elements);
        assert_int_equal(f.optimizer.bytes, bytes);
        close_all(&f);
    }
}

static void test_nothing_to_train(void **state) {
    (void)state;
    struct fixture f;
    struct freeze freeze = {true, true, true};
    open_model(&f, "tests/golden/model/tied", DTYPE_F32, &freeze);
    assert_int_equal(optimizer_open(&f.optimizer, &f.model, &freeze, alone, &err), STATUS_USAGE);
    assert_non_null(strstr(err.message, "nothing to train"));
    model_close(&f.model);
    device_close(&f.device);
}

/* Gradients of 3 everywhere: the norm, the first step's size, and zero afterwards. */
static void test_norm_and_step(void **state) {
    (void)state;
    struct fixture f;
    struct freeze freeze = {true, true, false};
    open_all(&f, "tests/golden/model/tied", DTYPE_BF16, freeze);
    const struct trained_parameter *embedding = &f.optimizer.trained[0];
    assert_string_equal(embedding->parameter->name, "model.language_model.embed_tokens.weight");
    struct tensor gradient = embedding->parts[OPTIMIZER_GRADIENT];
    size_t elements = (size_t)(gradient.rows * gradient.cols);
    float *values = calloc(elements, sizeof *values), *before = calloc(elements, sizeof *before);
    assert_int_equal(device_read(&f.device, before, embedding->parts[OPTIMIZER_WEIGHT], &err), STATUS_OK);
    for (size_t i = 0; i < elements; i++) values[i] = 3;
    device_write(&f.device, gradient, values);
    double norm;
    assert_int_equal(optimizer_norm(&f.optimizer, 0.5, &norm, &err), STATUS_OK);
    assert_true(fabs(norm / (1.5 * sqrt((double)elements)) - 1) < 1e-6);

    const struct optimizer_settings settings = {
        .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.1, .max_grad_norm = 1};
    optimizer_step(&f.optimizer, &settings, 0.01, 0.5, norm);
    assert_int_equal(f.optimizer.step, 1);
    assert_int_equal(device_read(&f.device, values, embedding->parts[OPTIMIZER_WEIGHT], &err), STATUS_OK);
    for (size_t i = 0; i < elements; i++) {
        double expected = (double)before[i] * (1 - 0.01 * 0.1) - 0.01; /* Adam's first step is the rate */
        assert_true(fabs((double)values[i] - expected) < 1e-5);
    }
    assert_int_equal(device_read(&f.device, values, embedding->parts[OPTIMIZER_FIRST], &err), STATUS_OK);
    assert_true(fabs((double)values[0] * sqrt((double)elements) / 0.1 - 1) < 1e-4); /* clipped to norm 1 */
    assert_int_equal(optimizer_norm(&f.optimizer, 1, &norm, &err), STATUS_OK);
    assert_true(norm == 0);
    free(values);
    free(before);
    close_all(&f);
}

/* Three steps, with gradients that differ from element to element; then all that the keeper has, in `kept`,
 * and all that passes use, in `seen`, each of 3 * elements at most. */
static void take_steps(struct fixture *f, float *kept, float *seen) {
    struct optimizer *o = &f->optimizer;
    const struct optimizer_settings settings = {
        .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.1, .max_grad_norm = 1};
    for (int step = 0; step < 3; step++) {
        double norm;
        for (size_t i = 0; i < o->count; i++) {
            struct tensor gradient = o->trained[i].parts[OPTIMIZER_GRADIENT];
            size_t elements = (size_t)(gradient.rows * gradient.cols);
            for (size_t e = 0; e < elements; e++) seen[e] = sinf((float)(e + 1) * (float)(step + 1));
            device_write(&f->device, gradient, seen);
        }
        assert_int_equal(optimizer_norm(o, 0.5, &norm, &err), STATUS_OK);
        optimizer_step(o, &settings, 0.01, 0.5, norm);
    }
    assert_int_equal(device_synchronize(&f->device, &err), STATUS_OK);
    for (size_t i = 0; i < o->count; i++) {
        const struct trained_parameter *t = &o->trained[i];
        for (int part = 0; part < OPTIMIZER_GRADIENT; part++) {
            assert_int_equal(device_read(o->keeper, kept, t->parts[part], &err), STATUS_OK);
            kept += t->parts[part].rows * t->parts[part].cols;
        }
        struct tensor tensors[] = {t->weight, t->operand, t->gradient};
        for (size_t k = 0; k < sizeof tensors / sizeof *tensors; k++) {
            if (!tensors[k].data) continue;
            assert_int_equal(device_read(&f->device, seen, tensors[k], &err), STATUS_OK);
            seen += tensors[k].rows * tensors[k].cols;
        }
    }
}

/* To the bit, or where AdamW of another device takes part near it. */
static void check_same(const float *expected, const float *values, size_t count) {
    float limit = on_own_device() ? 0 : 1e-6f;
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(values[i] - expected[i]) <= limit))
            fail_msg("element %zu is %.9g, not %.9g", i, (double)values[i], (double)expected[i]);
}

/* With the state on a host the CPU's numbers do not change by a bit, though the device has less to keep. */
static void test_offload(void **state) {
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        float *kept[2], *seen[2];
        size_t elements = 0;
        int64_t bytes[2];
        for (int offloads = 0; offloads < 2; offloads++) {
            struct fixture f;
            struct device host;
            struct freeze freeze = {true, false, false};
            open_model(&f, "tests/golden/model/tied", bf16 ? DTYPE_BF16 : DTYPE_F32, &freeze);
            assert_int_equal(device_open("cpu", &host, &err), STATUS_OK);
            const struct optimizer_sharing sharing = {.host = offloads ? &host : NULL};
            if (optimizer_open(&f.optimizer, &f.model, &freeze, sharing, &err) != STATUS_OK)
                fail_msg("%s", err.message);
            struct optimizer *o = &f.optimizer;
            elements = (size_t)o->elements;
            kept[offloads] = calloc(3 * elements, sizeof(float));
            seen[offloads] = calloc(3 * elements, sizeof(float));
            take_steps(&f, kept[offloads], seen[offloads]);
            bytes[offloads] = o->bytes;
            assert_int_equal(optimizer_host_bytes(o->parameters, o->parameter_count, &freeze, sharing),
                             offloads ? 12 * o->elements : 0);
            close_all(&f);
            device_close(&host);
        }
        check_same(kept[0], kept[1], 3 * elements);
        if (on_own_device()) check_same(seen[0], seen[1], 3 * elements);
        assert_true(bytes[1] <= bytes[0] - 8 * (int64_t)elements);
        for (int i = 0; i < 2; i++) {
            free(kept[i]);
            free(seen[i]);
        }
    }
}

/* Each allocation fails in its turn, with all after it; the model can be closed then. */
static void test_lack_of_memory(void **state) {
    (void)state;
    const struct freeze freeze = {true, false, false};
    for (int offloads = 0; offloads < 2; offloads++) {
        struct fixture f;
        struct device host;
        int allowed = 0;
        enum status status = STATUS_FAILED;
        assert_int_equal(device_open("cpu", &host, &err), STATUS_OK);
        const struct optimizer_sharing sharing = {.host = offloads ? &host : NULL};
        for (; status != STATUS_OK; allowed++) {
            open_model(&f, "tests/golden/model/untied", DTYPE_BF16, &freeze);
            allocations_left = allowed;
            status = optimizer_open(&f.optimizer, &f.model, &freeze, sharing, &err);
            allocations_left = -1;
            assert_false(f.device.failed || host.failed);
            if (status == STATUS_OK)
                optimizer_close(&f.optimizer);
            else if (!strstr(err.message, "out of memory for "))
                fail_msg("'%s'", err.message);
            model_close(&f.model);
            device_close(&f.device);
        }
        assert_in_range(allowed, 20, 10000);
        device_close(&host);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_decays),      cmocka_unit_test(test_frozen_parts),
        cmocka_unit_test(test_nothing_to_train), cmocka_unit_test(test_norm_and_step),
        cmocka_unit_test(test_offload),          cmocka_unit_test(test_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
