/* The demonstration world: prompts and words to the letter, faults that grow with their strength, scores that
 * are spread evenly. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "data/annotation.h"
#include "data/synth_set.h"

enum { WIDTH = 84, HEIGHT = 84, BYTES = WIDTH * HEIGHT * 3 };
static const struct synth_format format = {.width = WIDTH, .height = HEIGHT, .frames = 16, .fps = 4};

static struct synth_look look_of(int count, int color, int shape, int motion, int ground) {
    return (struct synth_look){{count, color, shape, motion, ground}};
}

static void prompts_are_sentences(void **state) {
    (void)state;
    static const struct {
        struct synth_look look;
        const char *prompt;
    } cases[] = {
        {{{0, 0, 0, 0, 0}}, "A red circle moves right over green grass."},
        {{{1, 1, 1, 1, 1}}, "Two blue squares move left over yellow sand."},
        {{{2, 4, 3, 3, 2}}, "Three white rings rise up over grey stone."},
        {{{1, 3, 2, 2, 3}}, "Two purple triangles fall down over blue water."},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct text prompt = {0};
        synth_prompt(&cases[i].look, &prompt);
        assert_string_equal(prompt.data, cases[i].prompt);
        text_free(&prompt);
    }
}

/* Over many numbers every value of every attribute comes up. */
static void looks_vary(void **state) {
    (void)state;
    unsigned seen[SYNTH_ATTRIBUTES] = {0};
    for (uint32_t i = 0; i < 300; i++) {
        struct synth_look look = synth_look_draw(3, SYNTH_TRAINING, i);
        for (int k = 0; k < SYNTH_ATTRIBUTES; k++) seen[k] |= 1u << look.value[k];
    }
    for (int k = 0; k < SYNTH_ATTRIBUTES; k++)
        assert_int_equal(seen[k], (1u << synth_value_count((enum synth_attribute)k)) - 1);
}

/* The strength of the alignment fault says how many attributes differ; the ground never does. */
static void alignment_counts_what_differs(void **state) {
    (void)state;
    unsigned wrong = 0;
    for (uint32_t i = 0; i < 200; i++) {
        const int strengths[SYNTH_DIMENSIONS] = {1, (int)i % SYNTH_STRENGTHS, 2};
        struct synth_look asked = synth_look_draw(5, SYNTH_TRAINING, i);
        struct synth_clip clip = synth_clip_draw(5, SYNTH_TRAINING, i, &format, &asked, strengths);
        int differ = 0;
        for (int k = 0; k < SYNTH_ALIGNED; k++) {
            const bool other = clip.scene.look.value[k] != clip.asked.value[k];
            differ += other;
            wrong |= (unsigned)other << k;
            assert_in_range(clip.scene.look.value[k], 0, synth_value_count((enum synth_attribute)k) - 1);
        }
        assert_int_equal(differ, strengths[1]);
        assert_int_equal(clip.scene.look.value[SYNTH_GROUND], clip.asked.value[SYNTH_GROUND]);
        assert_int_equal(synth_score(&clip, SYNTH_VISUAL), 4);
        assert_int_equal(synth_score(&clip, SYNTH_ALIGNMENT), 5 - strengths[1]);
        assert_int_equal(synth_score(&clip, SYNTH_PHYSICAL), 3);
    }
    assert_int_equal(wrong, (1u << SYNTH_ALIGNED) - 1);
}

static struct synth_scene plain_scene(void) {
    return (struct synth_scene){.width = WIDTH,
                                .height = HEIGHT,
                                .frames = 16,
                                .fps = 4,
                                .look = look_of(0, 0, 1, 0, 2),
                                .size = 1,
                                .texture_seed = 9};
}

/* Mean absolute change of all frames by the fault. */
static double picture_change(const struct synth_fault *fault) {
    const struct synth_scene scene = plain_scene();
    uint8_t *clean = malloc(BYTES), *spoilt = malloc(BYTES);
    float *scratch = malloc(sizeof *scratch * 3 * WIDTH);
    double sum = 0;
    synth_paint_ground(&scene, clean);
    for (int frame = 0; frame < scene.frames; frame++) {
        memcpy(spoilt, clean, BYTES);
        synth_fault_picture(fault, &scene, frame, spoilt, scratch);
        for (int i = 0; i < BYTES; i++) sum += abs(spoilt[i] - clean[i]);
    }
    free(clean);
    free(spoilt);
    free(scratch);
    return sum / (BYTES * scene.frames);
}

