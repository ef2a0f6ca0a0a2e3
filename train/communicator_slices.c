/* Tensors that lie in slices: sums of them, wholes of them, and any run of their elements. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tensor/collective.h"
#include "tensor/ops.h"
#include "train/communicator_parts.h"

/* ---- Shards ------------------------------------------------------------------------------------------ */

/* Parts of a vector begin at multiples of this many elements, so that they lie as well as the whole does. */
enum { VECTOR_UNIT = 16 };

/* Part `rank` of `units` that all processes share: the first ones have one more where they do not divide. */
static struct shard divide(int64_t units, int64_t size, int64_t rank) {
    int64_t each = units / size, more = units % size;
    return (struct shard){.first = each * rank + (rank < more ? rank : more),
                          .count = each + (rank < more ? 1 : 0)};
}

struct shard shard_among(int64_t processes, int64_t rows, int64_t cols, int64_t rank) {
    if (processes == 1) return (struct shard){0, rows * cols};
    int64_t unit = rows > 1 ? cols : VECTOR_UNIT, elements = rows * cols;
    struct shard shard = divide((elements + unit - 1) / unit, processes, rank);
    int64_t end = (shard.first + shard.count) * unit;
    shard.first = shard.first * unit < elements ? shard.first * unit : elements;
    shard.count = (end < elements ? end : elements) - shard.first;
    return shard;
}

struct shard communicator_shard(const struct communicator *communicator, int64_t rows, int64_t cols,
                                int rank) {
    return shard_among(communicator_size(communicator), rows, cols, rank);
}

struct tensor shard_view(struct tensor whole, struct shard shard) {
    if (whole.rows > 1) return tensor_rows(whole, shard.first / whole.cols, shard.count / whole.cols);
    struct tensor view = tensor_cols(whole, shard.first, shard.count);
    view.stride = shard.count;
    return view;
}

struct shard shard_common(struct shard a, struct shard b) {
    int64_t first = a.first > b.first ? a.first : b.first;
    int64_t end = a.first + a.count < b.first + b.count ? a.first + a.count : b.first + b.count;
    return (struct shard){first, end > first ? end - first : 0};
}

/* ---- Buckets: what is exchanged at once -------------------------------------------------------------- */

/* A part of one tensor: of each process's shard, what it has of the elements from `first` on, `count` of them
 * at most: so many has the first process. */
struct piece {
    const struct sliced *of;
    int64_t first, count;
    size_t offset; /* in each process's part of the bucket, in bytes */
};

struct bucket {
    struct piece pieces[BUCKET_PIECES];
    size_t count, bytes; /* bytes: of each process */
};

/* How far a list of tensors is done. */
struct cursor {
    const struct sliced *list;
    size_t count;
    int64_t done;     /* of the first process's shard of the first tensor */
    bool leaves_even; /* tensors that are exchanged by themselves (is_even) */
};

/* Between devices a tensor needs no bucket of which each process has as many elements; worth it where these
 * are enough to be fast by themselves. */
enum { EVEN_BYTES = 256 << 10 };

static bool is_even(const struct communicator *c, const struct tensor *whole) {
    int64_t elements = whole->rows * whole->cols;
    struct shard first = communicator_shard(c, whole->rows, whole->cols, 0),
                 last = communicator_shard(c, whole->rows, whole->cols, c->size - 1);
    return first.count == last.count && first.count * c->size == elements &&
           first.count * (int64_t)dtype_size(whole->dtype) >= EVEN_BYTES;
}

/* Operations take pieces as they take tensors. */
enum { PIECE_ALIGNMENT = 64 };

/* Fills a bucket from where the last one ended; false: there is nothing left. */
static bool fill_bucket(const struct communicator *c, struct cursor *cursor, struct bucket *bucket) {
    bucket->count = bucket->bytes = 0;
    while (cursor->count > 0 && bucket->count < BUCKET_PIECES) {
        const struct tensor *whole = &cursor->list->whole;
        if (cursor->leaves_even && is_even(c, whole)) {
            cursor->list++;
            cursor->count--;
            continue;
        }
        int64_t size = (int64_t)dtype_size(whole->dtype),
                room = (BUCKET_BYTES - (int64_t)bucket->bytes) / size;
        int64_t left = communicator_shard(c, whole->rows, whole->cols, 0).count - cursor->done;
        int64_t count = left < room ? left : room;
        if (room == 0) break;
        bucket->pieces[bucket->count++] = (struct piece){cursor->list, cursor->done, count, bucket->bytes};
        bucket->bytes += ((size_t)(count * size) + PIECE_ALIGNMENT - 1) / PIECE_ALIGNMENT * PIECE_ALIGNMENT;
        cursor->done += count;
        if (count < left) break;
        cursor->list++;
        cursor->count--;
        cursor->done = 0;
    }
    return bucket->count > 0;
}

