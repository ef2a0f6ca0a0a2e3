/* vs2-data template: the query template of an SFT data set. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/data.h"
#include "cli/data_rows.h"
#include "cli/options.h"
#include "data/template.h"

struct template_settings {
    const char *dataset_dir, *before, *after, *output;
};

static const struct option_spec options[] = {
    {.name = "output",
     .argument = "FILE",
     .help = "write the template there instead of to stdout",
     .kind = OPTION_STRING,
     .offset = offsetof(struct template_settings, output)},
    {.name = "dataset-dir",
     .argument = "DIR",
     .help = "folder with dataset_info.json",
     .standard = "data",
     .kind = OPTION_STRING,
     .offset = offsetof(struct template_settings, dataset_dir)},
    {.name = "before",
     .argument = "TEXT",
     .help = "words right before the prompt",
     .standard = "its text prompt:",
     .kind = OPTION_STRING,
     .offset = offsetof(struct template_settings, before)},
    {.name = "after",
     .argument = "TEXT",
     .help = "words right after the prompt",
     .standard = "Based on the video content and the dimension definitions",
     .kind = OPTION_STRING,
     .offset = offsetof(struct template_settings, after)},
    {0}};

static const struct program program = {
    .name = "vs2-data",
    .command = "template",
    .synopsis = "[OPTION]... DATASET",
    .summary =
        "Recovers the query template from the rows of an SFT data set: what all of them ask, with "
        "{prompt} where the text prompt of the video stands. vs2-score --template takes it. DATASET is "
        "a file of rows, or a name in dataset_info.json. How many rows fit is told on stderr.",
    .examples = "  vs2-data template sft.json --output query_template.txt\n"
                "  vs2-data template --dataset-dir data vs2_sft\n",
    .options = options,
    .operands = 1,
};

static enum status recover(const char *name, const struct template_settings *settings, struct error *err) {
    const struct template_marks marks = {.before = settings->before, .after = settings->after};
    struct dataset *dataset;
    struct template_found found;
    enum status status = data_rows_open(name, settings->dataset_dir, NULL, &dataset, err);
    if (status != STATUS_OK) return status;
    status = template_recover(dataset, &marks, &found, err);
    dataset_close(dataset);
    if (status != STATUS_OK) {
        error_prefix(err, "%s", name);
        return status;
    }
    fprintf(stderr, "%lld of %lld rows fit the template\n", (long long)found.fitting, (long long)found.rows);
    if (settings->output)
        status = file_write(settings->output, found.text, strlen(found.text), err);
    else
        fputs(found.text, stdout);
    free(found.text);
    return status;
}

int data_template(int argc, char **argv) {
    struct template_settings settings = {.dataset_dir = "data",
                                         .before = template_published_marks.before,
                                         .after = template_published_marks.after};
    struct error err;
    int first;
    bool finished = false;
    enum status status = options_parse(&program, argc, argv, &settings, &first, &finished, &err);
    if (status == STATUS_OK && !finished && first == argc) status = error_usage(&err, "no data set is named");
    if (status == STATUS_OK && !finished) status = recover(argv[first], &settings, &err);
    return status == STATUS_OK ? program_finish(&program, 0) : program_fail(&program, status, &err);
}
