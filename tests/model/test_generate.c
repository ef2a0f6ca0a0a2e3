/* Generation: text equal to transformers', independence from batching, the cache, and faults. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "model/generate.h"
#include "model/kv_cache.h"
#include "tests/emulator/hooks.h"
#include "tests/model/support_golden.h"

enum { GOLDEN_TOKENS = 40 };

static const struct {
    const char *name;
    float penalty;
} greedy_texts[] = {{"greedy", 1}, {"greedy_penalty_1.05", 1.05f}, {"greedy_penalty_1.3", 1.3f}};

struct fixture {
    struct safetensors golden;
    struct golden_model opened;
    struct golden_case prompts[3];
    struct engine *engine;
    struct generate_results results;
};

static void open_fixture(struct fixture *f, const char *shape, const char *device, enum dtype compute) {
    *f = (struct fixture){.golden = golden_open(shape)};
    golden_model_open(&f->opened, shape, device, compute);
    for (int c = 0; c < 3; c++) f->prompts[c] = golden_case_get(&f->golden, golden_cases[c]);
}

static void start_engine(struct fixture *f, struct engine_limits limits) {
    struct error err;
    if (limits.cache_tokens == 0) limits.cache_tokens = 2000;
    engine_free(f->engine);
    generate_results_free(&f->results);
    f->engine = engine_create(&f->opened.model, &limits, &err);
    if (!f->engine) fail_msg("%s", err.message);
}

static void close_fixture(struct fixture *f) {
    engine_free(f->engine);
    generate_results_free(&f->results);
    for (int c = 0; c < 3; c++) golden_case_free(&f->prompts[c]);
    golden_model_close(&f->opened);
    safetensors_close(&f->golden);
}

static struct generate_request request_of(const struct golden_case *prompt, struct sampling rules) {
    return (struct generate_request){.tokens = prompt->tokens,
                                     .count = prompt->count,
                                     .visuals = prompt->visuals,
                                     .patches = (const float *const *)prompt->patches,
                                     .visual_count = prompt->visual_count,
                                     .samples = 1,
                                     .max_new_tokens = GOLDEN_TOKENS,
                                     .rules = rules};
}

static struct sampling greedy(float penalty) {
    return (struct sampling){.temperature = 0, .top_p = 1, .repetition_penalty = penalty};
}

static struct sampling lively(uint64_t seed, uint32_t stream) {
    return (struct sampling){.temperature = 1.1f,
                             .top_k = 50,
                             .top_p = 0.95f,
                             .repetition_penalty = stream % 2 ? 1.1f : 1,
                             .seed = seed,
                             .stream = stream};
}

static uint64_t submit(struct fixture *f, struct generate_request request) {
    struct error err;
    uint64_t id;
    if (engine_submit(f->engine, &request, &id, &err)) fail_msg("%s", err.message);
    return id;
}

static void run(struct fixture *f) {
    struct error err;
    if (engine_run(f->engine, &f->results, &err)) fail_msg("%s", err.message);
    assert_true(engine_idle(f->engine));
}

static const struct generate_result *result_of(const struct fixture *f, uint64_t request, int64_t sample) {
    for (size_t i = 0; i < f->results.count; i++)
        if (f->results.items[i].request == request && f->results.items[i].sample == sample)
            return &f->results.items[i];
    fail_msg("no result of request %llu, sample %lld", (unsigned long long)request, (long long)sample);
    return NULL;
}

/* ---- Equal to transformers --------------------------------------------------------------------------- */

