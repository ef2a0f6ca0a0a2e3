/* Plans for GPUs that are not here, against sums made by hand, and against what a real model takes. */
#include "train/scale.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/cost.h"
#include "model/shapes.h"
#include "tests/model/support_golden.h"
#include "tests/refuse.h"
#include "train/pass_room.h"

/* The "square" checkpoint: hidden 40, 2 layers of 2 heads (2 of keys), inner 48, vocabulary 300, tied. Its
 * tower: hidden 16, 2 blocks (the first with whole frames), inner 20, merger 64 to 64 to 40. */
enum {
    HIDDEN = 40,
    INNER = 48,
    LAYERS = 2,
    VOCAB = 300,
    LAYER_WEIGHTS = 4 * HIDDEN * HIDDEN + 3 * HIDDEN * INNER
};
enum { LANGUAGE_PARAMETERS = VOCAB * HIDDEN + LAYERS * (LAYER_WEIGHTS + 5 * HIDDEN) + HIDDEN };
enum { UNITS = 1 + LAYERS + 1 }; /* the embedding, the layers, the last norm */

/* A video of 20 features with 5 tokens of text and 3 of the answer. */
enum { PROMPT = 25, ANSWER = 3, TOKENS = PROMPT + ANSWER, GENERATIONS = 2 };
static const struct visual_grid video = {2, 4, 10, 1};
static const double vision_flops = 2.0 * 80 * (16 * 1176 + 2 * (4 * 16 * 16 + 3 * 16 * 20)) +
                                   2.0 * 20 * (64 * 64 + 64 * 40) +
                                   4.0 * 16 * (2 * 40 * 40 + 2 * (32 * 32 + 8 * 8));

/* Numbers that are easy to divide by. */
static const struct gpu round_gpu = {"round", "round", 1e9, 1e9, 1e8, 1e6, 1e5, 8};

static struct error err;
static struct model_config config;

