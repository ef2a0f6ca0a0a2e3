/* One scored video, and the rows that data sets of the pipeline have for it. */
#ifndef VS2_DATA_ANNOTATION_H
#define VS2_DATA_ANNOTATION_H

#include <jansson.h>

#include "base/error.h"

/* The dimensions, in the order of every file: visual quality, text-to-video alignment, physical consistency.
 */
enum { ANNOTATION_DIMENSIONS = 3 };

struct annotation {
    const char *video_name; /* of the file, without folder and ".mp4" */
    const char *video_url;
    const char *prompt;
    int scores[ANNOTATION_DIMENSIONS]; /* 1 to 5 */
    const char *comments[ANNOTATION_DIMENSIONS];
    const char *thinking; /* the rationale */
};

/* The raw row: video_name, video_url, prompt, visual_score, visual_cmt_raw, ..., thinking. NULL: out of
 * memory, here and below. */
json_t *annotation_raw(const struct annotation *annotation);

/* The row that SFT learns from, in ShareGPT's format: the video, the query with the prompt in it, and the
 * answer. `template` as query_fill takes it. The video is "videos/NAME.mp4". */
json_t *annotation_sft(const struct annotation *annotation, const char *template);

/* The row that GRPO learns from, as Video-R1 reads it. The video is "./videos/NAME.mp4". */
json_t *annotation_grpo(const struct annotation *annotation, const char *template);

/* The entry of dataset_info.json for a file of SFT rows. */
json_t *annotation_dataset(const char *file_name);

/* The answer that the model is to write: the rationale between <think> marks, and the three scores. free()
 * it.
 */
char *annotation_answer(const struct annotation *annotation, struct error *err);

#endif
