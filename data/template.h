/* The query that an SFT data set asks of each video, recovered from its rows: the text of the first user's
 * turn that all of them share, with "{prompt}" where the text prompt of the video stands.
 *
 * The prompt is found between two marks. White space and quotes around it that all rows share belong to the
 * template, and so does a full stop behind it where some prompt ends in a stop of its own before that. A
 * <video> mark stays where it is. */
#ifndef VS2_DATA_TEMPLATE_H
#define VS2_DATA_TEMPLATE_H

#include "data/dataset.h"

struct template_marks {
    const char *before, *after; /* right before the prompt, and after it, but for what is said above */
};

/* "its text prompt:" and "Based on the video content and the dimension definitions". */
extern const struct template_marks template_published_marks;

struct template_found {
    char *text;      /* free() */
    int64_t fitting; /* rows that are this template with a prompt in it */
    int64_t rows;    /* of the data set that can be trained */
};

/* Recovers the template that most rows fit. STATUS_FAILED when no row has the marks, or when the text around
 * the prompt holds a "{prompt}" of its own. */
enum status template_recover(const struct dataset *dataset, const struct template_marks *marks,
                             struct template_found *found, struct error *err);

#endif
