/* Runs that are killed or go on from a checkpoint, on a device whose memory the host cannot reach, and with
 * the optimizer's state moving between that memory and the host's. Run alone here; test_nccl.sh runs it with
 * two processes, and with VS2_TEST_FREEZE in a run of which one gets stuck: to be ended from outside. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/language.h"
#include "tests/device.h"
#include "tests/train/support_outputs.h"
#include "tests/train/support_runs.h"
#include "train/communicator.h"
#include "train/optimizer.h"
#include "train/sft.h"

enum { STEPS = 3, SAVED = 2 };

static struct error err;
static struct communicator *all; /* NULL: this process is alone */
static const char *folder;       /* of all runs, and of all processes */
static bool told_to_wait;        /* the run has overlap_comm: false */

/* A run into NAME, whose optimizer's state is the host's if it `offloads`; from the checkpoint after
 * SAVED steps of the run `from`, where that is not NULL. */
struct plan {
    const char *name, *from;
    bool offloads, bf16;
    int stage;
    bool waits; /* overlap_comm: false */
};

static enum status run(const struct plan *plan) {
    struct words *words = calloc(1, sizeof *words);
    struct train_config config;
    char first[64];
    assert_non_null(words);
    say(words, "stage=sft");
    say(words, "model_name_or_path=tests/golden/model/tied");
    say(words, "dataset=golden");
    say(words, "dataset_dir=tests/golden/trainer");
    say(words, "media_dir=tests/golden/video");
    say(words, "template=qwen2_vl");
    say(words, "freeze_vision_tower=false");
    say(words, "freeze_multi_modal_projector=false");
    say(words, "video_maxlen=2");
    say(words, "video_min_pixels=3136");
    say(words, "video_max_pixels=3136");
    say(words, "per_device_train_batch_size=1"); /* rows for each process */
    say(words, "gradient_accumulation_steps=1");
    say(words, "learning_rate=1e-3");
    say(words, "max_steps=%d", STEPS);
    say(words, "save_steps=%d", SAVED);
    say(words, "save_dtype=f32");
    say(words, "logging_steps=1");
    say(words, "report_to=none");
    say(words, "plot_loss=false");
    say(words, "disable_tqdm=true");
    say(words, "device=%s", test_device("cpu"));
    say(words, "output_dir=%s/%s", folder, plan->name);
    say(words, "bf16=%s", plan->bf16 ? "true" : "false");
    say(words, "offload_optimizer=%s", plan->offloads ? "true" : "false");
    say(words, "zero_stage=%d", plan->stage);
    if (plan->waits) say(words, "overlap_comm=false");
    say(words, "ddp_timeout=180000000"); /* as published */
    if (plan->from) say(words, "resume_from_checkpoint=%s/%s/checkpoint-%d", folder, plan->from, SAVED);
    if (train_config_read(NULL, words->list, words->count, &config, &err)) fail_msg("%s", err.message);
    config.processes = all;
    told_to_wait = plan->waits;
    enum status status = train_sft_run(&config, &err);
    train_config_free(&config);
    free(words);
    snprintf(first, sizeof first, "%s/checkpoint-%d", plan->name, SAVED);
    if (plan->from) assert_false(outputs_exists(folder, first)); /* it began there */
    return status;
}

/* ---- Comparing --------------------------------------------------------------------------------------- */

static float *read_weights(const char *name, size_t *count) {
    char path[64];
    uint64_t header;
    snprintf(path, sizeof path, "%s/model.safetensors", name);
    size_t length;
    char *file = outputs_read(folder, path, &length);
    memcpy(&header, file, sizeof header);
    *count = (length - sizeof header - header) / sizeof(float);
    memmove(file, file + sizeof header + header, *count * sizeof(float));
    return (float *)(void *)file;
}

