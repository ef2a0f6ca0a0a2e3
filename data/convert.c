#include "data/convert.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "data/annotation.h"
#include "data/dataset_file.h"

const char convert_template[] =
    "\nThis video was made by a text-to-video model. Judge it in three dimensions, each from 1 (bad) to 5 "
    "(perfect):\n"
    "(1) visual quality: clarity, smoothness, artifacts\n"
    "(2) text-to-video alignment: how well the video shows what the prompt asks for\n"
    "(3) physical/common-sense consistency: natural movement, plausible physics\n\n"
    "Here is its text prompt:\n{prompt}\n\n"
    "Based on the video content and the dimension definitions, think first and then give the scores in this "
    "form:\n"
    "(1) visual quality: <score>\n"
    "(2) text-to-video alignment: <score>\n"
    "(3) physical/common-sense consistency: <score>\n";

enum { LARGEST_INFO = 64 << 20 };

struct conversion {
    const struct convert_options *options;
    const char *template; /* without <video> */
    struct file_writer sft, grpo;
    int64_t rows, left_out;
};

/* ---- Reading a raw row ---- */

static enum status get_text(const json_t *row, const char *key, bool needed, const char **text,
                            struct error *err) {
    const json_t *value = json_object_get(row, key);
    *text = "";
    if (!needed && (!value || json_is_null(value))) return STATUS_OK;
    if (!json_is_string(value)) return error_set(err, "there is no text '%s'", key);
    *text = json_string_value(value);
    return strlen(*text) == json_string_length(value) ? STATUS_OK
                                                      : error_set(err, "'%s' holds a zero byte", key);
}

static enum status get_score(const json_t *row, const char *key, int *score, struct error *err) {
    const json_t *value = json_object_get(row, key);
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number == 1 || number == 2 || number == 3 || number == 4 || number == 5))
        return error_set(err, "'%s' is no whole number from 1 to 5", key);
    *score = (int)number;
    return STATUS_OK;
}

static enum status read_raw(const struct conversion *conversion, const json_t *row,
                            struct annotation *annotation, struct error *err) {
    static const char *const scores[] = {"visual_score", "t2v_score", "phy_score"};
    static const char *const comments[] = {"visual_cmt_raw", "t2v_cmt_raw", "phy_cmt_raw"};
    if (!json_is_object(row)) return error_set(err, "it is no JSON object");
    if (get_text(row, "video_name", true, &annotation->video_name, err) != STATUS_OK ||
        get_text(row, "video_url", false, &annotation->video_url, err) != STATUS_OK ||
        get_text(row, "prompt", true, &annotation->prompt, err) != STATUS_OK ||
        get_text(row, "thinking", conversion->options->sft != NULL, &annotation->thinking, err) != STATUS_OK)
        return STATUS_FAILED;
    for (int i = 0; i < ANNOTATION_DIMENSIONS; i++)
        if (get_score(row, scores[i], &annotation->scores[i], err) != STATUS_OK ||
            get_text(row, comments[i], false, &annotation->comments[i], err) != STATUS_OK)
            return STATUS_FAILED;
    if (annotation->video_name[0] == '\0') return error_set(err, "'video_name' is empty");
    return STATUS_OK;
}

/* ---- Writing the rows ---- */

/* PREFIX and the video's name, with ".mp4" where it has no ending. */
static json_t *video_path(const char *prefix, const char *name) {
    const char *slash = strrchr(name, '/'), *dot = strrchr(name, '.');
    bool ending = dot && dot > name && (!slash || dot > slash + 1) && strlen(dot) >= 3 && strlen(dot) <= 5;
    return json_sprintf("%s%s%s", prefix, name, ending ? "" : ".mp4");
}

/* Writes one row of a list; takes the row over. */
static enum status put_row(struct file_writer *writer, bool first, json_t *row, struct error *err) {
    char *text = row ? json_dumps(row, 0) : NULL;
    json_decref(row);
    if (!text) return error_set(err, "out of memory for a row");
    file_writer_write(writer, first ? "[\n" : ",\n", 2);
    file_writer_write(writer, text, strlen(text));
    free(text);
    return STATUS_OK;
}

static enum status put_sft(struct conversion *conversion, const struct annotation *annotation,
                           struct error *err) {
    json_t *row = annotation_sft(annotation, conversion->template);
    json_t *path = video_path(conversion->options->sft_videos, annotation->video_name);
    if (row && json_object_set_new(row, "videos", json_pack("[o]", path)) != 0) {
        json_decref(row);
        row = NULL;
    }
    return put_row(&conversion->sft, conversion->rows == 0, row, err);
}

