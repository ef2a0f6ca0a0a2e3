/* The CPU as a device: host memory, operations done when they are called. */
#include "tensor/cpu/cpu.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/memory.h"
#include "tensor/cpu/onednn.h"

enum { ALIGNMENT = 64, HUGE_PAGE = 2 << 20 };

static void cpu_close(struct device *device) {
    struct cpu_state *state = device->state;
    onednn_close(state->onednn);
    free(state->workspace);
    free(state);
}

static enum status cpu_open(struct device *device, struct error *err) {
    struct cpu_state *state = memory_new(1, sizeof *state, "the cpu device", err);
    if (!state) return STATUS_FAILED;
    device->state = state;
    enum status status = cpu_kernels_choose(&state->kernels, err);
    if (status != STATUS_OK) goto err;
    status = STATUS_FAILED;
    state->onednn = onednn_open(err);
    if (!state->onednn) goto err;
    state->threads = omp_get_max_threads(); /* OMP_NUM_THREADS, or the cores of this process */
    /* A narrower set of kernels asked for stands for a narrower processor. */
    state->native_bf16 = onednn_has_bf16() && strcmp(state->kernels->name, "avx512bf16") == 0;
    return STATUS_OK;
err:
    cpu_close(device);
    return status;
}

float *cpu_workspace(struct device *device, int64_t floats) {
    struct cpu_state *state = device->state;
    if (state->workspace && floats <= state->workspace_floats) return state->workspace;
    free(state->workspace);
    size_t bytes = ((size_t)floats * sizeof(float) / ALIGNMENT + 1) * ALIGNMENT;
    state->workspace = aligned_alloc(ALIGNMENT, bytes);
    state->workspace_floats = state->workspace ? floats : 0;
    if (!state->workspace) device_fail_no_memory(device, "an operation", bytes);
    return state->workspace;
}

/* The processor's name as the operating system gives it. */
static void processor_name(char *name, size_t size) {
    snprintf(name, size, "CPU");
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (!file) return;
    char line[256];
    while (fgets(line, sizeof line, file)) {
        char *value = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !value) continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(name, size, "%s", value + 1 + strspn(value + 1, " "));
        break;
    }
    fclose(file);
}

static void cpu_describe(const struct device *device, struct device_info *info) {
    const struct cpu_state *state = cpu_state(device);
    char name[96];
    processor_name(name, sizeof name);
    snprintf(info->name, sizeof info->name, "%s (%s)", name, state->kernels->name);
    info->threads = state->threads;
    info->native_bf16 = state->native_bf16;
}

/* Zeroed memory comes from calloc, which takes large blocks from the system unwritten; the block's own
 * address is kept just before the aligned one. */
static void *cpu_allocate(struct device *device, size_t bytes) {
    (void)device;
    if (bytes > SIZE_MAX / 2) return NULL;
    char *block = calloc(1, bytes + ALIGNMENT + sizeof(void *));
    if (!block) return NULL;
    size_t offset = sizeof(void *) + ALIGNMENT - 1;
    char *memory = block + offset - ((uintptr_t)block + offset) % ALIGNMENT;
    memcpy(memory - sizeof(void *), &block, sizeof block);
    if (bytes >= 2 * (size_t)HUGE_PAGE) { /* fewer page faults and misses; only a hint */
        size_t skip = (HUGE_PAGE - (uintptr_t)memory % HUGE_PAGE) % HUGE_PAGE;
        madvise(memory + skip, (bytes - skip) / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    }
    return memory;
}

static void cpu_release(struct device *device, void *memory) {
    (void)device;
    void *block;
    memcpy(&block, (char *)memory - sizeof(void *), sizeof block);
    free(block);
}

static void *cpu_import(struct device *device, const void *host, size_t bytes) {
    (void)device, (void)bytes;
    return (void *)host; /* const by the contract: imported memory is only read */
}

static void cpu_unimport(struct device *device, void *memory) {
    (void)device, (void)memory;
}

static void cpu_write(struct device *device, void *to, const void *from, size_t bytes) {
    (void)device;
    memcpy(to, from, bytes);
}

static void cpu_read(struct device *device, void *to, const void *from, size_t bytes) {
    (void)device;
    memcpy(to, from, bytes);
}

static void cpu_synchronize(struct device *device) {
    (void)device;
}

const struct backend backend_cpu = {
    .name = "cpu",
    .exact_rows = MATMUL_EXACT_ROWS,
    .part_rows = MATMUL_PART_ROWS,
    .open = cpu_open,
    .close = cpu_close,
    .describe = cpu_describe,
    .measure = cpu_measure,
    .allocate = cpu_allocate,
    .release = cpu_release,
    .import = cpu_import,
    .unimport = cpu_unimport,
    .write = cpu_write,
    .read = cpu_read,
    .synchronize = cpu_synchronize,
    .convert = cpu_convert,
    .gather_rows = cpu_gather_rows,
    .scatter_rows = cpu_scatter_rows,
    .scatter_add_rows = cpu_scatter_add_rows,
    .add = cpu_add,
    .clear = cpu_clear,
    .matmul = cpu_matmul,
    .rmsnorm_forward = cpu_rmsnorm_forward,
    .add_rmsnorm_forward = cpu_add_rmsnorm_forward,
    .rmsnorm_backward = cpu_rmsnorm_backward,
    .swiglu_forward = cpu_swiglu_forward,
    .swiglu_backward = cpu_swiglu_backward,
    .gelu_forward = cpu_gelu_forward,
    .gelu_backward = cpu_gelu_backward,
    .rope_table = cpu_rope_table,
    .rope_forward = cpu_rope_forward,
    .resize_frame = cpu_resize_frame,
    .cut_patches = cpu_cut_patches,
    .attention_forward = cpu_attention_forward,
    .attention_backward = cpu_attention_backward,
    .logprob_forward = cpu_logprob_forward,
    .logprob_backward = cpu_logprob_backward,
    .reduce_sum = cpu_reduce_sum,
    .reduce_sum_squares = cpu_reduce_sum_squares,
    .sum_rows = cpu_sum_rows,
    .adamw_step = cpu_adamw_step,
    .sample_tokens = cpu_sample_tokens,
};