/* The elements of a piece that a process has. */
static struct shard piece_of(const struct communicator *c, const struct piece *piece, int rank) {
    const struct tensor *whole = &piece->of->whole;
    struct shard shard = communicator_shard(c, whole->rows, whole->cols, rank);
    return shard_common(shard, (struct shard){shard.first + piece->first, piece->count});
}

/* `count` elements of a tensor from `first` on, as one row. */
static struct tensor elements_of(struct tensor x, int64_t first, int64_t count) {
    return tensor_cols(tensor_reshape(x, 1, x.rows * x.cols), first, count);
}

/* This process's elements of a piece, in its slice; no columns: it has none. */
static struct tensor own_elements(const struct communicator *c, const struct piece *piece) {
    struct shard own = piece_of(c, piece, c->rank);
    return elements_of(piece->of->slice, own.count > 0 ? piece->first : 0, own.count);
}

static enum status make_room(struct communicator *c, struct error *err) {
    const char *what = "an exchange between processes";
    if (!c->sent) c->sent = memory_new((size_t)c->size, BUCKET_BYTES, what, err);
    if (!c->sent) return STATUS_FAILED;
    if (!c->received) c->received = memory_new((size_t)c->size, BUCKET_BYTES, what, err);
    return c->received ? STATUS_OK : STATUS_FAILED;
}

/* `sent` [size, bucket]: what each process is to have of this one's wholes. */
static enum status pack_wholes(struct communicator *c, struct device *device, const struct bucket *bucket,
                               char *sent, struct error *err) {
    for (int r = 0; r < c->size; r++)
        for (size_t i = 0; i < bucket->count; i++) {
            const struct piece *piece = &bucket->pieces[i];
            struct shard shard = piece_of(c, piece, r);
            char *to = sent + (size_t)r * bucket->bytes + piece->offset;
            if (shard.count > 0 &&
                device_read(device, to, elements_of(piece->of->whole, shard.first, shard.count), err) !=
                    STATUS_OK)
                return STATUS_FAILED;
        }
    return STATUS_OK;
}

/* Puts the sums, which come first in `received`, into the slices; `spare` [bucket] is room for what lies
 * there. */
static enum status keep_bucket(struct communicator *c, struct device *device, const struct bucket *bucket,
                               float *received, float *spare, bool add, struct error *err) {
    for (size_t i = 0; i < bucket->count; i++) {
        const struct piece *piece = &bucket->pieces[i];
        float *sums = received + piece->offset / sizeof(float);
        struct tensor to = own_elements(c, piece);
        if (to.cols == 0) continue;
        if (add && device_read(device, spare, to, err) != STATUS_OK) return STATUS_FAILED;
        for (int64_t e = 0; add && e < to.cols; e++) sums[e] += spare[e];
        device_write(device, to, sums);
    }
    return STATUS_OK;
}

/* `own` [bucket]: this process's slices. */
static enum status pack_slices(struct communicator *c, struct device *device, const struct bucket *bucket,
                               char *own, struct error *err) {
    for (size_t i = 0; i < bucket->count; i++) {
        const struct piece *piece = &bucket->pieces[i];
        struct tensor elements = own_elements(c, piece);
        if (elements.cols > 0 && device_read(device, own + piece->offset, elements, err) != STATUS_OK)
            return STATUS_FAILED;
    }
    return STATUS_OK;
}

/* all [size, bucket]: the processes' slices, into the wholes. */
static void keep_wholes(struct communicator *c, struct device *device, const struct bucket *bucket,
                        const char *all) {
    for (int r = 0; r < c->size; r++)
        for (size_t i = 0; i < bucket->count; i++) {
            const struct piece *piece = &bucket->pieces[i];
            struct shard shard = piece_of(c, piece, r);
            if (shard.count > 0)
                device_write(device, elements_of(piece->of->whole, shard.first, shard.count),
                             all + (size_t)r * bucket->bytes + piece->offset);
        }
}

