/* Checkpoints against a made-up optimizer: what is saved comes back, in a thread or not; a process killed at
 * any call that changes the disk, a full disk, and refused memory leave what was there; wrong folders are
 * errors. VS2_KEEP_OUTPUTS names a folder in which checkpoints and a final model stay, for
 * tests/reference/outputs.py. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/folder.h"
#include "model/safetensors.h"
#include "tensor/float16.h"
#include "tests/train/support_fake.h"
#include "tests/train/support_outputs.h"
#include "train/checkpoint.h"

/* ---- Faults ------------------------------------------------------------------------------------------ */

enum fault { NO_FAULT, FAULT_FULL, FAULT_KILLED };
enum { KILLED = 77 };

static enum fault fault;
static long changes_left;          /* calls that change the disk until the fault */
static long allocations_left = -1; /* -1: unlimited */

ssize_t __real_write(int fd, const void *data, size_t size);
int __real_rename(const char *from, const char *to);
int __real_remove(const char *path);
int __real_unlink(const char *path);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
int __wrap_fsync(int fd);
int __wrap_rename(const char *from, const char *to);
int __wrap_remove(const char *path);
int __wrap_unlink(const char *path);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

/* Whether the disk is full at this call; does not return where the process is killed. */
static bool disk_fails(enum fault which) {
    if (fault != which) return false;
    if (changes_left-- > 0) return false;
    changes_left = 0;
    if (fault == FAULT_KILLED) _exit(KILLED);
    errno = ENOSPC;
    return true;
}

ssize_t __wrap_write(int fd, const void *data, size_t size) {
    if (disk_fails(FAULT_FULL)) return -1;
    if (fault == FAULT_KILLED && changes_left == 0 && size > 1) __real_write(fd, data, size / 2);
    disk_fails(FAULT_KILLED);
    return __real_write(fd, data, size);
}

/* Thousands of waits for the disk would be most of this test's time. */
int __wrap_fsync(int fd) {
    (void)fd;
    return 0;
}

int __wrap_rename(const char *from, const char *to) {
    disk_fails(FAULT_KILLED);
    return __real_rename(from, to);
}

int __wrap_remove(const char *path) {
    disk_fails(FAULT_KILLED);
    return __real_remove(path);
}

int __wrap_unlink(const char *path) {
    disk_fails(FAULT_KILLED);
    return __real_unlink(path);
}

static bool allocation_fails(void) {
    if (allocations_left < 0) return false;
    if (allocations_left == 0) return true;
    allocations_left--;
    return false;
}

void *__wrap_calloc(size_t count, size_t size) {
    return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size) {
    return allocation_fails() ? NULL : __real_realloc(old, size);
}

/* jansson allocates inside its own library, out of the linker's reach. */
static void *malloc_for_json(size_t size) {
    return allocation_fails() ? NULL : malloc(size);
}

static void save_surely(const struct checkpoint_run *run, struct fake *fake, int64_t step) {
    struct error err;
    if (fake_save_alone(run, fake, step, &err) != STATUS_OK) fail_msg("%s", err.message);
}

static void save_final_surely(const struct checkpoint_run *run, struct fake *fake, int64_t step) {
    struct error err;
    struct checkpoint_writer *writer = fake_writer(run);
    fake->step = step;
    if (checkpoint_save_final(writer, fake_files, 2, &err) != STATUS_OK) fail_msg("%s", err.message);
    checkpoint_writer_free(writer);
}

/* ---- Checks ------------------------------------------------------------------------------------------ */

static char *in_folder(const char *folder, const char *name) {
    struct error err;
    return file_join(folder, name, &err);
}

/* The step of the checkpoint that a run would go on from, after all checks; -1: there is none. */
static int64_t newest_step(struct fake *fake, const struct checkpoint_run *run) {
    struct error err;
    char *folder;
    assert_int_equal(checkpoint_find(run->output_dir, &folder, NULL, &err), STATUS_OK);
    int64_t step = folder ? fake_check_resumable(fake, run, folder) : -1;
    free(folder);
    return step;
}

