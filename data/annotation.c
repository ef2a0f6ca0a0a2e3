#include "data/annotation.h"

#include <stdlib.h>

#include "base/text.h"
#include "data/query.h"

json_t *annotation_raw(const struct annotation *annotation) {
    const int *scores = annotation->scores;
    const char *const *comments = annotation->comments;
    return json_pack("{s:s, s:s, s:s, s:i, s:s, s:i, s:s, s:i, s:s, s:s}", "video_name",
                     annotation->video_name, "video_url", annotation->video_url, "prompt", annotation->prompt,
                     "visual_score", scores[0], "visual_cmt_raw", comments[0], "t2v_score", scores[1],
                     "t2v_cmt_raw", comments[1], "phy_score", scores[2], "phy_cmt_raw", comments[2],
                     "thinking", annotation->thinking);
}

char *annotation_answer(const struct annotation *annotation, struct error *err) {
    struct text text = {0};
    text_format(&text,
                "\n<think>\n%s\n</think>\n\n(1) visual quality: %d\n(2) text-to-video alignment: %d\n"
                "(3) physical/common-sense consistency: %d\n",
                annotation->thinking, annotation->scores[0], annotation->scores[1], annotation->scores[2]);
    return text_take(&text, "an answer", err);
}

/* "FOLDER/NAME.mp4" */
static json_t *video_path(const char *folder, const struct annotation *annotation) {
    return json_sprintf("%s/%s.mp4", folder, annotation->video_name);
}

json_t *annotation_sft(const struct annotation *annotation, const char *template) {
    struct error err;
    json_t *row = NULL;
    char *answer = annotation_answer(annotation, &err);
    char *query = query_fill(template, annotation->prompt, &err);
    if (answer && query)
        row = json_pack("{s:[{s:s, s:s+}, {s:s, s:s}], s:[o]}", "conversations", "from", "human", "value",
                        "<video>", query, "from", "gpt", "value", answer, "videos",
                        video_path("videos", annotation));
    free(query);
    free(answer);
    return row;
}

json_t *annotation_grpo(const struct annotation *annotation, const char *template) {
    struct error err;
    const int *scores = annotation->scores;
    char *query = query_fill(template, annotation->prompt, &err);
    if (!query) return NULL;
    json_t *solution = json_sprintf("<answer>visual quality: %d; text-to-video alignment: %d; "
                                    "physical/common-sense consistency: %d</answer>",
                                    scores[0], scores[1], scores[2]);
    json_t *row =
        json_pack("{s:s, s:s, s:s, s:s, s:[], s:o, s:o, s:s}", "problem_id", annotation->video_name,
                  "problem", query, "data_type", "video", "problem_type", "video eval", "options", "solution",
                  solution, "path", video_path("./videos", annotation), "data_source", "");
    free(query);
    return row;
}

json_t *annotation_dataset(const char *file_name) {
    return json_pack("{s:s, s:s, s:{s:s, s:s}}", "file_name", file_name, "formatting", "sharegpt", "columns",
                     "messages", "conversations", "videos", "videos");
}
