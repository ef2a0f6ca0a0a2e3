/* The query: what the judge is asked about a video, with the video's text prompt in it. */
#ifndef VS2_DATA_QUERY_H
#define VS2_DATA_QUERY_H

#include "base/error.h"
#include "base/text.h"

/* The query of the published inference script (TIGER-AI-Lab/VideoScore2, vs2_inference.py), to the byte:
 * other words give other scores. Its "$t2v_prompt" is "{prompt}" here. */
extern const char query_published[];

/* The template of a query: `file` when it is not NULL, else FOLDER/query_template.txt where a checkpoint has
 * one, else the published query. "{prompt}" must stand in it. free() it. */
char *query_template(const char *file, const char *folder, struct error *err);

/* Reads a template from a file; `mark` must stand in it. free() it. */
char *query_read(const char *path, const char *mark, struct error *err);

/* The template with the prompt in place of each "{prompt}"; free() it. */
char *query_fill(const char *template, const char *prompt, struct error *err);

/* Appends the template with the value in place of each mark. */
void query_append(struct text *text, const char *template, const char *mark, const char *value);

#endif
