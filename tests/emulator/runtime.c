/* The runtime: devices, memory, streams, events. A stream is a list of work; nothing runs before somebody
 * waits. */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tests/emulator/machine.h"

struct work {
    struct work *next;
    machine_work *run;
    max_align_t argument[]; /* a copy */
};

struct CUstream_st {
    int device;
    struct work *first, **last;
    struct CUstream_st *next;
};

struct CUevent_st {
    int device;
    cudaStream_t stream; /* of the last record */
    int recorded, completed;
    double seconds; /* when it was completed */
};

struct region {
    char *memory;
    size_t bytes;
    int device; /* PINNED: host memory, which copies read and write when they run */
};

/* A function whose blocks may have more shared memory than the default. */
struct opted {
    const void *kernel;
    size_t shared;
};

enum { PINNED = -1, DEVICES_MOST = 16, REGIONS_MOST = 4096, OPTED_MOST = 256 };

static struct {
    struct CUstream_st *streams;
    struct region regions[REGIONS_MOST];
    int region_count;
    struct opted opted[OPTED_MOST];
    int opted_count;
    int fail_at, fail_last, calls; /* emulator_fail_call, and emulator_fail_one_call */
    bool forgets;                  /* emulator_forget_events */
    size_t memory;                 /* emulator_set_memory */
    int64_t counts[EMULATOR_COUNTS];
    int running;             /* the device whose work is running */
    bool open[DEVICES_MOST]; /* work is running that may touch all memory of the device */
} machine;

static _Thread_local int current; /* cudaSetDevice's */

void machine_die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("emulator: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    abort();
}

static int fail_calls(int first, int last) {
    int calls = machine.calls;
    machine.fail_at = first;
    machine.fail_last = last;
    machine.calls = 0;
    return calls;
}

int emulator_fail_call(int n) {
    return fail_calls(n, INT_MAX);
}

int emulator_fail_one_call(int n) {
    return fail_calls(n, n);
}

void emulator_forget_events(bool forgets) {
    machine.forgets = forgets;
}

void emulator_set_memory(size_t bytes) {
    machine.memory = bytes;
}

bool machine_call_fails(void) {
    machine.calls++;
    return machine.fail_at && machine.calls >= machine.fail_at && machine.calls <= machine.fail_last;
}

void machine_count(enum emulator_count what) {
    machine.counts[what]++;
}

int64_t emulator_counted(enum emulator_count what) {
    return machine.counts[what];
}

/* ---- Memory ------------------------------------------------------------------------------------------ */

