/* The host tables of a training pass: where each token stands, whom it sees, and what it is to predict. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "train/pass_parts.h"

enum { MAX_TOKENS = INT32_MAX / 4 };

/* Room that the tables take. */
struct sizes {
    int64_t sequences, segments, picks;
};

/* Where the next entries go. */
struct cursor {
    int64_t token, feature, visual, row, value;
};

int64_t pass_labels(const int32_t *labels, int64_t count) {
    int64_t wanted = 0;
    for (int64_t i = 1; i < count; i++) wanted += labels[i] >= 0;
    return wanted;
}

int64_t pass_group_values(const struct pass_group *groups, int64_t count) {
    int64_t values = 0;
    for (int64_t g = 0; g < count; g++)
        for (int64_t c = 0; c < groups[g].completion_count; c++) values += groups[g].completions[c].count;
    return values;
}

int64_t pass_group_tokens(const struct pass_group *group, bool apart) {
    int64_t fed = 0, spoken = 0;
    for (int64_t c = 0; c < group->completion_count; c++) {
        int64_t count = group->completions[c].count;
        if (count > 0) spoken++, fed += count - 1;
    }
    return fed + group->count * (apart ? spoken : spoken > 0);
}

void pass_layout_free(struct pass_layout *layout) {
    free(layout->ids);
    free(layout->positions);
    free(layout->feature_rows);
    free(layout->rows);
    free(layout->targets);
    free(layout->picks);
    free(layout->segments);
    free(layout->visuals);
    free(layout->grids);
}

static enum status allocate(struct pass_layout *layout, struct sizes sizes, struct error *err) {
    const char *what = "the tables of a training pass";
    size_t tokens = (size_t)layout->tokens, wanted = (size_t)layout->wanted, values = (size_t)layout->values;
    if (layout->tokens > MAX_TOKENS || layout->values > MAX_TOKENS)
        return error_set(err, "too many tokens in one pass");
    bool done =
        (layout->ids = memory_new(tokens, sizeof *layout->ids, what, err)) &&
        (layout->positions = memory_new(tokens, 3 * sizeof *layout->positions, what, err)) &&
        (layout->feature_rows =
             memory_new((size_t)layout->features, sizeof *layout->feature_rows, what, err)) &&
        (layout->rows = memory_new(wanted, sizeof *layout->rows, what, err)) &&
        (layout->targets = memory_new(values, sizeof *layout->targets, what, err)) &&
        (sizes.picks == 0 || (layout->picks = memory_new(values, sizeof *layout->picks, what, err))) &&
        (layout->segments = memory_new((size_t)sizes.segments, sizeof *layout->segments, what, err)) &&
        (layout->visuals = memory_new((size_t)sizes.sequences, sizeof *layout->visuals, what, err)) &&
        (layout->grids = memory_new((size_t)layout->visual_count, sizeof *layout->grids, what, err));
    return done ? STATUS_OK : STATUS_FAILED;
}

static enum status count_visuals(struct pass_layout *layout, const struct vision_config *config,
                                 const struct pass_visuals *visuals, struct error *err) {
    layout->visual_count += visuals->count;
    for (int64_t v = 0; v < visuals->count; v++) {
        enum status status = grid_check(config, &visuals->grids[v], err);
        if (status != STATUS_OK) return status;
        layout->features += grid_features(config, &visuals->grids[v]);
    }
    return STATUS_OK;
}

/* Places tokens that see no others before them, and their visuals. *next: the position of what follows. */
static enum status place_sequence(struct pass_layout *layout, const struct model_config *config,
                                  const int32_t *tokens, int64_t count, const struct pass_visuals *visuals,
                                  struct cursor *at, int32_t *next, struct error *err) {
    struct sequence_positions positions = {.feature_rows = layout->feature_rows + at->feature};
    for (int axis = 0; axis < 3; axis++)
        positions.axis[axis] = layout->positions + axis * layout->tokens + at->token;
    enum status status =
        positions_of_sequence(config, tokens, count, visuals->grids, visuals->count, &positions, err);
    if (status != STATUS_OK) return status;
    memcpy(layout->ids + at->token, tokens, (size_t)count * sizeof *tokens);
    for (int64_t i = 0; i < positions.features; i++)
        layout->feature_rows[at->feature + i] += (int32_t)at->token;
    if (visuals->count > 0) {
        memcpy(layout->grids + at->visual, visuals->grids, (size_t)visuals->count * sizeof *layout->grids);
        layout->visuals[layout->visual_sources++] = *visuals;
    }
    layout->segments[layout->segment_count++] = (struct attention_segment){
        .query = at->token, .queries = count, .key = at->token, .keys = count, .causal = true};
    at->token += count;
    at->feature += positions.features;
    at->visual += visuals->count;
    *next = positions.next;
    return STATUS_OK;
}

/* ---- Samples ----------------------------------------------------------------------------------------- */

