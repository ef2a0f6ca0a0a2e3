/* Attention, forward, on tensor cores: as attention.cu, with scores and weighted sums made by mma. The
 * weights are rounded to bf16 for the second product, their sum is not.
 *
 * A block of 4 warps has 64 rows and goes over tiles of 64 keys; values are copied while scores are made, and
 * the next keys while values are summed. A tile of keys and values is read once for 64 rows: 64 operations a
 * byte, of the second-level cache where the blocks of one key head meet. The rows come in through the memory
 * of the values and stay in registers, so that shared memory (34 KB for a head of 128) leaves room for 2
 * blocks a multiprocessor with the 100 KB of sm_86, sm_89 and sm_120; registers do for 2 blocks with a head
 * of 128, and for 3 with a smaller one. Warps without a row (decoding has few) copy, no more. */
#include "tensor/cuda/cuda.h"

#include "tensor/cuda/attention_bf16.cuh"

enum { TILE = ATTENTION_BF16_ROWS, STEPS = TILE / 16 };
static_assert((int)TILE == (int)BLOCK_TILE,
              "a tile of keys is as large as that of the rows, which come in through it");

/* What a lane knows of its two rows, g and g + 8 of its warp's. */
struct running {
    float maximum[2], sum[2]; /* maximum: of the scores by exp2; sum: of this lane's columns */
    int64_t limit[2];         /* keys that the row sees */
};

static __device__ __forceinline__ float quad_join(float value, bool largest) {
#pragma unroll
    for (int bits = 2; bits > 0; bits /= 2) {
        float other = __shfl_xor_sync(ALL_LANES, value, bits);
        value = largest ? fmaxf(value, other) : value + other;
    }
    return value;
}

/* Scores of a tile of keys, `first` the first, become weights; what `running` and `out` hold is scaled down
 * to the new maximum. */
template <int HEAD>
static __device__ __forceinline__ void weigh(float (&score)[STEPS][2][4], struct running *running,
                                             float (&out)[HEAD / 8][4], int64_t first, float factor) {
    int column = (int)threadIdx.x % 4 * 2;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int visible = within(running->limit[half] - first, TILE);
        float largest = -INFINITY;
#pragma unroll
        for (int i = 0; i < STEPS * 4; i++) {
            float *x = &score[i / 4][i / 2 % 2][2 * half + i % 2];
            *x = i / 2 * 8 + column + i % 2 < visible ? *x * factor : -INFINITY;
            largest = fmaxf(largest, *x);
        }
        float next = fmaxf(running->maximum[half], quad_join(largest, true));
        float shift = next == -INFINITY ? 0 : next, decay = exp2f(running->maximum[half] - shift), sum = 0;
#pragma unroll
        for (int i = 0; i < STEPS * 4; i++) {
            float *x = &score[i / 4][i / 2 % 2][2 * half + i % 2];
            *x = exp2f(*x - shift);
            sum += *x;
        }
        running->maximum[half] = next;
        running->sum[half] = running->sum[half] * decay + sum;
#pragma unroll
        for (int i = 0; i < HEAD / 8; i++) out[i][2 * half] *= decay, out[i][2 * half + 1] *= decay;
    }
}

/* The end of row `row` of the item: out = value / sum, or its partial result. */
template <int HEAD>
static __device__ __forceinline__ void
finish(const struct forward_arguments *a, const struct attention_item *item, int row, int half,
       const struct running *running, const float (&out)[HEAD / 8][4]) {
    int head = (int)blockIdx.y, t = (int)threadIdx.x % 4;
    float maximum = running->maximum[half], sum = quad_join(running->sum[half], false);
    if (row >= item->rows) return;
    if (item->partial >= 0) {
        float *to = a->partial + ((item->partial + row) * gridDim.y + head) * (a->head_dim + 2);
        if (t == 0) to[0] = maximum, to[1] = sum;
#pragma unroll
        for (int i = 0; i < HEAD / 8; i++)
            if (i * 8 + 2 * t < a->head_dim)
                *(float2 *)(to + 2 + i * 8 + 2 * t) = make_float2(out[i][2 * half], out[i][2 * half + 1]);
        return;
    }
    int64_t segment_row = item->first + row, query = item->view.query + segment_row / a->group;
    int64_t q_head = (int64_t)head * a->group + segment_row % a->group;
    float factor = sum == 0 ? 0 : 1 / sum; /* no keys: zeros */
    store_row<HEAD>(address(a->out, query, q_head * a->head_dim), out, half, factor, a->head_dim);
    if (a->log_sum && t == 0) a->log_sum[query * a->log_sum_stride + q_head] = LN_2 * maximum + logf(sum);
}

