/* Micro-batches ahead of the training thread: their order and cut, rows that cannot be had, features from the
 * cache, packed rows. */
#include "train/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support_outputs.h"

enum { ROWS = 6 };

static struct error err;
static struct tokenizer *tokenizer;
static struct model model; /* only what the stream looks at: shapes and types */
static char *folder;       /* holds the rows and copies of their videos */
static struct dataset *dataset;

/* Row i answers "a" i + 1 times, so that every row has its own length; row 3 has no video, row 4 two. */
static void write_rows(void) {
    static const char *const videos[ROWS] = {
        "\"a.mp4\"", "\"b.mp4\"", "\"a.mp4\"", "", "\"a.mp4\", \"b.mp4\"", "\"b.mp4\""};
    static const char *const marks[ROWS] = {"<video>", "<video>", "<video>", "", "<video><video>", "<video>"};
    char text[4096] = "[", row[512];
    for (int i = 0; i < ROWS; i++) {
        char answer[2 * ROWS + 2] = "";
        for (int n = 0; n <= i; n++) strcat(answer, "a ");
        snprintf(row, sizeof row,
                 "%s{\"conversations\": [{\"from\": \"human\", \"value\": \"%sWell?\"}, {\"from\": \"gpt\", "
                 "\"value\": \"%s\"}], \"videos\": [%s]}",
                 i ? ", " : "", marks[i], answer, videos[i]);
        strcat(text, row);
    }
    strcat(text, "]");
    outputs_write(folder, "rows.json", text);
    outputs_write(folder, "dataset_info.json",
                  "{\"rows\": {\"file_name\": \"rows.json\", \"formatting\": \"sharegpt\", \"columns\": "
                  "{\"messages\": \"conversations\", \"videos\": \"videos\"}}}");
}

static void copy_video(const char *from, const char *to) {
    char command[512];
    snprintf(command, sizeof command, "cp tests/golden/video/%s %s/%s", from, folder, to);
    assert_int_equal(system(command), 0);
}

static int set_up(void **state) {
    (void)state;
    folder = outputs_folder();
    tokenizer = tokenizer_load("tests/golden/model/tied", &err);
    if (!tokenizer || model_config_read("tests/golden/model/tied", &model.config, &err) != STATUS_OK)
        return -1;
    model.compute = DTYPE_F32;
    write_rows();
    copy_video("uneven.mp4", "a.mp4");
    copy_video("odd444.mp4", "b.mp4");
    const struct dataset_options options = {.folder = folder, .names = "rows"};
    if (dataset_open(&options, &dataset, &err) != STATUS_OK) return -1;
    return dataset_count(dataset) == ROWS ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    dataset_close(dataset);
    tokenizer_free(tokenizer);
    outputs_remove(folder);
    return 0;
}

/* A stream over the rows, each a group of its own unless a test groups them otherwise. */
struct fixture {
    struct sample_options encoding;
    int64_t rows[ROWS], order[ROWS];
    struct stream_group groups[ROWS];
    struct stream_settings settings;
};

static void prepare(struct fixture *fixture, int64_t batch, int threads) {
    *fixture = (struct fixture){.encoding = {.tokenizer = tokenizer, .cutoff = 4096}};
    fixture->encoding.visual = visual_options_default(visual_policy_find("llamafactory"));
    fixture->encoding.visual.threads = 1;
    fixture->encoding.visual.max_frames = 4;
    for (int64_t i = 0; i < ROWS; i++) {
        fixture->rows[i] = fixture->order[i] = i;
        fixture->groups[i] = (struct stream_group){i, 1};
    }
    fixture->settings = (struct stream_settings){.dataset = dataset,
                                                 .encoding = &fixture->encoding,
                                                 .rows = fixture->rows,
                                                 .groups = fixture->groups,
                                                 .batch = batch,
                                                 .model = &model,
                                                 .limits = {.threads = threads, .ahead = 3}};
}

static struct stream *begin(const struct fixture *fixture, int64_t count, int64_t skip) {
    struct stream *stream = stream_start(&fixture->settings, fixture->order, count, skip, &err);
    if (!stream) fail_msg("%s", err.message);
    return stream;
}

static struct micro_batch *next(struct stream *stream) {
    struct micro_batch *batch;
    if (stream_next(stream, &batch, &err) != STATUS_OK) fail_msg("%s", err.message);
    return batch;
}

