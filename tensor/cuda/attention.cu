/* Attention, forward: a block has some rows of a segment and goes over their keys tile by tile, keeping a
 * running maximum and sum of each row (Dao et al., "FlashAttention", 2022). Segments of few rows and many
 * keys are split over the keys; what the parts found is joined in order. Here in f32, for every dtype; what
 * tensor cores can take is attention_bf16.cu's. */
#include "tensor/cuda/cuda.h"

#include "tensor/cuda/attention.cuh"
extern "C" {
#include "tensor/cuda/cudnn.h"
}

enum { TILE = 32, WARP_ROWS = TILE / ATTENTION_WARPS };

/* A row's end: out = value / sum, or its partial result. */
template <int COLUMNS>
static __device__ __forceinline__ void finish_row(const struct forward_arguments *a,
                                                  const struct attention_item *item, int head, int row,
                                                  float maximum, float sum, const float (&value)[COLUMNS]) {
    int lane = (int)threadIdx.x % WARP;
    if (item->partial >= 0) {
        int64_t place = (item->partial + row) * gridDim.y + head;
        float *to = a->partial + place * (a->head_dim + 2);
        if (lane == 0) to[0] = maximum, to[1] = sum;
        for (int i = 0; i < COLUMNS; i++)
            if (i * WARP + lane < a->head_dim) to[2 + i * WARP + lane] = value[i];
        return;
    }
    int64_t segment_row = item->first + row, query = item->view.query + segment_row / a->group;
    int64_t q_head = (int64_t)head * a->group + segment_row % a->group;
    float factor = sum == 0 ? 0 : 1 / sum; /* no keys: zeros */
    for (int i = 0; i < COLUMNS; i++)
        if (i * WARP + lane < a->head_dim)
            store(a->out, query, q_head * a->head_dim + i * WARP + lane, value[i] * factor);
    if (a->log_sum && lane == 0) a->log_sum[query * a->log_sum_stride + q_head] = LN_2 * maximum + logf(sum);
}

/* A warp has WARP_ROWS rows. For scores a lane is a key of the tile, for values a lane has every 32nd column.
 */
template <int COLUMNS>
static __global__ void __launch_bounds__(ATTENTION_THREADS, ATTENTION_BLOCKS)
    attention_kernel(struct forward_arguments a) {
    const int pitch = pitch_of(COLUMNS);
    const struct attention_item item = a.items[blockIdx.x];
    int head = (int)blockIdx.y, lane = (int)threadIdx.x % WARP, first = (int)threadIdx.x / WARP * WARP_ROWS;
    float *q = shared_floats(), *keys = q + TILE * pitch, *weights = keys + TILE * pitch;
    struct tile_rows which = {item.view, item.first, item.rows, head, a.group};
    load_queries(q, TILE, pitch, a.q, a.wide, which, a.head_dim, a.scale * LOG2_E);
    float maximum[WARP_ROWS], sum[WARP_ROWS], value[WARP_ROWS][COLUMNS];
    int64_t limit[WARP_ROWS];
#pragma unroll
    for (int r = 0; r < WARP_ROWS; r++) {
        int64_t visible = visible_to(&item.view, item.first + first + r, a.group);
        limit[r] = first + r < item.rows ? min(item.end, visible) : 0;
        maximum[r] = -INFINITY;
        sum[r] = 0;
        for (int i = 0; i < COLUMNS; i++) value[r][i] = 0;
    }
    for (which.first = item.begin; which.first < item.end; which.first += TILE) {
        which.count = item.end - which.first;
        __syncthreads();
        load_keys(keys, TILE, pitch, a.k, a.wide, which, a.head_dim);
        __syncthreads();
#pragma unroll
        for (int r = 0; r < WARP_ROWS; r++) {
            float score = dot(q + (first + r) * pitch, keys + lane * pitch, a.head_dim);
            if (which.first + lane >= limit[r]) score = -INFINITY;
            float next = fmaxf(maximum[r], warp_join(score, largest_of()));
            float shift = next == -INFINITY ? 0 : next, decay = exp2f(maximum[r] - shift);
            float weight = exp2f(score - shift);
            weights[(first + r) * TILE + lane] = weight;
            sum[r] = sum[r] * decay + weight;
            maximum[r] = next;
            for (int i = 0; i < COLUMNS; i++) value[r][i] *= decay;
        }
        __syncthreads();
        load_keys(keys, TILE, pitch, a.v, a.wide, which, a.head_dim);
        __syncthreads();
        for (int key = 0; key < TILE; key++) {
            float v[COLUMNS];
            for (int i = 0; i < COLUMNS; i++) v[i] = keys[key * pitch + i * WARP + lane];
#pragma unroll
            for (int r = 0; r < WARP_ROWS; r++) {
                float weight = weights[(first + r) * TILE + key];
                for (int i = 0; i < COLUMNS; i++) value[r][i] += weight * v[i];
            }
        }
    }
#pragma unroll
    for (int r = 0; r < WARP_ROWS; r++) {
        float total = warp_join(sum[r], sum_of());
        if (first + r < item.rows) finish_row(&a, &item, head, first + r, maximum[r], total, value[r]);
    }
}