static size_t whole_pages(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

static void protect(const void *at, size_t bytes, int protection) {
    size_t skip = (uintptr_t)at % whole_pages(1);
    if (mprotect((char *)at - skip, whole_pages(bytes + skip), protection) != 0)
        machine_die("mprotect failed");
}

static void protect_all(int device, int protection) {
    for (int i = 0; i < machine.region_count; i++)
        if (machine.regions[i].device == device)
            protect(machine.regions[i].memory, machine.regions[i].bytes, protection);
}

void machine_open(void) {
    if (!machine.open[machine.running]) protect_all(machine.running, PROT_READ | PROT_WRITE);
    machine.open[machine.running] = true;
}

/* The region that [at, at + bytes) lies in, or NULL. */
static const struct region *region_of(const void *at, size_t bytes) {
    for (int i = 0; i < machine.region_count; i++) {
        const struct region *region = &machine.regions[i];
        size_t offset = (uintptr_t)at - (uintptr_t)region->memory;
        if ((uintptr_t)at >= (uintptr_t)region->memory && offset <= region->bytes &&
            bytes <= region->bytes - offset)
            return region;
    }
    return NULL;
}

/* Opens or closes the device memory that a copy is about, which costs less than all of it. */
static void protect_part(const void *at, size_t bytes, int protection) {
    const struct region *region = region_of(at, bytes);
    if (region && region->device != PINNED && !machine.open[region->device]) protect(at, bytes, protection);
}

static bool is_pinned(const void *at, size_t bytes) {
    const struct region *region = region_of(at, bytes);
    return region && region->device == PINNED;
}

bool machine_is_device(const void *at, size_t bytes) {
    const struct region *region = region_of(at, bytes);
    if (!region || region->device == PINNED) return false;
    if (region->device != current)
        machine_die("memory of device %d is used on device %d", region->device, current);
    return true;
}

static void run_everything(void);

static size_t device_memory(void) {
    return machine.memory ? machine.memory : (size_t)8 << 30;
}

static size_t free_memory(void) {
    size_t taken = 0;
    for (int i = 0; i < machine.region_count; i++)
        if (machine.regions[i].device == current) taken += machine.regions[i].bytes;
    return taken < device_memory() ? device_memory() - taken : 0;
}

/* A closed page lies on either side. Device memory is closed too until work runs. */
static cudaError_t region_new(void **memory, size_t bytes, int device) {
    *memory = NULL;
    if (machine_spoils_capture()) return cudaErrorStreamCaptureUnsupported;
    machine_count(EMULATOR_ALLOCATIONS);
    if (machine_call_fails() || bytes > SIZE_MAX / 2 || machine.region_count == REGIONS_MOST)
        return cudaErrorMemoryAllocation;
    if (device != PINNED && bytes > free_memory()) return cudaErrorMemoryAllocation;
    size_t page = whole_pages(1), whole = whole_pages(bytes ? bytes : 1);
    char *all = mmap(NULL, whole + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) return cudaErrorMemoryAllocation;
    if (device == PINNED) protect(all + page, whole, PROT_READ | PROT_WRITE);
    *memory = all + page;
    machine.regions[machine.region_count++] = (struct region){all + page, bytes, device};
    return cudaSuccess;
}

static cudaError_t region_free(void *memory, int device) {
    if (!memory) return cudaSuccess;
    if (machine_spoils_capture()) return cudaErrorStreamCaptureUnsupported;
    machine_count(EMULATOR_ALLOCATIONS);
    int i = 0;
    while (i < machine.region_count && machine.regions[i].memory != memory) i++;
    if (i == machine.region_count || machine.regions[i].device != device) return cudaErrorInvalidValue;
    run_everything();
    size_t page = whole_pages(1), bytes = machine.regions[i].bytes;
    munmap((char *)memory - page, whole_pages(bytes ? bytes : 1) + 2 * page);
    machine.regions[i] = machine.regions[--machine.region_count];
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **memory, size_t bytes) {
    return region_new(memory, bytes, current);
}

cudaError_t cudaFree(void *memory) {
    return region_free(memory, current);
}

cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned flags) {
    (void)flags;
    return region_new(memory, bytes, PINNED);
}

cudaError_t cudaFreeHost(void *memory) {
    return region_free(memory, PINNED);
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
    *total = device_memory();
    *available = free_memory();
    return cudaSuccess;
}

/* ---- Streams and events ------------------------------------------------------------------------------ */

cudaError_t machine_queue(cudaStream_t stream, machine_work *run, const void *argument, size_t bytes) {
    if (!stream) return cudaErrorInvalidResourceHandle;
    if (stream->device != current)
        machine_die("a stream of device %d is used on device %d", stream->device, current);
    if (machine_captures(stream)) {
        machine_capture(run, argument, bytes);
        return cudaSuccess;
    }
    struct work *work = malloc(sizeof *work + bytes);
    if (!work) machine_die("no memory for queued work");
    *work = (struct work){.run = run};
    memcpy(work->argument, argument, bytes);
    *stream->last = work;
    stream->last = &work->next;
    return cudaSuccess;
}