/* The sample is row `number` as data/sample.h encodes it. */
static void check_row(const struct pass_sample *sample, const struct fixture *fixture, int64_t number) {
    struct sample alone;
    assert_int_equal(sample_encode(&fixture->encoding, dataset, number, &alone, &err), STATUS_OK);
    assert_int_equal(sample->count, alone.count);
    assert_memory_equal(sample->tokens, alone.tokens, (size_t)alone.count * sizeof *alone.tokens);
    assert_memory_equal(sample->labels, alone.labels, (size_t)alone.count * sizeof *alone.labels);
    assert_int_equal(sample->visuals.count, alone.visual_count);
    for (int64_t v = 0; v < alone.visual_count; v++) {
        const struct visual *visual = &alone.visuals[v].visual;
        if (fixture->encoding.visual.frames) {
            const struct vision_frames *frames = sample->visuals.frames[v];
            assert_true(!sample->visuals.patches[v] && frames);
            assert_int_equal(vision_frames_bytes(frames), vision_frames_bytes(visual->frames));
            assert_memory_equal(frames->pixels, visual->frames->pixels,
                                (size_t)(frames->count * frames->height * frames->width * FRAME_CHANNELS));
            continue;
        }
        assert_non_null(sample->visuals.patches[v]);
        assert_memory_equal(sample->visuals.patches[v], visual->patches,
                            (size_t)(visual->rows * visual->columns) * sizeof(float));
    }
    sample_free(&alone);
}

/* ---- Order ------------------------------------------------------------------------------------------- */

static void check_order(int threads) {
    static const int64_t order[ROWS] = {5, 0, 3, 4, 1, 2};
    struct fixture fixture;
    prepare(&fixture, 4, threads);
    memcpy(fixture.order, order, sizeof order);
    struct stream *stream = begin(&fixture, ROWS, 0);
    int64_t row = 0;
    for (int64_t b = 0; b < 2; b++) {
        struct micro_batch *batch = next(stream);
        int64_t tokens = 0, labels = 0;
        assert_int_equal(batch->sample_count, b == 0 ? 4 : 2); /* the last one is what is left */
        for (int64_t i = 0; i < batch->sample_count; i++) {
            check_row(&batch->samples[i], &fixture, order[row++]);
            tokens += batch->samples[i].count;
            labels += pass_labels(batch->samples[i].labels, batch->samples[i].count);
        }
        assert_int_equal(batch->tokens, tokens);
        assert_int_equal(batch->labels, labels);
        for (int64_t i = 0; i < batch->sample_count; i++)
            assert_true(batch->samples[i].weight == 1.0 / (double)labels);
        micro_batch_free(batch);
    }
    assert_null(next(stream));
    assert_null(next(stream));
    stream_stop(stream);
}

static void test_order(void **state) {
    (void)state;
    check_order(1);
    check_order(3);
}

/* A resumed epoch begins behind the micro-batches that were done. */
static void test_skip(void **state) {
    (void)state;
    struct fixture fixture;
    prepare(&fixture, 2, 1);
    struct stream *stream = begin(&fixture, ROWS, 2);
    struct micro_batch *batch = next(stream);
    assert_int_equal(batch->sample_count, 2);
    check_row(&batch->samples[0], &fixture, 4);
    check_row(&batch->samples[1], &fixture, 5);
    micro_batch_free(batch);
    assert_null(next(stream));
    stream_stop(stream);
    stream = begin(&fixture, ROWS, 3);
    assert_null(next(stream));
    stream_stop(stream);
}

/* What it looks at is what it takes next; made, it needs no waiting for. */
static void test_peek(void **state) {
    (void)state;
    struct fixture fixture;
    prepare(&fixture, 3, 2);
    struct stream *stream = begin(&fixture, ROWS, 0);
    for (int b = 0; b < 2; b++) {
        const struct micro_batch *seen;
        while (!(seen = stream_peek(stream))) usleep(1000);
        assert_ptr_equal(stream_peek(stream), seen);
        struct micro_batch *batch = next(stream);
        assert_ptr_equal(batch, seen);
        micro_batch_free(batch);
    }
    assert_null(stream_peek(stream));
    stream_stop(stream);
}

/* Stopped half-way, with micro-batches made that nobody took. */
static void test_stop(void **state) {
    (void)state;
    struct fixture fixture;
    prepare(&fixture, 1, 2);
    struct stream *stream = begin(&fixture, ROWS, 0);
    micro_batch_free(next(stream));
    stream_stop(stream);
    stream_stop(NULL);
    micro_batch_free(NULL);
}

/* ---- Rows that cannot be had ------------------------------------------------------------------------- */

/* A video that vanishes between two epochs: its rows are left out with the reason, the others stay. */
static void test_vanished_video(void **state) {
    (void)state;
    struct fixture fixture;
    char path[256], away[256];
    snprintf(path, sizeof path, "%s/b.mp4", folder);
    snprintf(away, sizeof away, "%s/away.mp4", folder);
    prepare(&fixture, 3, 2);
    assert_int_equal(rename(path, away), 0);
    struct stream *stream = begin(&fixture, ROWS, 0);
    struct micro_batch *batch = next(stream);
    assert_int_equal(batch->sample_count, 2);
    assert_int_equal(batch->skip_count, 1);
    assert_int_equal(batch->skips[0].row, 1);
    assert_non_null(strstr(batch->skips[0].reason, "b.mp4"));
    check_row(&batch->samples[0], &fixture, 0);
    check_row(&batch->samples[1], &fixture, 2);
    assert_true(batch->samples[0].weight == 1.0 / (double)batch->labels);
    micro_batch_free(batch);
    batch = next(stream);
    assert_int_equal(batch->sample_count, 1);
    assert_int_equal(batch->skip_count, 2);
    assert_int_equal(batch->skips[0].row, 4);
    assert_int_equal(batch->skips[1].row, 5);
    micro_batch_free(batch);
    stream_stop(stream);

    prepare(&fixture, 1, 1);
    fixture.order[0] = 1;
    stream = begin(&fixture, 1, 0);
    batch = next(stream);
    assert_int_equal(batch->sample_count, 0);
    assert_int_equal(batch->skip_count, 1);
    micro_batch_free(batch);
    stream_stop(stream);
    assert_int_equal(rename(away, path), 0);
}

