/* Softmax over the vocabulary. */
#include <math.h>
#include <string.h>

#include "tensor/cpu/cpu.h"

static float *row_or_none(struct tensor t) {
    return t.data;
}

/* Whether all targets are columns or -1; if not, the device has failed. */
static bool targets_valid(struct device *device, struct tensor target, int64_t vocab, const char *operation) {
    const int32_t *targets = target.data;
    for (int64_t r = 0; r < target.cols; r++) {
        if (targets[r] >= -1 && targets[r] < vocab) continue;
        device_fail(device, "%s: target %d, not in [0, %lld)", operation, (int)targets[r], (long long)vocab);
        return false;
    }
    return true;
}

void cpu_logprob_forward(struct device *device, struct tensor logprob, struct tensor log_sum,
                         struct tensor entropy, struct tensor logits, struct tensor target, float scale) {
    const struct logprob_kernels *kernels = cpu_kernels(device)->logprob;
    const int32_t *targets = target.data;
    float *logprobs = logprob.data, *log_sums = row_or_none(log_sum), *entropies = row_or_none(entropy);
    if (!targets_valid(device, target, logits.cols, "logprob_forward")) return;
#pragma omp parallel for if (worth_threads(logits))
    for (int64_t r = 0; r < logits.rows; r++) {
        struct softmax_sums sums =
            kernels->sums(tensor_row(logits, r), logits.dtype, logits.cols, scale, entropies != NULL);
        double log_of_sum = log(sums.sum);
        if (targets[r] < 0)
            logprobs[r] = 0;
        else
            logprobs[r] = (float)((double)(scale * tensor_float(logits, r, targets[r])) -
                                  (double)sums.maximum - log_of_sum);
        if (log_sums) log_sums[r] = (float)((double)sums.maximum + log_of_sum);
        if (entropies) entropies[r] = (float)(log_of_sum - sums.weighted / sums.sum);
    }
}

void cpu_logprob_backward(struct device *device, struct tensor d_logits, struct tensor d_logprob,
                          struct tensor d_entropy, struct tensor logits, struct tensor log_sum,
                          struct tensor entropy, struct tensor target, float scale) {
    if (!targets_valid(device, target, logits.cols, "logprob_backward")) return;
    const struct gradient_kernels *gradient = cpu_kernels(device)->gradient;
    const int32_t *targets = target.data;
    const float *factors = d_logprob.data, *d_entropies = d_entropy.data;
    const float *log_sums = log_sum.data, *entropies = entropy.data;
#pragma omp parallel for if (worth_threads(logits))
    for (int64_t r = 0; r < logits.rows; r++) {
        struct typed_row to = {tensor_row(d_logits, r), d_logits.dtype};
        struct typed_row from = {tensor_row(logits, r), logits.dtype};
        if (targets[r] < 0)
            memset(to.at, 0, (size_t)d_logits.cols * dtype_size(d_logits.dtype));
        else
            gradient->logprob(to, from,
                              (struct logprob_slopes){.scale = scale,
                                                      .log_sum = log_sums[r],
                                                      .d_logprob = factors[r],
                                                      .d_entropy = d_entropies ? d_entropies[r] : 0,
                                                      .entropy = d_entropies ? entropies[r] : 0},
                              targets[r], logits.cols);
    }
}