/* Mean distance of place and size from where they should be. */
static double movement_change(const struct synth_fault *fault) {
    const struct synth_scene scene = plain_scene();
    double sum = 0;
    for (int frame = 0; frame < scene.frames; frame++) {
        const struct synth_placement right = synth_place(&scene, 0, synth_way(&scene, frame));
        struct synth_placement place = right;
        synth_fault_place(fault, &scene, frame, &place);
        sum += hypot(place.x - right.x, place.y - right.y) + fabs(place.width - right.width);
    }
    return sum / scene.frames;
}

static void faults_grow_with_their_strength(void **state) {
    (void)state;
    for (int kind = 0; kind < synth_fault_kinds(SYNTH_VISUAL); kind++) {
        double last = 0;
        for (int strength = 0; strength < SYNTH_STRENGTHS; strength++) {
            double change = picture_change(&(struct synth_fault){kind, strength});
            assert_true(strength == 0 ? change == 0 : change > last * 1.05 && change > 1);
            last = change;
        }
    }
    for (int kind = 0; kind < synth_fault_kinds(SYNTH_PHYSICAL); kind++) {
        double last = 0;
        for (int strength = 0; strength < SYNTH_STRENGTHS; strength++) {
            double change = movement_change(&(struct synth_fault){kind, strength});
            assert_true(strength == 0 ? change == 0 : change > last * 1.3);
            last = change;
        }
    }
}

/* In every look the shapes stand in the picture in every frame, and move. */
static void shapes_are_seen_and_move(void **state) {
    (void)state;
    uint8_t *ground = malloc(BYTES), *picture = malloc(BYTES), *last = malloc(BYTES);
    for (uint32_t i = 0; i < 40; i++) {
        struct synth_scene scene = plain_scene();
        scene.look = synth_look_draw(4, SYNTH_TEST, i);
        synth_paint_ground(&scene, ground);
        for (int frame = 0; frame < scene.frames; frame++) {
            int changed = 0;
            memcpy(picture, ground, BYTES);
            for (int shape = 0; shape <= scene.look.value[SYNTH_COUNT]; shape++) {
                struct synth_placement place = synth_place(&scene, shape, synth_way(&scene, frame));
                assert_true(place.x > 0.1 && place.x < 0.9 && place.y > 0.1 && place.y < 0.9);
                synth_paint_shape(&scene, &place, picture);
            }
            for (int k = 0; k < BYTES; k++) changed += picture[k] != ground[k];
            assert_true(changed > BYTES / 50);
            if (frame > 0) assert_memory_not_equal(picture, last, BYTES);
            memcpy(last, picture, BYTES);
        }
    }
    free(ground);
    free(picture);
    free(last);
}

static void lists_are_even_and_grouped(void **state) {
    (void)state;
    enum { COUNT = 50 };
    struct error err;
    int scores[SYNTH_DIMENSIONS][6] = {{0}};
    struct synth_list training, test;
    assert_int_equal(synth_list_draw(&training, 1, SYNTH_TRAINING, COUNT, &format, &err), STATUS_OK);
    assert_int_equal(synth_list_draw(&test, 1, SYNTH_TEST, COUNT, &format, &err), STATUS_OK);
    for (int i = 0; i < COUNT; i++) {
        const struct synth_clip *clip = &test.rows[i].clip;
        for (int k = 0; k < SYNTH_DIMENSIONS; k++) scores[k][synth_score(clip, (enum synth_dimension)k)]++;
        assert_memory_equal(&clip->asked, &test.rows[i - i % SYNTH_GROUP].clip.asked, sizeof clip->asked);
        assert_memory_not_equal(clip, &training.rows[i].clip, sizeof *clip);
    }
    for (int k = 0; k < SYNTH_DIMENSIONS; k++)
        for (int score = 1; score <= 5; score++) assert_int_equal(scores[k][score], COUNT / 5);
    assert_string_equal(training.rows[7].name, "clip_0007");
    assert_string_equal(test.rows[7].name, "test_0001_2");
    synth_list_free(&training);
    synth_list_free(&test);
    assert_int_equal(synth_list_draw(&test, 1, SYNTH_TEST, 0, &format, &err), STATUS_OK);
    assert_int_equal(test.count, 0);
    synth_list_free(&test);
}