/* A warp joins the parts of one row; blockIdx.z is the row. */
template <int COLUMNS> static __global__ void join_kernel(struct forward_arguments a) {
    const struct attention_join join = a.joins[blockIdx.x];
    int head = (int)blockIdx.y, row = (int)blockIdx.z, lane = (int)threadIdx.x;
    if (row >= join.rows) return;
    float maximum = -INFINITY, sum = 0, value[COLUMNS] = {0};
    for (int64_t chunk = -join.prefix.chunks; chunk < join.own.chunks; chunk++) {
        int64_t place = chunk < 0 ? join.prefix.first + (chunk + join.prefix.chunks) * join.prefix.step
                                  : join.own.first + chunk * join.own.step;
        place = (place + row) * gridDim.y + head;
        const float *from = a.partial + place * (a.head_dim + 2);
        float next = fmaxf(maximum, from[0]), shift = next == -INFINITY ? 0 : next;
        float decay = exp2f(maximum - shift), factor = exp2f(from[0] - shift);
        sum = sum * decay + from[1] * factor;
        for (int i = 0; i < COLUMNS; i++) {
            int col = i * WARP + lane;
            value[i] = value[i] * decay + (col < a.head_dim ? from[2 + col] * factor : 0);
        }
        maximum = next;
    }
    struct attention_item whole = {};
    whole.view = join.view;
    whole.partial = -1;
    finish_row(&a, &whole, head, row, maximum, sum, value);
}

/* ---- The operation ----------------------------------------------------------------------------------- */

template <int COLUMNS>
static void launch(struct device *device, const struct forward_arguments *a, const struct attention_tables *t,
                   int kv_heads) {
    size_t shared = (size_t)(2 * TILE * pitch_of(COLUMNS) + TILE * TILE) * sizeof(float);
    cuda_launch(device, attention_kernel<COLUMNS>, dim3((unsigned)t->item_count, (unsigned)kv_heads),
                ATTENTION_THREADS, shared, *a);
}

static void launch_items(struct device *device, const struct forward_arguments *a,
                         const struct attention_tables *t, int kv_heads) {
    if (a->head_dim <= 64)
        launch<2>(device, a, t, kv_heads);
    else if (a->head_dim <= 96)
        launch<3>(device, a, t, kv_heads);
    else if (a->head_dim <= 128)
        launch<4>(device, a, t, kv_heads);
    else
        launch<8>(device, a, t, kv_heads);
}

static void launch_joins(struct device *device, const struct forward_arguments *a,
                         const struct attention_tables *t, int kv_heads) {
    int64_t rows = 0;
    for (size_t i = 0; i < t->join_count; i++) rows = t->joins[i].rows > rows ? t->joins[i].rows : rows;
    dim3 grid((unsigned)t->join_count, (unsigned)kv_heads, (unsigned)rows);
    cuda_launch(device, a->head_dim <= 128 ? join_kernel<4> : join_kernel<8>, grid, WARP, 0, *a);
}

/* The tables and the partial results, in the workspace. False: the device has failed. The tables go there in
 * one copy: each takes a GPU longer to begin than to make, in every layer of a decoding step. */
static bool prepare(struct device *device, struct forward_arguments *a, struct attention_tables *t,
                    int kv_heads) {
    size_t items = t->item_count * sizeof *t->items, joins = t->join_count * sizeof *t->joins;
    size_t partial = (size_t)t->partial_rows * (size_t)kv_heads * (size_t)(a->head_dim + 2) * sizeof(float);
    char *memory = (char *)cuda_workspace(device, items + joins + partial);
    struct error err;
    if (!memory) return false;
    if (attention_tables_pack(t, &err) != STATUS_OK) device_fail(device, "%s", err.message);
    a->items = (const struct attention_item *)memory;
    a->joins = (const struct attention_join *)(memory + items);
    a->partial = (float *)(memory + items + joins);
    if (!device->failed) cuda_write(device, memory, t->packed, items + joins);
    return !device->failed;
}

void cuda_attention_forward(struct device *device, struct tensor out, struct tensor log_sum, struct tensor q,
                            struct tensor k, struct tensor v, struct attention_segments segments, int heads,
                            int kv_heads, float scale) {
    if (cuda_cudnn_attention_forward(device, out, log_sum, q, k, v, segments, heads, kv_heads, scale)) return;
    struct attention_tables *t = cuda_state(device)->tables;
    struct forward_arguments a = {};
    a.out = out, a.q = q, a.k = k, a.v = v, a.scale = scale;
    a.log_sum = (float *)log_sum.data, a.log_sum_stride = log_sum.stride;
    a.head_dim = (int)(q.cols / heads), a.group = heads / kv_heads;
    const struct tensor all[] = {out, q, k, v};
    bool cores = are_for_tensor_cores(all, 4, a.head_dim);
    a.wide =
        cores ? are_wide_by_8(all, 4, a.head_dim) : is_wide_by_4(q) && is_wide_by_4(k) && is_wide_by_4(v);
    struct error err;
    int rows = cores ? (int)ATTENTION_BF16_ROWS : (int)TILE;
    if (attention_plan_queries(t, segments, a.group, rows, true, &err) != STATUS_OK) {
        device_fail(device, "%s", err.message);
        return;
    }
    if (!t->item_count || !prepare(device, &a, t, kv_heads)) return;
    if (cores)
        attention_bf16_forward(device, &a, t, kv_heads);
    else
        launch_items(device, &a, t, kv_heads);
    if (t->join_count) launch_joins(device, &a, t, kv_heads);
}
