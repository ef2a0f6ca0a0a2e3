/* 20 steps against transformers' own Trainer (tests/reference/sft.py), and what must not change a bit. */
#include "train/sft.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "model/parameters.h"
#include "tensor/ops.h"

enum { WORDS = 64, WORD = 512 };

static struct error err;

/* The words of a configuration. */
struct words {
    char text[WORDS][WORD];
    const char *list[WORDS];
    size_t count;
};

static void __attribute__((format(printf, 2, 3))) say(struct words *words, const char *format, ...) {
    assert_true(words->count < WORDS);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words->text[words->count], WORD, format, arguments);
    va_end(arguments);
    words->list[words->count] = words->text[words->count];
    words->count++;
}

static void run(const struct words *words) {
    struct train_config config;
    if (train_config_read(NULL, words->list, words->count, &config, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    enum status status = train_sft_run(&config, &err);
    train_config_free(&config);
    if (status != STATUS_OK) fail_msg("%s", err.message);
}

static char folder[] = "/tmp/vs2-sft-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* What all runs here share; `name` is the output folder's. */
static struct words *start(const char *name, const char *checkpoint) {
    struct words *words = calloc(1, sizeof *words);
    assert_non_null(words);
    say(words, "stage=sft");
    say(words, "model_name_or_path=tests/golden/model/%s", checkpoint);
    say(words, "dataset=golden");
    say(words, "dataset_dir=tests/golden/trainer");
    say(words, "media_dir=tests/golden/video");
    say(words, "template=qwen2_vl");
    say(words, "cutoff_len=4096");
    say(words, "video_maxlen=10");
    say(words, "video_max_pixels=691200");
    say(words, "output_dir=%s/%s", folder, name);
    say(words, "logging_steps=1");
    say(words, "report_to=none");
    say(words, "plot_loss=false");
    say(words, "disable_tqdm=true");
    return words;
}

static json_t *golden(const char *name) {
    char path[128];
    snprintf(path, sizeof path, "tests/golden/trainer/%s.json", name);
    json_t *json = json_read_file(path, 1 << 20, &err);
    if (!json) fail_msg("%s", err.message);
    return json;
}

static void say_settings(struct words *words, const json_t *settings) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)settings, key, value) {
        char *text = json_dumps(value, JSON_ENCODE_ANY);
        say(words, "%s=%s", key, text);
        free(text);
    }
}

/* The log's lines that have a loss. */
static json_t *read_log(const char *name) {
    char path[128], *text;
    size_t length;
    snprintf(path, sizeof path, "%s/%s/trainer_log.jsonl", folder, name);
    if (file_read(path, 1 << 20, &text, &length, &err) != STATUS_OK) fail_msg("%s", err.message);
    json_t *steps = json_array();
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *json = json_loads(line, 0, NULL);
        assert_non_null(json);
        if (json_object_get(json, "loss")) json_array_append(steps, json);
        json_decref(json);
    }
    free(text);
    return steps;
}

static double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value)) fail_msg("no number %s", key);
    return json_number_value(value);
}

static double difference(double ours, double theirs) {
    return fabs(ours - theirs) / fmax(fabs(theirs), 1e-12);
}

static void check_near(const char *what, size_t step, double ours, double theirs, double limit) {
    if (difference(ours, theirs) > limit)
        fail_msg("step %zu: %s is %.9g, not %.9g", step + 1, what, ours, theirs);
}

/* In bf16 only the first steps: the reference's autocast keeps the residual stream and the embedding in f32,
 * where small updates show at once, so that its losses then fall faster. */
static void check_steps(const json_t *ours, const json_t *theirs, bool bf16) {
    assert_int_equal(json_array_size(ours), json_array_size(theirs));
    for (size_t i = 0; i < (bf16 ? 3 : json_array_size(theirs)); i++) {
        const json_t *a = json_array_get(ours, i), *b = json_array_get(theirs, i);
        check_near("loss", i, number(a, "loss"), number(b, "loss"), bf16 ? 1e-2 : i == 0 ? 1e-4 : 1e-3);
        check_near("grad_norm", i, number(a, "grad_norm"), number(b, "grad_norm"), bf16 ? 0.1 : 1e-3);
        check_near("lr", i, number(a, "lr"), number(b, "lr"), 1e-9);
    }
}

/* Norm and some values of every weight in the output folder. */
static void check_weights(const char *name, const json_t *weights, double limit) {
    char path[128];
    struct device device;
    struct model model;
    size_t count;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(device_open("cpu", &device, &err), STATUS_OK);
    if (model_open(path, &device, DTYPE_F32, &model, &err) != STATUS_OK) fail_msg("%s", err.message);
    struct parameter *parameters = parameters_list(&model.config, &count, &err);
    assert_non_null(parameters);
    for (size_t p = 0; p < count; p++) {
        const json_t *expected = json_object_get(weights, parameters[p].name);
        assert_non_null(expected);
        struct tensor t = *parameter_tensor(&model, &parameters[p]);
        int64_t elements = t.rows * t.cols, last = (int64_t)json_array_size(expected) - 2;
        float *values = calloc((size_t)elements, sizeof *values);
        float *copy = device_allocate(&device, (size_t)elements * sizeof *copy, "a weight", &err);
        struct tensor f32 = tensor_at(copy, DTYPE_F32, t.rows, t.cols);
        convert(&device, f32, t);
        assert_int_equal(device_read(&device, values, f32, &err), STATUS_OK);
        double squares = 0, norm = json_number_value(json_array_get(expected, 0));
        for (int64_t i = 0; i < elements; i++) squares += (double)values[i] * (double)values[i];
        if (difference(sqrt(squares), norm) > limit)
            fail_msg("%s: norm %.9g, not %.9g", parameters[p].name, sqrt(squares), norm);
        double scale = norm / sqrt((double)elements); /* of a typical value */
        for (int64_t k = 0; k <= last; k++) {
            double theirs = json_number_value(json_array_get(expected, (size_t)k + 1));
            double mine = (double)values[k * (elements - 1) / last];
            if (fabs(mine - theirs) > 10 * limit * scale)
                fail_msg("%s: value %.9g, not %.9g", parameters[p].name, mine, theirs);
        }
        device_release(&device, copy);
        free(values);
    }
    free(parameters);
    model_close(&model);
    device_close(&device);
}

