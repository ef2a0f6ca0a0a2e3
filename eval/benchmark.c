#include "eval/benchmark.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/nearest.h"

/* ---- Scales: what 1, 2, 3, 4, 5 are ------------------------------------------------------------------ */

static const int8_t fineness[BENCHMARK_LEVELS] = {0, 0, 1, 1, 2};     /* MJ-Bench-Video, visual */
static const int8_t three_grades[BENCHMARK_LEVELS] = {0, 1, 1, 2, 2}; /* MJ-Bench-Video, the others */
static const int8_t odd_grades[BENCHMARK_LEVELS] = {1, 1, 3, 3, 5};   /* AIGVE-Bench, physics */
static const int8_t yes_or_no[BENCHMARK_LEVELS] = {0, 0, 0, 1, 1};    /* VideoPhy */

/* ---- What is published ------------------------------------------------------------------------------- */

static const char own_dimensions[] = "this benchmark, over its three dimensions";
static const char four_others[] =
    "VideoGen-Reward-Bench, T2VQA-DB, MJ-Bench-Video and VideoPhy2-test together";

/* ---- The table --------------------------------------------------------------------------------------- */

static const struct benchmark table[] = {
    {
        .name = "videoscore-bench-v2",
        .also = {"vs2_bench", "videoscore_bench_v2"},
        .title = "VideoScore-Bench-v2",
        .video = {"video_name"},
        .prompt = {"prompt"},
        .truths = {{.fields = {"visual_score"}}, {.fields = {"t2v_score"}}, {.fields = {"phy_score"}}},
        .accuracy = true,
        .published = {44.35, own_dimensions},
    },
    {
        .name = "videogen-reward-bench",
        .also = {"videogen_reward_bench"},
        .title = "VideoGen-Reward-Bench",
        .video = {"video_name"},
        .prompt = {"prompt"},
        .pairs = {.videos = {"path_A", "path_B"},
                  .preferences = {"VQ", "TA", "Overall"},
                  .first = "A",
                  .second = "B",
                  .same = {"same"},
                  .rule = PAIR_SUM},
        .published = {50.37, four_others},
    },
    {
        .name = "t2vqa-db",
        .also = {"t2vqa_db"},
        .title = "T2VQA-DB",
        .video = {"video_name"},
        .prompt = {"prompt"},
        .truths = {{.fields = {"quality_score"}},
                   {.fields = {"quality_score"}},
                   {.fields = {"quality_score"}}},
        .overall = {.fields = {"quality_score"}},
        .pairs = {.videos = {"video1", "video2"},
                  .preferences = {[PAIR_OVERALL] = "preference"},
                  .first = "1",
                  .second = "2",
                  .same = {"same"},
                  .rule = PAIR_MEAN},
        .published = {50.37, four_others},
    },
    {
        .name = "mj-bench-video",
        .also = {"mj_bench_video", "mj-video-bench"},
        .title = "MJ-Bench-Video",
        .video = {"video_name"},
        .prompt = {"prompt", "caption"},
        .truths = {{.fields = {"fineness"}, .levels = fineness},
                   {.fields = {"alignment"}, .levels = three_grades},
                   {.fields = {"consistency"}, .levels = three_grades}},
        .overall = {.fields = {"total_score"}, .levels = three_grades},
        .accuracy = true,
        .pairs = {.videos = {"video_0_path", "video_1_path"},
                  .preferences = {[PAIR_OVERALL] = "overall_preference"},
                  .first = "Video 1 better",
                  .second = "Video 2 better",
                  .same = {"Same"},
                  .rule = PAIR_MEAN},
        .published = {50.37, four_others},
    },
    {
        .name = "videophy2",
        .also = {"video_phy2_test", "videophy2-test"},
        .title = "VideoPhy2-test",
        .video = {"video_name", "video_url"},
        .prompt = {"prompt", "caption"},
        .truths = {[DIMENSION_ALIGNMENT] = {.fields = {"semantic", "sa"}},
                   [DIMENSION_PHYSICAL] = {.fields = {"physical", "pc"}}},
        .accuracy = true,
        .published = {50.37, four_others},
    },
    {
        .name = "genai-bench",
        .also = {"genai_bench"},
        .title = "GenAI-Bench",
        .video = {"video_name"},
        .prompt = {"prompt"},
        .pairs = {.videos = {"left_video", "right_video"},
                  .models = {"left_model", "right_model"},
                  .preferences = {[PAIR_OVERALL] = "vote_type"},
                  .first = "leftvote",
                  .second = "rightvote",
                  .same = {"tievote", "bothbad_vote"},
                  .rule = PAIR_SUM},
    },
    {
        .name = "visionreward-db-video",
        .also = {"vision_reward_db_video"},
        .title = "VisionRewardDB-Video",
        .video = {"video_name"},
        .prompt = {"prompt"},
        .pairs = {.videos = {"video1_path", "video2_path"},
                  .preferences = {[PAIR_OVERALL] = "standard_answer"},
                  .first = "video1",
                  .second = "video2",
                  .same = {"tie"},
                  .rule = PAIR_SUM},
    },
    {
        .name = "aigve-bench",
        .also = {"aigve_bench"},
        .title = "AIGVE-Bench",
        .video = {"video_name"},
        .prompt = {"prompt"},
        .truths = {{.fields = {"technical_quality", "element_quality", "action_quality"}, .mean = true},
                   {.fields = {"element_presence", "action_presence"}, .mean = true},
                   {.fields = {"physics"}, .levels = odd_grades}},
        .accuracy = true,
    },
    {
        .name = "videophy",
        .also = {"video_phy_test", "videophy-test"},
        .title = "VideoPhy-test",
        .video = {"video_name", "video_url"},
        .prompt = {"prompt", "caption"},
        .truths = {[DIMENSION_ALIGNMENT] = {.fields = {"semantic", "sa"}, .levels = yes_or_no},
                   [DIMENSION_PHYSICAL] = {.fields = {"physical", "pc"}, .levels = yes_or_no}},
        .accuracy = true,
    },
    {
        .name = "tvge",
        .also = {"t2v_gen_eval"},
        .title = "TVGE",
        .video = {"video_name"},
        .prompt = {"prompt"},
        .truths = {{.fields = {"video_quality_score"}}, {.fields = {"text_alignment_score"}}},
        .pairs =
            {.videos = {"video1", "video2"},
             .preferences = {[PAIR_VISUAL] = "video_quality_pref", [PAIR_ALIGNMENT] = "text_alignment_pref"},
             .first = "1",
             .second = "2",
             .same = {"same"}},
    },
};