static void check_weights(const char *one, const char *other, double limit) {
    size_t count, others;
    float *ours = read_weights(other, &others), *theirs = read_weights(one, &count);
    double worst = 0;
    assert_int_equal(count, others);
    assert_true(count > 50000);
    for (size_t i = 0; i < count; i++) worst = fmax(worst, fabs((double)ours[i] - (double)theirs[i]));
    if (!(worst <= limit)) fail_msg("a weight of %s is %g from that of %s", other, worst, one);
    free(ours);
    free(theirs);
}

static void check_figures(const char *one, const char *other, double limit) {
    char path[2][256];
    snprintf(path[0], sizeof path[0], "%s/%s", folder, one);
    snprintf(path[1], sizeof path[1], "%s/%s", folder, other);
    json_t *theirs = read_lines(path[0], "trainer_log.jsonl", "loss");
    json_t *ours = read_lines(path[1], "trainer_log.jsonl", "loss");
    assert_int_equal(json_array_size(theirs), STEPS);
    assert_int_equal(json_array_size(ours), STEPS); /* a checkpoint has those before it */
    for (size_t i = 0; i < STEPS; i++) {
        const json_t *a = json_array_get(theirs, i), *b = json_array_get(ours, i);
        double expected = number(a, "loss"), got = number(b, "loss");
        if (!(fabs(got - expected) <= limit * fabs(expected)))
            fail_msg("%s, step %g: loss %.9g, that of %s is %.9g", other, number(b, "current_steps"), got,
                     one, expected);
    }
    json_decref(theirs);
    json_decref(ours);
}

/* Relative of the loss, absolute of weights: AdamW of the host and the device may differ in the last bits. */
static void check_same(const char *one, const char *other, bool exactly) {
    if (all && communicator_rank(all) > 0) return;
    bool equal = exactly || on_own_device();
    check_figures(one, other, equal ? 0 : 1e-6);
    check_weights(one, other, equal ? 0 : 1e-5);
}

static void run_well(const struct plan *plan) {
    if (run(plan) != STATUS_OK) fail_msg("%s: %s", plan->name, err.message);
}

/* ---- Exchanges beside the passes --------------------------------------------------------------------- */

enum status __real_optimizer_open(struct optimizer *optimizer, struct model *model,
                                  const struct freeze *freeze, struct optimizer_sharing sharing,
                                  struct error *error);
enum status __wrap_optimizer_open(struct optimizer *optimizer, struct model *model,
                                  const struct freeze *freeze, struct optimizer_sharing sharing,
                                  struct error *error);

/* Where the devices exchange by themselves they do so beside the passes, unless told not to. */
enum status __wrap_optimizer_open(struct optimizer *optimizer, struct model *model,
                                  const struct freeze *freeze, struct optimizer_sharing sharing,
                                  struct error *error) {
    const char *joined = getenv("VS2_TEST_JOINED"); /* "yes", or "no" */
    if (all && joined) assert_int_equal(sharing.overlaps, joined[0] == 'y' && !told_to_wait);
    if (!all) assert_false(sharing.overlaps);
    return __real_optimizer_open(optimizer, model, freeze, sharing, error);
}

/* ---- A process that gets stuck ----------------------------------------------------------------------- */

void __real_language_loss(const struct model *model, const struct model *gradients, struct arena *arena,
                          const struct language_loss *loss);
void __wrap_language_loss(const struct model *model, const struct model *gradients, struct arena *arena,
                          const struct language_loss *loss);

/* With VS2_TEST_FREEZE the last process's thread that trains goes no further than its second loss; its
 * other threads live on. */
void __wrap_language_loss(const struct model *model, const struct model *gradients, struct arena *arena,
                          const struct language_loss *loss) {
    static int calls;
    const char *way = getenv("VS2_TEST_FREEZE");
    if (way && communicator_rank(all) > 0 && !model->device->counts && ++calls == SAVED) {
        sleep(2); /* it has told that it is at this step */
        if (strcmp(way, "killed") == 0) raise(SIGKILL);
        for (;;) pause();
    }
    __real_language_loss(model, gradients, arena, loss);
}

