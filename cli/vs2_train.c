/* vs2-train: trains as a YAML file and key=value words say. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/options.h"
#include "cli/train_keys.h"
#include "grpo/grpo.h"
#include "train/checkpoint.h"
#include "train/communicator.h"
#include "train/config.h"
#include "train/sft.h"

struct settings {
    const char *config, *gpu, *merge, *out;
    bool dry_run, help_keys;
};

static const struct option_spec options[] = {
    {.name = "config",
     .argument = "FILE",
     .help = "YAML file with the keys of LLaMA-Factory, TRL and Hugging Face's TrainingArguments",
     .kind = OPTION_STRING,
     .offset = offsetof(struct settings, config)},
    {.name = "dry-run",
     .help = "read the data, print steps, parameters and memory of the run, and stop",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct settings, dry_run)},
    {.name = "gpu",
     .argument = "NAME",
     .help = "with --dry-run: the memory of a GPU that is not here: h100, h200, a100, b200 or 4090",
     .kind = OPTION_STRING,
     .offset = offsetof(struct settings, gpu)},
    {.name = "merge",
     .argument = "CHECKPOINT",
     .help = "write a checkpoint's weights in f32, of all processes, as a model folder (--out)",
     .kind = OPTION_STRING,
     .offset = offsetof(struct settings, merge)},
    {.name = "out",
     .argument = "DIR",
     .help = "where --merge writes",
     .kind = OPTION_STRING,
     .offset = offsetof(struct settings, out)},
    {.name = "help-keys",
     .help = "list all keys with their meaning and default, and exit",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct settings, help_keys)},
    {0}};

static const struct program program = {
    .name = "vs2-train",
    .synopsis = "--config FILE [key=value]...\nFILE.yaml [key=value]...\n--merge CHECKPOINT --out DIR",
    .summary =
        "Trains a Qwen2.5-VL video judge as a YAML file says; the published VideoScore2 file runs as it "
        "is. key=value, also written --key=value or --key value, overrides a key of the file. "
        "SIGINT and SIGTERM end the run after the step, with a checkpoint.",
    .examples = "  vs2-train --config configs/sft.yaml dataset=data_27k_train_sft\n"
                "  vs2-train --config configs/sft.yaml dataset=data_27k_train_sft --dry-run\n"
                "  vs2-train --config configs/sft.yaml dataset=data_27k_train_sft --dry-run --gpu h100\n"
                "  vs2-train --config configs/grpo.yaml model_name_or_path=sft dataset=problems.json\n"
                "  vs2-train configs/sft.yaml dataset=mine media_dir=/data/videos learning_rate=1e-5\n"
                "  vs2-train --config configs/sft.yaml dataset=mine resume_from_checkpoint=true\n"
                "  vs2-train --merge saves/videoscore2/checkpoint-500 --out merged\n",
    .options = options,
    .operands = 4096,
};

static enum status list_keys(struct error *err) {
    struct text text = {0};
    train_keys_help(&text);
    enum status status = text_check(&text, "the list of keys", err);
    if (status == STATUS_OK) fputs(text.data, stdout);
    text_free(&text);
    return status;
}

static enum status merge(const struct settings *settings, int words, struct error *err) {
    size_t trained;
    if (!settings->merge) return error_usage(err, "--out is for --merge; a run writes to output_dir=DIR");
    if (settings->config || settings->dry_run || settings->gpu || words > 0)
        return error_usage(err, "--merge trains nothing: it takes --out alone");
    if (!settings->out) return error_usage(err, "--merge needs --out DIR: where to write the model");
    enum status status = checkpoint_merge(settings->merge, settings->out, &trained, err);
    if (status == STATUS_OK)
        printf("%s: the model of %s in f32, with %zu trained parameters\n", settings->out, settings->merge,
               trained);
    return status;
}

/* ---- Arguments --------------------------------------------------------------------------------------- */

/* argv with "--key value", "--key=value" and "--key" as words "key=value" and "key=true". */
struct arguments {
    char **words;
    int count;
    char **owned; /* those that were made here */
    int owned_count;
};

static void arguments_free(struct arguments *arguments) {
    for (int i = 0; i < arguments->owned_count; i++) free(arguments->owned[i]);
    free(arguments->owned);
    free(arguments->words);
}

/* The name of the configuration key that an argument "--key" or "--key=value" means; false: it means none. */
static bool key_of(const char *argument, char *name, size_t size) {
    if (strncmp(argument, "--", 2) != 0) return false;
    size_t length = strcspn(argument + 2, "=");
    if (!length || length >= size) return false;
    for (size_t i = 0; i < length; i++) name[i] = (char)(argument[2 + i] == '-' ? '_' : argument[2 + i]);
    name[length] = '\0';
    return train_config_knows(name);
}

