#include "data/query.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

enum { LONGEST_TEMPLATE = 1 << 20 };
static const char prompt_mark[] = "{prompt}";

const char query_published[] =
    "\n    You are an expert for evaluating AI-generated videos from three dimensions:\n"
    "    (1) visual quality – clarity, smoothness, artifacts;\n"
    "    (2) text-to-video alignment – fidelity to the prompt;\n"
    "    (3) physical/common-sense consistency – naturalness and physics plausibility.\n"
    "\n    Video prompt: {prompt}\n"
    "\n    Please output in this format:\n"
    "    visual quality: <v_score>; \n"
    "    text-to-video alignment: <t_score>, \n"
    "    physical/common-sense consistency: <p_score>\n    ";

char *query_read(const char *path, const char *mark, struct error *err) {
    char *text;
    size_t length;
    if (file_read(path, LONGEST_TEMPLATE, &text, &length, err) != STATUS_OK) return NULL;
    if (strlen(text) == length && strstr(text, mark)) return text;
    if (strlen(text) != length)
        error_set(err, "%s: byte %zu: a zero byte", path, strlen(text));
    else
        error_set(err, "%s: no %s in it", path, mark);
    free(text);
    return NULL;
}

char *query_template(const char *file, const char *folder, struct error *err) {
    if (file) return query_read(file, prompt_mark, err);
    char *path = file_join(folder, "query_template.txt", err), *text = NULL;
    if (!path) return NULL;
    if (access(path, F_OK) == 0)
        text = query_read(path, prompt_mark, err);
    else
        text = memory_text(query_published, strlen(query_published), "the query", err);
    free(path);
    return text;
}

void query_append(struct text *text, const char *template, const char *mark, const char *value) {
    for (const char *place; (place = strstr(template, mark)); template = place + strlen(mark)) {
        text_append(text, template, (size_t)(place - template));
        text_append_string(text, value);
    }
    text_append_string(text, template);
}

char *query_fill(const char *template, const char *prompt, struct error *err) {
    struct text text = {0};
    query_append(&text, template, prompt_mark, prompt);
    return text_take(&text, "the query", err);
}