/* The names in the folder, with a space after each. */
static char *names_in(const char *folder) {
    struct error err;
    struct folder_names list;
    struct text names = {0};
    assert_int_equal(folder_list(folder, &list, &err), STATUS_OK);
    for (size_t i = 0; i < list.count; i++) text_format(&names, "%s ", list.names[i]);
    folder_names_free(&list);
    return text_take(&names, "names", &err);
}

static void assert_names(const char *folder, const char *expected) {
    char *names = names_in(folder);
    assert_string_equal(names, expected);
    free(names);
}

static void assert_same_file(const char *a_folder, const char *b_folder, const char *name) {
    size_t a_length, b_length;
    char *a = outputs_read(a_folder, name, &a_length), *b = outputs_read(b_folder, name, &b_length);
    assert_int_equal(a_length, b_length);
    assert_memory_equal(a, b, a_length);
    free(a);
    free(b);
}

/* ---- Tests ------------------------------------------------------------------------------------------- */

static void saved_and_taken_back(void **unused) {
    (void)unused;
    struct fake fake = fake_new();
    const char *kept = getenv("VS2_KEEP_OUTPUTS");
    char *folder = kept ? strdup(kept) : outputs_folder();
    struct checkpoint_run run = fake_run(&fake, folder);
    save_surely(&run, &fake, 20);
    run.shard_bytes = 50000;
    save_surely(&run, &fake, 30);
    assert_int_equal(newest_step(&fake, &run), 30);
    char *twenty = in_folder(folder, "checkpoint-20");
    assert_int_equal(fake_check_resumable(&fake, &run, twenty), 20);
    assert_names(twenty,
                 "config.json generation_config.json model.safetensors preprocessor_config.json "
                 "query_template.txt tokenizer.json tokenizer_config.json trainer_state.json vs2_state ");
    assert_same_file(fake_source, twenty, "tokenizer.json");
    assert_same_file(fake_source, twenty, "preprocessor_config.json");
    assert_same_file(fake_source, twenty, "generation_config.json");
    save_final_surely(&run, &fake, 40);
    fake_check_model(&fake, folder, 40);
    assert_false(outputs_exists(folder, "vs2_state"));
    free(twenty);
    fake_free(&fake);
    if (kept)
        free(folder);
    else
        outputs_remove(folder);
}

static void a_thread_writes_what_the_loop_would(void **unused) {
    (void)unused;
    struct fake fake = fake_new();
    char *folders[] = {outputs_folder(), outputs_folder()};
    for (int i = 0; i < 2; i++) {
        struct checkpoint_run run = fake_run(&fake, folders[i]);
        if (i == 1) run.snapshot_limit = checkpoint_snapshot_bytes(&run) - 1;
        save_surely(&run, &fake, 5);
        assert_int_equal(newest_step(&fake, &run), 5);
    }
    char *one = in_folder(folders[0], "checkpoint-5"), *other = in_folder(folders[1], "checkpoint-5");
    assert_same_file(one, other, "model.safetensors");
    assert_same_file(one, other, "vs2_state/model.safetensors");
    assert_same_file(one, other, "vs2_state/state.json");
    free(one);
    free(other);
    for (int i = 0; i < 2; i++) outputs_remove(folders[i]);
    fake_free(&fake);
}

static void config_keeps_what_it_does_not_know(void **unused) {
    (void)unused;
    static const struct {
        const char *name, *type;
        enum dtype dtype;
    } cases[] = {{"bf16", "bfloat16", DTYPE_BF16}, {"f32", "float32", DTYPE_F32}};
    struct fake fake = fake_new();
    struct error err;
    for (size_t i = 0; i < 2; i++) {
        char *folder = outputs_folder();
        struct checkpoint_run run = fake_run(&fake, folder);
        run.dtype = cases[i].dtype;
        save_final_surely(&run, &fake, 1);
        char *path = in_folder(folder, "config.json"), *given_path = in_folder(fake_source, "config.json");
        json_t *config = json_read_file(path, SIZE_MAX - 1, &err);
        json_t *given = json_read_file(given_path, SIZE_MAX - 1, &err);
        assert_string_equal(json_string_value(json_object_get(config, "torch_dtype")), cases[i].type);
        json_object_set_new(given, "torch_dtype", json_string(cases[i].type));
        assert_true(json_equal(config, given));
        json_decref(config);
        json_decref(given);
        free(path);
        free(given_path);
        outputs_remove(folder);
    }
    fake_free(&fake);
}