/* ---- Between devices --------------------------------------------------------------------------------- */

/* What a process says of its device. */
struct answer {
    int32_t able;
    struct collective_member member;
};

/* Whether all can join, each a device of its own. */
static bool can_all_join(const struct answer *answers, int count) {
    for (int r = 0; r < count; r++) {
        if (!answers[r].able) return false;
        for (int s = 0; s < r; s++)
            if (memcmp(&answers[s].member, &answers[r].member, sizeof answers[r].member) == 0) return false;
    }
    return true;
}

static enum status ask_all(struct communicator *c, const struct device *device, struct error *err) {
    struct answer own = {collective_can(device), collective_identify(device)};
    struct answer *answers = memory_new((size_t)c->size, sizeof *answers, "names of devices", err);
    enum status status = communicator_agree(c, answers ? STATUS_OK : STATUS_FAILED, err);
    if (status == STATUS_OK) status = communicator_gather_bytes(c, "devices", answers, &own, sizeof own, err);
    c->asked = device->backend;
    c->joins = answers && status == STATUS_OK && can_all_join(answers, c->size);
    free(answers);
    return status;
}

enum status communicator_can_join(struct communicator *communicator, const struct device *device, bool *can,
                                  struct error *err) {
    struct communicator *c = communicator;
    *can = false;
    if (communicator_size(c) == 1) return STATUS_OK;
    enum status status = c->asked == device->backend ? STATUS_OK : ask_all(c, device, err);
    if (status == STATUS_OK) *can = c->joins;
    return status;
}

/* They join when they first exchange. */
enum status communicator_join_devices(struct communicator *c, struct device *device, struct error *err) {
    bool can;
    if (device->collective) return STATUS_OK;
    enum status status = communicator_can_join(c, device, &can, err);
    if (status != STATUS_OK || !can) return status == STATUS_OK ? make_room(c, err) : status;
    struct collective_id own = {0}, *ids = memory_new((size_t)c->size, sizeof *ids, "names for devices", err);
    status = ids ? collective_make_rooms(device, c->rank, c->size, BUCKET_BYTES, err) : STATUS_FAILED;
    if (status == STATUS_OK && c->rank == 0) status = collective_name(device, &own, err);
    status = communicator_agree(c, status, err);
    if (status == STATUS_OK)
        status = communicator_gather_bytes(c, "names for devices", ids, &own, sizeof own, err);
    if (status == STATUS_OK) status = collective_join(device, &ids[0], err);
    free(ids);
    status = communicator_agree(c, status, err); /* who waits for a collective waits for all */
    if (status == STATUS_OK) {
        collective_finish(device);
        status = communicator_agree(c, device_synchronize(device, err), err);
    }
    if (status == STATUS_OK) return STATUS_OK;
    device_fail(device, "%s", err->message); /* what it has queued for the others will not be done */
    collective_part(device);
    return status;
}

/* A piece of a bucket in the device's rooms: what process r has of it, or this process alone. */
static struct tensor piece_in(void *room, const struct bucket *bucket, const struct piece *piece, int r,
                              int64_t count) {
    return tensor_at((char *)room + (size_t)r * bucket->bytes + piece->offset, piece->of->whole.dtype, 1,
                     count);
}

/* As f32, whatever it is. */
static struct tensor bucket_in(void *room, const struct bucket *bucket, int rows) {
    return tensor_at(room, DTYPE_F32, rows, (int64_t)(bucket->bytes / sizeof(float)));
}

/* Between the tensors and the room of all processes. */
static void copy_bucket(struct communicator *c, struct device *device, const struct bucket *bucket, bool in) {
    for (int r = 0; r < c->size; r++)
        for (size_t i = 0; i < bucket->count; i++) {
            const struct piece *piece = &bucket->pieces[i];
            struct shard shard = piece_of(c, piece, r);
            if (shard.count == 0) continue;
            struct tensor room = piece_in(device->collective->all, bucket, piece, r, shard.count);
            struct tensor part = elements_of(piece->of->whole, shard.first, shard.count);
            convert(device, in ? room : part, in ? part : room);
        }
}

