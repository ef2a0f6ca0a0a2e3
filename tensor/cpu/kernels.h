/* The inner loops of the CPU backend. Each file of kernels/ is compiled once for each instruction set and
 * fills one const table of the kind declared beside its functions' types below; dispatch.c collects the
 * tables of one instruction set in a struct cpu_kernels and chooses among them at run time. Everything else
 * in those files is static: a function with a common name compiled for a wide instruction set must not be
 * the one that the linker keeps. Kernels run on one thread; tensor/cpu/NAME.c divides the work. */
#ifndef VS2_TENSOR_CPU_KERNELS_H
#define VS2_TENSOR_CPU_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "tensor/cpu/kernels/adamw.h"
#include "tensor/cpu/kernels/attention.h"
#include "tensor/cpu/kernels/attention_backward.h"
#include "tensor/cpu/kernels/gemm.h"
#include "tensor/cpu/kernels/gradient.h"
#include "tensor/cpu/kernels/logprob.h"
#include "tensor/cpu/kernels/peak.h"
#include "tensor/cpu/kernels/row.h"
#include "tensor/cpu/kernels/sample.h"

struct cpu_kernels {
    const char *name; /* as VS2_CPU_ISA spells it */
    const struct row_kernels *row;
    const struct gradient_kernels *gradient;
    const struct adamw_kernels *adamw;
    const struct gemm_kernels *gemm;
    const struct attention_kernels *attention;
    const struct attention_backward_kernels *attention_backward;
    const struct logprob_kernels *logprob;
    const struct sample_kernels *sample;
    const struct peak_kernels *peak;
};

/* The widest set that processor and operating system have, or the one that the environment variable
 * VS2_CPU_ISA names (generic, avx2, avx512, avx512bf16; for tests), an unknown or unsupported one being a
 * usage error. */
enum status cpu_kernels_choose(const struct cpu_kernels **kernels, struct error *err);

#endif