/* ---- The cache --------------------------------------------------------------------------------------- */

/* What the cache has is not decoded; what it has not comes as patches with the key to keep it under. */
static void test_cached_features(void **state) {
    (void)state;
    struct fixture fixture;
    prepare(&fixture, 1, 1);
    fixture.settings.cache = vision_cache_new(1 << 20, NULL, "tower", &err);
    assert_non_null(fixture.settings.cache);
    struct stream *stream = begin(&fixture, 1, 0);
    struct micro_batch *batch = next(stream);
    const struct pass_sample *sample = &batch->samples[0];
    assert_non_null(sample->visuals.patches[0]);
    assert_null(sample->visuals.features[0]);
    assert_non_null(sample->visuals.keys[0]);
    int64_t rows = grid_features(&model.config.vision, &sample->visuals.grids[0]);
    size_t size = (size_t)(rows * model.config.hidden) * sizeof(float);
    float *features = calloc(1, size);
    assert_non_null(features);
    features[0] = 7;
    assert_int_equal(
        vision_cache_store(fixture.settings.cache, sample->visuals.keys[0], features, size, &err), STATUS_OK);
    micro_batch_free(batch);
    stream_stop(stream);

    stream = begin(&fixture, 3, 0);
    for (int64_t i = 0; i < 3; i++) { /* rows 0 and 2 have the same video */
        batch = next(stream);
        sample = &batch->samples[0];
        if (i == 1) {
            assert_null(sample->visuals.features[0]);
            assert_non_null(sample->visuals.patches[0]);
        } else {
            assert_memory_equal(sample->visuals.features[0], features, size);
            assert_null(sample->visuals.patches[0]);
        }
        micro_batch_free(batch);
    }
    stream_stop(stream);

    fixture.encoding.visual.max_pixels /= 4; /* other frames are other features */
    stream = begin(&fixture, 1, 0);
    batch = next(stream);
    assert_null(batch->samples[0].visuals.features[0]);
    micro_batch_free(batch);
    stream_stop(stream);
    vision_cache_free(fixture.settings.cache);
    free(features);
}

/* ---- Packed rows ------------------------------------------------------------------------------------- */

/* packing: the rows of a group are one sample, visuals and all; neat_packing: they stay apart. Visuals come
 * as patches or as frames. */
static void test_packed(void **state) {
    (void)state;
    struct fixture fixture;
    for (int choice = 0; choice < 4; choice++) {
        bool joined = choice & 1, frames = choice & 2;
        prepare(&fixture, 1, 1);
        fixture.encoding.visual.frames = frames;
        fixture.groups[0] = (struct stream_group){0, 5};
        fixture.groups[1] = (struct stream_group){5, 1};
        fixture.settings.joined = joined;
        struct stream *stream = begin(&fixture, 2, 0);
        struct micro_batch *batch = next(stream);
        assert_int_equal(batch->sample_count, joined ? 1 : 5);
        int64_t token = 0, visual = 0;
        for (int64_t i = 0; i < 5; i++) {
            if (!joined) {
                check_row(&batch->samples[i], &fixture, i);
                continue;
            }
            const struct pass_sample *whole = &batch->samples[0];
            struct sample alone;
            assert_int_equal(sample_measure(&fixture.encoding, dataset, i, &alone, &err), STATUS_OK);
            assert_memory_equal(whole->tokens + token, alone.tokens, (size_t)alone.count * sizeof(int32_t));
            assert_memory_equal(whole->labels + token, alone.labels, (size_t)alone.count * sizeof(int32_t));
            for (int64_t v = 0; v < alone.visual_count; v++, visual++) {
                assert_memory_equal(&whole->visuals.grids[visual], &alone.grids[v], sizeof *alone.grids);
                assert_int_equal(whole->visuals.patches[visual] != NULL, !frames);
                assert_int_equal(whole->visuals.frames[visual] != NULL, frames);
            }
            token += alone.count;
            sample_free(&alone);
        }
        assert_int_equal(batch->samples[0].visuals.count, joined ? visual : 1);
        if (joined) assert_int_equal(batch->samples[0].count, token);
        micro_batch_free(batch);
        batch = next(stream);
        check_row(&batch->samples[0], &fixture, 5);
        micro_batch_free(batch);
        stream_stop(stream);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),          cmocka_unit_test(test_skip),
        cmocka_unit_test(test_peek),           cmocka_unit_test(test_stop),
        cmocka_unit_test(test_vanished_video), cmocka_unit_test(test_cached_features),
        cmocka_unit_test(test_packed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
