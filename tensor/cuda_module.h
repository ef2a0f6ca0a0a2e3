/* The CUDA backend lies in a module, vs2_cuda.so, that is loaded when a GPU is asked for: its libraries take
 * a third of a second and 200 MB of a process, and a program that was built with it also starts where they
 * are missing. */
#ifndef VS2_TENSOR_CUDA_MODULE_H
#define VS2_TENSOR_CUDA_MODULE_H

#include "tensor/backend.h"

/* The backend, which stays loaded until the process ends. A usage error when this build has none, or when
 * there is no driver; where there is one a module that cannot be loaded is a failure. */
enum status cuda_module_load(const struct backend **backend, struct error *err);

/* Whether a driver of NVIDIA's is installed, without which there is no GPU. Quick. */
bool cuda_driver_is_installed(void);

#endif
