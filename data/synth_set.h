/* The clips of a demonstration set, and what is said of them. */
#ifndef VS2_DATA_SYNTH_SET_H
#define VS2_DATA_SYNTH_SET_H

#include "data/annotation.h"
#include "data/synth_clip.h"

enum {
    SYNTH_NAME_SIZE = 32,
    SYNTH_GROUP = 5, /* clips of one prompt in a test set */
};

struct synth_row {
    char name[SYNTH_NAME_SIZE]; /* of the video, without folder and ".mp4" */
    struct synth_clip clip;
};

struct synth_list {
    struct synth_row *rows; /* synth_list_free */
    int64_t count;
};

/* Draws training clips "clip_0000", ..., each with a prompt of its own, or test clips "test_0000_0", ...:
 * five a prompt, numbered after the prompt. In each dimension each score is as frequent as each other, as far
 * as the count can be divided by five. */
enum status synth_list_draw(struct synth_list *list, uint64_t seed, enum synth_stream stream, int64_t count,
                            const struct synth_format *format, struct error *err);
void synth_list_free(struct synth_list *list);

/* An annotation with its own memory. */
struct synth_words {
    struct annotation annotation; /* points into the texts and to the row's name */
    struct text url, prompt, comments[SYNTH_DIMENSIONS], thinking;
};

/* What is said of a row, which must outlive it; end with synth_words_free, also after a failure. */
enum status synth_words_make(struct synth_words *words, const struct synth_row *row, struct error *err);
void synth_words_free(struct synth_words *words);

/* What a row of a file says of a clip. */
typedef json_t *synth_row_function(const struct annotation *annotation);

/* Writes FOLDER/FILE: a JSON array, a row for each clip of the list. */
enum status synth_rows_write(const char *folder, const char *file, synth_row_function *make,
                             const struct synth_list *list, struct error *err);

#endif
