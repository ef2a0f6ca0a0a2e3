/* What the GPU reaches, measured with its own events: products in f32 and in bf16, and a copy. */
#include "tensor/cuda/cuda.h"

struct measurement {
    cudaEvent_t start, end;
    void *memory;
};

static double seconds_of(const struct measurement *m) {
    float milliseconds = 0;
    if (cudaEventSynchronize(m->end) != cudaSuccess ||
        cudaEventElapsedTime(&milliseconds, m->start, m->end) != cudaSuccess)
        return 0;
    return (double)milliseconds * 1e-3;
}

/* Queues `rounds` of the work between the two events. */
static double run(struct device *device, const struct measurement *m,
                  void (*work)(struct device *, const struct measurement *), int rounds) {
    cudaStream_t stream = cuda_state(device)->stream;
    if (!cuda_check(device, cudaEventRecord(m->start, stream), "measuring")) return 0;
    for (int i = 0; i < rounds; i++) work(device, m);
    if (!cuda_check(device, cudaEventRecord(m->end, stream), "measuring")) return 0;
    return seconds_of(m);
}

/* Rounds a second, from so many rounds that they take a while; 0 when the device cannot. */
static double rate(struct device *device, const struct measurement *m,
                   void (*work)(struct device *, const struct measurement *)) {
    const double enough = 0.2;
    run(device, m, work, 1); /* warms up */
    for (int rounds = 1; !device->failed && rounds < 1 << 20; rounds *= 4) {
        double seconds = run(device, m, work, rounds);
        if (seconds > enough) return rounds / seconds;
    }
    return 0;
}

/* Large enough to fill a GPU, twice; of the emulator the figures say nothing anyway. FILLED_BYTES are written
 * at once. */
#ifdef VS2_EMULATED
enum { SIZE = 64, COPIED_BYTES = 64 << 10, FILLED_BYTES = 64 << 10 };
#else
enum { SIZE = 4096, COPIED_BYTES = 128 << 20, FILLED_BYTES = 1 << 20 };
#endif

static void multiply(struct device *device, const struct measurement *m, enum dtype dtype) {
    struct tensor a = tensor_at(m->memory, dtype, SIZE, SIZE);
    struct tensor out = tensor_at((char *)m->memory + COPIED_BYTES, dtype, SIZE, SIZE);
    cuda_matmul(device, out, a, a, (struct matmul_options){0});
}

static void multiply_f32(struct device *device, const struct measurement *m) {
    multiply(device, m, DTYPE_F32);
}

static void multiply_bf16(struct device *device, const struct measurement *m) {
    multiply(device, m, DTYPE_BF16);
}

static void copy(struct device *device, const struct measurement *m) {
    cudaMemcpyAsync((char *)m->memory + COPIED_BYTES, m->memory, COPIED_BYTES, cudaMemcpyDeviceToDevice,
                    cuda_state(device)->stream);
}

/* Numbers of either sign from 1/2 to 1, in f32 and in bf16: of zeros a GPU makes more, at less power. */
static void fill(struct device *device, char *memory) {
    static uint16_t values[FILLED_BYTES / sizeof(uint16_t)];
    uint32_t random = 1;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        random = random * 1664525 + 1013904223;
        values[i] = (uint16_t)(0x3f00 | (random >> 16 & 0x807f));
    }
    for (size_t at = 0; at < 2 * (size_t)COPIED_BYTES && !device->failed; at += sizeof values)
        cuda_write(device, memory + at, values, sizeof values);
}

void cuda_measure(struct device *device, struct device_peak *peak) {
    struct measurement m = {0};
    if (cudaEventCreateWithFlags(&m.start, cudaEventDefault) == cudaSuccess &&
        cudaEventCreateWithFlags(&m.end, cudaEventDefault) == cudaSuccess &&
        cudaMalloc(&m.memory, 2 * (size_t)COPIED_BYTES) == cudaSuccess) {
        fill(device, m.memory);
        const double operations = 2.0 * SIZE * SIZE * SIZE;
        peak->flops = rate(device, &m, multiply_f32) * operations;
        peak->bf16_flops = rate(device, &m, multiply_bf16) * operations;
        peak->bytes = rate(device, &m, copy) * 2.0 * COPIED_BYTES; /* read and written */
    }
    cudaFree(m.memory);
    if (m.start) cudaEventDestroy(m.start);
    if (m.end) cudaEventDestroy(m.end);
}
