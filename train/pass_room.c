#include "train/pass_room.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "train/pass_parts.h"

/* What sequences of that size are made of; all of them are the same one. */
struct example {
    int32_t *tokens, *labels, *spoken; /* [tokens], [tokens], [completion_tokens]; spoken is all zeros */
    struct visual_grid grid;
    const float *patches; /* of which nothing is read */
    struct pass_sample *samples;
    struct pass_group *groups;
    struct pass_completion *completions;
    double *sums;
    float *values; /* log-probabilities that are read, and entropies */
};

static void example_free(struct example *e) {
    free(e->tokens);
    free(e->labels);
    free(e->spoken);
    free(e->samples);
    free(e->groups);
    free(e->completions);
    free(e->sums);
    free(e->values);
}

/* One temporal patch, as square as it may be, of so many patches or some more, but at most `most` pads. */
static struct visual_grid grid_of(const struct vision_config *config, int64_t patches, int64_t most) {
    int64_t pads = patches / (config->merge * config->merge);
    if (pads > most) pads = most;
    int64_t rows = (int64_t)sqrt((double)pads), cols = (pads + rows - 1) / rows;
    if (rows * cols > most) cols = most / rows;
    return (struct visual_grid){.t = 1, .h = rows * config->merge, .w = cols * config->merge};
}

static enum status example_make(struct example *e, const struct model_config *config, struct pass_size size,
                                struct error *err) {
    static const float nothing;
    const char *what = "the largest pass";
    const size_t sequences = (size_t)size.sequences, tokens = (size_t)size.tokens,
                 completions = (size_t)size.completions;
    *e = (struct example){.patches = &nothing};
    if (!(e->tokens = memory_new(tokens, sizeof *e->tokens, what, err)) ||
        !(e->labels = memory_new(tokens, sizeof *e->labels, what, err)) ||
        !(e->spoken = memory_new((size_t)size.completion_tokens, sizeof *e->spoken, what, err)) ||
        !(e->samples = memory_new(sequences, sizeof *e->samples, what, err)) ||
        !(e->groups = memory_new(sequences, sizeof *e->groups, what, err)) ||
        !(e->completions = memory_new(completions, sizeof *e->completions, what, err)) ||
        !(e->sums = memory_new(sequences, sizeof *e->sums, what, err)) ||
        !(e->values = memory_new(sequences * completions * (size_t)size.completion_tokens,
                                 2 * sizeof *e->values, what, err)))
        return STATUS_FAILED;
    const int64_t most = size.tokens - 2; /* the first predicts nothing, and the last is said after a video */
    const bool sees = size.patches > 0 && most > 0;
    struct pass_visuals visuals = {.count = sees, .grids = &e->grid, .patches = &e->patches};
    if (sees) e->grid = grid_of(&config->vision, size.patches, most);
    for (int64_t i = 0, pads = sees ? grid_features(&config->vision, &e->grid) : 0; i < pads; i++)
        e->tokens[1 + i] = config->video_token;
    for (int64_t c = 0; c < size.completions; c++)
        e->completions[c] = (struct pass_completion){e->spoken, size.completion_tokens};
    for (int64_t s = 0; s < size.sequences; s++) {
        e->samples[s] = (struct pass_sample){size.tokens, e->tokens, e->labels, visuals, 1};
        e->groups[s] = (struct pass_group){e->tokens, size.tokens, visuals, e->completions, size.completions};
    }
    return STATUS_OK;
}

static enum status derive_nothing(void *context, const float *logprob, const float *entropy, float *d_logprob,
                                  float *d_entropy, struct error *err) {
    (void)context, (void)logprob, (void)entropy, (void)d_logprob, (void)d_entropy, (void)err;
    return STATUS_OK;
}

static enum status go_through(struct pass_runner *runner, const struct example *e, struct pass_size size,
                              bool backward, struct error *err) {
    const struct pass_loss loss = {derive_nothing, NULL, .reads_entropy = true, .derives_entropy = true};
    const struct pass_reading how = {.temperature = 1};
    if (size.completions == 0) return pass_run(runner, e->samples, size.sequences, backward, e->sums, err);
    if (backward) return pass_groups_train(runner, e->groups, size.sequences, how, &loss, err);
    return pass_groups_read(runner, e->groups, size.sequences, how, e->values,
                            e->values + pass_group_values(e->groups, size.sequences), err);
}

