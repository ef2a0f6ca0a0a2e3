/* 20 steps against transformers' own Trainer (tests/reference/sft.py), and what must not change a bit. */
#include "train/sft.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "tensor/ops.h"
#include "tests/device.h"
#include "tests/train/support_outputs.h"
#include "tests/train/support_runs.h"
#include "train/pass.h"

static struct error err;

static void run(const struct words *words) {
    struct train_config config;
    if (train_config_read(NULL, words->list, words->count, &config, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    enum status status = train_sft_run(&config, &err);
    train_config_free(&config);
    if (status != STATUS_OK) fail_msg("%s", err.message);
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
    say(words, "output_dir=%s/%s", outputs_group(), name);
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

static double difference(double ours, double theirs) {
    return fabs(ours - theirs) / fmax(fabs(theirs), 1e-12);
}

static void check_near(const char *what, size_t step, double ours, double theirs, double limit) {
    if (difference(ours, theirs) > limit)
        fail_msg("step %zu: %s is %.9g, not %.9g", step + 1, what, ours, theirs);
}

/* How far a run may lie from the reference's: its steps relative to each, and what it did to the weights
 * relative to the norm of that. */
struct bounds {
    double first_loss, loss, grad_norm, moves;
};

static const struct bounds f32_bounds = {1e-4, 1e-3, 1e-3, 1e-3};

/* In bf16 the reference itself is no nearer: the same run of it with the kernels of AVX2 instead of AVX-512
 * lies from the golden one by 5e-3 (loss), 0.01 (norm; 0.16 where the vision tower is open, whose stream is
 * bf16) and 0.05 (changes of the weights); its f32 lies up to 0.03, 0.6 and 0.23 off ("noise" in the golden
 * files). */
static const struct bounds bf16_bounds = {2e-3, 1e-2, 0.03, 0.1}, bf16_open_bounds = {2e-3, 1e-2, 0.25, 0.1};

static void check_steps(const json_t *ours, const json_t *theirs, const struct bounds *bounds) {
    assert_int_equal(json_array_size(ours), json_array_size(theirs));
    double loss = 0, grad_norm = 0;
    for (size_t i = 0; i < json_array_size(theirs); i++) {
        const json_t *a = json_array_get(ours, i), *b = json_array_get(theirs, i);
        check_near("loss", i, number(a, "loss"), number(b, "loss"),
                   i == 0 ? bounds->first_loss : bounds->loss);
        check_near("grad_norm", i, number(a, "grad_norm"), number(b, "grad_norm"), bounds->grad_norm);
        check_near("lr", i, number(a, "lr"), number(b, "lr"), 1e-9);
        loss = fmax(loss, difference(number(a, "loss"), number(b, "loss")));
        grad_norm = fmax(grad_norm, difference(number(a, "grad_norm"), number(b, "grad_norm")));
    }
    print_message("loss within %.1e of the reference's, gradient norm within %.1e\n", loss, grad_norm);
}

static void check_case(const char *name, const char *device, const struct bounds *bounds) {
    json_t *expected = golden(name);
    const json_t *settings = json_object_get(expected, "settings");
    const char *checkpoint = json_string_value(json_object_get(expected, "checkpoint"));
    struct words *words = start(name, checkpoint);
    say_settings(words, settings);
    say(words, "max_steps=20");
    say(words, "disable_shuffling=true");
    say(words, "save_strategy=no");
    say(words, "save_dtype=f32");
    say(words, "device=%s", test_device(device));
    run(words);
    char before[128], after[128];
    snprintf(before, sizeof before, "tests/golden/model/%s", checkpoint);
    snprintf(after, sizeof after, "%s/%s", outputs_group(), name);
    json_t *ours = read_lines(after, "trainer_log.jsonl", "loss");
    check_steps(ours, json_object_get(expected, "steps"), bounds);
    check_moves(before, after, json_object_get(expected, "moves"), bounds->moves);
    json_decref(ours);
    json_decref(expected);
    free(words);
}

static void test_published(void **state) {
    (void)state;
    check_case("published", "cpu", &f32_bounds);
}

static void test_published_bf16(void **state) {
    (void)state;
    check_case("published-bf16", "cpu", &bf16_bounds);
}

static void test_tied_and_open(void **state) {
    (void)state;
    check_case("tied-open", "guard", &f32_bounds);
}

static void test_tied_published_bf16(void **state) {
    (void)state;
    check_case("tied-published-bf16", "cpu", &bf16_bounds);
}

static void test_open_bf16(void **state) {
    (void)state;
    check_case("open-bf16", "cpu", &bf16_open_bounds);
}

static void test_tied_and_open_bf16(void **state) {
    (void)state;
    check_case("tied-open-bf16", "cpu", &bf16_open_bounds);
}

static void test_batches(void **state) {
    (void)state;
    check_case("batches", "cpu", &f32_bounds);
}

static void test_vision_only(void **state) {
    (void)state;
    check_case("vision-only", "cpu", &f32_bounds);
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
    say(words, "device=%s", test_device("cpu"));
    for (; *extra; extra++) say(words, "%s", *extra);
    run(words);
    free(words);
    char path[128];
    snprintf(path, sizeof path, "%s/%s", outputs_group(), name);
    return read_lines(path, "trainer_log.jsonl", "loss");
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

static void check_memory_settings(const char *type) {
    const char *const none[] = {type, NULL}, *const keep[] = {type, "gradient_checkpointing=false", NULL},
                      *const some[] = {type, "activation_memory=100KiB", NULL},
                      *const again[] = {type, "activation_memory=0", NULL},
                      *const uncached[] = {type, "vision_cache_memory=0", NULL},
                      *const threads[] = {type, "dataloader_num_workers=3", NULL};
    char cache[64];
    snprintf(cache, sizeof cache, "vision_cache_dir=%s/features", outputs_group());
    const char *const disk[] = {type, cache, "vision_cache_memory=0", NULL};
    json_t *plain = six_steps("plain", none);
    check_same("keep", keep, plain, 0);
    check_same("some", some, plain, 0);
    check_same("again", again, plain, 0);
    check_same("uncached", uncached, plain, 0);
    check_same("threads", threads, plain, 0);
    check_same("disk", disk, plain, 0);
    check_same("disk again", disk, plain, 0);
    json_decref(plain);
}

static void test_memory_settings_change_no_bit(void **state) {
    (void)state;
    check_memory_settings("bf16=false");
    check_memory_settings("bf16=true");
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

static int64_t most_read; /* tokens of a pass without a backward one */

enum status __real_pass_run(struct pass_runner *runner, const struct pass_sample *samples, int64_t count,
                            bool backward, double *logprob_sums, struct error *error);
enum status __wrap_pass_run(struct pass_runner *runner, const struct pass_sample *samples, int64_t count,
                            bool backward, double *logprob_sums, struct error *error);
enum status __wrap_pass_run(struct pass_runner *runner, const struct pass_sample *samples, int64_t count,
                            bool backward, double *logprob_sums, struct error *error) {
    int64_t tokens = 0;
    for (int64_t i = 0; i < count && !backward; i++) tokens += samples[i].count;
    if (tokens > most_read) most_read = tokens;
    return __real_pass_run(runner, samples, count, backward, logprob_sums, error);
}

/* The loss on all golden rows, as one batch, before the first step. */
static double first_evaluation(const char *name, const char *accumulation) {
    const char *const extra[] = {"eval_dataset=golden",
                                 "do_eval=true",
                                 "eval_on_start=true",
                                 "per_device_eval_batch_size=5",
                                 "per_device_train_batch_size=1",
                                 accumulation,
                                 NULL};
    char path[128];
    most_read = 0;
    json_decref(six_steps(name, extra));
    snprintf(path, sizeof path, "%s/%s", outputs_group(), name);
    json_t *lines = read_lines(path, "trainer_log.jsonl", "eval_loss");
    assert_true(number(json_array_get(lines, 0), "current_steps") == 0);
    double loss = number(json_array_get(lines, 0), "eval_loss");
    json_decref(lines);
    return loss;
}

/* A batch that is evaluated goes in passes that are no larger than those that train, with the same loss. */
static void test_evaluation_in_parts(void **state) {
    (void)state;
    double parts = first_evaluation("parts", "gradient_accumulation_steps=1");
    assert_in_range(most_read, 1, 228); /* of the longest row */
    double whole = first_evaluation("whole", "gradient_accumulation_steps=8");
    assert_int_equal(most_read, 777); /* of all */
    check_near("eval_loss", 0, parts, whole, 1e-6);
}

/* AdamW of the host instead of the device's, which may differ in the last bits; on the CPU it is the same. */
static void test_offloaded_optimizer(void **state) {
    (void)state;
    const char *const resident[] = {NULL}, *const offloaded[] = {"offload_optimizer=true", NULL};
    json_t *plain = six_steps("resident", resident);
    check_same("offloaded", offloaded, plain, on_own_device() ? 0 : 1e-5);
    json_decref(plain);
}

/* On the emulated device whole runs are shown by those of each precision, with all parts trained. */
static int run_on_emulated_device(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_tied_published_bf16),
        cmocka_unit_test(test_tied_and_open),
        cmocka_unit_test(test_offloaded_optimizer),
    };
    return cmocka_run_group_tests(tests, outputs_group_make, outputs_group_remove);
}

int main(void) {
    if (on_emulated_device()) return run_on_emulated_device();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_published_bf16),
        cmocka_unit_test(test_tied_and_open),
        cmocka_unit_test(test_tied_published_bf16),
        cmocka_unit_test(test_open_bf16),
        cmocka_unit_test(test_tied_and_open_bf16),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_vision_only),
        cmocka_unit_test(test_memory_settings_change_no_bit),
        cmocka_unit_test(test_packing_equals_a_batch),
        cmocka_unit_test(test_evaluation_in_parts),
        cmocka_unit_test(test_offloaded_optimizer),
    };
    return cmocka_run_group_tests(tests, outputs_group_make, outputs_group_remove);
}
