/* Loading weights: every name spelling, stored type, compute type and device gives the same values; wrong
 * checkpoints are refused by one line that names the tensors; no failing allocation crashes or leaks. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "model/safetensors.h"
#include "tensor/float16.h"
#include "tests/device.h"
#include "tests/model/support_checkpoint.h"

static float *read_tensor(struct device *device, struct tensor tensor) {
    struct error err;
    size_t count = (size_t)(tensor.rows * tensor.cols);
    float *values = calloc(count, sizeof *values);
    assert_int_equal(tensor.stride, tensor.cols);
    if (tensor.dtype == DTYPE_F32) {
        assert_int_equal(device_read(device, values, tensor, &err), STATUS_OK);
    } else {
        uint16_t *halves = calloc(count, sizeof *halves);
        assert_int_equal(tensor.dtype, DTYPE_BF16);
        assert_int_equal(device_read(device, halves, tensor, &err), STATUS_OK);
        for (size_t i = 0; i < count; i++) values[i] = float_from_bf16(halves[i]);
        free(halves);
    }
    return values;
}

/* Every parameter has its shape and support_value's values. */
static void check_values(struct model *model) {
    struct error err;
    size_t count;
    struct parameter *parameters = parameters_list(&model->config, &count, &err);
    assert_non_null(parameters);
    for (size_t i = 0; i < count; i++) {
        const struct parameter *parameter = &parameters[i];
        struct tensor tensor = *parameter_tensor(model, parameter);
        assert_non_null(tensor.data);
        assert_int_equal(tensor.rows, parameter->rows);
        assert_int_equal(tensor.cols, parameter->cols);
        if (parameter->kind == PARAMETER_NORM) assert_int_equal(tensor.dtype, DTYPE_F32);
        if (parameter->kind == PARAMETER_BIAS) assert_int_equal(tensor.dtype, model->compute);
        bool operand = parameter->kind != PARAMETER_NORM && parameter->kind != PARAMETER_EMBEDDING;
        if (operand && model->compute == DTYPE_BF16) assert_int_equal(tensor.dtype, DTYPE_BF16);
        float *values = read_tensor(model->device, tensor);
        for (int64_t k = 0; k < tensor.rows * tensor.cols; k++)
            if (values[k] != support_value(parameter->name, k))
                fail_msg("%s[%lld] is %g, not %g", parameter->name, (long long)k, (double)values[k],
                         (double)support_value(parameter->name, k));
        free(values);
    }
    free(parameters);
    struct tensor head = model->language.head, embedding = model->language.embedding;
    bool one = embedding.dtype == DTYPE_BF16 || model->compute == DTYPE_F32;
    assert_int_equal(model->config.tied_embeddings && one, head.data == embedding.data);
    if (model->compute == DTYPE_BF16) assert_int_equal(head.dtype, DTYPE_BF16);
    if (!model->config.tied_embeddings) return;
    float *values = read_tensor(model->device, head), *table = read_tensor(model->device, embedding);
    assert_memory_equal(values, table, (size_t)(head.rows * head.cols) * sizeof *values);
    free(values);
    free(table);
}

