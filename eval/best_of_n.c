#include "eval/best_of_n.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/folder.h"
#include "base/json.h"
#include "base/memory.h"
#include "data/dataset_file.h"
#include "eval/video_name.h"

enum { MOST_DIGITS = 15 };

bool group_of_name(const char *video_name, int64_t *group) {
    const struct name_part stem = video_stem(video_name);
    const char *field = memchr(stem.start, '_', stem.length), *end = stem.start + stem.length;
    int digits = 0;
    *group = 0;
    if (!field) return false;
    for (field++; field < end && *field != '_'; field++, digits++) {
        if (*field < '0' || *field > '9' || digits == MOST_DIGITS) return false;
        *group = *group * 10 + (*field - '0');
    }
    return digits > 0;
}

/* ---- Prompts ----------------------------------------------------------------------------------------- */

static enum status add_prompt(const json_t *row, const char *place, struct group_prompts *prompts,
                              struct error *err) {
    long long index;
    const char *text;
    if (!json_is_integer(json_object_get(row, "idx")) || !json_is_string(json_object_get(row, "text")))
        return error_set(err, "%s: not an object {\"idx\": GROUP, \"text\": PROMPT}", place);
    if (json_get_integer(row, "idx", 0, INT64_MAX, 0, &index, place, err) != STATUS_OK ||
        json_get_string(row, "text", NULL, &text, place, err) != STATUS_OK ||
        memory_grow(&prompts->list, &prompts->capacity, prompts->count + 1, sizeof *prompts->list, "prompts",
                    err) != STATUS_OK)
        return STATUS_FAILED;
    char *copy = memory_text(text, strlen(text), "prompts", err);
    if (!copy) return STATUS_FAILED;
    prompts->list[prompts->count++] = (struct group_prompt){index, copy};
    return STATUS_OK;
}

static int by_text(const void *a, const void *b) {
    return strcmp(((const struct group_prompt *)a)->text, ((const struct group_prompt *)b)->text);
}

static int by_index(const void *a, const void *b) {
    const int64_t x = ((const struct group_prompt *)a)->index, y = ((const struct group_prompt *)b)->index;
    return (x > y) - (x < y);
}

/* Sorts by index, then by text, and sees what is twice. */
static enum status sort_prompts(struct group_prompts *prompts, const char *path, struct error *err) {
    struct group_prompt *list = prompts->list;
    qsort(list, prompts->count, sizeof *list, by_index);
    for (size_t i = 1; i < prompts->count; i++)
        if (list[i].index == list[i - 1].index)
            return error_set(err, "%s: idx %lld is there twice", path, (long long)list[i].index);
    qsort(list, prompts->count, sizeof *list, by_text);
    for (size_t i = 1; i < prompts->count; i++)
        if (strcmp(list[i].text, list[i - 1].text) == 0)
            return error_set(err, "%s: idx %lld and %lld have the same text", path,
                             (long long)list[i - 1].index, (long long)list[i].index);
    return STATUS_OK;
}

enum status group_prompts_read(const char *path, struct group_prompts *prompts, struct error *err) {
    struct dataset_file file;
    *prompts = (struct group_prompts){0};
    enum status status = dataset_file_read(path, NULL, &file, err);
    for (size_t i = 0; i < file.count && status == STATUS_OK; i++) {
        char place[512];
        json_t *row = dataset_file_parse(&file, i, err);
        snprintf(place, sizeof place, "%s: row %zu", path, i + 1);
        status = row ? add_prompt(row, place, prompts, err) : STATUS_FAILED;
        json_decref(row);
    }
    dataset_file_free(&file);
    if (status == STATUS_OK) status = sort_prompts(prompts, path, err);
    if (status != STATUS_OK) group_prompts_free(prompts);
    return status;
}

void group_prompts_free(struct group_prompts *prompts) {
    for (size_t i = 0; i < prompts->count; i++) free(prompts->list[i].text);
    free(prompts->list);
    *prompts = (struct group_prompts){0};
}

/* The prompt of a group; NULL when there is none. */
static const char *prompt_of(const struct group_prompts *prompts, int64_t index) {
    for (size_t i = 0; i < prompts->count; i++)
        if (prompts->list[i].index == index) return prompts->list[i].text;
    return NULL;
}

/* ---- A folder ---------------------------------------------------------------------------------------- */

/* Adds the file if it is a video of a group. */
static enum status add_job(const char *folder, const char *name, const struct group_prompts *prompts,
                           struct score_jobs *jobs, struct error *err) {
    int64_t group;
    const bool ending = video_stem(name).length < strlen(name);
    if (!ending || !group_of_name(name, &group)) return STATUS_OK;
    const char *prompt = prompt_of(prompts, group);
    if (!prompt) return error_set(err, "%s/%s: no prompt has the idx %lld", folder, name, (long long)group);
    char *path = file_join(folder, name, err);
    enum status status = path ? score_jobs_add(jobs, path, prompt, err) : STATUS_FAILED;
    free(path);
    return status;
}