static struct scale_settings settings_of(int stage, int64_t gpus, int zero) {
    if (model_config_read("tests/golden/model/square", &config, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    bool frozen = stage == TRAIN_STAGE_SFT;
    return (struct scale_settings){.config = &config,
                                   .gpu = &round_gpu,
                                   .shares = scale_assumed,
                                   .stage = stage,
                                   .gpus = gpus,
                                   .zero = zero,
                                   .overlap = true,
                                   .rows = 1,
                                   .accumulation = 4,
                                   .video = video,
                                   .text_tokens = 5,
                                   .answer_tokens = ANSWER,
                                   .generations = GENERATIONS,
                                   .recompute = true,
                                   .freeze = {.vision_tower = frozen, .projector = frozen}};
}

static struct scale_step plan(const struct scale_settings *settings) {
    struct scale_step step;
    if (scale_plan(settings, &step, &err) != STATUS_OK) fail_msg("%s", err.message);
    return step;
}

static void assert_near(double value, double expected) {
    if (fabs(value - expected) > 1e-9 * fabs(expected)) fail_msg("%.17g is not %.17g", value, expected);
}

/* Operations of the layers over tokens that see so many keys in all, and of the head. */
static double layers_flops(double tokens, double pairs) {
    return LAYERS * (2.0 * tokens * LAYER_WEIGHTS + 4.0 * HIDDEN * pairs);
}

static double head_flops(double rows) {
    return 2.0 * rows * VOCAB * HIDDEN;
}

static void sft_work(void **state) {
    (void)state;
    struct scale_settings settings = settings_of(TRAIN_STAGE_SFT, 1, 0);
    struct scale_step step = plan(&settings);
    double layers = layers_flops(TOKENS, TOKENS * (TOKENS + 1) / 2.0), head = head_flops(ANSWER);
    assert_near(step.work[SCALE_FORWARD].flops, 4 * (vision_flops + layers + head));
    assert_near(step.work[SCALE_BACKWARD].flops, 4 * (3 * layers + 2 * head));
    assert_near(step.useful_flops, 4 * (vision_flops + 3 * (layers + head)));
    assert_int_equal(step.tokens, 4 * TOKENS);
    assert_int_equal(step.drawn, 0);
    assert_near(step.work[SCALE_OPTIMIZER].other_bytes, 38.0 * LANGUAGE_PARAMETERS);
    settings.recompute = false;
    assert_near(plan(&settings).work[SCALE_BACKWARD].flops, 4 * 2 * (layers + head));
    settings.rows = 2; /* beside each other, not seeing each other */
    assert_near(plan(&settings).work[SCALE_BACKWARD].flops, 8 * 2 * (layers + head));
}

/* A token more or less is one layer's traffic, by hand: in and out of products in bf16, and norms over a
 * stream in f32; beside the keys that its segment has, and its attention. */
static void bytes_of_a_token(void **state) {
    (void)state;
    struct scale_settings settings = settings_of(TRAIN_STAGE_SFT, 1, 0);
    struct scale_work few = plan(&settings).work[SCALE_FORWARD];
    settings.text_tokens++;
    struct scale_work more = plan(&settings).work[SCALE_FORWARD];
    double products = 2.0 * ((40 + 40 + 80) + (80 + 80) + (40 + 40) + (40 + 96) + (48 + 40)),
           keys = 2 * 2.0 * 40;
    double others = 2.0 * 40 * (2 * 4 + 2 * 2) + 2.0 * (2 * 80 + 3 * 48);
    assert_near(more.product_bytes - few.product_bytes, 4 * LAYERS * (products + keys));
    assert_near(more.other_bytes - few.other_bytes, 4 * LAYERS * others);
}

static void grpo_work(void **state) {
    (void)state;
    struct scale_settings settings = settings_of(TRAIN_STAGE_GRPO, 1, 0);
    struct scale_step step = plan(&settings);
    double completion = ANSWER * PROMPT + ANSWER * (ANSWER + 1) / 2.0,
           prompt_pairs = PROMPT * (PROMPT + 1) / 2.0;
    double layers = layers_flops(PROMPT + GENERATIONS * ANSWER, prompt_pairs + GENERATIONS * completion);
    double head = head_flops(GENERATIONS * ANSWER), prompt = layers_flops(PROMPT, prompt_pairs);
    double drawing = ANSWER * (layers_flops(4 * GENERATIONS, 4.0 * GENERATIONS * (PROMPT + 2)) +
                               head_flops(4 * GENERATIONS));
    assert_near(step.work[SCALE_PROMPTS].flops, 4 * (vision_flops + prompt));
    assert_near(step.work[SCALE_DECODING].flops, drawing);
    assert_near(step.work[SCALE_REFERENCE].flops, 4 * (vision_flops + layers + head));
    assert_near(step.work[SCALE_FORWARD].flops, 4 * (vision_flops + layers + head));
    assert_near(step.work[SCALE_BACKWARD].flops, 4 * (3 * (vision_flops + layers) + 2 * head));
    assert_int_equal(step.tokens, 4 * (PROMPT + GENERATIONS * ANSWER));
    assert_int_equal(step.drawn, 4 * GENERATIONS * ANSWER);
    assert_near(step.useful_flops, 4 * (5 * vision_flops + 4 * (layers + head) + prompt) + drawing);
}

/* What the plan has without processes, against what training plans for a model that is really there; on one
 * process that is what training takes (test_optimizer.c, test_sharing.c). */
static void compare_state(struct model *model, int stage) {
    struct scale_settings settings = settings_of(stage, 1, 0);
    const struct freeze *freeze = &settings.freeze;
    static const int64_t numbers[] = {1, 2, 3, 8, 1024};
    size_t count;
    struct parameter *list = parameters_list(&model->config, &count, &err);
    assert_non_null(list);
    for (int i = 0; i < 5 * 4 * 2; i++) {
        settings.gpus = numbers[i / 8];
        settings.zero = i / 2 % 4;
        settings.overlap = i % 2 == 1;
        const struct optimizer_sharing sharing = {.stage = settings.zero,
                                                  .overlaps = settings.overlap,
                                                  .plans_gpus = true,
                                                  .plans_processes = settings.gpus};
        struct scale_step step = plan(&settings);
        assert_near(step.memory[SCALE_COPIES] + step.memory[SCALE_MASTERS] + step.memory[SCALE_GRADIENTS] +
                        step.memory[SCALE_ROOMS],
                    (double)optimizer_shared_bytes(model, list, count, freeze, sharing));
        assert_near(step.memory[SCALE_FROZEN],
                    (double)optimizer_stored_bytes(model, list, count, freeze, false));
        double whole = (double)optimizer_gathered_bytes(model, list, count, freeze, sharing);
        assert_near(step.memory[SCALE_ROLLOUT], stage == TRAIN_STAGE_GRPO ? whole : 0);
        assert_true((whole > 0) == (settings.gpus > 1 && settings.zero == 3));
        assert_true((step.memory[SCALE_ROOMS] > 0) == (settings.gpus > 1 && settings.zero >= 2));
    }
    free(list);
}

/* Passes of the plan, against those of the model with an optimizer (what these take: test_pass_room.c). */
static void compare_passes(struct model *model, int stage) {
    struct scale_settings settings = settings_of(stage, 1, 0);
    const bool grpo = stage == TRAIN_STAGE_GRPO;
    const struct optimizer_sharing alone = {0};
    struct optimizer optimizer;
    assert_int_equal(optimizer_open(&optimizer, model, &settings.freeze, alone, &err), STATUS_OK);
    for (int recompute = 0; recompute < 2; recompute++) {
        settings.recompute = recompute == 1;
        struct scale_step step = plan(&settings);
        const struct pass_settings passes = {
            .model = model, .gradients = &optimizer.gradients, .recompute = settings.recompute};
        const struct pass_size sft = {1, TOKENS, 80, 0, 0}, group = {1, PROMPT, 80, GENERATIONS, ANSWER},
                               prompt = {1, PROMPT, 80, 1, 1};
        struct pass_runner *runner = pass_runner_new(&passes, &err);
        size_t learns, reads;
        assert_non_null(runner);
        assert_int_equal(pass_count_bytes(runner, grpo ? group : sft, true, &learns, &err), STATUS_OK);
        assert_int_equal(pass_count_bytes(runner, prompt, false, &reads, &err), STATUS_OK);
        assert_true(learns > 0 && reads > 0);
        assert_near(step.memory[SCALE_PASS], (double)learns);
        assert_near(step.memory[SCALE_READING], grpo ? (double)reads : 0);
        pass_runner_free(runner);
    }
    optimizer_close(&optimizer);
}

static void memory_is_that_of_training(void **state) {
    (void)state;
    for (int stage = TRAIN_STAGE_SFT; stage <= TRAIN_STAGE_GRPO; stage++) {
        struct scale_settings settings = settings_of(stage, 1, 0);
        struct device device;
        struct model model;
        assert_int_equal(device_open("cpu", &device, &err), STATUS_OK);
        assert_int_equal(optimizer_open_model("tests/golden/model/square", &device, DTYPE_BF16,
                                              &settings.freeze, &model, &err),
                         STATUS_OK);
        compare_state(&model, stage);
        compare_passes(&model, stage);
        model_close(&model);
        device_close(&device);
    }
}

/* What is used at one time: the rollouts' memory and that of a training pass are the same. */
static void memory_has_two_uses(void **state) {
    (void)state;
    for (int zero = 0; zero <= 3; zero++) {
        struct scale_settings settings = settings_of(TRAIN_STAGE_GRPO, 2, zero);
        for (int long_answers = 0; long_answers < 2; long_answers++) {
            settings.generations = long_answers ? 1 : GENERATIONS;
            settings.accumulation = long_answers ? 1000 : 1;
            struct scale_step step = plan(&settings);
            const double *m = step.memory;
            double always = 0, generates = m[SCALE_ROLLOUT] + m[SCALE_CACHE] + m[SCALE_READING],
                   learns = m[SCALE_PASS];
            for (int i = 0; i < SCALE_ROLLOUT; i++) always += m[i];
            if (zero < 3) assert_int_equal(generates > learns, long_answers);
            assert_near(step.memory_bytes, always + fmax(generates, learns));
            assert_int_equal(step.fits, step.memory_bytes <= round_gpu.memory);
        }
        struct scale_step step = plan(&settings), alone;
        settings.gpus = 1;
        alone = plan(&settings);
        assert_near(step.memory[SCALE_REFERENCE_WEIGHTS], alone.memory[SCALE_REFERENCE_WEIGHTS]);
        assert_near(step.memory[SCALE_CACHE], 1000.0 * (PROMPT + ANSWER) * 2 * LAYERS * HIDDEN * 2);
    }
}

/* Messages of two GPUs: each has half of a sum or of weights to get, twice for a sum that all have. Weights
 * are bf16 copies of products, f32 norms, and an embedding as both; a backward pass needs the first layer. */
static void zero_sends_messages(void **state) {
    (void)state;
    const double products = LAYERS * (LAYER_WEIGHTS + 3 * HIDDEN), norms = (2 * LAYERS + 1) * HIDDEN;
    double gradients = 4.0 * LANGUAGE_PARAMETERS / 2,
           weights = (2 * products + 4 * norms + 6.0 * VOCAB * HIDDEN) / 2,
           layer = (2.0 * (LAYER_WEIGHTS + 3 * HIDDEN) + 4.0 * 2 * HIDDEN) / 2;
    const double forward[] = {0, 0, 0, 4 * weights};
    const double backward[] = {2 * gradients, gradients, 4 * gradients, 4 * (gradients + layer)};
    const double optimizer[] = {0, weights, weights, 0};
    for (int zero = 0; zero <= 3; zero++) {
        struct scale_settings settings = settings_of(TRAIN_STAGE_SFT, 2, zero);
        struct scale_step step = plan(&settings);
        assert_near(step.messages[SCALE_FORWARD], forward[zero]);
        assert_near(step.messages[SCALE_BACKWARD], backward[zero]);
        assert_near(step.messages[SCALE_OPTIMIZER], optimizer[zero]);
        settings.stage = TRAIN_STAGE_GRPO;
        step = plan(&settings);
        assert_near(step.messages[SCALE_WEIGHTS], zero == 3 ? weights : 0);
        assert_true(step.messages[SCALE_REFERENCE] == 0 && step.messages[SCALE_PROMPTS] == 0);
        settings.gpus = 1;
        step = plan(&settings);
        for (int i = 0; i < SCALE_PARTS; i++) assert_true(step.messages[i] == 0);
    }
}

/* The roofline by hand: what computes hides what is sent, or the other way round. */
static void time_is_a_roofline(void **state) {
    (void)state;
    struct scale_settings settings = settings_of(TRAIN_STAGE_SFT, 16, 3);
    struct gpu gpu = round_gpu;
    settings.gpu = &gpu;
    for (int slow = 0; slow < 3; slow++) { /* arithmetic, memory, the network */
        gpu.flops = slow == 0 ? 1 : 1e18;
        gpu.bandwidth = slow == 1 ? 1 : 1e18;
        gpu.network = slow == 2 ? 1 : 1e17;
        gpu.link = 1e18;
        struct scale_step step = plan(&settings);
        const struct scale_work *work = &step.work[SCALE_FORWARD];
        double message =
            step.messages[SCALE_FORWARD] / (8 * scale_assumed.link) + 4 * UNITS * 4 * scale_assumed.latency;
        const double expected[] = {work->flops / scale_assumed.flops,
                                   (work->product_bytes + work->other_bytes) / scale_assumed.bandwidth,
                                   message};
        if (fabs(step.seconds[SCALE_FORWARD] / expected[slow] - 1) > 1e-6)
            fail_msg("%g s, not %g, where %d is slow", step.seconds[SCALE_FORWARD], expected[slow], slow);
        double seconds = 0;
        for (int i = 0; i < SCALE_PARTS; i++) seconds += step.seconds[i];
        assert_near(step.step_seconds, seconds);
        assert_near(step.tokens_per_second, 16.0 * 4 * TOKENS / seconds);
        assert_near(step.peak_share, step.useful_flops / seconds / gpu.flops);
    }
}

/* Without overlap nothing hides. */
static void messages_are_waited_for(void **state) {
    (void)state;
    for (int zero = 0; zero <= 3; zero++) {
        struct scale_settings settings = settings_of(TRAIN_STAGE_GRPO, 2, zero);
        struct scale_step beside = plan(&settings), step;
        settings.overlap = false;
        step = plan(&settings);
        double sum = 0;
        for (int i = 0; i < SCALE_PARTS; i++) {
            assert_near(step.seconds[i], step.work_seconds[i] + step.message_seconds[i]);
            assert_true(step.seconds[i] >= beside.seconds[i]);
            sum += step.message_seconds[i];
        }
        assert_true(sum > 0 && step.step_seconds > beside.step_seconds);
        assert_near(step.drawn_per_second, 2.0 * 4 * GENERATIONS * ANSWER / step.step_seconds);
    }
}

/* A sum once a step hides behind the last of its passes only. */
static void a_late_message_shows(void **state) {
    (void)state;
    struct scale_settings settings = settings_of(TRAIN_STAGE_SFT, 2, 0);
    struct gpu gpu = round_gpu;
    gpu.link = 1; /* slow: of the message no more than a pass is hidden */
    struct scale_step fast = plan(&settings);
    settings.gpu = &gpu;
    struct scale_step slow = plan(&settings);
    settings.gpus = 1;
    double work = plan(&settings).seconds[SCALE_BACKWARD];
    double message = slow.messages[SCALE_BACKWARD] / scale_assumed.link + 2 * UNITS * scale_assumed.latency;
    assert_near(slow.seconds[SCALE_BACKWARD], work + message - work / 4);
    assert_true(fast.seconds[SCALE_BACKWARD] < slow.seconds[SCALE_BACKWARD]);
}

static void gpus_are_found_by_name(void **state) {
    (void)state;
    const struct gpu *gpu;
    for (const struct gpu *each = gpu_table; each->name; each++) {
        assert_int_equal(gpu_find(each->name, &gpu, &err), STATUS_OK);
        assert_ptr_equal(gpu, each);
        assert_true(gpu_is(each, each->product));
        assert_true(gpu->flops > gpu->bandwidth && gpu->bandwidth > gpu->link && gpu->link > gpu->network);
    }
    assert_int_equal(gpu_find("H100", &gpu, &err), STATUS_OK);
    assert_ptr_equal(gpu, gpu_table);
    assert_true(gpu_is(gpu, "NVIDIA H100 80GB HBM3") && !gpu_is(gpu, "NVIDIA H200") && !gpu_is(gpu, "H10"));
    assert_int_equal(gpu_find("k80", &gpu, &err), STATUS_USAGE);
    assert_non_null(strstr(err.message, "\"k80\" in the table (h100, "));
}

static void every_lack_of_memory_is_told(void **state) {
    (void)state;
    struct scale_settings settings = settings_of(TRAIN_STAGE_GRPO, 2, 3);
    struct scale_step step;
    int failures = 0;
    for (; failures < 100; failures++) {
        allocations_left = failures;
        enum status status = scale_plan(&settings, &step, &err);
        allocations_left = -1;
        if (status == STATUS_OK) break;
        assert_non_null(strstr(err.message, "out of memory for "));
    }
    assert_in_range(failures, 5, 99);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sft_work),
        cmocka_unit_test(bytes_of_a_token),
        cmocka_unit_test(grpo_work),
        cmocka_unit_test(memory_is_that_of_training),
        cmocka_unit_test(memory_has_two_uses),
        cmocka_unit_test(zero_sends_messages),
        cmocka_unit_test(time_is_a_roofline),
        cmocka_unit_test(messages_are_waited_for),
        cmocka_unit_test(a_late_message_shows),
        cmocka_unit_test(gpus_are_found_by_name),
        cmocka_unit_test(every_lack_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
