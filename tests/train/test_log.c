/* The logs of a run: what stands in them, that a resumed run's equals an unbroken one's, and that a full disk
 * leaves whole lines. VS2_KEEP_OUTPUTS names a folder in which the first test's log stays, for
 * tests/reference/outputs.py. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/folder.h"
#include "base/json.h"
#include "tests/train/support_outputs.h"
#include "train/log.h"
#include "train/tensorboard.h"

/* ---- Faults ------------------------------------------------------------------------------------------ */

static long writes_left = -1; /* -1: unlimited */

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);

ssize_t __wrap_write(int fd, const void *data, size_t size) {
    if (writes_left < 0) return __real_write(fd, data, size);
    if (writes_left-- > 0) return __real_write(fd, data, size / 2); /* a full disk takes a part first */
    writes_left = 0;
    errno = ENOSPC;
    return -1;
}

/* ---- A run ------------------------------------------------------------------------------------------- */

enum { STEPS = 40, EVAL_STEPS = 20, SAVED_STEP = 22 };

static struct train_log_settings settings_for(const char *folder) {
    return (struct train_log_settings){.output_dir = folder,
                                       .max_steps = STEPS,
                                       .logging_steps = 5,
                                       .save_steps = SAVED_STEP,
                                       .eval_steps = EVAL_STEPS,
                                       .train_batch_size = 1,
                                       .num_train_epochs = 2,
                                       .tensorboard = true,
                                       .plot_loss = true};
}

static struct train_position position(int64_t step) {
    return (struct train_position){.step = step,
                                   .epoch = (double)step / EVAL_STEPS,
                                   .input_tokens = step * 1000,
                                   .total_flos = (double)step * 1e15};
}

static enum status log_steps(struct train_log *log, int64_t from, int64_t to, struct error *err) {
    enum status status = STATUS_OK;
    for (int64_t step = from + 1; step <= to && status == STATUS_OK; step++) {
        const struct log_value evaluation[] = {{"eval_loss", 2.5 / (double)step}, {"eval_runtime", 3}};
        const struct log_value values[] = {
            {"loss", 3.0 / (double)step},  {"grad_norm", step == 10 ? NAN : 1.0 / (double)step},
            {"lr", 5e-5 / (double)step},   {"reward", 0.5},
            {"tokens_per_second", 1234.5}, {"step_seconds", 0.25}};
        if (step % 5 == 0)
            status = train_log_record(log, &(struct train_record){position(step), values, 6}, err);
        if (step % EVAL_STEPS == 0 && status == STATUS_OK)
            status = train_log_record(log, &(struct train_record){position(step), evaluation, 2}, err);
    }
    return status;
}

static void finish(struct train_log *log) {
    struct error err;
    const struct train_summary summary = {.at = position(STEPS), .train_loss = 0.5, .samples = 320};
    assert_int_equal(train_log_finish(log, &summary, &err), STATUS_OK);
    train_log_free(log);
}

static struct train_log *open_log(const char *folder, const char *resume) {
    struct error err;
    struct train_log_settings settings = settings_for(folder);
    struct train_log *log = train_log_open(&settings, resume, &err);
    if (!log) fail_msg("%s", err.message);
    return log;
}

static json_t *read_json(const char *folder, const char *name) {
    struct error err;
    char *text = outputs_read(folder, name, NULL);
    json_t *json = json_read_text(text, strlen(text), name, &err);
    assert_non_null(json);
    free(text);
    return json;
}

/* ---- Tests ------------------------------------------------------------------------------------------- */

static const json_t *entry(const json_t *state, size_t index) {
    return json_array_get(json_object_get(state, "log_history"), index);
}

