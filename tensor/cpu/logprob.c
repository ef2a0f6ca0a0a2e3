/* Softmax over the vocabulary. */
#include <math.h>

#include "tensor/cpu/cpu.h"

static float *row_or_none(struct tensor t) {
    return t.data;
}

void cpu_logprob_forward(struct device *device, struct tensor logprob, struct tensor log_sum,
                         struct tensor entropy, struct tensor logits, struct tensor target) {
    const struct logprob_kernels *kernels = cpu_kernels(device)->logprob;
    const int32_t *targets = target.data;
    float *logprobs = logprob.data, *log_sums = row_or_none(log_sum), *entropies = row_or_none(entropy);
    for (int64_t r = 0; r < logits.rows; r++) {
        if (targets[r] < -1 || targets[r] >= logits.cols) {
            device_fail(device, "logprob_forward: target %d, not in [0, %lld)", (int)targets[r],
                        (long long)logits.cols);
            return;
        }
    }
#pragma omp parallel for if (worth_threads(logits))
    for (int64_t r = 0; r < logits.rows; r++) {
        struct softmax_sums sums =
            kernels->sums(tensor_row(logits, r), logits.dtype, logits.cols, entropies != NULL);
        double log_of_sum = log(sums.sum);
        if (targets[r] < 0)
            logprobs[r] = 0;
        else
            logprobs[r] =
                (float)((double)tensor_float(logits, r, targets[r]) - (double)sums.maximum - log_of_sum);
        if (log_sums) log_sums[r] = (float)((double)sums.maximum + log_of_sum);
        if (entropies) entropies[r] = (float)(log_of_sum - sums.weighted / sums.sum);
    }
}