template <int HEAD>
static __global__ void __launch_bounds__(ATTENTION_THREADS, HEAD > 80 ? 2 : 3)
    bf16_kernel(struct forward_arguments a) {
    const int pitch = bf16_pitch(HEAD);
    const struct attention_item item = a.items[blockIdx.x];
    int lane = (int)threadIdx.x % WARP, first = (int)threadIdx.x / WARP * WARP_TILE;
    __nv_bfloat16 *keys = (__nv_bfloat16 *)shared_floats(), *values = keys + TILE * pitch;
    struct tile_rows tile = {item.view, item.first, item.rows, (int)blockIdx.y, a.group};
    unsigned q[HEAD / 16][4];
    struct running running = {{-INFINITY, -INFINITY}, {0, 0}, {0, 0}};
    float out[HEAD / 8][4] = {}, score[STEPS][2][4];
    copy_queries<HEAD>(values, TILE, a.q, a.wide, tile, a.head_dim);
    tile.first = item.begin, tile.count = item.end - item.begin;
    copy_keys<HEAD>(keys, TILE, a.k, a.wide, tile, a.head_dim);
    copies_arrive();
    load_left<HEAD>(q, values + first * pitch);
    for (int half = 0; half < 2; half++) {
        int row = first + lane / 4 + half * 8;
        if (row < item.rows)
            running.limit[half] = min(item.end, visible_to(&item.view, item.first + row, a.group));
    }
    __syncthreads();
    bool works = first < item.rows; /* the whole warp */
    for (int64_t key = item.begin; key < item.end; key += TILE) {
        copy_keys<HEAD>(values, TILE, a.v, a.wide, tile, a.head_dim);
        if (works) {
#pragma unroll
            for (int i = 0; i < STEPS; i++) multiply_rows<HEAD>(score[i], q, keys + i * 16 * pitch);
        }
        copies_arrive();
        tile.first += TILE, tile.count -= TILE;
        copy_keys<HEAD>(keys, TILE, a.k, a.wide, tile, a.head_dim);
        if (works) {
            weigh<HEAD>(score, &running, out, key, a.scale * LOG2_E);
#pragma unroll
            for (int i = 0; i < STEPS; i++) {
                unsigned weights[4];
                round_left(weights, score[i]);
                multiply_columns<HEAD>(out, weights, values + i * 16 * pitch);
            }
        }
        copies_arrive();
    }
    for (int half = 0; half < 2; half++)
        finish<HEAD>(&a, &item, first + lane / 4 + half * 8, half, &running, out);
}

/* ---- The operation ----------------------------------------------------------------------------------- */

template <int HEAD> struct launch_forward {
    static void run(struct device *device, const struct forward_arguments *a,
                    const struct attention_tables *t, int kv_heads) {
        cuda_launch(device, bf16_kernel<HEAD>, dim3((unsigned)t->item_count, (unsigned)kv_heads),
                    ATTENTION_THREADS, 2 * TILE * bf16_pitch(HEAD) * sizeof(__nv_bfloat16), *a);
    }
};

void attention_bf16_forward(struct device *device, const struct forward_arguments *a,
                            const struct attention_tables *t, int kv_heads) {
    launch_for_head<launch_forward>(a->head_dim, device, a, t, kv_heads);
}