static void every_way_to_store_loads(void **state) {
    (void)state;
    static const enum dtype stored[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    static const enum dtype compute[] = {DTYPE_F32, DTYPE_BF16};
    static const char *const devices[] = {"cpu", "guard"};
    struct error err;
    for (int kind = 0; kind < 12; kind++) {
        bool tied = kind & 1, new_names = kind & 2;
        struct model_config config = support_tiny_config(tied);
        char *folder =
            support_checkpoint(&config, (struct support_changes){.dtype = stored[kind % 3],
                                                                 .new_names = new_names,
                                                                 .shard_bytes = kind & 4 ? 30000 : 0});
        for (int way = 0; way < 4; way++) {
            struct device device;
            struct model model;
            test_device_open(devices[way / 2], &device);
            if (model_open(folder, &device, compute[way % 2], &model, &err) != STATUS_OK)
                fail_msg("%s", err.message);
            assert_memory_equal(&model.config, &config, sizeof config);
            check_values(&model);
            model_close(&model);
            device_close(&device);
        }
        support_folder_remove(folder);
    }
}

/* Opens and closes; the error's message on failure. */
static enum status try_open(const char *folder, const char *kind, struct error *err) {
    struct device device;
    struct model model;
    test_device_open(kind, &device);
    enum status status = model_open(folder, &device, DTYPE_F32, &model, err);
    if (status == STATUS_OK) {
        check_values(&model);
        model_close(&model);
    }
    device_close(&device);
    return status;
}

static void expect(const struct model_config *config, struct support_changes changes, const char *message) {
    struct error err = {0};
    char *folder = support_checkpoint(config, changes);
    enum status status = try_open(folder, "cpu", &err);
    if (!message) {
        if (status != STATUS_OK) fail_msg("%s", err.message);
    } else {
        assert_int_equal(status, STATUS_FAILED);
        assert_ptr_equal(strstr(err.message, folder), err.message);
        assert_string_equal(err.message + strlen(folder) + 2, message);
    }
    support_folder_remove(folder);
}

static void wrong_tensors_are_named(void **state) {
    (void)state;
    const struct model_config untied = support_tiny_config(false), tied = support_tiny_config(true);
    expect(&untied, (struct support_changes){.leave_out = "lm_head"},
           "tensors missing (1): lm_head.weight (tie_word_embeddings is false)");
    expect(&tied, (struct support_changes){.add = "lm_head.weight"}, NULL);
    expect(&tied, (struct support_changes){.add = "visual.rotary_pos_emb.inv_freq"}, NULL);
    expect(&tied, (struct support_changes){.add = "model.layers.0.self_attn.rotary_emb.inv_freq"}, NULL);
    expect(&tied, (struct support_changes){.leave_out = "layers.1."},
           "tensors missing (12): model.language_model.layers.1.input_layernorm.weight, "
           "model.language_model.layers.1.self_attn.q_proj.weight, "
           "model.language_model.layers.1.self_attn.q_proj.bias, "
           "model.language_model.layers.1.self_attn.k_proj.weight and 8 more");
    expect(
        &tied,
        (struct support_changes){.leave_out = "merger.ln_q",
                                 .reshape = "model.language_model.norm.weight",
                                 .add = "model.layers.7.mlp.up_proj.weight"},
        "tensors missing (1): model.visual.merger.ln_q.weight; tensors of wrong shape (1): model.norm.weight "
        "is [65], not [64]; tensors that do not belong to the model (1): model.layers.7.mlp.up_proj.weight");
    expect(&tied, (struct support_changes){.add = "model.language_model.norm.weight"},
           "tensors of wrong shape (1): model.language_model.norm.weight is [3], not [64]; "
           "tensors that do not belong to the model (1): model.norm.weight (also stored as "
           "model.language_model.norm.weight)");
}

/* A file whose data begins at an odd byte, as safetensors allows when the header's length is odd. The f16
 * embedding is too large to be converted in one piece. */
static void unaligned_data_is_copied(void **state) {
    (void)state;
    struct error err;
    struct model_config config = support_tiny_config(true);
    for (int kind = 0; kind < 3; kind++) {
        if (kind == DTYPE_F16) config.vocab = 70000;
        char *folder = support_checkpoint(&config, (struct support_changes){.dtype = (enum dtype)kind});
        char path[4096], *text;
        size_t length;
        snprintf(path, sizeof path, "%s/model.safetensors", folder);
        assert_int_equal(file_read(path, SIZE_MAX, &text, &length, &err), STATUS_OK);
        uint64_t header;
        memcpy(&header, text, sizeof header);
        char *moved = malloc(length + 1);
        memcpy(moved, text, sizeof header + header);
        moved[sizeof header + header] = ' ';
        memcpy(moved + sizeof header + header + 1, text + sizeof header + header,
               length - sizeof header - header);
        header++;
        memcpy(moved, &header, sizeof header);
        assert_int_equal(file_write(path, moved, length + 1, &err), STATUS_OK);
        free(moved);
        free(text);
        assert_int_equal(try_open(folder, "cpu", &err), STATUS_OK);
        assert_int_equal(try_open(folder, "guard", &err), STATUS_OK);
        support_folder_remove(folder);
    }
}

static void a_type_of_no_use_is_named(void **state) {
    (void)state;
    struct error err;
    struct model_config config = support_tiny_config(true);
    char *folder = support_checkpoint(&config, (struct support_changes){.dtype = DTYPE_F16});
    char path[4096], *text;
    size_t length;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    assert_int_equal(file_read(path, SIZE_MAX, &text, &length, &err), STATUS_OK);
    char *type = memmem(text, length, "\"F16\"", 5);
    assert_non_null(type);
    memcpy(type, "\"I16\"", 5);
    assert_int_equal(file_write(path, text, length, &err), STATUS_OK);
    free(text);
    assert_int_equal(try_open(folder, "cpu", &err), STATUS_FAILED);
    assert_non_null(strstr(err.message,
                           "tensors of an unsupported type (1): visual.patch_embed.proj.weight is "
                           "I16"));
    support_folder_remove(folder);
}

/* ---- Failing allocations ----------------------------------------------------------------------------- */

static long allocations_left = -1; /* -1: unlimited */

static bool allocation_fails(void) {
    if (allocations_left < 0) return false;
    if (allocations_left == 0) return true;
    allocations_left--;
    return false;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__real_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset);
int __real_posix_memalign(void **memory, size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);

void *__wrap_malloc(size_t size) {
    return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size) {
    return allocation_fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return allocation_fails() ? NULL : __real_aligned_alloc(alignment, size);
}

int __wrap_posix_memalign(void **memory, size_t alignment, size_t size) {
    return allocation_fails() ? ENOMEM : __real_posix_memalign(memory, alignment, size);
}

void *__wrap_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    if (!allocation_fails()) return __real_mmap(address, length, protection, flags, fd, offset);
    errno = ENOMEM;
    return MAP_FAILED;
}

