/* Softmax over the vocabulary: a block a row of logits. */
#include "tensor/cuda/cuda.h"

#include "tensor/cuda/block.cuh"

static const unsigned VOCABULARY_THREADS = 512;
static const float SLACK = 8;

/* What one thread has seen of a row: the sums are of e^(x - maximum), and of (x - maximum) e^(x - maximum);
 * until the end no x is larger than maximum + SLACK. */
struct softmax_sums {
    float maximum;
    double sum, weighted;
};

static __device__ __forceinline__ void raise_maximum(struct softmax_sums *s, float maximum) {
    if (!(maximum > s->maximum)) return;
    double fall = (double)s->maximum - (double)maximum, factor = exp(fall);
    if (s->sum > 0) s->weighted = (s->weighted + fall * s->sum) * factor;
    s->sum *= factor;
    s->maximum = maximum;
}

/* d e^d is 0 where e^d is, also for d = -inf. The maximum follows with slack, since its rise costs an e^x in
 * f64; e^SLACK times the terms is no loss. */
template <int WIDTH>
static __device__ __forceinline__ void add_run(struct softmax_sums *s, const float (&x)[WIDTH]) {
    float largest = x[0], sum = 0, weighted = 0;
    for (int i = 1; i < WIDTH; i++) largest = fmaxf(largest, x[i]);
    if (largest > s->maximum + SLACK) raise_maximum(s, largest);
    float shift = s->maximum == -INFINITY ? 0 : s->maximum;
    for (int i = 0; i < WIDTH; i++) {
        float d = x[i] - shift, e = expf(d);
        sum += e;
        weighted += (d < -200 ? -200 : d) * e;
    }
    s->sum += (double)sum;
    s->weighted += (double)weighted;
}

template <int WIDTH>
static __global__ void logprob_kernel(float *logprob, float *log_sum, float *entropy, struct tensor logits,
                                      const int32_t *target, float scale, struct cuda_fault *fault) {
    int64_t row = blockIdx.x;
    struct softmax_sums s = {-INFINITY, 0, 0};
    for (int64_t c = threadIdx.x * WIDTH; c < logits.cols; c += (int64_t)blockDim.x * WIDTH) {
        float x[WIDTH];
        load_run(x, logits, row, c);
        for (int i = 0; i < WIDTH; i++) x[i] = __fmul_rn(x[i], scale);
        add_run(&s, x);
    }
    raise_maximum(&s, block_join(s.maximum, largest_of(), shared_floats()));
    s.sum = block_join(s.sum, sum_of(), shared_floats());
    s.weighted = block_join(s.weighted, sum_of(), shared_floats());
    if (threadIdx.x != 0) return;
    int32_t t = target[row];
    double log_of_sum = log(s.sum);
    bool wrong = is_fault(fault, FAULT_TARGET, row, t, -1, logits.cols);
    logprob[row] =
        t < 0 || wrong ? 0 : (float)((double)(scale * load(logits, row, t)) - (double)s.maximum - log_of_sum);
    if (log_sum) log_sum[row] = (float)((double)s.maximum + log_of_sum);
    if (entropy) entropy[row] = (float)(log_of_sum - s.weighted / s.sum);
}

void cuda_logprob_forward(struct device *device, struct tensor logprob, struct tensor log_sum,
                          struct tensor entropy, struct tensor logits, struct tensor target, float scale) {
    bool wide = is_wide(logits);
    struct row_grid g = row_grid(1, logits.cols, wide ? RUN : 1);
    unsigned threads = g.blocks_a_row > 1 ? VOCABULARY_THREADS : g.threads;
    cuda_launch(device, wide ? logprob_kernel<RUN> : logprob_kernel<1>, dim3((unsigned)logits.rows), threads,
                BLOCK_SCRATCH_BYTES, (float *)logprob.data, (float *)log_sum.data, (float *)entropy.data,
                logits, (const int32_t *)target.data, scale, cuda_state(device)->fault);
}

/* What the rows of a gradient have. */
struct slopes {
    const float *d_logprob, *d_entropy, *log_sum, *entropy; /* d_entropy may be NULL */
    const int32_t *target;
    float scale;
};

template <int WIDTH>
static __global__ void logprob_backward_kernel(struct tensor d_logits, struct tensor logits, struct slopes s,
                                               unsigned blocks_a_row, struct cuda_fault *fault) {
    struct place p = place_in(blocks_a_row, WIDTH);
    int32_t t = s.target[p.row];
    if (p.col >= logits.cols || is_fault(fault, FAULT_TARGET_BACKWARD, p.row, t, -1, logits.cols)) return;
    float x[WIDTH], factor = s.d_logprob[p.row], shift = s.log_sum[p.row];
    float bend = s.d_entropy ? s.d_entropy[p.row] : 0, entropy = s.d_entropy ? s.entropy[p.row] : 0;
    load_run(x, logits, p.row, p.col);
    for (int i = 0; i < WIDTH; i++) {
        float log_p = s.scale * x[i] - shift, probability = expf(log_p);
        float slope = factor * ((float)(p.col + i == t) - probability);
        if (s.d_entropy) slope -= bend * probability * ((log_p < -200 ? -200 : log_p) + entropy);
        x[i] = t < 0 ? 0 : s.scale * slope;
    }
    store_run(d_logits, p.row, p.col, x);
}

void cuda_logprob_backward(struct device *device, struct tensor d_logits, struct tensor d_logprob,
                           struct tensor d_entropy, struct tensor logits, struct tensor log_sum,
                           struct tensor entropy, struct tensor target, float scale) {
    bool wide = is_wide(d_logits) && is_wide(logits);
    struct row_grid g = row_grid(logits.rows, logits.cols, wide ? RUN : 1);
    struct slopes s = {(const float *)d_logprob.data, (const float *)d_entropy.data,
                       (const float *)log_sum.data,   (const float *)entropy.data,
                       (const int32_t *)target.data,  scale};
    cuda_launch(device, wide ? logprob_backward_kernel<RUN> : logprob_backward_kernel<1>, g.grid, g.threads,
                0, d_logits, logits, s, g.blocks_a_row, cuda_state(device)->fault);
}
