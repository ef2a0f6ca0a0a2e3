#include "data/query.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"

enum { LONGEST_TEMPLATE = 1 << 20 };
static const char mark[] = "{prompt}";

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

static char *read_template(const char *path, struct error *err) {
    char *text;
    size_t length;
    if (file_read(path, LONGEST_TEMPLATE, &text, &length, err) != STATUS_OK) return NULL;
    if (strlen(text) == length && strstr(text, mark)) return text;
    if (strlen(text) != length)
        error_set(err, "%s: byte %zu: a zero byte", path, strlen(text));
    else
        error_set(err, "%s: no {prompt} in it", path);
    free(text);
    return NULL;
}

char *query_template(const char *file, const char *folder, struct error *err) {
    if (file) return read_template(file, err);
    char *path = file_join(folder, "query_template.txt", err), *text = NULL;
    if (!path) return NULL;
    if (access(path, F_OK) == 0)
        text = read_template(path, err);
    else
        text = memory_text(query_published, strlen(query_published), "the query", err);
    free(path);
    return text;
}

char *query_fill(const char *template, const char *prompt, struct error *err) {
    struct text text = {0};
    for (const char *place; (place = strstr(template, mark)); template = place + strlen(mark)) {
        text_append(&text, template, (size_t)(place - template));
        text_append_string(&text, prompt);
    }
    text_append_string(&text, template);
    return text_take(&text, "the query", err);
}
