#include "grpo/reference.h"

#include <stdlib.h>

#include "base/memory.h"

/* Elements that are mixed at once; the last ZeRO stage in which each process has a whole model: its passes
 * are not in rounds. */
enum { PIECE_ELEMENTS = 1 << 20, WHOLE_STAGE = 2 };

enum status reference_open(struct reference *reference, struct train_run *run, bool moves,
                           struct error *err) {
    const struct freeze freeze = run_freeze(run->config), all = {true, true, true};
    *reference = (struct reference){.moves = moves};
    enum status status = optimizer_open_model(run->folder, &run->device, run_dtype(run->config),
                                              moves ? &freeze : &all, &reference->model, err);
    if (status != STATUS_OK) {
        reference->model = (struct model){0};
        return status;
    }
    struct optimizer_sharing sharing = run_sharing(run);
    if (sharing.stage > WHOLE_STAGE) sharing.stage = WHOLE_STAGE;
    if (moves) status = optimizer_open_weights(&reference->weights, &reference->model, &freeze, sharing, err);
    const struct pass_settings settings = {
        .model = &reference->model, .cache = run->cache, .lender = run->runner};
    if (status == STATUS_OK) {
        reference->runner = pass_runner_new(&settings, err);
        if (!reference->runner) status = STATUS_FAILED;
    }
    if (status == STATUS_OK && moves) run->tensors.reference = &reference->weights;
    if (status != STATUS_OK) reference_close(reference);
    return status;
}

void reference_close(struct reference *reference) {
    pass_runner_free(reference->runner);
    if (reference->weights.model) optimizer_close(&reference->weights);
    if (reference->model.device) model_close(&reference->model);
    *reference = (struct reference){0};
}

/* Elements [first, first + count) of a weight. */
static struct tensor piece_of(const struct trained_parameter *parameter, int64_t first, int64_t count) {
    struct tensor whole = parameter->parts[OPTIMIZER_WEIGHT];
    struct tensor piece = tensor_cols(tensor_reshape(whole, 1, whole.rows * whole.cols), first, count);
    piece.stride = count;
    return piece;
}

static enum status mix(struct device *keeper, const struct trained_parameter *to,
                       const struct trained_parameter *from, float alpha, float *ours, float *theirs,
                       struct error *err) {
    struct tensor kept = to->parts[OPTIMIZER_WEIGHT];
    int64_t elements = kept.rows * kept.cols;
    for (int64_t first = 0; first < elements; first += PIECE_ELEMENTS) {
        int64_t count = elements - first < PIECE_ELEMENTS ? elements - first : PIECE_ELEMENTS;
        struct tensor place = piece_of(to, first, count);
        enum status status = device_read(keeper, ours, place, err);
        if (status == STATUS_OK) status = device_read(keeper, theirs, piece_of(from, first, count), err);
        if (status != STATUS_OK) return status;
        for (int64_t i = 0; i < count; i++) ours[i] = ours[i] * (1 - alpha) + theirs[i] * alpha;
        device_write(keeper, place, ours);
    }
    return STATUS_OK;
}

enum status reference_sync(struct reference *reference, const struct optimizer *trained, double alpha,
                           struct error *err) {
    struct device *keeper = reference->weights.keeper; /* the policy's, too */
    float *ours = memory_new(PIECE_ELEMENTS, sizeof *ours, "the reference model", err);
    float *theirs = memory_new(PIECE_ELEMENTS, sizeof *theirs, "the reference model", err);
    enum status status = ours && theirs ? STATUS_OK : STATUS_FAILED;
    for (size_t i = 0; status == STATUS_OK && i < reference->weights.count; i++)
        status = mix(keeper, &reference->weights.trained[i], &trained->trained[i], (float)alpha, ours, theirs,
                     err);
    free(ours);
    free(theirs);
    if (status != STATUS_OK) return status;
    optimizer_refresh(&reference->weights);
    return device_synchronize(reference->model.device, err);
}