/* All cases and penalties at once, in one engine. */
static void check_greedy(const char *shape, const char *device, struct engine_limits limits) {
    struct fixture f;
    uint64_t ids[3][3];
    open_fixture(&f, shape, device, DTYPE_F32);
    start_engine(&f, limits);
    for (int c = 0; c < 3; c++)
        for (int g = 0; g < 3; g++)
            ids[c][g] = submit(&f, request_of(&f.prompts[c], greedy(greedy_texts[g].penalty)));
    run(&f);
    for (int c = 0; c < 3; c++)
        for (int g = 0; g < 3; g++) {
            const struct generate_result *result = result_of(&f, ids[c][g], 0);
            const char *name = greedy_texts[g].name;
            struct golden_tensor tokens = golden_get(&f.golden, "%s/%s", golden_cases[c], name);
            struct golden_tensor logprobs = golden_get(&f.golden, "%s/%s.logprobs", golden_cases[c], name);
            assert_int_equal(result->count, tokens.cols);
            assert_int_equal(result->finish, FINISH_LENGTH);
            assert_int_equal(result->prompt_tokens, f.prompts[c].count);
            assert_memory_equal(result->tokens, tokens.data, (size_t)tokens.cols * sizeof(int32_t));
            assert_close(result->logprobs, logprobs.data, logprobs.cols, 2e-4, name);
        }
    close_fixture(&f);
}

static void greedy_text_equals_transformers(void **state) {
    (void)state;
    for (int s = 0; golden_shapes[s]; s++) check_greedy(golden_shapes[s], "cpu", (struct engine_limits){0});
}

/* Prompts in parts, few at once, in a cache that holds barely one: nothing of it may show. */
static void cramped_engine_gives_the_same_text(void **state) {
    (void)state;
    struct engine_limits limits = {.sequences = 2, .cache_tokens = 140, .prompt_tokens = 7};
    check_greedy("untied", "cpu", limits);
}

/* ---- What a GPU is asked ----------------------------------------------------------------------------- */

/* From the third pass of as many sequences on, a decoding step is one graph, and the kernel that draws; and
 * takes and gives back no memory. */
static void a_step_of_decoding_is_one_launch(void **state) {
    (void)state;
    const char *device = getenv("VS2_TEST_DEVICE");
    if (!device || strcmp(device, "emulated") != 0) skip();
    struct fixture f;
    struct error err;
    open_fixture(&f, "untied", device, DTYPE_F32);
    start_engine(&f, (struct engine_limits){0});
    for (int c = 0; c < 3; c++) submit(&f, request_of(&f.prompts[c], greedy(1)));
    for (int step = 0; step < 12; step++) {
        int64_t before[EMULATOR_COUNTS], seen[EMULATOR_COUNTS];
        for (int i = 0; i < EMULATOR_COUNTS; i++) before[i] = emulator_counted((enum emulator_count)i);
        if (engine_step(f.engine, &f.results, &err)) fail_msg("%s", err.message);
        for (int i = 0; i < EMULATOR_COUNTS; i++)
            seen[i] = emulator_counted((enum emulator_count)i) - before[i];
        assert_int_equal(seen[EMULATOR_GRAPH_LAUNCHES], step > 0);
        if (step < 2) continue;
        assert_int_equal(seen[EMULATOR_GRAPHS], 0);
        assert_int_equal(seen[EMULATOR_KERNELS], 1);
        assert_int_equal(seen[EMULATOR_ALLOCATIONS], 0);
    }
    close_fixture(&f);
}

/* ---- Independence ------------------------------------------------------------------------------------ */

static void assert_same_result(const struct generate_result *a, const struct generate_result *b) {
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->finish, b->finish);
    assert_memory_equal(a->tokens, b->tokens, (size_t)a->count * sizeof *a->tokens);
    assert_memory_equal(a->logprobs, b->logprobs, (size_t)a->count * sizeof *a->logprobs);
}

/* Requests of `samples` samples on each prompt, first each alone, then all together under limits: the same
 * bits. */
