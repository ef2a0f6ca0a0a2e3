/* Attention, backward, without atomic additions: the gradient of a query is made by the block that has its
 * row, over all keys; those of a key and a value by the block that has their tile, over all rows of all
 * segments that see it, in order. Both compute the weights again from the log of their sum. Here in f32, for
 * every dtype; what tensor cores can take is attention_bf16_backward.cu's. */
#include "tensor/cuda/cuda.h"

#include "tensor/cuda/attention.cuh"

/* A warp a token and head. */
static __global__ void delta_kernel(float *delta, struct tensor d_out, struct tensor out, int heads,
                                    int head_dim) {
    int64_t pair = (int64_t)blockIdx.x * ATTENTION_WARPS + threadIdx.x / WARP;
    if (pair >= out.rows * heads) return; /* the whole warp */
    int64_t row = pair / heads, first = pair % heads * head_dim;
    int lane = (int)threadIdx.x % WARP;
    float sum = 0;
    for (int d = lane; d < head_dim; d += WARP)
        sum += load(d_out, row, first + d) * load(out, row, first + d);
    sum = warp_join(sum, sum_of());
    if (lane == 0) delta[pair] = sum;
}

/* What the blocks have in shared memory: tiles of SIZE rows and SIZE keys. */
template <int COLUMNS, int SIZE> struct backward_tiles {
    static const int PITCH = pitch_of(COLUMNS);
    float q[SIZE * PITCH], d_out[SIZE * PITCH]; /* q times scale * log2 e */
    float k[SIZE * PITCH], v[SIZE * PITCH];
    float weight[SIZE * SIZE], d_score[SIZE * SIZE]; /* of row r and key j at r * SIZE + j */
};

/* Rows [first, first + SIZE) of a segment into the tiles. */
template <int COLUMNS, int SIZE>
static __device__ __forceinline__ void load_rows(struct backward_tiles<COLUMNS, SIZE> *tiles,
                                                 const struct backward_arguments *a, struct tile_rows which) {
    load_queries(tiles->q, SIZE, tiles->PITCH, a->q, a->wide, which, a->head_dim, a->scale * LOG2_E);
    load_queries(tiles->d_out, SIZE, tiles->PITCH, a->d_out, a->wide, which, a->head_dim, 1);
}

/* Weights and the gradients of the scores (by exp2) of all pairs of a row and a key in the tiles. Rows: from
 * `rows.first` on; keys: the segment's, from `key` on, those of [low, high) of the tile. */
template <int COLUMNS, int SIZE>
static __device__ __forceinline__ void weigh(struct backward_tiles<COLUMNS, SIZE> *tiles,
                                             const struct backward_arguments *a, const struct tile_rows *rows,
                                             int64_t key, int low, int high) {
    for (int e = (int)threadIdx.x; e < SIZE * SIZE; e += ATTENTION_THREADS) {
        int r = e / SIZE, j = e % SIZE;
        int64_t row = rows->first + r;
        float weight = 0, d_score = 0;
        if (r < rows->count && j >= low && j < high && key + j < visible_to(&rows->view, row, a->group)) {
            int64_t query = rows->view.query + row / a->group;
            int64_t head = (int64_t)rows->head * a->group + row % a->group;
            float log_sum = a->log_sum[query * a->log_sum_stride + head] * LOG2_E;
            const float *k = tiles->k + j * tiles->PITCH, *v = tiles->v + j * tiles->PITCH;
            weight = exp2f(dot(tiles->q + r * tiles->PITCH, k, a->head_dim) - log_sum);
            d_score = weight * (dot(tiles->d_out + r * tiles->PITCH, v, a->head_dim) -
                                a->delta[query * a->heads + head]);
        }
        tiles->weight[e] = weight;
        tiles->d_score[e] = d_score;
    }
}

/* ---- Queries ----------------------------------------------------------------------------------------- */