/* Gives the folder a last change that is so many seconds after the epoch, as copies do that keep no times. */
static void set_time(const char *folder, const char *name, time_t seconds) {
    const struct timespec times[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};
    char *path = in_folder(folder, name);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    free(path);
}

/* The last one is the last that was written: not the largest step, and not the latest folder. */
static void order_is_that_of_writing(void **unused) {
    (void)unused;
    struct fake fake = fake_new();
    char *folder = outputs_folder();
    struct checkpoint_run run = fake_run(&fake, folder);
    save_surely(&run, &fake, 90); /* of a run before, longer than this one */
    save_surely(&run, &fake, 1);
    save_surely(&run, &fake, 2);
    set_time(folder, "checkpoint-90", 3000);
    set_time(folder, "checkpoint-1", 2000);
    set_time(folder, "checkpoint-2", 1000);
    assert_int_equal(newest_step(&fake, &run), 2);
    run.total_limit = 2;
    save_surely(&run, &fake, 3);
    assert_names(folder, "checkpoint-2 checkpoint-3 ");
    fake_free(&fake);
    outputs_remove(folder);
}

static void only_so_many_are_kept(void **unused) {
    (void)unused;
    struct fake fake = fake_new();
    char *folder = outputs_folder();
    struct checkpoint_run run = fake_run(&fake, folder);
    save_surely(&run, &fake, 90); /* of a run before, longer than this one */
    run.total_limit = 2;
    for (int64_t step = 1; step <= 3; step++) save_surely(&run, &fake, step);
    assert_names(folder, "checkpoint-2 checkpoint-3 ");
    assert_int_equal(newest_step(&fake, &run), 3);
    run.total_limit = 1;
    save_surely(&run, &fake, 3); /* in place of the one of its name */
    assert_names(folder, "checkpoint-3 ");
    fake_free(&fake);
    outputs_remove(folder);
}

static void a_model_alone_is_not_gone_on_from(void **unused) {
    (void)unused;
    struct error err;
    struct text notes = {0};
    struct fake fake = fake_new();
    char *folder = outputs_folder(), *found;
    struct checkpoint_run run = fake_run(&fake, folder);
    run.only_model = true;
    save_surely(&run, &fake, 7);
    assert_int_equal(checkpoint_find(folder, &found, &notes, &err), STATUS_OK);
    assert_null(found);
    assert_non_null(strstr(notes.data, "checkpoint-7"));
    char *saved = in_folder(folder, "checkpoint-7");
    fake_check_model(&fake, saved, 7);
    assert_false(outputs_exists(saved, "vs2_state"));
    free(saved);
    text_free(&notes);
    fake_free(&fake);
    outputs_remove(folder);
}

static void a_full_disk_leaves_the_old_ones(void **unused) {
    (void)unused;
    struct error err;
    struct fake fake = fake_new();
    char *folder = outputs_folder();
    struct checkpoint_run run = fake_run(&fake, folder);
    save_surely(&run, &fake, 1);
    long writes = 0;
    for (bool saved = false; !saved; writes += 1 + writes % 3) {
        run.snapshot_limit = writes % 2 ? SIZE_MAX : 0;
        struct checkpoint_writer *writer = fake_writer(&run);
        fault = FAULT_FULL;
        changes_left = writes;
        enum status status = fake_save(writer, &fake, 2, &err);
        if (status == STATUS_OK) status = checkpoint_wait(writer, &err);
        fault = NO_FAULT;
        saved = status == STATUS_OK;
        if (!saved) {
            assert_non_null(strstr(err.message, "No space left on device"));
            assert_names(folder, "checkpoint-1 ");
            assert_int_equal(checkpoint_wait(writer, &err), STATUS_OK); /* told once */
        }
        checkpoint_writer_free(writer);
    }
    assert_true(writes > 10);
    assert_int_equal(newest_step(&fake, &run), 2);
    fake_free(&fake);
    outputs_remove(folder);
}