static void check_independence(enum dtype compute, int64_t samples, struct engine_limits limits) {
    struct fixture alone, together;
    open_fixture(&alone, "tied", "cpu", compute);
    open_fixture(&together, "tied", "cpu", compute);
    start_engine(&together, limits);
    for (int c = 0; c < 3; c++) {
        struct generate_request request = request_of(&together.prompts[c], lively(7, (uint32_t)c));
        request.samples = samples;
        submit(&together, request);
    }
    run(&together);
    assert_int_equal(together.results.count, 3 * samples);
    assert_int_equal(engine_statistics(together.engine).prompt_tokens,
                     together.prompts[0].count + together.prompts[1].count + together.prompts[2].count);
    for (int c = 0; c < 3; c++) {
        start_engine(&alone, (struct engine_limits){.sequences = 1});
        struct generate_request request = request_of(&alone.prompts[c], lively(7, (uint32_t)c));
        request.samples = samples;
        uint64_t id = submit(&alone, request);
        run(&alone);
        for (int64_t k = 0; k < samples; k++)
            assert_same_result(result_of(&together, (uint64_t)c, k), result_of(&alone, id, k));
    }
    close_fixture(&alone);
    close_fixture(&together);
}

static void batching_does_not_show_in_f32(void **state) {
    (void)state;
    check_independence(DTYPE_F32, 2, (struct engine_limits){0});
}

static void batching_does_not_show_in_bf16(void **state) {
    (void)state;
    check_independence(DTYPE_BF16, 5, (struct engine_limits){.sequences = 4, .cache_tokens = 400});
    check_independence(DTYPE_BF16, 8, (struct engine_limits){0}); /* GPUs take more at once than CPUs */
}

/* Greedy samples of one prompt are one text; the others differ by sample and by seed. */
static void samples_differ_by_sample_and_seed(void **state) {
    (void)state;
    struct fixture f;
    open_fixture(&f, "square", "cpu", DTYPE_F32);
    start_engine(&f, (struct engine_limits){0});
    struct generate_request request = request_of(&f.prompts[1], greedy(1));
    request.samples = 3;
    uint64_t same = submit(&f, request);
    request.rules = lively(1, 0);
    uint64_t first = submit(&f, request), again = submit(&f, request);
    request.rules = lively(2, 0);
    uint64_t other = submit(&f, request);
    run(&f);
    size_t bytes = GOLDEN_TOKENS * sizeof(int32_t);
    for (int64_t k = 0; k < 3; k++) {
        assert_same_result(result_of(&f, same, k), result_of(&f, same, 0));
        assert_same_result(result_of(&f, first, k), result_of(&f, again, k));
        assert_memory_not_equal(result_of(&f, first, k)->tokens, result_of(&f, other, k)->tokens, bytes);
        if (k)
            assert_memory_not_equal(result_of(&f, first, k)->tokens, result_of(&f, first, 0)->tokens, bytes);
    }
    close_fixture(&f);
}

/* ---- Ends and probabilities -------------------------------------------------------------------------- */

static void stop_tokens_end_a_sequence(void **state) {
    (void)state;
    struct fixture f;
    open_fixture(&f, "tied", "guard", DTYPE_F32);
    start_engine(&f, (struct engine_limits){0});
    const int32_t *golden = golden_get(&f.golden, "video/greedy").data;
    int32_t stops[] = {golden[9], golden[12]};
    int64_t expected = 0;
    while (golden[expected] != stops[0] && golden[expected] != stops[1]) expected++;
    struct generate_request request = request_of(&f.prompts[1], greedy(1));
    request.stop_tokens = stops;
    request.stop_token_count = 2;
    uint64_t stopped = submit(&f, request);
    stops[0] = golden[0]; /* the first request has its own copy */
    request.stop_token_count = 1;
    uint64_t at_once = submit(&f, request);
    request.stop_token_count = 0;
    request.max_new_tokens = 1;
    uint64_t one = submit(&f, request);
    run(&f);
    assert_int_equal(result_of(&f, stopped, 0)->count, expected + 1);
    assert_int_equal(result_of(&f, stopped, 0)->finish, FINISH_STOP);
    assert_int_equal(result_of(&f, at_once, 0)->count, 1);
    assert_int_equal(result_of(&f, at_once, 0)->finish, FINISH_STOP);
    assert_int_equal(result_of(&f, one, 0)->count, 1);
    assert_int_equal(result_of(&f, one, 0)->finish, FINISH_LENGTH);
    assert_int_equal(result_of(&f, one, 0)->tokens[0], golden[0]);
    close_fixture(&f);
}