/* Runs a stream's work to its end, or until `event` has completed its record number `wanted`. */
static void stream_run(cudaStream_t stream, const struct CUevent_st *event, int wanted) {
    int outer = machine.running;
    bool was_open = machine.open[stream->device];
    machine.running = stream->device;
    while (stream->first && !(event && event->completed >= wanted)) {
        struct work *work = stream->first;
        stream->first = work->next;
        if (!stream->first) stream->last = &stream->first;
        work->run(work->argument);
        free(work);
    }
    machine.running = outer;
    if (was_open || !machine.open[stream->device]) return;
    protect_all(stream->device, PROT_NONE);
    machine.open[stream->device] = false;
}

static void run_everything(void) {
    for (struct CUstream_st *stream = machine.streams; stream; stream = stream->next)
        stream_run(stream, NULL, 0);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    *stream = NULL;
    if (flags != cudaStreamNonBlocking) return cudaErrorInvalidValue;
    if (machine_call_fails()) return cudaErrorMemoryAllocation;
    *stream = calloc(1, sizeof **stream);
    if (!*stream) machine_die("no memory for a stream");
    (*stream)->device = current;
    (*stream)->last = &(*stream)->first;
    (*stream)->next = machine.streams;
    machine.streams = *stream;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    cudaStreamSynchronize(stream);
    struct CUstream_st **link = &machine.streams;
    while (*link != stream) link = &(*link)->next;
    *link = stream->next;
    free(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    if (!stream) return cudaErrorInvalidResourceHandle;
    if (machine_captures(stream) && machine_spoils_capture()) return cudaErrorStreamCaptureUnsupported;
    stream_run(stream, NULL, 0);
    return machine_call_fails() ? cudaErrorLaunchFailure : cudaSuccess;
}

/* Who asks again and again waits. */
cudaError_t cudaStreamQuery(cudaStream_t stream) {
    return cudaStreamSynchronize(stream);
}

cudaError_t cudaDeviceSynchronize(void) {
    if (machine_spoils_capture()) return cudaErrorStreamCaptureUnsupported;
    for (struct CUstream_st *stream = machine.streams; stream; stream = stream->next)
        if (stream->device == current) stream_run(stream, NULL, 0);
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
    (void)flags;
    *event = NULL;
    if (machine_call_fails()) return cudaErrorMemoryAllocation;
    *event = calloc(1, sizeof **event);
    if (!*event) machine_die("no memory for an event");
    (*event)->device = current;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    run_everything();
    free(event);
    return cudaSuccess;
}

struct event_work {
    cudaEvent_t event;
    int number;
};

static void record_run(void *argument) {
    const struct event_work *work = argument;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    work->event->completed = work->number;
    work->event->seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    if (event->device != current)
        machine_die("an event of device %d is recorded on device %d", event->device, current);
    if (machine_captures(stream) && machine_spoils_capture()) return cudaErrorStreamCaptureUnsupported;
    struct event_work work = {event, event->recorded + 1};
    cudaError_t error = machine_queue(stream, record_run, &work, sizeof work);
    if (error != cudaSuccess) return error;
    event->stream = stream;
    event->recorded++;
    return cudaSuccess;
}

static void wait_run(void *argument) {
    const struct event_work *work = argument;
    if (work->event->completed < work->number) stream_run(work->event->stream, work->event, work->number);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
    (void)flags;
    if (machine_captures(stream) && machine_spoils_capture()) return cudaErrorStreamCaptureUnsupported;
    if (machine_call_fails()) return cudaErrorLaunchFailure;
    if (machine.forgets) return cudaSuccess;
    struct event_work work = {event, event->recorded};
    return machine_queue(stream, wait_run, &work, sizeof work);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    if (event->completed < event->recorded) stream_run(event->stream, event, event->recorded);
    return machine_call_fails() ? cudaErrorLaunchFailure : cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
    if (!start->recorded || !end->recorded) return cudaErrorInvalidResourceHandle;
    if (start->completed < start->recorded || end->completed < end->recorded) return cudaErrorNotReady;
    *milliseconds = (float)(1e3 * (end->seconds - start->seconds));
    return cudaSuccess;
}

/* ---- Copies ------------------------------------------------------------------------------------------ */

struct copy_work {
    void *to;
    const void *from; /* NULL: the bytes follow the work */
    size_t bytes;
};

static void copy_run(void *argument) {
    const struct copy_work *work = argument;
    const void *from = work->from ? work->from : work + 1;
    protect_part(work->to, work->bytes, PROT_READ | PROT_WRITE);
    protect_part(from, work->bytes, PROT_READ | PROT_WRITE);
    memmove(work->to, from, work->bytes);
    protect_part(work->to, work->bytes, PROT_NONE);
    protect_part(from, work->bytes, PROT_NONE);
}

/* From memory that is not pinned the bytes are taken at once, as the runtime stages them. */
static cudaError_t queue_with_bytes(const struct copy_work *work, cudaStream_t stream) {
    char *both = malloc(sizeof *work + work->bytes);
    if (!both) machine_die("no memory for a copy");
    memcpy(both, &(struct copy_work){work->to, NULL, work->bytes}, sizeof *work);
    memcpy(both + sizeof *work, work->from, work->bytes);
    cudaError_t error = machine_queue(stream, copy_run, both, sizeof *work + work->bytes);
    free(both);
    return error;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream) {
    bool to_device = machine_is_device(to, bytes), from_device = machine_is_device(from, bytes);
    bool matches = kind == cudaMemcpyHostToDevice   ? to_device && !from_device
                   : kind == cudaMemcpyDeviceToHost ? !to_device && from_device
                                                    : to_device && from_device;
    if (!matches) return cudaErrorInvalidValue;
    if (machine_call_fails()) return cudaErrorLaunchFailure;
    struct copy_work work = {to, from, bytes};
    if (kind == cudaMemcpyHostToDevice && !is_pinned(from, bytes) && !machine_captures(stream))
        return queue_with_bytes(&work, stream);
    cudaError_t error = machine_queue(stream, copy_run, &work, sizeof work);
    bool waits = kind == cudaMemcpyDeviceToHost && !is_pinned(to, bytes) && !machine_captures(stream);
    return error == cudaSuccess && waits ? cudaStreamSynchronize(stream) : error;
}

struct set_work {
    char *to;
    size_t pitch, width, height;
    int value;
};

static void set_run(void *argument) {
    const struct set_work *work = argument;
    size_t bytes = work->height ? work->pitch * (work->height - 1) + work->width : 0;
    protect_part(work->to, bytes, PROT_READ | PROT_WRITE);
    for (size_t row = 0; row < work->height; row++)
        memset(work->to + row * work->pitch, work->value, work->width);
    protect_part(work->to, bytes, PROT_NONE);
}

cudaError_t cudaMemset2DAsync(void *to, size_t pitch, int value, size_t width, size_t height,
                              cudaStream_t stream) {
    if (height && (width > pitch || !machine_is_device(to, pitch * (height - 1) + width)))
        return cudaErrorInvalidValue;
    if (machine_call_fails()) return cudaErrorLaunchFailure;
    struct set_work work = {to, pitch, width, height, value};
    return machine_queue(stream, set_run, &work, sizeof work);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
    return cudaMemset2DAsync(to, bytes, value, bytes, 1, stream);
}

/* ---- Kernels ----------------------------------------------------------------------------------------- */

cudaError_t emulator_opt_in(const void *kernel, int shared) {
    if (shared < 0 || shared > MACHINE_SHARED_MOST) return cudaErrorInvalidValue;
    int i = 0;
    while (i < machine.opted_count && machine.opted[i].kernel != kernel) i++;
    if (i == OPTED_MOST) machine_die("too many kernels with much shared memory");
    if (i == machine.opted_count) machine.opted_count++;
    machine.opted[i] = (struct opted){kernel, (size_t)shared};
    return cudaSuccess;
}

static size_t shared_limit(const void *kernel) {
    for (int i = 0; i < machine.opted_count; i++)
        if (machine.opted[i].kernel == kernel && machine.opted[i].shared > MACHINE_SHARED_DEFAULT)
            return machine.opted[i].shared;
    return MACHINE_SHARED_DEFAULT;
}

/* The arguments follow it. */
struct launch_work {
    struct grid grid;
    max_align_t packed[];
};

static void launch_run(void *argument) {
    struct launch_work *work = argument;
    work->grid.packed = work->packed;
    machine_open();
    machine_run_grid(&work->grid);
}

cudaError_t emulator_launch(const void *kernel, emulator_body *run, const void *packed, size_t bytes,
                            dim3 grid, dim3 block, size_t shared, cudaStream_t stream) {
    size_t threads = (size_t)block.x * block.y * block.z;
    bool fits = threads >= 1 && threads <= MACHINE_THREADS_MOST && block.z <= 64 && grid.x >= 1 &&
                grid.x <= INT32_MAX && grid.y >= 1 && grid.y <= 65535 && grid.z >= 1 && grid.z <= 65535;
    if (!fits) return cudaErrorInvalidConfiguration;
    if (shared > shared_limit(kernel)) return cudaErrorInvalidValue;
    if (machine_call_fails()) return cudaErrorLaunchFailure;
    struct launch_work *work = malloc(sizeof *work + bytes);
    if (!work) machine_die("no memory for a launch");
    work->grid = (struct grid){run, NULL, grid, block, shared};
    memcpy(work->packed, packed, bytes);
    if (!machine_captures(stream)) machine_count(EMULATOR_KERNELS);
    cudaError_t error = machine_queue(stream, launch_run, work, sizeof *work + bytes);
    free(work);
    return error;
}

/* ---- The device -------------------------------------------------------------------------------------- */

static int device_count(void) {
    const char *wanted = getenv("VS2_EMULATED_GPUS");
    int count = wanted ? atoi(wanted) : 1;
    return count < 0 || count > DEVICES_MOST ? 0 : count;
}

cudaError_t cudaGetDeviceCount(int *count) {
    *count = device_count();
    if (getenv("VS2_EMULATED_GPUS_ARE_BROKEN")) return cudaErrorSystemNotReady;
    return *count == 0 || machine_call_fails() ? cudaErrorNoDevice : cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    if (device < 0 || device >= device_count()) return cudaErrorInvalidDevice;
    current = device;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device) {
    if (device < 0 || device >= device_count() || machine_call_fails()) return cudaErrorInvalidDevice;
    *properties = (struct cudaDeviceProp){.major = getenv("VS2_EMULATED_GPUS_ARE_OLD") ? 7 : 8,
                                          .minor = 6,
                                          .multiProcessorCount = 4,
                                          .totalGlobalMem = device_memory(),
                                          .sharedMemPerBlockOptin = MACHINE_SHARED_MOST};
    snprintf(properties->name, sizeof properties->name, "emulator %d", device);
    /* Processes have GPUs of their own, unless they are to share one. */
    int maker = getenv("VS2_EMULATED_GPUS_ARE_SHARED") ? 0 : (int)getpid();
    memcpy(properties->uuid.bytes, &maker, sizeof maker);
    memcpy(properties->uuid.bytes + sizeof maker, &device, sizeof device);
    return cudaSuccess;
}

/* Errors are returned by the calls that have them; none is kept. */
cudaError_t cudaGetLastError(void) {
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t error) {
    switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorStubLibrary: return "CUDA driver is a stub library";
    case cudaErrorSystemNotReady: return "system not yet initialized";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorInvalidResourceHandle: return "invalid resource handle";
    case cudaErrorNotReady: return "device not ready";
    case cudaErrorLaunchFailure: return "unspecified launch failure";
    case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated: return "operation failed due to a previous error during capture";
    case cudaErrorGraphExecUpdateFailure: return "the graph update was not performed";
    }
    return "unknown error";
}