static void a_thread_tells_its_failure_at_the_next_call(void **unused) {
    (void)unused;
    struct error err;
    struct fake fake = fake_new();
    char *folder = outputs_folder();
    struct checkpoint_run run = fake_run(&fake, folder);
    struct checkpoint_writer *writer = fake_writer(&run);
    fault = FAULT_FULL;
    changes_left = 3;
    assert_int_equal(fake_save(writer, &fake, 1, &err), STATUS_OK);
    assert_int_equal(fake_save(writer, &fake, 2, &err), STATUS_FAILED);
    fault = NO_FAULT;
    assert_names(folder, "");
    assert_int_equal(fake_save(writer, &fake, 2, &err), STATUS_OK);
    assert_int_equal(checkpoint_wait(writer, &err), STATUS_OK);
    fake.fails = true;
    assert_int_equal(fake_save(writer, &fake, 3, &err), STATUS_FAILED);
    assert_string_equal(err.message, "the device is gone");
    fake.fails = false;
    checkpoint_writer_free(writer);
    assert_names(folder, "checkpoint-2 ");
    assert_int_equal(newest_step(&fake, &run), 2);
    fake_free(&fake);
    outputs_remove(folder);
}

/* Runs `act` in a process that is killed at change number `changes` of the disk; whether it was. */
static bool killed_after(long changes, void (*act)(const struct checkpoint_run *, struct fake *, int64_t),
                         const struct checkpoint_run *run, struct fake *fake, int64_t step) {
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        fault = FAULT_KILLED;
        changes_left = changes;
        act(run, fake, step);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == KILLED);
    return WEXITSTATUS(status) == KILLED;
}

static void killed_while_saving(void **unused) {
    (void)unused;
    struct error err;
    struct fake fake = fake_new();
    long changes = 0;
    int64_t found[2] = {0};
    for (bool killed = true; killed; changes += 3) {
        char *folder = outputs_folder();
        struct checkpoint_run run = fake_run(&fake, folder);
        run.total_limit = 1;
        save_surely(&run, &fake, 1);
        int64_t step = 1 + changes % 2; /* in place of the one there, or beside it */
        killed = killed_after(changes, save_surely, &run, &fake, step);
        assert_int_equal(checkpoint_clean(folder, false, &err), STATUS_OK);
        int64_t newest = newest_step(&fake, &run);
        assert_true(newest == 1 || newest == 2);
        found[newest - 1]++;
        char *names = names_in(folder);
        assert_null(strstr(names, ".tmp"));
        assert_null(strstr(names, ".old"));
        free(names);
        outputs_remove(folder);
    }
    assert_true(changes > 30);
    assert_true(found[0] > 0 && found[1] > 0);
    fake_free(&fake);
}

/* Which of two models the folder holds: 1, 2, or 0 for none. */
static int64_t final_model(struct fake *fake, const char *folder) {
    struct error err;
    struct safetensors saved;
    if (safetensors_open(folder, &saved, &err) != STATUS_OK) return 0;
    char name[PARAMETER_NAME_SIZE];
    size_t index = 0;
    while (!fake->trained[index]) index++;
    parameter_old_name(fake->parameters[index].name, name);
    uint16_t first;
    memcpy(&first, safetensors_find(&saved, name)->data, sizeof first);
    int64_t step = first == float_to_bf16(fake_value(1, index, CHECKPOINT_WEIGHT, 0)) ? 1 : 2;
    safetensors_close(&saved);
    fake_check_model(fake, folder, step);
    return step;
}

static void killed_while_writing_the_final_model(void **unused) {
    (void)unused;
    enum { DIVIDED = 150000 };
    static const size_t shard_bytes[][2] = {{0, 0}, {0, DIVIDED}, {DIVIDED, 0}, {DIVIDED, DIVIDED}};
    struct error err;
    struct fake fake = fake_new();
    for (size_t i = 0; i < sizeof shard_bytes / sizeof *shard_bytes; i++) {
        int64_t found[3] = {0};
        long changes = 0;
        for (bool killed = true; killed; changes += changes < 80 ? 16 : 1) { /* the moves are at the end */
            char *folder = outputs_folder();
            struct checkpoint_run run = fake_run(&fake, folder);
            run.shard_bytes = shard_bytes[i][0];
            save_final_surely(&run, &fake, 1);
            run.shard_bytes = shard_bytes[i][1];
            killed = killed_after(changes, save_final_surely, &run, &fake, 2);
            found[final_model(&fake, folder)]++;
            assert_int_equal(checkpoint_clean(folder, false, &err), STATUS_OK);
            assert_true(final_model(&fake, folder) > 0);
            char *names = names_in(folder);
            assert_null(strstr(names, "final"));
            free(names);
            outputs_remove(folder);
        }
        assert_true(found[1] > 0 && found[2] > 0);
        if (i == 0) assert_int_equal(found[0], 0);
    }
    fake_free(&fake);
}

