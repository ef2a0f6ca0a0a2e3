#include "tensor/cuda_module.h"

#include <dlfcn.h>

#ifdef VS2_CUDA

/* The program's run path names the folder. */
enum status cuda_module_load(const struct backend **backend, struct error *err) {
    *backend = NULL;
    if (!cuda_driver_is_installed())
        return error_usage(err, "device cuda: there is no GPU here (NVIDIA's driver is not installed)");
    void *module = dlopen("vs2_cuda.so", RTLD_NOW | RTLD_LOCAL);
    *backend = module ? dlsym(module, "backend_cuda") : NULL;
    return *backend ? STATUS_OK : error_set(err, "device \"cuda\" cannot be loaded: %s", dlerror());
}

#else

enum status cuda_module_load(const struct backend **backend, struct error *err) {
    *backend = NULL;
    return error_usage(err,
                       "device \"cuda\": this program was built without CUDA (VS2_CUDA=ON builds it in)");
}

#endif

bool cuda_driver_is_installed(void) {
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (driver) dlclose(driver);
    return driver != NULL;
}