/* Watching the whole vocabulary: both distributions sum to one and hold the chosen token. */
static void watched_tokens_have_their_probabilities(void **state) {
    (void)state;
    enum { VOCAB = 300 };
    struct fixture f;
    int32_t watched[VOCAB];
    for (int i = 0; i < VOCAB; i++) watched[i] = i;
    open_fixture(&f, "tied", "guard", DTYPE_F32);
    start_engine(&f, (struct engine_limits){.watched = watched, .watched_count = VOCAB});
    struct generate_request request = request_of(&f.prompts[0], lively(3, 1));
    request.samples = 2;
    request.max_new_tokens = 5;
    submit(&f, request);
    run(&f);
    for (size_t r = 0; r < f.results.count; r++) {
        const struct generate_result *result = &f.results.items[r];
        for (int64_t t = 0; t < result->count; t++) {
            const float *raw = result->watched_raw + t * VOCAB, *final = result->watched_final + t * VOCAB;
            double sum_raw = 0, sum_final = 0;
            int kept = 0;
            for (int i = 0; i < VOCAB; i++) {
                sum_raw += exp((double)raw[i]);
                sum_final += exp((double) final[i]);
                kept += isfinite(final[i]);
            }
            assert_true(fabs(sum_raw - 1) < 1e-5 && fabs(sum_final - 1) < 1e-5);
            assert_in_range(kept, 1, 50); /* top_k */
            assert_true(raw[result->tokens[t]] == result->logprobs[t]);
            assert_true(isfinite(final[result->tokens[t]]));
        }
    }
    close_fixture(&f);
}

/* Logits that are not numbers end their sequence, and only that. */
static void nan_ends_a_sequence(void **state) {
    (void)state;
    struct fixture f;
    struct error err;
    open_fixture(&f, "tied", "guard", DTYPE_F32);
    int64_t hidden = f.opened.model.config.hidden;
    float *values = malloc((size_t)hidden * sizeof *values);
    for (int64_t i = 0; i < hidden; i++) values[i] = NAN;
    struct tensor norm = arena_upload(&f.opened.arena, DTYPE_F32, 1, hidden, values);
    free(values);
    f.opened.model.language.norm = norm;
    start_engine(&f, (struct engine_limits){0});
    submit(&f, request_of(&f.prompts[0], greedy(1)));
    if (engine_run(f.engine, &f.results, &err)) fail_msg("%s", err.message);
    assert_int_equal(f.results.count, 1);
    assert_int_equal(f.results.items[0].finish, FINISH_FAILED);
    assert_int_equal(f.results.items[0].count, 0);
    close_fixture(&f);
}

static void count_call(void *context) {
    ++*(int *)context;
}

/* The patches are given back once, when they were encoded or the request is dropped. */
static void patches_are_given_back(void **state) {
    (void)state;
    struct fixture f;
    struct error err;
    int first = 0, second = 0, refused = 0;
    uint64_t id;
    open_fixture(&f, "tied", "cpu", DTYPE_F32);
    start_engine(&f, (struct engine_limits){.cache_tokens = 100, .sequences = 1});
    struct generate_request request = request_of(&f.prompts[1], greedy(1));
    request.encoded = count_call;
    request.context = &first;
    submit(&f, request);
    request.context = &second;
    submit(&f, request);
    request.context = &refused;
    request.visual_count = 0;
    assert_int_equal(engine_submit(f.engine, &request, &id, &err), STATUS_FAILED);
    assert_int_equal(engine_step(f.engine, &f.results, &err), STATUS_OK);
    assert_int_equal(first, 1);
    assert_int_equal(second, 0);
    engine_free(f.engine);
    f.engine = NULL;
    assert_int_equal(first, 1);
    assert_int_equal(second, 1);
    assert_int_equal(refused, 0);
    close_fixture(&f);
}

