#include "data/sample.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* One row on its way to a sample. */
struct encoding {
    const struct sample_options *options;
    const struct dataset *dataset;
    struct row row;
    struct token_list tokens; /* of the whole conversation */
    struct chat_answers answers;
    int32_t video_pad, image_pad;
    struct sample *sample;
};

enum status sample_decode(void *context, const char *path, bool image, const struct visual_options *options,
                          struct visual *visual, struct error *err) {
    (void)context;
    return image ? visual_read_image(path, options, visual, err)
                 : visual_read_video(path, options, visual, err);
}

enum status sample_measure_visual(void *context, const char *path, bool image,
                                  const struct visual_options *options, struct visual *visual,
                                  struct error *err) {
    (void)context;
    if (!image) return visual_measure_video(path, options, visual, err);
    enum status status = visual_read_image(path, options, visual, err);
    if (status != STATUS_OK) return status;
    visual_drop_patches(visual);
    return STATUS_OK;
}

struct sample_pair sample_cut(struct sample_pair pair, int64_t limit) {
    int64_t most = limit;
    if (2 * pair.target >= limit) {
        if (2 * pair.source < limit)
            most = limit - pair.source;
        else /* as in Python: the quotient is rounded before the product is */
            most = (int64_t)((double)limit * ((double)pair.target / (double)(pair.source + pair.target)));
    }
    struct sample_pair kept = {.target = most < pair.target ? most : pair.target};
    int64_t left = limit > kept.target ? limit - kept.target : 0;
    kept.source = left < pair.source ? left : pair.source;
    return kept;
}

/* ---- visuals ---- */

/* Reads videos or images into the sample's visuals from `first` on. */
static enum status read_visuals(struct encoding *encoding, bool image, int64_t first, struct error *err) {
    const struct sample_options *options = encoding->options;
    const struct row *row = &encoding->row;
    const char *const *paths = image ? row->images : row->videos;
    size_t count = image ? row->image_count : row->video_count;
    sample_reader *reader = options->reader ? options->reader : sample_decode;
    for (size_t i = 0; i < count; i++) {
        struct sample_visual *visual = &encoding->sample->visuals[first + (int64_t)i];
        visual->image = image;
        visual->path = dataset_media(encoding->dataset, paths[i], err);
        if (!visual->path || reader(options->reader_context, visual->path, image, &options->visual,
                                    &visual->visual, err) != STATUS_OK)
            return STATUS_FAILED;
    }
    return STATUS_OK;
}

static enum status read_all_visuals(struct encoding *encoding, struct error *err) {
    struct sample *sample = encoding->sample;
    const struct row *row = &encoding->row;
    sample->visual_count = (int64_t)(row->video_count + row->image_count);
    sample->visuals = memory_new((size_t)sample->visual_count, sizeof *sample->visuals, "visuals", err);
    sample->grids = memory_new((size_t)sample->visual_count, sizeof *sample->grids, "visuals", err);
    if (!sample->visuals || !sample->grids) return STATUS_FAILED;
    if (read_visuals(encoding, false, 0, err) != STATUS_OK) return STATUS_FAILED;
    return read_visuals(encoding, true, (int64_t)row->video_count, err);
}

/* ---- the conversation ---- */

static enum status encode_messages(struct encoding *encoding, struct error *err) {
    const struct row *row = &encoding->row;
    const struct sample *sample = encoding->sample;
    const struct tokenizer *tokenizer = encoding->options->tokenizer;
    int64_t *pads = memory_new((size_t)sample->visual_count, sizeof *pads, "visuals", err);
    if (!pads) return STATUS_FAILED;
    for (int64_t i = 0; i < sample->visual_count; i++) pads[i] = sample->visuals[i].visual.tokens;
    const struct chat_visuals visuals = {.video_pads = pads,
                                         .video_count = row->video_count,
                                         .image_pads = pads + row->video_count,
                                         .image_count = row->image_count};
    enum status status = chat_encode(tokenizer, row->messages, row->message_count, &visuals,
                                     &encoding->tokens, &encoding->answers, err);
    free(pads);
    encoding->video_pad = tokenizer_find(tokenizer, "<|video_pad|>");
    encoding->image_pad = tokenizer_find(tokenizer, "<|image_pad|>");
    return status;
}

/* Puts the visuals, videos first, in the order of their pads. */
static enum status order_visuals(struct encoding *encoding, struct error *err) {
    struct sample *sample = encoding->sample;
    const struct token_list *tokens = &encoding->tokens;
    struct sample_visual *sorted = memory_new((size_t)sample->visual_count, sizeof *sorted, "visuals", err);
    if (!sorted) return STATUS_FAILED;
    int64_t next[2] = {0, (int64_t)encoding->row.video_count}, done = 0;
    for (size_t i = 0; i < tokens->count && done < sample->visual_count; i++) {
        bool image = tokens->ids[i] == encoding->image_pad;
        if (!image && tokens->ids[i] != encoding->video_pad) continue;
        sorted[done] = sample->visuals[next[image]++];
        i += (size_t)sorted[done++].visual.tokens - 1;
    }
    free(sample->visuals);
    sample->visuals = sorted;
    for (int64_t i = 0; i < sample->visual_count; i++) {
        const struct visual *visual = &sorted[i].visual;
        sample->grids[i] = (struct visual_grid){.t = visual->grid[0],
                                                .h = visual->grid[1],
                                                .w = visual->grid[2],
                                                .second_per_grid = visual->second_per_grid};
    }
    return STATUS_OK;
}

/* ---- truncation ---- */

