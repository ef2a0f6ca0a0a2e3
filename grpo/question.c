#include "grpo/question.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "data/query.h"

static const char mark[] = "{problem}";

/* The published words, to the letter. */
static const char published[] =
    "{problem}\nPlease think about this question as if you were a human pondering deeply. Engage in an "
    "internal "
    "dialogue using expressions such as 'let me think', 'wait', 'Hmm', 'oh, I see', 'let's break it down', "
    "etc, or other natural language thought expressions It's encouraged to include self-reflection or "
    "verification in the reasoning process. Provide your detailed reasoning between the <think> </think> "
    "tags, "
    "and then give your final answer between the <answer> </answer> tags.";

char *question_template_read(const char *value, struct error *err) {
    if (value[0] == '@') return query_read(value + 1, mark, err);
    if (strstr(value, mark)) return memory_text(value, strlen(value), "a template", err);
    error_set(err, "no %s in '%.60s'", mark, value);
    return NULL;
}

static void append_problem(struct text *text, const struct grpo_row *row) {
    text_append_string(text, row->problem);
    if (!row->kind->options) return;
    text_append_string(text, "Options:\n");
    for (size_t i = 0; i < row->option_count; i++) text_format(text, "%s\n", row->options[i]);
}

char *question_write(const char *template, const struct grpo_row *row, struct error *err) {
    struct text problem = {0}, question = {0};
    append_problem(&problem, row);
    char *asked = text_take(&problem, "a problem", err);
    if (!asked) return NULL;
    query_append(&question, template ? template : published, mark, asked);
    if (!template) text_append_string(&question, row->kind->instruction);
    free(asked);
    return text_take(&question, "a question", err);
}