static void check_case(const char *name, const char *device) {
    json_t *expected = golden(name);
    const json_t *settings = json_object_get(expected, "settings");
    struct words *words = start(name, json_string_value(json_object_get(expected, "checkpoint")));
    say_settings(words, settings);
    say(words, "max_steps=20");
    say(words, "disable_shuffling=true");
    say(words, "save_strategy=no");
    say(words, "save_dtype=f32");
    say(words, "device=%s", device);
    run(words);
    bool bf16 = json_is_true(json_object_get(settings, "bf16"));
    json_t *ours = read_log(name);
    check_steps(ours, json_object_get(expected, "steps"), bf16);
    check_weights(name, json_object_get(expected, "weights"), bf16 ? 1e-2 : 1e-4);
    json_decref(ours);
    json_decref(expected);
    free(words);
}

static void test_published(void **state) {
    (void)state;
    check_case("published", "cpu");
}

static void test_published_bf16(void **state) {
    (void)state;
    check_case("published-bf16", "cpu");
}

static void test_tied_and_open(void **state) {
    (void)state;
    check_case("tied-open", "guard");
}

static void test_tied_and_open_bf16(void **state) {
    (void)state;
    check_case("tied-open-bf16", "cpu");
}

static void test_batches(void **state) {
    (void)state;
    check_case("batches", "cpu");
}

static void test_vision_only(void **state) {
    (void)state;
    check_case("vision-only", "cpu");
}

/* The losses and norms of six steps on the golden rows. */
static json_t *six_steps(const char *name, const char *const *extra) {
    struct words *words = start(name, "untied");
    say(words, "freeze_vision_tower=true");
    say(words, "freeze_multi_modal_projector=true");
    say(words, "gradient_accumulation_steps=2");
    say(words, "learning_rate=1e-3");
    say(words, "max_steps=6");
    say(words, "bf16=false");
    say(words, "save_strategy=no");
    for (; *extra; extra++) say(words, "%s", *extra);
    run(words);
    free(words);
    return read_log(name);
}

static void check_same(const char *name, const char *const *extra, json_t *expected, double limit) {
    json_t *ours = six_steps(name, extra);
    assert_int_equal(json_array_size(ours), json_array_size(expected));
    for (size_t i = 0; i < json_array_size(ours); i++)
        for (int k = 0; k < 2; k++) {
            const char *key = k ? "grad_norm" : "loss";
            check_near(key, i, number(json_array_get(ours, i), key), number(json_array_get(expected, i), key),
                       limit);
        }
    json_decref(ours);
}

static void test_memory_settings_change_no_bit(void **state) {
    (void)state;
    const char *const none[] = {NULL}, *const keep[] = {"gradient_checkpointing=false", NULL},
                      *const some[] = {"activation_memory=100KiB", NULL},
                      *const uncached[] = {"vision_cache_memory=0", NULL},
                      *const threads[] = {"dataloader_num_workers=3", NULL};
    char cache[64];
    snprintf(cache, sizeof cache, "vision_cache_dir=%s/features", folder);
    const char *const disk[] = {cache, "vision_cache_memory=0", NULL};
    json_t *plain = six_steps("plain", none);
    check_same("keep", keep, plain, 0);
    check_same("some", some, plain, 0);
    check_same("uncached", uncached, plain, 0);
    check_same("threads", threads, plain, 0);
    check_same("disk", disk, plain, 0);
    check_same("disk again", disk, plain, 0);
    json_decref(plain);
}

/* Three rows in one neatly packed sequence are a micro-batch of three: the mean over all their labels. */
static void test_packing_equals_a_batch(void **state) {
    (void)state;
    const char *const batch[] = {"per_device_train_batch_size=5", "disable_shuffling=true",
                                 "gradient_accumulation_steps=1", NULL};
    const char *const packed[] = {"neat_packing=true", "cutoff_len=2048", "disable_shuffling=true",
                                  "gradient_accumulation_steps=1", NULL};
    json_t *plain = six_steps("batch", batch);
    check_same("packed", packed, plain, 1e-5);
    json_decref(plain);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_published_bf16),
        cmocka_unit_test(test_tied_and_open),
        cmocka_unit_test(test_tied_and_open_bf16),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_vision_only),
        cmocka_unit_test(test_memory_settings_change_no_bit),
        cmocka_unit_test(test_packing_equals_a_batch),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
