#include <stdlib.h>
#include <string.h>

#include "tensor/cpu/kernels.h"

/* __builtin_cpu_supports asks the operating system's part (saved registers) as well as the processor's. */
static bool has_generic(void) {
    return true;
}
#if defined(__x86_64__)
static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
static bool has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
static bool has_avx512bf16(void) {
    return has_avx512() && __builtin_cpu_supports("avx512bf16");
}
#endif

#define CPU_KERNELS(isa_name, isa)                                                                           \
    {                                                                                                        \
        .name = (isa_name), .row = &row_kernels_##isa, .gradient = &gradient_kernels_##isa,                  \
        .adamw = &adamw_kernels_##isa, .gemm = &gemm_kernels_##isa, .attention = &attention_kernels_##isa,   \
        .attention_backward = &attention_backward_kernels_##isa, .logprob = &logprob_kernels_##isa,          \
        .sample = &sample_kernels_##isa, .peak = &peak_kernels_##isa                                         \
    }

/* Narrowest first. */
static const struct {
    struct cpu_kernels kernels;
    bool (*supported)(void);
} choices[] = {
    {CPU_KERNELS("generic", generic), has_generic},
#if defined(__x86_64__)
    {CPU_KERNELS("avx2", avx2), has_avx2},
    {CPU_KERNELS("avx512", avx512), has_avx512},
    {CPU_KERNELS("avx512bf16", avx512bf16), has_avx512bf16},
#endif
};

enum status cpu_kernels_choose(const struct cpu_kernels **kernels, struct error *err) {
    const char *wanted = getenv("VS2_CPU_ISA");
    for (size_t i = sizeof choices / sizeof choices[0]; i-- > 0;) {
        if (wanted && strcmp(wanted, choices[i].kernels.name) != 0) continue;
        if (choices[i].supported()) {
            *kernels = &choices[i].kernels;
            return STATUS_OK;
        }
        if (wanted) return error_usage(err, "VS2_CPU_ISA: this processor does not have \"%s\"", wanted);
    }
    return error_usage(err, "VS2_CPU_ISA: \"%s\" is no instruction set known here", wanted);
}