int __wrap_fsync(int fd);

/* Waiting for the disk would be most of this test's time. */
int __wrap_fsync(int fd) {
    (void)fd;
    return 0;
}

/* jansson allocates inside its own library, out of the linker's reach. */
static void *malloc_for_json(size_t size) {
    return allocation_fails() ? NULL : __real_malloc(size);
}

static void failing_allocations_are_errors(void **state) {
    (void)state;
    struct error err;
    static const char *const devices[] = {"cpu", "guard"};
    struct model_config config = support_tiny_config(false);
    config.layers = config.vision.depth = 1; /* fewer allocations to walk */
    config.vision.full_blocks[0] = 0;
    char *folder = support_checkpoint(&config, (struct support_changes){.shard_bytes = 60000});
    json_set_alloc_funcs(malloc_for_json, free);
    for (int kind = 0; kind < 4; kind++) {
        struct device device;
        struct model model;
        test_device_open(devices[kind / 2], &device);
        enum status status = STATUS_FAILED;
        long step = 0;
        for (; status != STATUS_OK && step < 100000; step++) {
            err.message[0] = '\0';
            allocations_left = step;
            status = model_open(folder, &device, kind % 2 ? DTYPE_BF16 : DTYPE_F32, &model, &err);
            allocations_left = -1;
            if (status != STATUS_OK) {
                assert_true(err.message[0] != '\0');
                assert_null(strchr(err.message, '\n'));
                assert_null(model.checkpoint);
            }
        }
        assert_int_equal(status, STATUS_OK);
        assert_true(step > 20);
        check_values(&model);
        model_close(&model);
        device_close(&device);
    }
    json_set_alloc_funcs(malloc, free);
    support_folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_to_store_loads),       cmocka_unit_test(wrong_tensors_are_named),
        cmocka_unit_test(unaligned_data_is_copied),       cmocka_unit_test(a_type_of_no_use_is_named),
        cmocka_unit_test(failing_allocations_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