static void words_name_what_is_seen(void **state) {
    (void)state;
    struct error err;
    struct synth_words words;
    struct synth_row row = {.name = "clip_0003"};
    row.clip.asked = look_of(1, 0, 0, 0, 0);
    row.clip.scene.look = look_of(1, 1, 0, 1, 0);
    row.clip.faults[SYNTH_VISUAL] = (struct synth_fault){.kind = 1, .strength = 3};
    row.clip.faults[SYNTH_ALIGNMENT] = (struct synth_fault){.strength = 2};
    assert_int_equal(synth_words_make(&words, &row, &err), STATUS_OK);
    assert_string_equal(words.annotation.prompt, "Two red circles move right over green grass.");
    assert_string_equal(words.annotation.video_url, "videos/clip_0003.mp4");
    assert_string_equal(words.annotation.comments[0], "Picture: noise, strong.");
    assert_string_equal(words.annotation.comments[1], "Seen: count two as asked, color blue not red, shape "
                                                      "circle as asked, motion left not right, two wrong.");
    assert_string_equal(words.annotation.comments[2], "Movement: no fault.");
    char *answer = annotation_answer(&words.annotation, &err);
    assert_string_equal(answer,
                        "\n<think>\nPicture: noise, strong. Seen: count two as asked, color blue not red, "
                        "shape circle as asked, motion left not right, two wrong. Movement: no fault.\n"
                        "</think>\n\n(1) visual quality: 2\n(2) text-to-video alignment: 3\n"
                        "(3) physical/common-sense consistency: 5\n");
    free(answer);
    synth_words_free(&words);
}

/* Rows to the byte. */
static void rows_have_the_published_form(void **state) {
    (void)state;
    static const struct annotation annotation = {.video_name = "x",
                                                 .video_url = "u",
                                                 .prompt = "A cat.",
                                                 .scores = {1, 2, 3},
                                                 .comments = {"a", "b", "c"},
                                                 .thinking = "t"};
    static const char *const expected[] = {
        "{\"video_name\": \"x\", \"video_url\": \"u\", \"prompt\": \"A cat.\", \"visual_score\": 1, "
        "\"visual_cmt_raw\": \"a\", \"t2v_score\": 2, \"t2v_cmt_raw\": \"b\", \"phy_score\": 3, "
        "\"phy_cmt_raw\": \"c\", \"thinking\": \"t\"}",
        "{\"conversations\": [{\"from\": \"human\", \"value\": \"<video>Of A cat.\"}, {\"from\": \"gpt\", "
        "\"value\": \"\\n<think>\\nt\\n</think>\\n\\n(1) visual quality: 1\\n(2) text-to-video alignment: "
        "2\\n(3) physical/common-sense consistency: 3\\n\"}], \"videos\": [\"videos/x.mp4\"]}",
        "{\"problem_id\": \"x\", \"problem\": \"Of A cat.\", \"data_type\": \"video\", \"problem_type\": "
        "\"video eval\", \"options\": [], \"solution\": \"<answer>visual quality: 1; text-to-video "
        "alignment: 2; physical/common-sense consistency: 3</answer>\", \"path\": \"./videos/x.mp4\", "
        "\"data_source\": \"\"}",
        ("{\"file_name\": \"sft.json\", \"formatting\": \"sharegpt\", \"columns\": {\"messages\": "
         "\"conversations\", \"videos\": \"videos\"}}"),
    };
    json_t *rows[] = {annotation_raw(&annotation), annotation_sft(&annotation, "Of {prompt}"),
                      annotation_grpo(&annotation, "Of {prompt}"), annotation_dataset("sft.json")};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        char *text = json_dumps(rows[i], 0);
        assert_non_null(text);
        assert_string_equal(text, expected[i]);
        free(text);
        json_decref(rows[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_are_sentences),         cmocka_unit_test(looks_vary),
        cmocka_unit_test(alignment_counts_what_differs), cmocka_unit_test(faults_grow_with_their_strength),
        cmocka_unit_test(shapes_are_seen_and_move),      cmocka_unit_test(lists_are_even_and_grouped),
        cmocka_unit_test(words_name_what_is_seen),       cmocka_unit_test(rows_have_the_published_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