static double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void a_run_is_told(void **unused) {
    (void)unused;
    struct error err;
    const char *kept = getenv("VS2_KEEP_OUTPUTS");
    char *folder = kept ? strdup(kept) : outputs_folder();
    struct train_log *log = open_log(folder, NULL);
    assert_int_equal(log_steps(log, 0, STEPS, &err), STATUS_OK);
    char *lines = outputs_read(folder, "trainer_log.jsonl", NULL);
    const char *start =
        "{\"current_steps\": 5, \"total_steps\": 40, \"epoch\": 0.25, \"loss\": 0.6, \"grad_norm\": "
        "0.2, \"lr\": 1e-05, \"reward\": 0.5, \"tokens_per_second\": 1234.5, \"step_seconds\": "
        "0.25, \"elapsed_time\": ";
    lines[strlen(start)] = '\0';
    assert_string_equal(lines, start);
    free(lines);
    finish(log);

    json_t *state = read_json(folder, "trainer_state.json");
    assert_int_equal(json_array_size(json_object_get(state, "log_history")), 8 + 2 + 1);
    assert_true(number(entry(state, 0), "learning_rate") == 1e-5);
    assert_null(json_object_get(entry(state, 0), "step_seconds"));
    assert_null(json_object_get(entry(state, 0), "lr"));
    assert_true(json_is_null(json_object_get(entry(state, 1), "grad_norm")));
    assert_true(number(entry(state, 4), "eval_loss") == 2.5 / 20);
    assert_true(number(entry(state, 4), "step") == 20);
    assert_true(number(state, "global_step") == 40);
    assert_true(number(state, "total_flos") == 4e16);
    json_decref(state);

    json_t *results = read_json(folder, "train_results.json");
    assert_true(number(results, "train_loss") == 0.5);
    assert_true(number(results, "train_runtime") > 0);
    assert_int_equal(json_object_size(results), 6);
    json_decref(results);
    assert_true(outputs_exists(folder, "training_loss.svg"));
    assert_true(outputs_exists(folder, "training_eval_loss.svg"));
    assert_true(outputs_exists(folder, "reward_curve.svg"));
    if (kept)
        free(folder);
    else
        outputs_remove(folder);
}

/* The log without what may differ from run to run. */
static char *without_times(const char *folder) {
    struct text out = {0};
    struct error err;
    char *lines = outputs_read(folder, "trainer_log.jsonl", NULL), *rest = lines;
    for (char *line; (line = strsep(&rest, "\n")) && *line;) {
        char *times = strstr(line, "\"elapsed_time\"");
        assert_non_null(times);
        text_append(&out, line, (size_t)(times - line));
        text_append_string(&out, "\n");
    }
    free(lines);
    return text_take(&out, "lines", &err);
}

static void resumed_equals_unbroken(void **unused) {
    (void)unused;
    struct error err;
    char *whole = outputs_folder(), *broken = outputs_folder(), *checkpoint = outputs_folder();
    struct train_log *log = open_log(whole, NULL);
    assert_int_equal(log_steps(log, 0, STEPS, &err), STATUS_OK);
    finish(log);

    log = open_log(broken, NULL);
    assert_int_equal(log_steps(log, 0, SAVED_STEP, &err), STATUS_OK);
    struct train_position at = position(SAVED_STEP);
    size_t length;
    outputs_write(checkpoint, "trainer_log.jsonl", train_log_lines(log, &length));
    char *state = train_log_state(log, &at, &err);
    outputs_write(checkpoint, "trainer_state.json", state);
    free(state);
    assert_int_equal(log_steps(log, SAVED_STEP, 36, &err), STATUS_OK);
    train_log_free(log); /* killed */
    log = open_log(broken, checkpoint);
    assert_int_equal(log_steps(log, SAVED_STEP, STEPS, &err), STATUS_OK);
    finish(log);

    char *one = without_times(whole), *other = without_times(broken);
    assert_string_equal(one, other);
    free(one);
    free(other);
    json_t *a = read_json(whole, "trainer_state.json"), *b = read_json(broken, "trainer_state.json");
    json_t *a_history = json_object_get(a, "log_history"), *b_history = json_object_get(b, "log_history");
    json_array_remove(a_history, 10); /* the summary with its times */
    json_array_remove(b_history, 10);
    assert_true(json_equal(a, b));
    json_decref(a);
    json_decref(b);
    outputs_remove(whole);
    outputs_remove(broken);
    outputs_remove(checkpoint);
}

static void a_bad_checkpoint_is_an_error(void **unused) {
    (void)unused;
    static const struct {
        const char *state, *error;
    } cases[] = {
        {"{\"global_step\": 5", "trainer_state.json: line 1"},
        {"{\"global_step\": -5, \"log_history\": []}", "'global_step' is -5"},
        {"{\"global_step\": 5}", "no list 'log_history'"},
        {"{\"global_step\": 5, \"log_history\": [1]}", "something else than objects"},
    };
    struct error err;
    char *folder = outputs_folder(), *checkpoint = outputs_folder();
    struct train_log_settings settings = settings_for(folder);
    assert_null(train_log_open(&settings, checkpoint, &err));
    assert_non_null(strstr(err.message, "trainer_log.jsonl: No such file"));
    outputs_write(checkpoint, "trainer_log.jsonl", "{\"elapsed_time\": \"soon\"}\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        outputs_write(checkpoint, "trainer_state.json", cases[i].state);
        assert_null(train_log_open(&settings, checkpoint, &err));
        if (!strstr(err.message, cases[i].error)) fail_msg("%s", err.message);
    }
    outputs_write(checkpoint, "trainer_state.json", "{\"global_step\": 5, \"log_history\": []}");
    struct train_log *log = train_log_open(&settings, checkpoint, &err);
    assert_non_null(log);
    assert_true(train_log_elapsed(log) < 100);
    train_log_free(log);
    outputs_remove(folder);
    outputs_remove(checkpoint);
}