static void refused_memory_is_an_error(void **unused) {
    (void)unused;
    struct error err;
    struct fake fake = fake_new();
    char *folder = outputs_folder();
    struct checkpoint_run run = fake_run(&fake, folder);
    save_surely(&run, &fake, 1);
    json_set_alloc_funcs(malloc_for_json, free);
    long step = 0;
    for (enum status status = STATUS_FAILED; status != STATUS_OK && step < 100000; step += 1 + step / 8) {
        run.snapshot_limit = step % 2 ? SIZE_MAX : 0;
        err.message[0] = '\0';
        allocations_left = step;
        status = fake_save_alone(&run, &fake, 2, &err);
        allocations_left = -1;
        if (status == STATUS_OK) break;
        assert_true(err.message[0] != '\0');
        assert_names(folder, "checkpoint-1 ");
    }
    json_set_alloc_funcs(malloc, free);
    assert_true(step > 50 && step < 100000);
    assert_int_equal(newest_step(&fake, &run), 2);
    fake_free(&fake);
    outputs_remove(folder);
}

static enum status sink_nothing(void *state, size_t index, enum checkpoint_part part, int64_t first,
                                int64_t count, const float *elements, struct error *err) {
    (void)state, (void)index, (void)part, (void)first, (void)count, (void)elements, (void)err;
    return STATUS_OK;
}

/* Opens and reads the checkpoint, and looks for the words in the error. */
static void assert_refused(const struct checkpoint_run *run, const char *folder, const char *words) {
    struct error err;
    struct checkpoint_resume resume;
    enum status status = checkpoint_resume_open(folder, run, &resume, &err);
    if (status == STATUS_OK) {
        status = checkpoint_resume_read(&resume, (struct checkpoint_sink){.write = sink_nothing}, &err);
        checkpoint_resume_close(&resume);
    }
    assert_true(status != STATUS_OK);
    if (!strstr(err.message, words)) fail_msg("'%s' is not in: %s", words, err.message);
}

static void other_runs_are_refused(void **unused) {
    (void)unused;
    struct fake fake = fake_new();
    char *folder = outputs_folder(), *saved = in_folder(folder, "checkpoint-4");
    struct checkpoint_run run = fake_run(&fake, folder);
    save_surely(&run, &fake, 4);

    json_object_set_new(fake.configuration, "seed", json_integer(43));
    assert_refused(&run, saved, "seed");
    json_object_set_new(fake.configuration, "seed", json_integer(42));
    json_object_set_new(fake.configuration, "cutoff_len", json_integer(10));
    assert_refused(&run, saved, "cutoff_len");
    json_object_del(fake.configuration, "cutoff_len");

    size_t last = fake.count;
    while (!fake.trained[--last])
        ;
    fake.trained[last] = false;
    assert_refused(&run, saved, "other parts were trained");
    fake.trained[last] = true;
    fake.parameters[last].cols++;
    assert_refused(&run, saved, fake.parameters[last].name);
    fake.parameters[last].cols--;
    size_t frozen = 0;
    while (fake.trained[frozen]) frozen++;
    fake.trained[frozen] = true;
    assert_refused(&run, saved, fake.parameters[frozen].name);
    fake.trained[frozen] = false;
    assert_int_equal(newest_step(&fake, &run), 4);
    free(saved);
    fake_free(&fake);
    outputs_remove(folder);
}

static void replace_byte(const char *folder, const char *name, off_t place, char byte) {
    char *path = in_folder(folder, name);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, place, place < 0 ? SEEK_END : SEEK_SET), 0);
    assert_int_equal(fputc(byte, file), byte);
    fclose(file);
    free(path);
}