enum status group_jobs_read(const char *folder, const struct group_prompts *prompts, struct score_jobs *jobs,
                            struct error *err) {
    struct folder_names names = {0};
    enum status status = folder_list(folder, &names, err);
    for (size_t i = 0; i < names.count && status == STATUS_OK; i++)
        status = add_job(folder, names.names[i], prompts, jobs, err);
    folder_names_free(&names);
    if (status == STATUS_OK && !jobs->count)
        status = error_set(err, "%s: no video whose name tells its group, as in 'model_0012_3.mp4'", folder);
    return status;
}

const struct benchmark *best_of_n_benchmark(void) {
    static const struct benchmark folder = {
        .name = "best-of-n", .title = "Best of N", .video = {"video_name"}, .prompt = {"prompt"}};
    return &folder;
}

enum status best_of_n_data_write(const struct score_jobs *jobs, const char *path, struct error *err) {
    struct text lines = {0};
    enum status status = STATUS_OK;
    for (size_t i = 0; i < jobs->count && status == STATUS_OK; i++) {
        const struct score_job *job = &jobs->list[i];
        const char *slash = strrchr(job->video, '/');
        json_t *row =
            json_pack("{s:s, s:s}", "video_name", slash ? slash + 1 : job->video, "prompt", job->prompt);
        if (!row) status = error_set(err, "%s: the name is not UTF-8, or memory is short", job->video);
        json_append(&lines, row, false);
        text_append_string(&lines, "\n");
        json_decref(row);
    }
    if (status == STATUS_OK) status = text_check(&lines, path, err);
    if (status == STATUS_OK) status = file_write(path, lines.data, lines.length, err);
    text_free(&lines);
    return status;
}

/* ---- Groups ------------------------------------------------------------------------------------------ */

static double mean_of(const double values[DIMENSIONS]) {
    return (values[0] + values[1] + values[2]) / DIMENSIONS;
}

/* Of those that there are. */
static double mean_truth(const struct result_row *row) {
    double sum = 0;
    int count = 0;
    for (int d = 0; d < DIMENSIONS; d++) {
        if (isnan(row->truths[d])) continue;
        sum += row->truths[d];
        count++;
    }
    return count ? sum / count : NAN;
}

/* The group of a row by its prompt. */
static enum status group_of_prompt(const struct results *results, const struct result_row *row,
                                   const struct group_prompts *prompts, int64_t *group, struct error *err) {
    const size_t number = (size_t)(row - results->rows) + 1;
    json_t *json = result_row_json(results, row, err);
    if (!json) return STATUS_FAILED;
    const char *prompt = json_string_value(json_object_get(json, "prompt"));
    const struct group_prompt key = {0, (char *)prompt};
    const struct group_prompt *found =
        prompt ? bsearch(&key, prompts->list, prompts->count, sizeof *prompts->list, by_text) : NULL;
    if (found) *group = found->index;
    json_decref(json);
    return found ? STATUS_OK
                 : error_set(err, "%s: row %zu: its prompt is not among those of the groups", results->path,
                             number);
}

static int by_group_and_name(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    return strcmp(x->row->video_name, y->row->video_name);
}

static enum status gather(const struct results *results, const struct group_prompts *prompts,
                          struct candidate *candidates, struct error *err) {
    for (size_t i = 0; i < results->count; i++) {
        const struct result_row *row = &results->rows[i];
        struct candidate *candidate = &candidates[i];
        *candidate = (struct candidate){.row = row, .mean = mean_of(row->model), .truth = mean_truth(row)};
        if (prompts) {
            enum status status = group_of_prompt(results, row, prompts, &candidate->group, err);
            if (status != STATUS_OK) return status;
        } else if (!group_of_name(row->video_name, &candidate->group)) {
            return error_set(err, "%s: row %zu: '%s' does not tell its group, as 'model_0012_3.mp4' does",
                             results->path, i + 1, row->video_name);
        }
    }
    qsort(candidates, results->count, sizeof *candidates, by_group_and_name);
    return STATUS_OK;
}

/* The first with the highest mean. */
static size_t pick(const struct candidate *candidates, size_t first, size_t count) {
    size_t best = first + count;
    for (size_t i = first; i < first + count; i++)
        if (!isnan(candidates[i].mean) &&
            (best == first + count || candidates[i].mean > candidates[best].mean))
            best = i;
    return best;
}