static void a_full_disk_leaves_whole_lines(void **unused) {
    (void)unused;
    struct error err;
    char *folder = outputs_folder();
    struct train_log *log = open_log(folder, NULL);
    assert_int_equal(log_steps(log, 0, 5, &err), STATUS_OK);
    for (long writes = 0; writes < 2; writes++) {
        writes_left = writes;
        assert_int_equal(log_steps(log, 5, 10, &err), STATUS_FAILED);
        assert_non_null(strstr(err.message, "No space left on device"));
    }
    writes_left = -1;
    assert_int_equal(log_steps(log, 5, 10, &err), STATUS_OK);
    train_log_free(log);
    char *lines = outputs_read(folder, "trainer_log.jsonl", NULL);
    char *second = strchr(lines, '\n') + 1;
    assert_memory_equal(second, "{\"current_steps\": 10, ", 22);
    assert_string_equal(strchr(second, '\n'), "\n");
    assert_non_null(strstr(second, "\"grad_norm\": null"));
    free(lines);
    outputs_remove(folder);
}

static void results_are_merged(void **unused) {
    (void)unused;
    struct error err;
    char *folder = outputs_folder();
    outputs_write(folder, "all_results.json", "{\"eval_loss\": 7, \"predict_loss\": 1}");
    struct train_log *log = open_log(folder, NULL);
    const struct log_value values[] = {{"eval_loss", 1.5}};
    assert_int_equal(train_log_results(log, "eval", values, 1, &err), STATUS_OK);
    json_t *all = read_json(folder, "all_results.json"), *eval = read_json(folder, "eval_results.json");
    assert_true(number(all, "eval_loss") == 1.5);
    assert_true(number(all, "predict_loss") == 1);
    assert_int_equal(json_object_size(eval), 1);
    json_decref(all);
    json_decref(eval);
    train_log_free(log);
    outputs_remove(folder);
}

static void events_are_as_tensorboard_writes_them(void **unused) {
    (void)unused;
    char tag[] =
        "train/"
        "longlonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglong"
        "longlonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglong"
        "long";
    const struct tensorboard_scalar scalars[] = {
        {"train/loss", 2.375F}, {"train/learning_rate", 4.9e-5F}, {tag, INFINITY}};
    const double wall_time = 1700000000.25;
    struct text records = {0};
    size_t length;
    tensorboard_append_version(&records, wall_time);
    tensorboard_append_start(&records, wall_time, 301);
    tensorboard_append_scalars(&records, wall_time, 123456, scalars, 3);
    char *golden = outputs_read("tests/golden/train", "events.bin", &length);
    assert_int_equal(records.length, length);
    assert_memory_equal(records.data, golden, length);
    free(golden);
    text_free(&records);
}

static void event_files_follow_one_another(void **unused) {
    (void)unused;
    struct error err;
    struct tensorboard board;
    struct folder_names list;
    char *folder = outputs_folder();
    outputs_write(folder, "events.out.tfevents.9000000000.elsewhere.1.0", "");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tensorboard_open(&board, folder, 0, &err), STATUS_OK);
        tensorboard_close(&board);
    }
    assert_int_equal(folder_list(folder, &list, &err), STATUS_OK);
    assert_int_equal(list.count, 3);
    assert_memory_equal(list.names[1], "events.out.tfevents.9000000001.", 31);
    assert_memory_equal(list.names[2], "events.out.tfevents.9000000002.", 31);
    folder_names_free(&list);
    outputs_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_is_told),
        cmocka_unit_test(resumed_equals_unbroken),
        cmocka_unit_test(a_bad_checkpoint_is_an_error),
        cmocka_unit_test(a_full_disk_leaves_whole_lines),
        cmocka_unit_test(results_are_merged),
        cmocka_unit_test(events_are_as_tensorboard_writes_them),
        cmocka_unit_test(event_files_follow_one_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