static void reduce_on_device(struct communicator *c, struct device *device, const struct bucket *bucket,
                             bool more) {
    void *one = device->collective->one;
    copy_bucket(c, device, bucket, true);
    reduce_scatter(device, bucket_in(one, bucket, 1), bucket_in(device->collective->all, bucket, c->size));
    for (size_t i = 0; i < bucket->count; i++) {
        struct tensor to = own_elements(c, &bucket->pieces[i]);
        if (to.cols == 0) continue;
        struct tensor sums = piece_in(one, bucket, &bucket->pieces[i], 0, to.cols);
        if (more)
            add(device, to, sums);
        else
            convert(device, to, sums);
    }
}

static void gather_on_device(struct communicator *c, struct device *device, const struct bucket *bucket) {
    void *one = device->collective->one;
    for (size_t i = 0; i < bucket->count; i++) {
        struct tensor own = own_elements(c, &bucket->pieces[i]);
        if (own.cols > 0) convert(device, piece_in(one, bucket, &bucket->pieces[i], 0, own.cols), own);
    }
    all_gather(device, bucket_in(device->collective->all, bucket, c->size), bucket_in(one, bucket, 1));
    copy_bucket(c, device, bucket, false);
}

/* An even tensor by processes. */
static struct tensor in_parts(const struct communicator *c, const struct tensor *whole) {
    return tensor_at(whole->data, whole->dtype, c->size, whole->rows * whole->cols / c->size);
}

static struct tensor in_a_row(struct tensor slice) {
    return tensor_reshape(slice, 1, slice.rows * slice.cols);
}

/* slice = the sums, or slice += them: by way of what this process has of the whole, which nobody wants then.
 */
static void reduce_even(const struct communicator *c, struct device *device, const struct sliced *sliced,
                        bool more) {
    struct tensor parts = in_parts(c, &sliced->whole), own = tensor_rows(parts, c->rank, 1),
                  slice = in_a_row(sliced->slice);
    reduce_scatter(device, more ? own : slice, parts);
    if (more) add(device, slice, own);
}

/* All of a list, between collective_begin and collective_end. */
static void reduce_all(struct communicator *c, struct device *device, const struct sliced *list, size_t count,
                       bool more) {
    struct cursor cursor = {.list = list, .count = count, .leaves_even = true};
    struct bucket bucket;
    for (size_t i = 0; i < count; i++)
        if (is_even(c, &list[i].whole)) reduce_even(c, device, &list[i], more);
    while (fill_bucket(c, &cursor, &bucket)) reduce_on_device(c, device, &bucket, more);
}

static void gather_all(struct communicator *c, struct device *device, const struct sliced *list,
                       size_t count) {
    struct cursor cursor = {.list = list, .count = count, .leaves_even = true};
    struct bucket bucket;
    for (size_t i = 0; i < count; i++)
        if (is_even(c, &list[i].whole))
            all_gather(device, in_parts(c, &list[i].whole), in_a_row(list[i].slice));
    while (fill_bucket(c, &cursor, &bucket)) gather_on_device(c, device, &bucket);
}

/* ---- At once ----------------------------------------------------------------------------------------- */

enum status communicator_reduce(struct communicator *communicator, struct device *device,
                                const struct sliced *list, size_t count, bool more, struct error *err) {
    struct communicator *c = communicator;
    struct cursor cursor = {.list = list, .count = count};
    struct bucket bucket;
    assert(communicator_size(c) > 1);
    enum status status = communicator_join_devices(c, device, err);
    if (device->collective) {
        collective_begin(device);
        if (status == STATUS_OK) reduce_all(c, device, list, count, more);
        collective_end(device, COLLECTIVE_AT_ONCE);
        collective_wait(device, COLLECTIVE_AT_ONCE);
        return status == STATUS_OK ? device_synchronize(device, err) : status;
    }
    while (status == STATUS_OK && fill_bucket(c, &cursor, &bucket)) {
        status = pack_wholes(c, device, &bucket, (char *)c->sent, err);
        if (status == STATUS_OK) status = communicator_sum_bytes(c, c->received, c->sent, bucket.bytes, err);
        if (status == STATUS_OK) status = keep_bucket(c, device, &bucket, c->received, c->sent, more, err);
    }
    return status;
}

