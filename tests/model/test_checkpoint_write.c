/* Writing checkpoints: divided into shards as asked, whole or not at all, and the same numbers however many
 * threads made them. */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "model/random_init.h"
#include "model/safetensors.h"
#include "tensor/float16.h"
#include "tests/model/support_checkpoint.h"

/* ---- Faults ------------------------------------------------------------------------------------------ */

static long writes_left = -1, allocations_left = -1; /* -1: unlimited */

static bool fails(long *left) {
    if (*left < 0) return false;
    if (*left == 0) return true;
    --*left;
    return false;
}

int __wrap_fsync(int fd);
ssize_t __real_write(int fd, const void *data, size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

ssize_t __wrap_write(int fd, const void *data, size_t size) {
    if (!fails(&writes_left)) return __real_write(fd, data, size);
    errno = ENOSPC;
    return -1;
}

/* Hundreds of waits for the disk would be most of this test's time. */
int __wrap_fsync(int fd) {
    (void)fd;
    return 0;
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails(&allocations_left) ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size) {
    return fails(&allocations_left) ? NULL : __real_realloc(old, size);
}

/* jansson allocates inside its own library, out of the linker's reach. */
static void *malloc_for_json(size_t size) {
    return fails(&allocations_left) ? NULL : malloc(size);
}

/* ---- Helpers ----------------------------------------------------------------------------------------- */

/* How many files of the folder have `part` in their names. */
static int count_files(const char *folder, const char *part) {
    int count = 0;
    DIR *listing = opendir(folder);
    for (struct dirent *entry; (entry = readdir(listing));)
        if (entry->d_name[0] != '.' && strstr(entry->d_name, part)) count++;
    closedir(listing);
    return count;
}

static char *read_whole(const char *folder, const char *name, size_t *length) {
    struct error err;
    char *path = file_join(folder, name, &err), *text = NULL;
    assert_int_equal(file_read(path, SIZE_MAX, &text, length, &err), STATUS_OK);
    free(path);
    return text;
}

static const struct generation_config generation = {
    .temperature = 1, .top_p = 1, .repetition_penalty = 1, .stop_tokens = {299}, .stop_token_count = 1};

static enum status write_random(const char *folder, enum dtype dtype, uint64_t seed, size_t shard_bytes,
                                struct error *err) {
    const struct model_config config = support_tiny_config(true);
    const struct random_weights weights = {.dtype = dtype, .seed = seed};
    return random_checkpoint_write(folder, &config, &generation, &weights, shard_bytes, err);
}

/* ---- Tests ------------------------------------------------------------------------------------------- */

static void shards_hold_what_one_file_holds(void **state) {
    (void)state;
    enum { SHARD_BYTES = 100000 };
    struct error err;
    struct safetensors whole, parts;
    char *one = support_folder(), *many = support_folder();
    assert_int_equal(write_random(one, DTYPE_BF16, 5, 0, &err), STATUS_OK);
    assert_int_equal(write_random(many, DTYPE_BF16, 5, SHARD_BYTES, &err), STATUS_OK);
    assert_int_equal(safetensors_open(one, &whole, &err), STATUS_OK);
    assert_int_equal(safetensors_open(many, &parts, &err), STATUS_OK);
    assert_int_equal(whole.file_count, 1);
    assert_true(parts.file_count > 2);
    assert_int_equal(parts.count, whole.count);
    assert_int_equal(count_files(many, "-of-0000"), parts.file_count);

    size_t total = 0;
    for (size_t i = 0; i < whole.count; i++) {
        const struct stored_tensor *a = &whole.tensors[i], *b = &parts.tensors[i];
        assert_string_equal(a->name, b->name);
        assert_int_equal(a->bytes, b->bytes);
        assert_memory_equal(a->data, b->data, a->bytes);
        total += a->bytes;
    }
    for (size_t i = 0; i < parts.file_count; i++) {
        size_t bytes = 0, tensors = 0;
        for (size_t k = 0; k < parts.count; k++)
            if (parts.tensors[k].file == i) {
                bytes += parts.tensors[k].bytes;
                tensors++;
            }
        assert_true(tensors == 1 || bytes <= SHARD_BYTES);
    }
    char *path = file_join(many, "model.safetensors.index.json", &err);
    json_t *index = json_read_file(path, SIZE_MAX, &err);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(index, "metadata"), "total_size")),
                     total);
    json_decref(index);
    free(path);
    safetensors_close(&whole);
    safetensors_close(&parts);
    support_folder_remove(one);
    support_folder_remove(many);
}