static enum status put_grpo(struct conversion *conversion, const struct annotation *annotation,
                            struct error *err) {
    json_t *row = annotation_grpo(annotation, conversion->template);
    json_t *path = video_path(conversion->options->grpo_videos, annotation->video_name);
    if (row && json_object_set_new(row, "path", path) != 0) {
        json_decref(row);
        row = NULL;
    }
    return put_row(&conversion->grpo, conversion->rows == 0, row, err);
}

static enum status convert_row(struct conversion *conversion, const json_t *row, int64_t number,
                               struct error *err) {
    const struct convert_options *options = conversion->options;
    struct annotation annotation = {0};
    struct error reason;
    if (read_raw(conversion, row, &annotation, &reason) != STATUS_OK) {
        if (!options->skip_broken)
            return error_set(err, "%s: row %lld: %s", options->input, (long long)number, reason.message);
        if (options->skipped) options->skipped(options->context, number, reason.message);
        conversion->left_out++;
        return STATUS_OK;
    }
    if (options->sft && put_sft(conversion, &annotation, err) != STATUS_OK) return STATUS_FAILED;
    if (options->grpo && put_grpo(conversion, &annotation, err) != STATUS_OK) return STATUS_FAILED;
    conversion->rows++;
    return STATUS_OK;
}

static enum status convert_rows(struct conversion *conversion, const struct dataset_file *file,
                                struct error *err) {
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < file->count; i++) {
        json_t *row = dataset_file_parse(file, i, err);
        status = row ? convert_row(conversion, row, (int64_t)i + 1, err) : STATUS_FAILED;
        json_decref(row);
    }
    if (status == STATUS_OK && conversion->rows == 0)
        status = error_set(err, "%s: none of its %zu rows can be converted", conversion->options->input,
                           file->count);
    return status;
}

static enum status write_files(struct conversion *conversion, const struct dataset_file *file,
                               struct error *err) {
    const struct convert_options *options = conversion->options;
    struct file_writer *sft = options->sft ? &conversion->sft : NULL;
    struct file_writer *grpo = options->grpo ? &conversion->grpo : NULL;
    enum status status = STATUS_OK;
    if (sft && file_writer_open(sft, options->sft, err) != STATUS_OK) return STATUS_FAILED;
    if (grpo && file_writer_open(grpo, options->grpo, err) != STATUS_OK) {
        if (sft) file_writer_abort(sft);
        return STATUS_FAILED;
    }
    status = convert_rows(conversion, file, err);
    if (sft && status == STATUS_OK) {
        file_writer_write(sft, "\n]\n", 3);
        status = file_writer_commit(sft, err);
    } else if (sft) {
        file_writer_abort(sft);
    }
    if (grpo && status == STATUS_OK) {
        file_writer_write(grpo, "\n]\n", 3);
        status = file_writer_commit(grpo, err);
    } else if (grpo) {
        file_writer_abort(grpo);
    }
    return status;
}

enum status convert_raw(const struct convert_options *options, int64_t *rows, int64_t *left_out,
                        struct error *err) {
    static const char mark[] = "<video>";
    struct conversion conversion = {.options = options, .template = options->template};
    struct dataset_file file;
    if (strncmp(conversion.template, mark, strlen(mark)) == 0) conversion.template += strlen(mark);
    if (strstr(conversion.template, mark))
        return error_set(err, "the template has a %s that is not at its beginning", mark);
    enum status status = dataset_file_read(options->input, NULL, &file, err);
    if (status == STATUS_OK) status = write_files(&conversion, &file, err);
    dataset_file_free(&file);
    *rows = conversion.rows;
    *left_out = conversion.left_out;
    return status;
}

enum status convert_register(const char *folder, const char *name, const char *file_name, struct error *err) {
    char *path = file_join(folder, "dataset_info.json", err);
    if (!path) return STATUS_FAILED;
    enum status status = STATUS_FAILED;
    json_t *info = access(path, F_OK) == 0 ? json_read_file(path, LARGEST_INFO, err) : json_object();
    if (!info) goto end;
    if (!json_is_object(info)) {
        error_set(err, "%s: no JSON object", path);
        goto end;
    }
    if (json_object_set_new(info, name, annotation_dataset(file_name)) != 0) {
        error_set(err, "out of memory for %s", path);
        goto end;
    }
    status = json_write_file(folder, "dataset_info.json", info, err);
end:
    json_decref(info);
    free(path);
    return status;
}