template <int COLUMNS, int SIZE>
static __global__ void __launch_bounds__(ATTENTION_THREADS, ATTENTION_BLOCKS)
    d_query_kernel(struct backward_arguments a) {
    enum { WARP_ROWS = SIZE / ATTENTION_WARPS };
    auto *tiles = (struct backward_tiles<COLUMNS, SIZE> *)shared_floats();
    const struct attention_item item = a.items[blockIdx.x];
    int head = (int)blockIdx.y, lane = (int)threadIdx.x % WARP, first = (int)threadIdx.x / WARP * WARP_ROWS;
    struct tile_rows rows = {item.view, item.first, item.rows, head, a.group}, keys = rows;
    load_rows(tiles, &a, rows);
    float sum[WARP_ROWS][COLUMNS] = {};
    for (keys.first = item.begin; keys.first < item.end; keys.first += SIZE) {
        keys.count = item.end - keys.first;
        __syncthreads();
        load_keys(tiles->k, SIZE, tiles->PITCH, a.k, a.wide, keys, a.head_dim);
        load_keys(tiles->v, SIZE, tiles->PITCH, a.v, a.wide, keys, a.head_dim);
        __syncthreads();
        weigh(tiles, &a, &rows, keys.first, 0, SIZE);
        __syncthreads();
        for (int j = 0; j < SIZE; j++) {
            float k[COLUMNS];
            for (int i = 0; i < COLUMNS; i++) k[i] = tiles->k[j * tiles->PITCH + i * WARP + lane];
#pragma unroll
            for (int r = 0; r < WARP_ROWS; r++) {
                float d = tiles->d_score[(first + r) * SIZE + j];
                for (int i = 0; i < COLUMNS; i++) sum[r][i] += d * k[i];
            }
        }
    }
#pragma unroll
    for (int r = 0; r < WARP_ROWS; r++) {
        int64_t row = item.first + first + r, col = ((int64_t)head * a.group + row % a.group) * a.head_dim;
        if (first + r >= item.rows) break;
        for (int i = 0; i < COLUMNS; i++)
            if (i * WARP + lane < a.head_dim)
                store(a.d_q, item.view.query + row / a.group, col + i * WARP + lane, sum[r][i] * a.scale);
    }
}

/* ---- Keys and values --------------------------------------------------------------------------------- */

template <int COLUMNS, int SIZE>
static __global__ void __launch_bounds__(ATTENTION_THREADS, ATTENTION_BLOCKS)
    d_key_kernel(struct backward_arguments a) {
    enum { WARP_KEYS = SIZE / ATTENTION_WARPS };
    auto *tiles = (struct backward_tiles<COLUMNS, SIZE> *)shared_floats();
    const struct attention_tile tile = a.tiles[blockIdx.x];
    int head = (int)blockIdx.y, lane = (int)threadIdx.x % WARP, first = (int)threadIdx.x / WARP * WARP_KEYS;
    int64_t begin = (int64_t)blockIdx.x * SIZE;
    struct tile_rows keys = {}; /* rows of k and v as they lie */
    keys.view.key = begin, keys.count = a.k.rows - begin, keys.head = head;
    load_keys(tiles->k, SIZE, tiles->PITCH, a.k, a.wide, keys, a.head_dim);
    load_keys(tiles->v, SIZE, tiles->PITCH, a.v, a.wide, keys, a.head_dim);
    float d_k[WARP_KEYS][COLUMNS] = {}, d_v[WARP_KEYS][COLUMNS] = {};
    for (int64_t p = tile.part; p < tile.part + tile.parts; p++) {
        const struct attention_part part = a.parts[p];
        int low = (int)(part.key - begin), high = low + (int)part.keys;
        struct tile_rows rows = {part.view, 0, 0, head, a.group};
        int64_t unseen =
            part.offset + 1 - part.view.visible; /* queries before the first that sees the part */
        if (part.view.causal && unseen > 0) rows.first = unseen * a.group;
        for (; rows.first < part.view.rows; rows.first += SIZE) {
            rows.count = part.view.rows - rows.first;
            __syncthreads();
            load_rows(tiles, &a, rows);
            __syncthreads();
            weigh(tiles, &a, &rows, part.offset - low, low, high);
            __syncthreads();
            for (int r = 0; r < SIZE; r++) {
                float q[COLUMNS], d[COLUMNS];
                for (int i = 0; i < COLUMNS; i++) q[i] = tiles->q[r * tiles->PITCH + i * WARP + lane];
                for (int i = 0; i < COLUMNS; i++) d[i] = tiles->d_out[r * tiles->PITCH + i * WARP + lane];
#pragma unroll
                for (int j = 0; j < WARP_KEYS; j++) {
                    float weight = tiles->weight[r * SIZE + first + j];
                    float d_score = tiles->d_score[r * SIZE + first + j];
                    for (int i = 0; i < COLUMNS; i++) d_v[j][i] += weight * d[i];
                    for (int i = 0; i < COLUMNS; i++) d_k[j][i] += d_score * q[i];
                }
            }
        }
    }
#pragma unroll
    for (int j = 0; j < WARP_KEYS; j++) {
        int64_t row = begin + first + j, col = (int64_t)head * a.head_dim;
        if (row >= a.k.rows) break;
        for (int i = 0; i < COLUMNS; i++) {
            if (i * WARP + lane >= a.head_dim) continue;
            store(a.d_k, row, col + i * WARP + lane, d_k[j][i] * LN_2); /* q had log2 e in it */
            store(a.d_v, row, col + i * WARP + lane, d_v[j][i]);
        }
    }
}