static void files_of_another_division_go(void **state) {
    (void)state;
    struct error err;
    char *folder = support_folder();
    support_write_text(folder, "model-00001-of-00002.safetensors.bak", "mine");
    support_write_text(folder, "training.safetensors", "mine");
    assert_int_equal(write_random(folder, DTYPE_BF16, 1, 100000, &err), STATUS_OK);
    int shards = count_files(folder, "-of-") - 1;
    assert_true(shards > 2);
    assert_int_equal(write_random(folder, DTYPE_BF16, 1, 60000, &err), STATUS_OK);
    assert_true(count_files(folder, "-of-") - 1 > shards);
    assert_int_equal(count_files(folder, "index"), 1);
    assert_int_equal(write_random(folder, DTYPE_BF16, 1, 0, &err), STATUS_OK);
    assert_int_equal(count_files(folder, "-of-"), 1);
    assert_int_equal(count_files(folder, "index"), 0);
    assert_int_equal(count_files(folder, "model.safetensors"), 1);
    assert_int_equal(write_random(folder, DTYPE_BF16, 1, 100000, &err), STATUS_OK);
    assert_int_equal(count_files(folder, "model.safetensors"), 1); /* the index */
    assert_int_equal(count_files(folder, "-of-") - 1, shards);
    assert_int_equal(count_files(folder, "training.safetensors"), 1);
    assert_int_equal(count_files(folder, ".tmp"), 0);
    support_folder_remove(folder);
}

static void a_full_disk_keeps_the_old_file(void **state) {
    (void)state;
    struct error err;
    char *folder = support_folder();
    size_t length, now;
    assert_int_equal(write_random(folder, DTYPE_BF16, 1, 0, &err), STATUS_OK);
    char *before = read_whole(folder, "model.safetensors", &length);
    for (long step = 0; step < 12; step++) {
        writes_left = step;
        enum status status = write_random(folder, DTYPE_BF16, 2, 0, &err);
        writes_left = -1;
        assert_int_equal(status, STATUS_FAILED);
        assert_non_null(strstr(err.message, "cannot write: No space left on device"));
        assert_int_equal(count_files(folder, ".tmp"), 0);
        char *after = read_whole(folder, "model.safetensors", &now);
        assert_int_equal(now, length);
        assert_memory_equal(before, after, length);
        free(after);
    }
    free(before);
    support_folder_remove(folder);
}

static enum status read_until(void *state, size_t index, int64_t first, int64_t count, void *elements,
                              struct error *err) {
    (void)first;
    memset(elements, 0, (size_t)count * 2);
    return index == *(const size_t *)state ? error_set(err, "the device is gone") : STATUS_OK;
}

static void a_failing_source_leaves_no_file(void **state) {
    (void)state;
    struct error err;
    size_t last = 1;
    char *folder = support_folder();
    const struct checkpoint_entry entries[] = {{"a", DTYPE_BF16, 1, {3}}, {"b", DTYPE_BF16, 1, {3}}};
    const struct checkpoint_source source = {.read = read_until, .state = &last};
    assert_int_equal(checkpoint_write_tensors(folder, entries, 2, source, 0, &err), STATUS_FAILED);
    assert_string_equal(err.message, "the device is gone");
    assert_int_equal(count_files(folder, ""), 0);
    support_folder_remove(folder);
    assert_int_equal(checkpoint_write_tensors("/nowhere", entries, 1, source, 0, &err), STATUS_FAILED);
    assert_string_equal(err.message, "/nowhere/model.safetensors: cannot write: No such file or directory");
}

/* Writes a folder of a few small tensors in two shards. */
static enum status write_small(const char *folder, struct error *err) {
    size_t never = SIZE_MAX;
    const struct model_config config = support_tiny_config(true);
    const struct checkpoint_entry entries[] = {{"a", DTYPE_BF16, 1, {3}}, {"b", DTYPE_BF16, 2, {3, 4}}};
    const struct checkpoint_source source = {.read = read_until, .state = &never};
    if (checkpoint_write_config(folder, &config, &generation, DTYPE_BF16, err) != STATUS_OK)
        return STATUS_FAILED;
    return checkpoint_write_tensors(folder, entries, 2, source, 10, err);
}

