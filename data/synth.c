#include "data/synth.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "data/query.h"
#include "data/synth_benchmarks.h"
#include "data/synth_set.h"
#include "model/random_init.h"
#include "model/tokenizer_train.h"
#include "model/tokenizer_write.h"

/* Short: its tokens are most of what a small model reads. Between "its text prompt:" and "Based on the video
 * content and the dimension definitions" stands the prompt, as in the published queries. */
static const char query_template_text[] = "Judge this video by its text prompt:\n{prompt}\nBased on the "
                                          "video content and the dimension definitions, "
                                          "give three scores from 1 to 5.";

/* ---- Folders ----------------------------------------------------------------------------------------- */

static void report(const struct synth_options *options, const char *what, int64_t done, int64_t total) {
    if (options->progress) options->progress(what, done, total);
}

static enum status make_folder(const char *path, struct error *err) {
    if (mkdir(path, 0777) == 0 || errno == EEXIST) return STATUS_OK;
    return error_set(err, "%s: cannot make the folder: %s", path, strerror(errno));
}

/* FOLDER/NAME, made when it is not there; free() it. */
static char *subfolder(const char *folder, const char *name, struct error *err) {
    char *path = file_join(folder, name, err);
    if (path && make_folder(path, err) != STATUS_OK) {
        free(path);
        path = NULL;
    }
    return path;
}

/* ---- Videos ------------------------------------------------------------------------------------------ */

static enum status write_video(const char *folder, const struct synth_row *row, struct error *err) {
    struct text path = {0};
    text_format(&path, "%s/%s.mp4", folder, row->name);
    enum status status = text_check(&path, row->name, err);
    if (status == STATUS_OK) status = synth_clip_write(&row->clip, path.data, err);
    text_free(&path);
    return status;
}

/* Renders on all cores; after a failure the rest is left out. */
static enum status write_videos(const struct synth_options *options, const char *parent, const char *what,
                                const struct synth_list *list, struct error *err) {
    int64_t done = 0;
    atomic_bool failed = false;
    char *folder = subfolder(parent, "videos", err);
    if (!folder) return STATUS_FAILED;
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < list->count; i++) {
        struct error own;
        if (failed) continue;
        enum status status = write_video(folder, &list->rows[i], &own);
#pragma omp critical(synth_videos)
        {
            if (status == STATUS_OK) {
                report(options, what, ++done, list->count);
            } else if (!failed) {
                *err = own;
                failed = true;
            }
        }
    }
    free(folder);
    return failed ? STATUS_FAILED : STATUS_OK;
}

/* ---- Rows -------------------------------------------------------------------------------------------- */

static json_t *listed_row(const struct annotation *annotation) {
    return json_pack("{s:s, s:s}", "video", annotation->video_url, "prompt", annotation->prompt);
}

static json_t *sft_row(const struct annotation *annotation) {
    return annotation_sft(annotation, query_template_text);
}

static json_t *grpo_row(const struct annotation *annotation) {
    return annotation_grpo(annotation, query_template_text);
}

static const struct {
    const char *file;
    synth_row_function *make;
} row_files[] = {
    {"rows.json", listed_row},
    {"raw.json", annotation_raw},
    {"sft.json", sft_row},
    {"grpo.json", grpo_row},
};

static enum status write_training(const struct synth_options *options, const struct synth_list *list,
                                  struct error *err) {
    for (size_t i = 0; i < sizeof row_files / sizeof *row_files; i++)
        if (synth_rows_write(options->folder, row_files[i].file, row_files[i].make, list, err) != STATUS_OK)
            return STATUS_FAILED;
    json_t *info = json_pack("{s:o}", "synth", annotation_dataset("sft.json"));
    enum status status = json_write_file(options->folder, "dataset_info.json", info, err);
    json_decref(info);
    return status == STATUS_OK ? write_videos(options, options->folder, "videos", list, err) : STATUS_FAILED;
}

static enum status write_test(const struct synth_options *options, const struct synth_list *list,
                              struct error *err) {
    if (list->count == 0) return STATUS_OK;
    char *folder = subfolder(options->folder, "test", err);
    if (!folder) return STATUS_FAILED;
    enum status status = synth_benchmarks_write(folder, list, err);
    if (status == STATUS_OK) status = write_videos(options, folder, "test videos", list, err);
    free(folder);
    return status;
}

/* ---- Model ------------------------------------------------------------------------------------------- */