/* "waits": it exchanges between passes; else as the devices can. "killed": it is. */
static void test_frozen(void **state) {
    (void)state;
    const char *way = getenv("VS2_TEST_FREEZE");
    const struct plan plan = {.name = "frozen", .stage = 2, .waits = strcmp(way, "waits") == 0};
    fail_msg("a run with a stuck process ended with %d", (int)run(&plan));
}

/* ---- Tests ------------------------------------------------------------------------------------------- */

/* Killed once its checkpoint is there. By a process that has opened no device, as a GPU does not go along. */
static void kill_a_run(void) {
    static const struct plan plan = {.name = "killed", .bf16 = true};
    char path[64];
    snprintf(path, sizeof path, "killed/checkpoint-%d", SAVED);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        run(&plan);
        _exit(EXIT_SUCCESS); /* it was faster than its death */
    }
    pid_t ended = 0;
    while (!outputs_exists(folder, path) && ended == 0) {
        usleep(1000);
        ended = waitpid(child, NULL, WNOHANG);
    }
    if (ended) return;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

/* In the same folder a run goes on from the newest checkpoint there is. */
static void test_killed(void **state) {
    (void)state;
    const struct plan whole = {.name = "unbroken", .bf16 = true}, again = {.name = "killed", .bf16 = true};
    run_well(&whole);
    run_well(&again);
    check_same("unbroken", "killed", true);
}

static void check_moving(int stage) {
    enum { TAKEN = 3, RUNS };
    static const struct {
        const char *name;
        bool offloads;
    } runs[RUNS] = {{"offloaded", true}, {"kept", true}, {"given-back", false}, {"taken", true}};
    char names[RUNS][32];
    for (int i = 0; i < RUNS; i++) {
        snprintf(names[i], sizeof names[i], "%s-%d", runs[i].name, stage);
        const struct plan plan = {.name = names[i],
                                  .from = i == 0      ? NULL
                                          : i < TAKEN ? names[0]
                                                      : "whole",
                                  .offloads = runs[i].offloads,
                                  .stage = stage};
        run_well(&plan);
        check_same("whole", names[i], false);
    }
    check_same(names[0], names[1], true);
}

static void test_alone(void **state) {
    (void)state;
    const struct plan whole = {.name = "whole"};
    run_well(&whole);
    check_moving(0);
}

/* Every ZeRO stage has the numbers of the first, whose state is the device's. */
static void test_stages(void **state) {
    (void)state;
    const struct plan whole = {.name = "whole", .stage = 1};
    run_well(&whole);
    for (int stage = 1; stage <= 3; stage++) check_moving(stage);
}

/* A process that is told not to does not leave the others waiting: all say why they end. */
static void test_some_overlap(void **state) {
    (void)state;
    const char *joined = getenv("VS2_TEST_JOINED");
    if (!joined || joined[0] != 'y') skip();
    const struct plan plan = {.name = "some", .waits = communicator_rank(all) > 0};
    assert_int_equal(run(&plan), STATUS_USAGE);
    assert_non_null(strstr(err.message, "overlap_comm is on in 1 of 2 processes"));
}

static int run_alone(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_killed), cmocka_unit_test(test_alone)};
    char *own = outputs_folder();
    folder = own;
    kill_a_run();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    outputs_remove(own);
    return failed;
}

/* VS2_TEST_FOLDER is there for all of them. */
int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stages), cmocka_unit_test(test_some_overlap)},
                            frozen[] = {cmocka_unit_test(test_frozen)};
    folder = getenv("VS2_TEST_FOLDER");
    if (!folder) return run_alone();
    if (communicator_open(&all, &err) != STATUS_OK) return EXIT_FAILURE;
    int failed = getenv("VS2_TEST_FREEZE") ? cmocka_run_group_tests(frozen, NULL, NULL)
                                           : cmocka_run_group_tests(tests, NULL, NULL);
    communicator_close(all, failed ? STATUS_FAILED : STATUS_OK);
    return failed;
}