/* ---- The cache --------------------------------------------------------------------------------------- */

static int64_t take(struct kv_cache *cache, int64_t rows) {
    struct error err;
    int64_t first;
    assert_int_equal(kv_cache_take(cache, rows, &first, &err), STATUS_OK);
    return first;
}

static void cache_hands_out_the_first_gap(void **state) {
    (void)state;
    struct kv_cache cache = {.rows = 100};
    assert_int_equal(take(&cache, 40), 0);
    assert_int_equal(take(&cache, 30), 40);
    assert_int_equal(take(&cache, 31), -1);
    assert_int_equal(take(&cache, 30), 70);
    assert_int_equal(take(&cache, 1), -1);
    kv_cache_share(&cache, 40);
    kv_cache_release(&cache, 40); /* one user is left */
    kv_cache_release(&cache, 0);
    assert_int_equal(kv_cache_space(&cache).free, 40);
    assert_int_equal(take(&cache, 15), 0);
    assert_int_equal(take(&cache, 15), 15);
    assert_int_equal(take(&cache, 15), -1);
    kv_cache_release(&cache, 40);
    assert_int_equal(kv_cache_space(&cache).free, 40);
    assert_int_equal(kv_cache_space(&cache).largest, 40);
    assert_int_equal(take(&cache, 40), 30);
    assert_int_equal(cache.count, 4);
    kv_cache_free(&cache);
}

/* ---- Faults ------------------------------------------------------------------------------------------ */

static void expect_refusal(struct fixture *f, struct generate_request request, const char *part) {
    struct error err = {0};
    uint64_t id = 77;
    assert_int_equal(engine_submit(f->engine, &request, &id, &err), STATUS_FAILED);
    if (!strstr(err.message, part)) fail_msg("'%s' does not say '%s'", err.message, part);
    assert_true(engine_idle(f->engine));
    assert_int_equal(id, 77);
}

static void impossible_requests_are_refused(void **state) {
    (void)state;
    struct fixture f;
    open_fixture(&f, "tied", "cpu", DTYPE_F32);
    start_engine(&f, (struct engine_limits){.cache_tokens = 60});
    struct generate_request good = request_of(&f.prompts[0], greedy(1)), bad = good;
    bad.max_new_tokens = 38;
    expect_refusal(&f, bad, "24 tokens of prompt and 38 new ones need more than the 60 rows");
    bad.max_new_tokens = INT64_MAX;
    expect_refusal(&f, bad, "need more than");
    bad.max_new_tokens = 0;
    expect_refusal(&f, bad, "0 new tokens");
    bad = good;
    bad.max_new_tokens = 1;
    bad.samples = 0;
    expect_refusal(&f, bad, "0 samples");
    bad.samples = INT64_MAX;
    expect_refusal(&f, bad, "samples");
    bad.samples = 1;
    bad.count = 0;
    expect_refusal(&f, bad, "the prompt is empty");
    bad = request_of(&f.prompts[1], greedy(1));
    bad.max_new_tokens = 1;
    bad.visual_count = 0;
    expect_refusal(&f, bad, "only 0 visuals are given");
    close_fixture(&f);
}

static void absurd_limits_are_refused(void **state) {
    (void)state;
    struct fixture f;
    struct error err;
    struct engine_limits limits[] = {
        {.sequences = -1},   {.sequences = 1 << 20}, {.watched_count = -1},          {.cache_tokens = -1},
        {.cache_bytes = -1}, {.prompt_tokens = -1},  {.cache_tokens = INT64_MAX / 2}};
    open_fixture(&f, "tied", "cpu", DTYPE_F32);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        assert_null(engine_create(&f.opened.model, &limits[i], &err));
    close_fixture(&f);
}

