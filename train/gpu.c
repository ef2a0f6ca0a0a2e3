#include "train/gpu.h"

#include <string.h>
#include <strings.h>

#include "base/text.h"

/* NVIDIA's data sheets: H100 SXM, H200 SXM, A100 80GB SXM, DGX B200 (an eighth of it), GeForce RTX 4090 (Ada
 * architecture paper; products with f32 sums). NVLink counts one direction, half of what the sheets say. The
 * network is that of a DGX: an adapter a GPU of 400 Gb/s (A100: 200). For the 4090, which has PCIe 4.0 x16
 * and no such machine, 100 Gb/s shared by eight are assumed; its link is the bus's, which is generous:
 * without copies from GPU to GPU messages go through the host's memory, that all eight share. */
const struct gpu gpu_table[] = {
    {"h100", "H100 SXM 80 GB", 989.4e12, 80e9, 3.35e12, 450e9, 50e9, 8},
    {"h200", "H200 SXM 141 GB", 989.4e12, 141e9, 4.8e12, 450e9, 50e9, 8},
    {"a100", "A100 SXM 80 GB", 312e12, 80e9, 2.039e12, 300e9, 25e9, 8},
    {"b200", "B200 SXM 180 GB", 2250e12, 180e9, 8e12, 900e9, 50e9, 8},
    {"4090", "GeForce RTX 4090 24 GB", 165.2e12, 24e9, 1.008e12, 32e9, 1.5625e9, 8},
    {0},
};

enum status gpu_find(const char *name, const struct gpu **gpu, struct error *err) {
    struct text names = {0};
    for (*gpu = gpu_table; (*gpu)->name; (*gpu)++) {
        if (strcasecmp((*gpu)->name, name) == 0) {
            text_free(&names);
            return STATUS_OK;
        }
        text_format(&names, "%s%s", names.length ? ", " : "", (*gpu)->name);
    }
    enum status status = text_check(&names, "the names of GPUs", err);
    if (status == STATUS_OK)
        status = error_usage(err, "there is no GPU \"%s\" in the table (%s)", name, names.data);
    text_free(&names);
    return status;
}

bool gpu_is(const struct gpu *gpu, const char *device) {
    for (; *device; device++)
        if (strncasecmp(device, gpu->name, strlen(gpu->name)) == 0) return true;
    return false;
}
