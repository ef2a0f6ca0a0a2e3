#include "tensor/cuda/cudnn_library.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

/* From it on the node takes the lengths of sequences. */
enum { VERSION_LEAST = 91500 };

#ifdef VS2_EMULATED

static bool symbols_find(struct cudnn_library *library) {
    *library = (struct cudnn_library){cudnnGetVersion,
                                      cudnnGetErrorString,
                                      cudnnGetLastErrorString,
                                      cudnnCreate,
                                      cudnnDestroy,
                                      cudnnSetStream,
                                      cudnnBackendCreateDescriptor,
                                      cudnnBackendDestroyDescriptor,
                                      cudnnBackendSetAttribute,
                                      cudnnBackendGetAttribute,
                                      cudnnBackendFinalize,
                                      cudnnBackendExecute};
    return true;
}

#else

#define TEXT_OF(number) #number
#define FILE_OF(major)  "libcudnn.so." TEXT_OF(major)

static bool symbols_find(struct cudnn_library *library) {
    static const struct {
        const char *name;
        size_t offset;
    } symbols[] = {
        {"cudnnGetVersion", offsetof(struct cudnn_library, version)},
        {"cudnnGetErrorString", offsetof(struct cudnn_library, status_text)},
        {"cudnnGetLastErrorString", offsetof(struct cudnn_library, last_error)},
        {"cudnnCreate", offsetof(struct cudnn_library, create)},
        {"cudnnDestroy", offsetof(struct cudnn_library, destroy)},
        {"cudnnSetStream", offsetof(struct cudnn_library, set_stream)},
        {"cudnnBackendCreateDescriptor", offsetof(struct cudnn_library, descriptor_create)},
        {"cudnnBackendDestroyDescriptor", offsetof(struct cudnn_library, descriptor_destroy)},
        {"cudnnBackendSetAttribute", offsetof(struct cudnn_library, attribute_set)},
        {"cudnnBackendGetAttribute", offsetof(struct cudnn_library, attribute_get)},
        {"cudnnBackendFinalize", offsetof(struct cudnn_library, finalize)},
        {"cudnnBackendExecute", offsetof(struct cudnn_library, execute)},
    };
    void *file = dlopen(FILE_OF(CUDNN_MAJOR), RTLD_NOW | RTLD_LOCAL);
    if (!file) return false;
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *symbol = dlsym(file, symbols[i].name);
        if (!symbol) return false;
        memcpy((char *)library + symbols[i].offset, &symbol, sizeof symbol);
    }
    return true;
}

#endif

bool cudnn_library_load(struct cudnn_library *library) {
    return symbols_find(library) && library->version() >= VERSION_LEAST;
}