static enum status place_sample(struct pass_layout *layout, const struct model_config *config,
                                const struct pass_sample *sample, struct cursor *at, struct error *err) {
    int64_t first = at->token;
    int32_t next;
    enum status status =
        place_sequence(layout, config, sample->tokens, sample->count, &sample->visuals, at, &next, err);
    for (int64_t i = 1; status == STATUS_OK && i < sample->count; i++) {
        if (sample->labels[i] < 0) continue;
        layout->rows[at->row++] = (int32_t)(first + i - 1);
        layout->targets[at->value++] = sample->labels[i];
    }
    return status;
}

enum status pass_layout_samples(struct pass_layout *layout, const struct model_config *config,
                                const struct pass_sample *samples, int64_t count, struct error *err) {
    enum status status = STATUS_OK;
    for (int64_t s = 0; status == STATUS_OK && s < count; s++) {
        int64_t labels = pass_labels(samples[s].labels, samples[s].count);
        if (labels == 0) return error_set(err, "a sample without labels");
        layout->tokens += samples[s].count;
        layout->wanted += labels;
        status = count_visuals(layout, &config->vision, &samples[s].visuals, err);
    }
    layout->values = layout->wanted;
    if (status == STATUS_OK)
        status = allocate(layout, (struct sizes){.sequences = count, .segments = count}, err);
    struct cursor at = {0};
    for (int64_t s = 0; status == STATUS_OK && s < count; s++)
        status = place_sample(layout, config, &samples[s], &at, err);
    return status;
}

/* ---- Groups ------------------------------------------------------------------------------------------ */

/* Places a completion behind its prompt, which stands at [prompt, prompt + prompt_count) and whose last state
 * is row `prompt_row` of the wanted ones. The last token is only a target. */
static enum status place_completion(struct pass_layout *layout, const struct model_config *config,
                                    const struct pass_completion *completion,
                                    const struct attention_segment *prompt, int32_t prompt_row, int32_t next,
                                    struct cursor *at, struct error *err) {
    int64_t fed = completion->count - 1;
    if (fed > INT32_MAX - next) return error_set(err, "the positions of a completion overflow");
    for (int64_t i = 0; i < completion->count; i++) {
        int32_t token = completion->tokens[i];
        if (token < 0 || token >= config->vocab)
            return error_set(err, "token %lld of a completion is %d, outside the vocabulary of %lld",
                             (long long)i, (int)token, (long long)config->vocab);
        layout->picks[at->value] = i == 0 ? prompt_row : (int32_t)(at->row + i - 1);
        layout->targets[at->value++] = token;
    }
    for (int64_t i = 0; i < fed; i++) {
        layout->ids[at->token + i] = completion->tokens[i];
        for (int64_t axis = 0; axis < 3; axis++)
            layout->positions[axis * layout->tokens + at->token + i] = next + (int32_t)i;
        layout->rows[at->row++] = (int32_t)(at->token + i);
    }
    if (fed > 0)
        layout->segments[layout->segment_count++] = (struct attention_segment){.query = at->token,
                                                                               .queries = fed,
                                                                               .prefix = prompt->query,
                                                                               .prefix_keys = prompt->queries,
                                                                               .key = at->token,
                                                                               .keys = fed,
                                                                               .causal = true};
    at->token += fed;
    return STATUS_OK;
}

static enum status place_group(struct pass_layout *layout, const struct model_config *config,
                               const struct pass_group *group, struct cursor *at, struct error *err) {
    if (pass_group_values(group, 1) == 0) return STATUS_OK;
    int32_t next, prompt_row = (int32_t)at->row;
    enum status status =
        place_sequence(layout, config, group->tokens, group->count, &group->visuals, at, &next, err);
    if (status != STATUS_OK) return status;
    struct attention_segment prompt = layout->segments[layout->segment_count - 1];
    layout->rows[at->row++] = (int32_t)(at->token - 1);
    for (int64_t c = 0; status == STATUS_OK && c < group->completion_count; c++)
        if (group->completions[c].count > 0)
            status =
                place_completion(layout, config, &group->completions[c], &prompt, prompt_row, next, at, err);
    return status;
}

enum status pass_layout_groups(struct pass_layout *layout, const struct model_config *config,
                               const struct pass_group *groups, int64_t count, struct error *err) {
    struct sizes sizes = {.sequences = count};
    enum status status = STATUS_OK;
    for (int64_t g = 0; status == STATUS_OK && g < count; g++) {
        int64_t values = pass_group_values(&groups[g], 1), tokens = pass_group_tokens(&groups[g], false);
        if (values == 0) continue;
        if (groups[g].count < 1) return error_set(err, "a prompt without tokens");
        layout->tokens += tokens;
        layout->values += values;
        layout->wanted += tokens - groups[g].count + 1;
        sizes.segments += 1 + groups[g].completion_count;
        status = count_visuals(layout, &config->vision, &groups[g].visuals, err);
    }
    sizes.picks = layout->values;
    if (status == STATUS_OK) status = allocate(layout, sizes, err);
    struct cursor at = {0};
    for (int64_t g = 0; status == STATUS_OK && g < count; g++)
        status = place_group(layout, config, &groups[g], &at, err);
    return status;
}
