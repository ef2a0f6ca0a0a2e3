/* From a row of a data set to what a training step takes: tokens, labels and patches.
 *
 * Tokens, labels and truncation are those of LLaMA-Factory's supervised data processor with template
 * qwen2_vl: each pair of a user's and an assistant's turn is one source and target; the system prompt is part
 * of the first source. Pairs are taken until cutoff_len tokens are reached, and the one that reaches it is
 * cut (sample_cut).
 */
#ifndef VS2_DATA_SAMPLE_H
#define VS2_DATA_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "data/dataset.h"
#include "data/visual.h"
#include "model/positions.h"
#include "model/tokenizer.h"

enum { SAMPLE_NO_LABEL = -1 }; /* a token that no loss is taken of (-100 in PyTorch) */

/* Makes what the vision tower takes of one video or image: visual_read_video or visual_read_image, or what a
 * cache knows (`patches` may stay NULL). Called by several threads at once. */
typedef enum status sample_reader(void *context, const char *path, bool image,
                                  const struct visual_options *options, struct visual *visual,
                                  struct error *err);

struct sample_options {
    const struct tokenizer *tokenizer;
    struct visual_options visual; /* video_fps: fps; video_maxlen: max_frames; video_max_pixels: max_pixels;
                                     video_min_pixels: min_pixels; image_max_pixels, image_min_pixels */
    int64_t cutoff;               /* cutoff_len */
    bool train_on_prompt;         /* labels on the sources too */
    bool mask_history;            /* labels on the last answer only, and the last pairs are kept first */
    sample_reader *reader;        /* NULL: visuals are decoded (sample_decode) */
    void *reader_context;
};

struct sample_visual {
    char *path;
    bool image;
    struct visual visual; /* patches NULL where they were not wanted */
};

struct sample {
    int32_t *tokens; /* [count] */
    int32_t *labels; /* [count]: the token itself, or SAMPLE_NO_LABEL. The token at i is predicted at i - 1 */
    int64_t count;
    int64_t label_count;           /* labels that are tokens, the first token's aside: no place predicts it */
    int64_t untruncated_count;     /* tokens before cutoff */
    struct sample_visual *visuals; /* in the order of their pads in `tokens` */
    struct visual_grid *grids;     /* [visual_count] */
    int64_t visual_count;
};

/* Encodes one row of the data set: reads the visuals and makes the tokens. Fails, with the reason in err,
 * when a visual cannot be read, when cutoff_len cuts into a visual's pads (the tokens would not match the
 * patches), or when no label is left. sample_free frees it. */
enum status sample_encode(const struct sample_options *options, const struct dataset *dataset, int64_t index,
                          struct sample *sample, struct error *err);

/* The same without patches and without decoding videos, whatever the options' reader. It agrees with
 * sample_encode but for the rare video whose header miscounts its frames. */
enum status sample_measure(const struct sample_options *options, const struct dataset *dataset, int64_t index,
                           struct sample *sample, struct error *err);

void sample_free(struct sample *sample);

/* Bytes that the sample holds: for prefetch_work.make. */
size_t sample_bytes(const struct sample *sample);

/* Readers: sample_decode decodes, sample_measure_visual makes no patches. */
sample_reader sample_decode, sample_measure_visual;

/* How many tokens are kept of a pair when `limit` are left: sources are cut first while the target is less
 * than half the limit, then targets while the source is, else both in proportion (infer_seqlen). */
struct sample_pair {
    int64_t source, target;
};
struct sample_pair sample_cut(struct sample_pair pair, int64_t limit);

#endif