/* The texts of a training row, and the words of the chat format around them. */
static enum status add_texts(struct tokenizer_trainer *trainer, const struct synth_row *row,
                             struct error *err) {
    static const char chat[] = "system\nYou are a helpful assistant.\nuser\nassistant\n";
    char *query = NULL, *answer = NULL;
    struct synth_words words;
    enum status status = synth_words_make(&words, row, err);
    if (status == STATUS_OK) {
        query = query_fill(query_template_text, words.annotation.prompt, err);
        answer = query ? annotation_answer(&words.annotation, err) : NULL;
        status = answer ? tokenizer_trainer_add(trainer, chat, strlen(chat), err) : STATUS_FAILED;
    }
    if (status == STATUS_OK) status = tokenizer_trainer_add(trainer, query, strlen(query), err);
    if (status == STATUS_OK) status = tokenizer_trainer_add(trainer, answer, strlen(answer), err);
    free(query);
    free(answer);
    synth_words_free(&words);
    return status;
}

static enum status write_tokenizer(const char *folder, const struct synth_list *list,
                                   struct special_tokens *tokens, struct error *err) {
    enum { MOST_MERGES = 2000 };
    struct tokenizer_merges merges = {0};
    struct tokenizer_trainer *trainer = tokenizer_trainer_new(err);
    if (!trainer) return STATUS_FAILED;
    enum status status = STATUS_OK;
    for (int64_t i = 0; i < list->count && status == STATUS_OK; i++)
        status = add_texts(trainer, &list->rows[i], err);
    if (status == STATUS_OK) status = tokenizer_trainer_finish(trainer, MOST_MERGES, &merges, err);
    if (status == STATUS_OK) status = tokenizer_write(folder, &merges, err);
    *tokens = special_tokens_after(TOKENIZER_BYTES + merges.count);
    tokenizer_merges_free(&merges);
    tokenizer_trainer_free(trainer);
    return status;
}

static enum status write_weights(const struct synth_options *options, const char *folder,
                                 const struct special_tokens *tokens, struct error *err) {
    const struct generation_config generation = {
        .do_sample = true,
        .temperature = 0.7,
        .top_p = 1,
        .repetition_penalty = 1,
        .stop_tokens = {tokens->turn_end, tokens->end_of_text},
        .stop_token_count = 2,
    };
    struct model_config config = options->preset->model;
    if (config.vocab == 0) config.vocab = (tokens->count + 63) / 64 * 64;
    config.image_token = tokens->image;
    config.video_token = tokens->video;
    config.vision_start_token = tokens->vision_start;
    config.vision_end_token = tokens->vision_end;
    const struct random_weights weights = {
        .dtype = options->dtype, .seed = options->seed, .gain = options->preset->gain};
    return random_checkpoint_write(folder, &config, &generation, &weights, 0, err);
}

static enum status write_template(const char *folder, struct error *err) {
    char *path = file_join(folder, "query_template.txt", err);
    enum status status =
        path ? file_write(path, query_template_text, strlen(query_template_text), err) : STATUS_FAILED;
    free(path);
    return status;
}

static enum status write_model(const struct synth_options *options, const struct synth_list *list,
                               struct error *err) {
    struct special_tokens tokens;
    char *folder = subfolder(options->folder, "model", err);
    if (!folder) return STATUS_FAILED;
    report(options, "model", 0, 1);
    enum status status = write_tokenizer(folder, list, &tokens, err);
    if (status == STATUS_OK) status = write_weights(options, folder, &tokens, err);
    if (status == STATUS_OK) status = write_template(folder, err);
    if (status == STATUS_OK) report(options, "model", 1, 1);
    free(folder);
    return status;
}

enum status synth_write(const struct synth_options *options, struct error *err) {
    const struct synth_format *format = &options->preset->format;
    struct synth_list training = {0}, test = {0};
    enum status status = make_folder(options->folder, err);
    if (status == STATUS_OK)
        status = synth_list_draw(&training, options->seed, SYNTH_TRAINING, options->videos, format, err);
    if (status == STATUS_OK)
        status = synth_list_draw(&test, options->seed, SYNTH_TEST, options->test_videos, format, err);
    if (status == STATUS_OK) status = write_training(options, &training, err);
    if (status == STATUS_OK) status = write_test(options, &test, err);
    if (status == STATUS_OK) status = write_model(options, &training, err);
    synth_list_free(&training);
    synth_list_free(&test);
    return status;
}