enum status pass_count_bytes(const struct pass_runner *runner, struct pass_size size, bool backward,
                             size_t *bytes, struct error *err) {
    struct device counting = device_counting(runner->settings.model->device);
    struct model model = *runner->settings.model, gradients;
    model.device = &counting;
    model.watch = NULL;
    struct pass_settings settings = {.model = &model,
                                     .recompute = runner->settings.recompute,
                                     .activation_bytes = runner->settings.activation_bytes};
    if (runner->settings.gradients) {
        gradients = *runner->settings.gradients;
        gradients.device = &counting;
        gradients.watch = NULL;
        settings.gradients = &gradients;
    }
    struct example example = {0};
    struct pass_runner *counter = pass_runner_new(&settings, err);
    enum status status = counter ? example_make(&example, &model.config, size, err) : STATUS_FAILED;
    if (status == STATUS_OK) status = go_through(counter, &example, size, backward, err);
    if (status == STATUS_OK) *bytes = pass_statistics(counter).activation_peak;
    example_free(&example);
    pass_runner_free(counter);
    return status;
}

/* No gradients, but it shows which there would be: passes that are counted read none. */
static enum status mark_trained(struct model *gradients, const struct model *model,
                                const struct freeze *freeze, struct error *err) {
    static char somewhere;
    const struct model_config *config = &model->config;
    const char *what = "the plan of a pass";
    *gradients = (struct model){.config = *config, .device = model->device, .compute = DTYPE_F32};
    gradients->vision.blocks =
        memory_new((size_t)config->vision.depth, sizeof *gradients->vision.blocks, what, err);
    gradients->language.layers =
        memory_new((size_t)config->layers, sizeof *gradients->language.layers, what, err);
    size_t count;
    struct parameter *parameters = parameters_list(config, &count, err);
    const bool made = gradients->vision.blocks && gradients->language.layers && parameters;
    for (size_t i = 0; made && i < count; i++) {
        const struct parameter *p = &parameters[i];
        if (!freeze_holds(freeze, p))
            *parameter_tensor(gradients, p) = tensor_at(&somewhere, DTYPE_F32, p->rows, p->cols);
    }
    free(parameters);
    return made ? STATUS_OK : STATUS_FAILED;
}

enum status pass_plan_bytes(const struct pass_plan *plan, struct pass_size size, bool backward, size_t *bytes,
                            struct error *err) {
    struct model gradients;
    const struct pass_settings settings = {.model = plan->model,
                                           .gradients = &gradients,
                                           .recompute = plan->recompute,
                                           .activation_bytes = plan->activation_bytes};
    struct pass_runner *runner = NULL;
    enum status status = mark_trained(&gradients, plan->model, plan->freeze, err);
    if (status == STATUS_OK && !(runner = pass_runner_new(&settings, err))) status = STATUS_FAILED;
    if (status == STATUS_OK) status = pass_count_bytes(runner, size, backward, bytes, err);
    pass_runner_free(runner);
    free(gradients.vision.blocks);
    free(gradients.language.layers);
    return status;
}

enum status pass_reserve(struct pass_runner *runner, struct pass_size size, size_t beside, bool *there,
                         struct error *err) {
    const struct pass_size prompt = {1, size.tokens, size.patches, 1, 1};
    struct error full; /* no failure: memory is taken as it is needed */
    size_t bytes = 0, reading = 0;
    *there = true;
    if (!device_describe(runner->settings.model->device).own_memory) return STATUS_OK;
    enum status status = pass_count_bytes(runner, size, true, &bytes, err);
    if (status == STATUS_OK && beside > 0) status = pass_count_bytes(runner, prompt, false, &reading, err);
    if (status != STATUS_OK) return status;
    if (beside > 0 && reading + beside > bytes) bytes = reading + beside;
    *there = arena_reserve(runner->arena, bytes, &full) == STATUS_OK;
    return STATUS_OK;
}