/* ---- The operation ----------------------------------------------------------------------------------- */

template <int COLUMNS, int SIZE>
static void launch(struct device *device, struct backward_arguments a, const struct attention_tables *t,
                   int kv_heads) {
    size_t shared = sizeof(struct backward_tiles<COLUMNS, SIZE>);
    if (t->item_count)
        cuda_launch(device, d_query_kernel<COLUMNS, SIZE>, dim3((unsigned)t->item_count, (unsigned)kv_heads),
                    ATTENTION_THREADS, shared, a);
    if (t->tile_count)
        cuda_launch(device, d_key_kernel<COLUMNS, SIZE>, dim3((unsigned)t->tile_count, (unsigned)kv_heads),
                    ATTENTION_THREADS, shared, a);
}

/* The tables and delta, in the workspace. False: the device has failed. */
static bool prepare(struct device *device, struct backward_arguments *a, const struct attention_tables *t) {
    size_t items = t->item_count * sizeof *t->items, tiles = t->tile_count * sizeof *t->tiles;
    size_t parts = t->part_count * sizeof *t->parts;
    size_t delta = (size_t)a->q.rows * (size_t)a->heads * sizeof(float);
    char *memory = (char *)cuda_workspace(device, items + tiles + parts + delta);
    if (!memory) return false;
    a->items = (const struct attention_item *)memory;
    a->tiles = (const struct attention_tile *)(memory + items);
    a->parts = (const struct attention_part *)(memory + items + tiles);
    a->delta = (float *)(memory + items + tiles + parts);
    if (items) cuda_write(device, memory, t->items, items);
    if (tiles) cuda_write(device, memory + items, t->tiles, tiles);
    if (parts) cuda_write(device, memory + items + tiles, t->parts, parts);
    return !device->failed;
}

static void launch_all(struct device *device, const struct backward_arguments *a,
                       const struct attention_tables *t, int kv_heads) {
    if (a->head_dim <= 64)
        launch<2, 32>(device, *a, t, kv_heads);
    else if (a->head_dim <= 96)
        launch<3, 32>(device, *a, t, kv_heads);
    else if (a->head_dim <= 128)
        launch<4, 32>(device, *a, t, kv_heads);
    else
        launch<8, 16>(device, *a, t, kv_heads);
}

static void find_delta(struct device *device, const struct backward_arguments *a, struct tensor out) {
    cuda_launch(device, delta_kernel, dim3((unsigned)parts(a->q.rows * a->heads, ATTENTION_WARPS)),
                ATTENTION_THREADS, 0, a->delta, a->d_out, out, a->heads, a->head_dim);
}

void cuda_attention_backward(struct device *device, struct tensor d_q, struct tensor d_k, struct tensor d_v,
                             struct tensor d_out, struct tensor out, struct tensor log_sum, struct tensor q,
                             struct tensor k, struct tensor v, struct attention_segments segments, int heads,
                             int kv_heads, float scale) {
    struct attention_tables *t = cuda_state(device)->tables;
    struct backward_arguments a = {};
    a.d_q = d_q, a.d_k = d_k, a.d_v = d_v, a.d_out = d_out, a.q = q, a.k = k, a.v = v, a.scale = scale;
    a.log_sum = (const float *)log_sum.data, a.log_sum_stride = log_sum.stride;
    a.head_dim = (int)(q.cols / heads), a.group = heads / kv_heads, a.heads = heads;
    const struct tensor all[] = {q, k, v, d_out, d_q, d_k, d_v};
    bool cores = are_for_tensor_cores(all, 7, a.head_dim);
    a.wide = cores ? are_wide_by_8(all, 4, a.head_dim)
                   : is_wide_by_4(q) && is_wide_by_4(k) && is_wide_by_4(v) && is_wide_by_4(d_out);
    int size = cores ? (int)ATTENTION_BF16_ROWS : a.head_dim <= 128 ? 32 : 16;
    struct error err;
    enum status status = attention_plan_queries(t, segments, a.group, size, false, &err);
    if (status == STATUS_OK) status = attention_plan_keys(t, segments, a.group, size, k.rows, &err);
    if (status != STATUS_OK) {
        device_fail(device, "%s", err.message);
        return;
    }
    if (!prepare(device, &a, t)) return;
    cuda_clear(device, a.d_q); /* rows of no segment */
    find_delta(device, &a, out);
    if (cores)
        attention_bf16_backward(device, &a, t, kv_heads);
    else
        launch_all(device, &a, t, kv_heads);
}