static void failing_allocations_are_errors(void **state) {
    (void)state;
    struct error err;
    char *folder = support_folder();
    enum status status = STATUS_FAILED;
    long step = 0;
    json_set_alloc_funcs(malloc_for_json, free);
    for (; status != STATUS_OK && step < 100000; step++) {
        err.message[0] = '\0';
        allocations_left = step;
        status = write_small(folder, &err);
        allocations_left = -1;
        assert_true(status == STATUS_OK || err.message[0]);
    }
    assert_int_equal(status, STATUS_OK);
    assert_true(step > 100);
    for (step = 0; step < 3; step++) { /* the lists of random_checkpoint_write */
        allocations_left = step;
        status = write_random(folder, DTYPE_BF16, 1, 0, &err);
        allocations_left = -1;
        assert_int_equal(status, STATUS_FAILED);
    }
    json_set_alloc_funcs(malloc, free);
    assert_int_equal(count_files(folder, ".tmp"), 0);
    support_folder_remove(folder);
}

static void random_weights_are_normal(void **state) {
    (void)state;
    struct error err;
    struct safetensors half, single, other;
    char *folders[] = {support_folder(), support_folder(), support_folder()};
    omp_set_num_threads(1);
    assert_int_equal(write_random(folders[0], DTYPE_BF16, 7, 0, &err), STATUS_OK);
    omp_set_num_threads(3);
    assert_int_equal(write_random(folders[1], DTYPE_F32, 7, 90000, &err), STATUS_OK);
    assert_int_equal(write_random(folders[2], DTYPE_F32, 8, 0, &err), STATUS_OK);
    assert_int_equal(safetensors_open(folders[0], &half, &err), STATUS_OK);
    assert_int_equal(safetensors_open(folders[1], &single, &err), STATUS_OK);
    assert_int_equal(safetensors_open(folders[2], &other, &err), STATUS_OK);
    double sum = 0, squares = 0;
    size_t count = 0, same = 0;
    for (size_t i = 0; i < half.count; i++) {
        const uint16_t *x = (const void *)half.tensors[i].data;
        const float *y = (const void *)single.tensors[i].data, *z = (const void *)other.tensors[i].data;
        bool norm = strstr(half.tensors[i].name, "norm") || strstr(half.tensors[i].name, "ln_q");
        for (size_t k = 0; k < half.tensors[i].bytes / 2; k++) {
            assert_int_equal(x[k], float_to_bf16(y[k]));
            if (norm) {
                assert_true(y[k] == 1);
                continue;
            }
            assert_true(y[k] > -0.13f && y[k] < 0.13f); /* 6.5 deviations */
            same += y[k] == z[k];
            sum += y[k];
            squares += (double)y[k] * y[k];
            count++;
        }
    }
    double mean = sum / (double)count, deviation = sqrt(squares / (double)count);
    assert_true(fabs(mean) < 5 * 0.02 / sqrt((double)count));
    assert_true(fabs(deviation - 0.02) < 5 * 0.02 / sqrt(2 * (double)count));
    assert_true(same < 10);
    safetensors_close(&half);
    safetensors_close(&single);
    safetensors_close(&other);
    for (int i = 0; i < 3; i++) support_folder_remove(folders[i]);
}

/* With a gain of 1 each row of a matrix has a sum of squares near 1; biases and norms are as without. */
static void random_weights_of_a_gain(void **state) {
    (void)state;
    struct error err;
    struct safetensors tensors;
    char *folder = support_folder();
    const struct model_config config = support_tiny_config(true);
    const struct random_weights weights = {.dtype = DTYPE_F32, .seed = 3, .gain = 1};
    assert_int_equal(random_checkpoint_write(folder, &config, &generation, &weights, 0, &err), STATUS_OK);
    assert_int_equal(safetensors_open(folder, &tensors, &err), STATUS_OK);
    for (size_t i = 0; i < tensors.count; i++) {
        const struct stored_tensor *tensor = &tensors.tensors[i];
        const float *values = (const void *)tensor->data;
        const bool norm = strstr(tensor->name, "norm") || strstr(tensor->name, "ln_q");
        double squares = 0;
        for (size_t k = 0; k < tensor->bytes / 4; k++) squares += (double)values[k] * values[k];
        double mean = squares / (double)tensor->shape[0], count = (double)tensor->bytes / 4;
        if (norm)
            assert_true(mean == 1);
        else if (tensor->rank == 1)
            assert_true(fabs(mean / 4e-4 - 1) < 6 * sqrt(2 / count));
        else
            assert_true(fabs(mean - 1) < 6 * sqrt(2 / count));
    }
    safetensors_close(&tensors);
    support_folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_hold_what_one_file_holds), cmocka_unit_test(files_of_another_division_go),
        cmocka_unit_test(a_full_disk_keeps_the_old_file),  cmocka_unit_test(a_failing_source_leaves_no_file),
        cmocka_unit_test(failing_allocations_are_errors),  cmocka_unit_test(random_weights_are_normal),
        cmocka_unit_test(random_weights_of_a_gain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