enum status best_of_n_make(const struct results *results, const struct group_prompts *prompts, int64_t size,
                           struct best_of_n *best, struct error *err) {
    *best = (struct best_of_n){.candidates =
                                   memory_new(results->count, sizeof *best->candidates, "candidates", err),
                               .groups = memory_new(results->count, sizeof *best->groups, "candidates", err)};
    enum status status = best->candidates && best->groups ? STATUS_OK : STATUS_FAILED;
    if (status == STATUS_OK) status = gather(results, prompts, best->candidates, err);
    for (size_t first = 0, end; first < results->count && status == STATUS_OK; first = end) {
        for (end = first + 1;
             end < results->count && best->candidates[end].group == best->candidates[first].group;)
            end++;
        const bool wanted = size <= 0 || (size_t)size == end - first;
        best->left_out += !wanted;
        if (wanted)
            best->groups[best->group_count++] =
                (struct candidate_group){best->candidates[first].group, first, end - first,
                                         pick(best->candidates, first, end - first)};
    }
    if (status != STATUS_OK) best_of_n_free(best);
    return status;
}

void best_of_n_free(struct best_of_n *best) {
    free(best->candidates);
    free(best->groups);
    *best = (struct best_of_n){0};
}

/* ---- The published result ---------------------------------------------------------------------------- */

/* With 4 decimals, as Python's round. */
static json_t *rounded(double value) {
    char decimals[64];
    if (isnan(value)) return json_null();
    snprintf(decimals, sizeof decimals, "%.4f", value);
    return json_real(strtod(decimals, NULL));
}

static json_t *candidate_json(const struct candidate *candidate) {
    const double *model = candidate->row->model;
    return json_pack("{s:s, s:{s:o, s:o, s:o}, s:o}", "video", candidate->row->video_name, "aspect_scores",
                     "visual", json_from_double(model[DIMENSION_VISUAL]), "t2v",
                     json_from_double(model[DIMENSION_ALIGNMENT]), "physical",
                     json_from_double(model[DIMENSION_PHYSICAL]), "mean", rounded(candidate->mean));
}

static json_t *group_json(const struct best_of_n *best, const struct candidate_group *group) {
    json_t *scores = json_array();
    for (size_t i = group->first; i < group->first + group->count; i++)
        if (json_array_append_new(scores, candidate_json(&best->candidates[i])) != 0) {
            json_decref(scores);
            return NULL;
        }
    const bool picked = group->best < group->first + group->count;
    return json_pack("{s:I, s:o, s:s}", "group_idx", (json_int_t)group->index, "scores", scores, "best",
                     picked ? best->candidates[group->best].row->video_name : "");
}

json_t *best_of_n_json(const struct best_of_n *best) {
    json_t *groups = json_array();
    for (size_t g = 0; g < best->group_count; g++)
        if (json_array_append_new(groups, group_json(best, &best->groups[g])) != 0) {
            json_decref(groups);
            return NULL;
        }
    return groups;
}

/* ---- What it is worth -------------------------------------------------------------------------------- */

/* Adds a group; false when it cannot be judged. */
static bool add_gain(const struct best_of_n *best, const struct candidate_group *group,
                     struct best_of_n_gain *gain) {
    size_t known = 0, best_ones = 0;
    double sum = 0, highest = -INFINITY;
    if (group->best == group->first + group->count || isnan(best->candidates[group->best].truth))
        return false;
    for (size_t i = group->first; i < group->first + group->count; i++) {
        const double truth = best->candidates[i].truth;
        if (isnan(truth)) continue;
        known++;
        sum += truth;
        if (truth > highest) best_ones = 0;
        if (truth >= highest) best_ones++;
        highest = fmax(highest, truth);
    }
    if (known < 2) return false;
    const double picked = best->candidates[group->best].truth;
    gain->picked += picked;
    gain->random += sum / (double)known;
    gain->possible += highest;
    gain->hits += picked == highest;
    gain->random_hits += (double)best_ones / (double)known;
    return true;
}

struct best_of_n_gain best_of_n_gain(const struct best_of_n *best) {
    struct best_of_n_gain gain = {0};
    for (size_t g = 0; g < best->group_count; g++) gain.groups += add_gain(best, &best->groups[g], &gain);
    const double groups = gain.groups ? (double)gain.groups : NAN;
    gain.picked /= groups;
    gain.random /= groups;
    gain.possible /= groups;
    gain.hits /= groups;
    gain.random_hits /= groups;
    return gain;
}

json_t *best_of_n_gain_json(const struct best_of_n_gain *gain) {
    const double room = gain->possible - gain->random;
    return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "groups", (json_int_t)gain->groups, "picked",
                     rounded(gain->picked), "random", rounded(gain->random), "possible",
                     rounded(gain->possible), "gain", rounded(gain->picked - gain->random), "reach",
                     rounded(room > 0 ? 100 * (gain->picked - gain->random) / room : NAN), "hits",
                     rounded(100 * gain->hits), "random_hits", rounded(100 * gain->random_hits));
}