static void damaged_ones_are_passed_over(void **unused) {
    (void)unused;
    struct error err;
    struct fake fake = fake_new();
    char *folder = outputs_folder(), *saved = in_folder(folder, "checkpoint-4");
    struct checkpoint_run run = fake_run(&fake, folder);
    static const char *const broken[] = {"model.safetensors", "vs2_state/model.safetensors",
                                         "trainer_state.json", "tokenizer.json"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        save_surely(&run, &fake, 3);
        save_surely(&run, &fake, 4);
        char *path = in_folder(saved, broken[i]);
        assert_int_equal(i % 2 ? truncate(path, 1) : unlink(path), 0);
        free(path);
        assert_refused(&run, saved, broken[i]);
        assert_int_equal(newest_step(&fake, &run), 3);
    }
    static const char *const states[] = {"",
                                         "{",
                                         "[]",
                                         "{}",
                                         "{\"format\": 2}",
                                         "{\"format\": 1}",
                                         "{\"format\": 1, \"files\": {}}",
                                         "{\"format\": 1, \"files\": {\"x\": \"y\"}}",
                                         "{\"format\": 1, \"files\": {}, \"step\": -1, \"state\": 0}"};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        save_surely(&run, &fake, 4);
        outputs_write(saved, "vs2_state/state.json", states[i]);
        assert_refused(&run, saved, "checkpoint-4");
    }
    save_surely(&run, &fake, 4);
    replace_byte(saved, "vs2_state/model.safetensors", -100, 'x');
    assert_refused(&run, saved, "damaged");
    assert_int_equal(checkpoint_clean(folder, false, &err), STATUS_OK);
    free(saved);
    fake_free(&fake);
    outputs_remove(folder);
}

static void what_others_left_is_swept_up(void **unused) {
    (void)unused;
    struct error err;
    struct fake fake = fake_new();
    char *folder = outputs_folder(), name[64];
    struct checkpoint_run run = fake_run(&fake, folder);
    save_surely(&run, &fake, 4);
    pid_t gone = fork();
    if (gone == 0) _exit(0);
    waitpid(gone, NULL, 0);
    const char *const forms[] = {"checkpoint-5.tmp-%d", "checkpoint-4.old-%d", "final.ready.tmp-%d"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(name, sizeof name, forms[i], (int)gone);
        char *path = in_folder(folder, name);
        assert_int_equal(folder_make(path, &err), STATUS_OK);
        outputs_write(path, "file", "text");
        free(path);
    }
    outputs_write(folder, "notes.tmp-me", "mine");
    snprintf(name, sizeof name, "checkpoint-6.tmp-%d", (int)getppid()); /* of a process that is at it */
    char *other = in_folder(folder, name);
    assert_int_equal(folder_make(other, &err), STATUS_OK);
    assert_int_equal(checkpoint_clean(folder, false, &err), STATUS_OK);
    char expected[200];
    snprintf(expected, sizeof expected, "checkpoint-4 %s notes.tmp-me ", name);
    assert_names(folder, expected);
    assert_int_equal(checkpoint_clean(folder, true, &err), STATUS_OK); /* there is none */
    assert_names(folder, "checkpoint-4 notes.tmp-me ");
    free(other);
    fake_free(&fake);
    outputs_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(saved_and_taken_back),
        cmocka_unit_test(a_thread_writes_what_the_loop_would),
        cmocka_unit_test(config_keeps_what_it_does_not_know),
        cmocka_unit_test(order_is_that_of_writing),
        cmocka_unit_test(only_so_many_are_kept),
        cmocka_unit_test(a_model_alone_is_not_gone_on_from),
        cmocka_unit_test(a_full_disk_leaves_the_old_ones),
        cmocka_unit_test(a_thread_tells_its_failure_at_the_next_call),
        cmocka_unit_test(killed_while_saving),
        cmocka_unit_test(killed_while_writing_the_final_model),
        cmocka_unit_test(refused_memory_is_an_error),
        cmocka_unit_test(other_runs_are_refused),
        cmocka_unit_test(damaged_ones_are_passed_over),
        cmocka_unit_test(what_others_left_is_swept_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