enum status communicator_gather(struct communicator *communicator, struct device *device,
                                const struct sliced *list, size_t count, struct error *err) {
    struct communicator *c = communicator;
    struct cursor cursor = {.list = list, .count = count};
    struct bucket bucket;
    assert(communicator_size(c) > 1);
    enum status status = communicator_join_devices(c, device, err);
    if (device->collective) {
        collective_begin(device);
        if (status == STATUS_OK) gather_all(c, device, list, count);
        collective_end(device, COLLECTIVE_AT_ONCE);
        collective_wait(device, COLLECTIVE_AT_ONCE);
        return status == STATUS_OK ? device_synchronize(device, err) : status;
    }
    while (status == STATUS_OK && fill_bucket(c, &cursor, &bucket)) {
        status = pack_slices(c, device, &bucket, (char *)c->received, err);
        if (status == STATUS_OK)
            status = communicator_gather_bytes(c, "weights", c->sent, c->received, bucket.bytes, err);
        if (status == STATUS_OK) keep_wholes(c, device, &bucket, (const char *)c->sent);
    }
    return status;
}

/* ---- Beside what the process computes ---------------------------------------------------------------- */

/* Bytes of each process in all buckets of a list, and how many buckets. */
static size_t count_buckets(const struct communicator *c, const struct sliced *list, size_t count,
                            size_t *buckets) {
    struct cursor cursor = {.list = list, .count = count};
    struct bucket bucket;
    size_t bytes = 0;
    for (*buckets = 0; fill_bucket(c, &cursor, &bucket); ++*buckets) bytes += bucket.bytes;
    return bytes;
}

enum status exchange_reserve(struct exchange *exchange, const struct sliced *list, size_t count,
                             struct error *err) {
    struct communicator *c = exchange->communicator;
    size_t buckets, bytes = count_buckets(c, list, count, &buckets), all = bytes * (size_t)c->size;
    size_t capacity = exchange->capacity;
    const char *what = "an exchange between processes";
    if (exchange->device->collective) return STATUS_OK;
    if (memory_grow(&exchange->bucket_bytes, &exchange->bucket_capacity, buckets,
                    sizeof *exchange->bucket_bytes, what, err) != STATUS_OK ||
        memory_grow(&exchange->sent, &capacity, all, 1, what, err) != STATUS_OK ||
        memory_grow(&exchange->received, &exchange->capacity, all, 1, what, err) != STATUS_OK)
        return STATUS_FAILED;
    return STATUS_OK;
}

static void clear_wholes(const struct exchange *exchange) {
    for (size_t i = 0; exchange->kind == EXCHANGE_MOVE && i < exchange->count; i++)
        clear(exchange->device, exchange->list[i].whole);
}

/* Queues all of it behind the operations. */
static void begin_on_device(struct exchange *exchange) {
    struct communicator *c = exchange->communicator;
    collective_begin(exchange->device);
    if (exchange->kind == EXCHANGE_GATHER)
        gather_all(c, exchange->device, exchange->list, exchange->count);
    else
        reduce_all(c, exchange->device, exchange->list, exchange->count, exchange->kind == EXCHANGE_MOVE);
    clear_wholes(exchange);
    collective_end(exchange->device, exchange_mark(exchange->kind));
    c->exchanging = exchange->device;
}

/* Copies what is sent to host memory, for the thread. */
static enum status begin_on_host(struct exchange *exchange, struct error *err) {
    struct communicator *c = exchange->communicator;
    struct cursor cursor = {.list = exchange->list, .count = exchange->count};
    struct bucket bucket;
    char *to = exchange->sent;
    enum status status = STATUS_OK;
    exchange->buckets = 0;
    while (status == STATUS_OK && fill_bucket(c, &cursor, &bucket)) {
        status = exchange->kind == EXCHANGE_GATHER ? pack_slices(c, exchange->device, &bucket, to, err)
                                                   : pack_wholes(c, exchange->device, &bucket, to, err);
        to += (size_t)c->size * bucket.bytes;
        exchange->bucket_bytes[exchange->buckets++] = bucket.bytes;
    }
    if (status != STATUS_OK) return status;
    clear_wholes(exchange);
    exchange_submit(exchange);
    return STATUS_OK;
}