/* What is kept of a pair: tokens [source, source + kept.source) and [target, target + kept.target). */
struct piece {
    size_t source, target;
    struct sample_pair kept;
};

/* Fills in the pieces of all pairs, in the order of the conversation; returns how many tokens are kept. */
static int64_t cut_pairs(const struct encoding *encoding, struct piece *pieces) {
    const struct chat_answers *answers = &encoding->answers;
    const int64_t cutoff = encoding->options->cutoff;
    int64_t total = 0;
    for (size_t i = 0; i < answers->count; i++) {
        size_t pair = encoding->options->mask_history ? answers->count - 1 - i : i;
        const struct chat_answer *answer = &answers->items[pair];
        struct piece *piece = &pieces[pair];
        piece->source = pair > 0 ? answers->items[pair - 1].end : 0;
        piece->target = answer->begin;
        if (total >= cutoff) continue;
        const struct sample_pair whole = {.source = (int64_t)(answer->begin - piece->source),
                                          .target = (int64_t)(answer->end - answer->begin)};
        piece->kept = sample_cut(whole, cutoff - total);
        total += piece->kept.source + piece->kept.target;
    }
    return total;
}

/* Appends tokens, with labels or without. */
static void append(const struct encoding *encoding, size_t begin, int64_t count, bool labels) {
    struct sample *sample = encoding->sample;
    for (int64_t i = 0; i < count; i++) {
        int32_t token = encoding->tokens.ids[begin + (size_t)i];
        sample->tokens[sample->count] = token;
        sample->labels[sample->count] = labels ? token : SAMPLE_NO_LABEL;
        sample->label_count += labels && sample->count > 0;
        sample->count++;
    }
}

static enum status make_tokens(struct encoding *encoding, struct error *err) {
    const struct sample_options *options = encoding->options;
    struct sample *sample = encoding->sample;
    size_t pairs = encoding->answers.count;
    struct piece *pieces = memory_new(pairs, sizeof *pieces, "turns", err);
    if (!pieces) return STATUS_FAILED;
    size_t total = (size_t)cut_pairs(encoding, pieces);
    sample->tokens = memory_new(total, sizeof *sample->tokens, "tokens", err);
    sample->labels = memory_new(total, sizeof *sample->labels, "labels", err);
    if (sample->tokens && sample->labels)
        for (size_t i = 0; i < pairs; i++) {
            append(encoding, pieces[i].source, pieces[i].kept.source, options->train_on_prompt);
            append(encoding, pieces[i].target, pieces[i].kept.target,
                   !options->mask_history || i + 1 == pairs);
        }
    free(pieces);
    sample->untruncated_count = (int64_t)encoding->tokens.count;
    return sample->tokens && sample->labels ? STATUS_OK : STATUS_FAILED;
}

/* What was cut away must hold no pad, and something must be left to learn. */
static enum status check_cut(const struct encoding *encoding, struct error *err) {
    const struct sample *sample = encoding->sample;
    int64_t pads = 0, wanted = 0;
    for (int64_t i = 0; i < sample->visual_count; i++) wanted += sample->visuals[i].visual.tokens;
    for (int64_t i = 0; i < sample->count; i++)
        pads += sample->tokens[i] == encoding->video_pad || sample->tokens[i] == encoding->image_pad;
    if (pads != wanted)
        return error_set(
            err,
            "cutoff_len %lld cuts its %lld tokens inside a video or image (%lld of %lld pads are "
            "left)",
            (long long)encoding->options->cutoff, (long long)sample->untruncated_count, (long long)pads,
            (long long)wanted);
    if (sample->label_count == 0)
        return error_set(err, "cutoff_len %lld leaves nothing of the answer of its %lld tokens",
                         (long long)encoding->options->cutoff, (long long)sample->untruncated_count);
    return STATUS_OK;
}

/* ---- */

enum status sample_encode(const struct sample_options *options, const struct dataset *dataset, int64_t index,
                          struct sample *sample, struct error *err) {
    struct encoding encoding = {.options = options, .dataset = dataset, .sample = sample};
    *sample = (struct sample){0};
    enum status status = dataset_read(dataset, index, &encoding.row, err);
    if (status == STATUS_OK) status = read_all_visuals(&encoding, err);
    if (status == STATUS_OK) status = encode_messages(&encoding, err);
    if (status == STATUS_OK) status = order_visuals(&encoding, err);
    if (status == STATUS_OK) status = make_tokens(&encoding, err);
    if (status == STATUS_OK) status = check_cut(&encoding, err);
    row_free(&encoding.row);
    token_list_free(&encoding.tokens);
    chat_answers_free(&encoding.answers);
    if (status != STATUS_OK) sample_free(sample);
    return status;
}

enum status sample_measure(const struct sample_options *options, const struct dataset *dataset, int64_t index,
                           struct sample *sample, struct error *err) {
    struct sample_options measuring = *options;
    measuring.reader = sample_measure_visual;
    return sample_encode(&measuring, dataset, index, sample, err);
}

void sample_free(struct sample *sample) {
    for (int64_t i = 0; sample->visuals && i < sample->visual_count; i++) {
        visual_free(&sample->visuals[i].visual);
        free(sample->visuals[i].path);
    }
    free(sample->visuals);
    free(sample->grids);
    free(sample->tokens);
    free(sample->labels);
    *sample = (struct sample){0};
}

size_t sample_bytes(const struct sample *sample) {
    size_t bytes = (size_t)sample->count * (sizeof *sample->tokens + sizeof *sample->labels);
    for (int64_t i = 0; i < sample->visual_count; i++) bytes += visual_bytes(&sample->visuals[i].visual);
    return bytes;
}