static int allocations_left = -1; /* -1: no limit */

static bool refuse(const char *what, struct error *err) {
    if (allocations_left == 0) {
        error_set(err, "out of memory for %s", what);
        return true;
    }
    if (allocations_left > 0) allocations_left--;
    return false;
}

void *__real_memory_new(size_t count, size_t size, const char *what, struct error *err);
void *__wrap_memory_new(size_t count, size_t size, const char *what, struct error *err);
void *__wrap_memory_new(size_t count, size_t size, const char *what, struct error *err) {
    return refuse(what, err) ? NULL : __real_memory_new(count, size, what, err);
}

enum status __real_memory_grow(void *array, size_t *capacity, size_t needed, size_t size, const char *what,
                               struct error *err);
enum status __wrap_memory_grow(void *array, size_t *capacity, size_t needed, size_t size, const char *what,
                               struct error *err);
enum status __wrap_memory_grow(void *array, size_t *capacity, size_t needed, size_t size, const char *what,
                               struct error *err) {
    return refuse(what, err) ? STATUS_FAILED : __real_memory_grow(array, capacity, needed, size, what, err);
}

void *__real_device_allocate(struct device *device, size_t bytes, const char *what, struct error *err);
void *__wrap_device_allocate(struct device *device, size_t bytes, const char *what, struct error *err);
void *__wrap_device_allocate(struct device *device, size_t bytes, const char *what, struct error *err) {
    return refuse(what, err) ? NULL : __real_device_allocate(device, bytes, what, err);
}

/* An engine's whole life with the allocation that comes after `allowed` others failing. */
static enum status live(struct fixture *f, int allowed, struct error *err) {
    struct engine_limits limits = {.cache_tokens = 150, .sequences = 2};
    enum status status = STATUS_FAILED;
    uint64_t id;
    allocations_left = allowed;
    f->engine = engine_create(&f->opened.model, &limits, err);
    if (f->engine) {
        struct generate_request request = request_of(&f->prompts[1], lively(1, 1));
        request.samples = 3;
        request.max_new_tokens = 2;
        status = engine_submit(f->engine, &request, &id, err);
        if (!status) status = engine_submit(f->engine, &request, &id, err);
        if (!status) status = engine_run(f->engine, &f->results, err);
    }
    allocations_left = -1;
    engine_free(f->engine);
    f->engine = NULL;
    generate_results_free(&f->results);
    f->opened.device.failed = false; /* lack of memory is kept; the next life shall begin anew */
    return status;
}

static void survives_lack_of_memory(void **state) {
    (void)state;
    struct fixture f;
    struct error err;
    int allowed = 0;
    open_fixture(&f, "tied", "cpu", DTYPE_F32);
    while (live(&f, allowed, &err)) {
        if (!strstr(err.message, "out of memory")) fail_msg("%d: '%s'", allowed, err.message);
        allowed++;
    }
    assert_in_range(allowed, 30, 500);
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_text_equals_transformers),
        cmocka_unit_test(cramped_engine_gives_the_same_text),
        cmocka_unit_test(a_step_of_decoding_is_one_launch),
        cmocka_unit_test(batching_does_not_show_in_f32),
        cmocka_unit_test(batching_does_not_show_in_bf16),
        cmocka_unit_test(samples_differ_by_sample_and_seed),
        cmocka_unit_test(stop_tokens_end_a_sequence),
        cmocka_unit_test(watched_tokens_have_their_probabilities),
        cmocka_unit_test(nan_ends_a_sequence),
        cmocka_unit_test(patches_are_given_back),
        cmocka_unit_test(cache_hands_out_the_first_gap),
        cmocka_unit_test(impossible_requests_are_refused),
        cmocka_unit_test(absurd_limits_are_refused),
        cmocka_unit_test(survives_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