/* ---- Looking it up ----------------------------------------------------------------------------------- */

const struct benchmark *benchmarks(size_t *count) {
    *count = sizeof table / sizeof *table;
    return table;
}

/* "no benchmark 'x': there are a, b and c" */
static void tell_names(const char *name, struct error *err) {
    char list[512] = "";
    size_t length = 0;
    const size_t count = sizeof table / sizeof *table;
    for (size_t i = 0; i < count && length < sizeof list; i++)
        length += (size_t)snprintf(list + length, sizeof list - length, "%s%s",
                                   i == 0           ? ""
                                   : i + 1 == count ? " and "
                                                    : ", ",
                                   table[i].name);
    error_usage(err, "no benchmark '%s': there are %s", name, list);
}

const struct benchmark *benchmark_find(const char *name, struct error *err) {
    struct nearest search = nearest_start(name);
    for (const struct benchmark *b = table; b < table + sizeof table / sizeof *table; b++) {
        if (strcmp(name, b->name) == 0) return b;
        for (size_t i = 0; i < sizeof b->also / sizeof *b->also; i++)
            if (b->also[i] && strcmp(name, b->also[i]) == 0) return b;
        nearest_offer(&search, b->name);
    }
    if (search.best)
        error_usage(err, "no benchmark '%s' (did you mean '%s'?)", name, search.best);
    else
        tell_names(name, err);
    return NULL;
}

const struct benchmark *benchmark_any(void) {
    static const struct benchmark any = {
        .name = "any",
        .title = "any rows",
        .video = {"video_name"},
        .prompt = {"prompt"},
        .truths = {{.fields = {"v_score_gt"}}, {.fields = {"t_score_gt"}}, {.fields = {"p_score_gt"}}},
        .accuracy = true};
    return &any;
}

const char *pair_aspect_name(enum pair_aspect aspect) {
    static const char *const names[] = {"vq", "ta", "overall"};
    return names[aspect];
}

bool benchmark_has_points(const struct benchmark *benchmark) {
    for (int d = 0; d < DIMENSIONS; d++)
        if (benchmark->truths[d].fields[0]) return true;
    return false;
}

bool benchmark_has_pairs(const struct benchmark *benchmark) {
    return benchmark->pairs.videos[0] != NULL;
}

double benchmark_level(const struct benchmark_truth *truth, double score) {
    if (!truth->levels) return score;
    if (!(score >= 1 && score <= BENCHMARK_LEVELS) || score != floor(score)) return NAN;
    return truth->levels[(int)score - 1];
}