/* "--anything" or "key=value": what cannot be the value of the key before it. */
static bool begins_setting(const char *word) {
    char name[128];
    size_t length = strcspn(word, "=");
    if (strncmp(word, "--", 2) == 0) return true;
    if (!word[length] || length >= sizeof(name)) return false;
    memcpy(name, word, length);
    name[length] = '\0';
    return train_config_knows(name);
}

static enum status arguments_make(int argc, char **argv, struct arguments *arguments, struct error *err) {
    arguments->words = memory_new((size_t)argc + 1, sizeof(char *), "the arguments", err);
    arguments->owned = memory_new((size_t)argc + 1, sizeof(char *), "the arguments", err);
    if (!arguments->words || !arguments->owned) return STATUS_FAILED;
    for (int i = 0; i < argc; i++) {
        char name[128];
        if (i == 0 || !key_of(argv[i], name, sizeof(name))) {
            arguments->words[arguments->count++] = argv[i];
            continue;
        }
        const char *value = strchr(argv[i], '=') ? strchr(argv[i], '=') + 1 : NULL;
        if (!value && i + 1 < argc && !begins_setting(argv[i + 1])) value = argv[++i];
        struct text word = {0};
        text_format(&word, "%s=%s", name, value ? value : "true");
        char *made = text_take(&word, "an argument", err);
        if (!made) return STATUS_FAILED;
        arguments->words[arguments->count++] = arguments->owned[arguments->owned_count++] = made;
    }
    return STATUS_OK;
}

/* ---- Running ----------------------------------------------------------------------------------------- */

/* The run that the configuration describes. */
static enum status run(const struct train_config *config, struct error *err) {
    return config->stage == TRAIN_STAGE_GRPO ? grpo_run(config, err) : train_sft_run(config, err);
}

/* And what it would take; one process says it. */
static enum status plan(const struct train_config *config, const char *gpu_name, struct error *err) {
    const struct gpu *gpu = NULL;
    if (gpu_name && gpu_find(gpu_name, &gpu, err) != STATUS_OK) return STATUS_USAGE;
    if (communicator_rank(config->processes) > 0) return STATUS_OK;
    return config->stage == TRAIN_STAGE_GRPO ? grpo_plan(config, gpu, err) : train_sft_plan(config, gpu, err);
}

/* The operand that is a file's name, taken out of the words; NULL: there is none. */
static const char *take_path(char **words, int *count) {
    for (int i = 0; i < *count; i++) {
        if (strchr(words[i], '=')) continue;
        const char *path = words[i];
        memmove(&words[i], &words[i + 1], (size_t)(--*count - i) * sizeof(*words));
        return path;
    }
    return NULL;
}

static enum status train(const struct settings *settings, char **words, int count,
                         struct communicator *processes, struct error *err) {
    const char *path = settings->config ? settings->config : take_path(words, &count);
    if (settings->gpu && !settings->dry_run) return error_usage(err, "--gpu is for --dry-run");
    if (!path && !count) return error_usage(err, "a configuration is missing: --config FILE (see --help)");
    struct train_config config;
    enum status status = train_config_read(path, (const char *const *)words, (size_t)count, &config, err);
    if (status != STATUS_OK) return status;
    config.processes = processes;
    communicator_patience(processes, config.process_patience);
    if (communicator_rank(processes) == 0) fputs(config.notes, stderr);
    status = settings->dry_run ? plan(&config, settings->gpu, err) : run(&config, err);
    train_config_free(&config);
    return status;
}

/* The exit code. Of a failure that all processes share one tells. */
static int report(const struct communicator *processes, enum status status, const struct error *err) {
    if (status == STATUS_OK || !communicator_tells(processes)) return status;
    return program_fail(&program, status, err);
}

int main(int argc, char **argv) {
    struct settings settings = {0};
    struct arguments arguments = {0};
    struct error err;
    int operand = 0;
    bool finished = false;
    struct communicator *processes = NULL;
    enum status status = arguments_make(argc, argv, &arguments, &err);
    if (status == STATUS_OK)
        status =
            options_parse(&program, arguments.count, arguments.words, &settings, &operand, &finished, &err);
    bool goes_on = status == STATUS_OK && !finished;
    bool merges = settings.merge || settings.out;
    bool trains = goes_on && !settings.help_keys && !merges;
    if (goes_on && settings.help_keys) status = list_keys(&err);
    if (goes_on && merges) status = merge(&settings, arguments.count - operand, &err);
    if (trains) status = communicator_open(&processes, &err);
    if (trains && status == STATUS_OK)
        status = train(&settings, arguments.words + operand, arguments.count - operand, processes, &err);
    arguments_free(&arguments);
    int code = program_finish(&program, report(processes, status, &err));
    communicator_close(processes, status);
    return code;
}
