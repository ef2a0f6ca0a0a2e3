/* Names of the tables that kernels/ fills, one for each instruction set. KERNELS_ISA is the set that a file
 * of kernels/ is being compiled for (tensor/CMakeLists.txt). The preprocessor must spell the names: nothing
 * else in C tells the copies of one file apart. */
#ifndef VS2_TENSOR_CPU_KERNELS_ISA_H
#define VS2_TENSOR_CPU_KERNELS_ISA_H

#define KERNELS_JOIN(name, isa) name##_##isa
#define KERNELS_NAME(name, isa) KERNELS_JOIN(name, isa)

/* In a file of kernels/: const struct row_kernels KERNELS_TABLE(row_kernels) = {...}; */
#define KERNELS_TABLE(name) KERNELS_NAME(name, KERNELS_ISA)

/* In its header: the tables of all sets. */
#if defined(__x86_64__)
#define KERNELS_DECLARE(name)                                                                                \
    extern const struct name name##_generic, name##_avx2, name##_avx512, name##_avx512bf16
#else
#define KERNELS_DECLARE(name) extern const struct name name##_generic
#endif

#endif