enum status exchange_begin(struct exchange *exchange, enum exchange_kind kind, const struct sliced *list,
                           size_t count, struct error *err) {
    assert(!exchange->list);
    enum status status = exchange_reserve(exchange, list, count, err);
    if (status != STATUS_OK) return status;
    exchange->kind = kind;
    exchange->list = list;
    exchange->count = count;
    if (!exchange->device->collective)
        status = begin_on_host(exchange, err);
    else if (exchange->device->failed) /* nothing would be queued, and the others would wait for it */
        status = error_set(err, "%s", exchange->device->error.message);
    else
        begin_on_device(exchange);
    if (status != STATUS_OK) exchange->list = NULL;
    return status;
}

/* Takes what the thread has brought. */
static enum status end_on_host(struct exchange *exchange, struct error *err) {
    struct communicator *c = exchange->communicator;
    struct cursor cursor = {.list = exchange->list, .count = exchange->count};
    struct bucket bucket;
    enum status status = exchange_wait(exchange, err);
    char *from = exchange->received, *spare = exchange->sent;
    while (status == STATUS_OK && fill_bucket(c, &cursor, &bucket)) {
        if (exchange->kind == EXCHANGE_GATHER)
            keep_wholes(c, exchange->device, &bucket, from);
        else
            status = keep_bucket(c, exchange->device, &bucket, (float *)(void *)from, (float *)(void *)spare,
                                 exchange->kind == EXCHANGE_MOVE, err);
        from += (size_t)c->size * bucket.bytes;
    }
    return status;
}

enum status exchange_end(struct exchange *exchange, struct error *err) {
    enum status status = STATUS_OK;
    if (!exchange->list) return STATUS_OK;
    if (exchange->device->collective)
        collective_wait(exchange->device, exchange_mark(exchange->kind));
    else
        status = end_on_host(exchange, err);
    exchange->list = NULL;
    return status;
}

/* ---- Collecting -------------------------------------------------------------------------------------- */

/* A part of what is collected, that fits the room. */
static enum status collect_part(struct communicator *c, struct device *device, int64_t rows, int64_t cols,
                                struct tensor slice, struct shard wanted, float *elements,
                                struct error *err) {
    struct shard shard = communicator_shard(c, rows, cols, c->rank), own = shard_common(shard, wanted);
    float *room = c->rank == 0 ? elements + (own.first - wanted.first) : c->sent;
    enum status status = STATUS_OK, sent;
    if (own.count > 0)
        status = device_read(device, room, elements_of(slice, own.first - shard.first, own.count), err);
    if (c->rank > 0 && own.count > 0) { /* process 0 waits for it, whatever it is worth */
        heartbeat_wait(c->heartbeat, "parts for process 0");
        sent = transport_send(&c->transport, 0, room, (size_t)own.count * sizeof *room, err);
        heartbeat_go_on(c->heartbeat, sent);
        if (sent != STATUS_OK) status = sent;
    }
    for (int r = 1; c->rank == 0 && status == STATUS_OK && r < c->size; r++) {
        struct shard part = shard_common(communicator_shard(c, rows, cols, r), wanted);
        if (part.count == 0) continue;
        heartbeat_wait(c->heartbeat, "parts of the others");
        status = transport_receive(&c->transport, r, elements + (part.first - wanted.first),
                                   (size_t)part.count * sizeof *elements, err);
        heartbeat_go_on(c->heartbeat, status);
    }
    return status;
}

enum status communicator_collect(struct communicator *communicator, struct device *device, int64_t rows,
                                 int64_t cols, struct tensor slice, struct shard wanted, float *elements,
                                 struct error *err) {
    assert(communicator_size(communicator) > 1);
    const int64_t most = BUCKET_BYTES / sizeof(float);
    enum status status = make_room(communicator, err);
    for (int64_t done = 0; done < wanted.count; done += most) {
        int64_t left = wanted.count - done;
        const struct shard piece = {wanted.first + done, left < most ? left : most};
        status = communicator_agree(communicator, status, err);
        if (status != STATUS_OK) return status;
        status = collect_part(communicator, device, rows, cols, slice, piece,
                              elements ? elements + done : NULL, err);
    }
    return communicator_agree(communicator, status, err);
}
