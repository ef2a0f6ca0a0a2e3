/* cuDNN's functions, found when a device opens: programs run where the library is not. */
#ifndef VS2_TENSOR_CUDA_CUDNN_LIBRARY_H
#define VS2_TENSOR_CUDA_CUDNN_LIBRARY_H

#include <cudnn.h>
#include <stdbool.h>

struct cudnn_library {
    __typeof__(cudnnGetVersion) *version;
    __typeof__(cudnnGetErrorString) *status_text;
    __typeof__(cudnnGetLastErrorString) *last_error;
    __typeof__(cudnnCreate) *create;
    __typeof__(cudnnDestroy) *destroy;
    __typeof__(cudnnSetStream) *set_stream;
    __typeof__(cudnnBackendCreateDescriptor) *descriptor_create;
    __typeof__(cudnnBackendDestroyDescriptor) *descriptor_destroy;
    __typeof__(cudnnBackendSetAttribute) *attribute_set;
    __typeof__(cudnnBackendGetAttribute) *attribute_get;
    __typeof__(cudnnBackendFinalize) *finalize;
    __typeof__(cudnnBackendExecute) *execute;
};

/* False: there is no libcudnn of the version that this was built for. It stays loaded until the program
 * ends, as its own threads and kernels may. */
bool cudnn_library_load(struct cudnn_library *library);

#endif
