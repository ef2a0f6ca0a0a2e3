#include "data/order.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"

struct keyed {
    uint64_t key;
    int64_t number;
};

static int compare_keys(const void *a, const void *b) {
    const struct keyed *left = a, *right = b;
    if (left->key != right->key) return left->key < right->key ? -1 : 1;
    return left->number < right->number ? -1 : left->number > right->number;
}

static int compare_numbers(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return left < right ? -1 : left > right;
}

enum status order_shuffle(uint64_t seed, enum order_use use, uint32_t round, int64_t count, int64_t *order,
                          struct error *err) {
    /* Far from the small numbers that other draws of the same seed use as their stream. */
    static const uint32_t streams[] = {
        [ORDER_EPOCH] = 0x65706f63, [ORDER_VALIDATION] = 0x76616c69, [ORDER_CHOICE] = 0x63686f69};
    struct keyed *keys = memory_new((size_t)count, sizeof *keys, "an order of rows", err);
    if (!keys) return STATUS_FAILED;
    for (int64_t i = 0; i < count; i++) {
        uint32_t words[4];
        random_words(
            (struct random_key){
                .seed = seed, .stream = streams[use], .sample = round, .position = (uint64_t)i},
            words);
        keys[i] = (struct keyed){.key = (uint64_t)words[0] << 32 | words[1], .number = i};
    }
    qsort(keys, (size_t)count, sizeof *keys, compare_keys);
    for (int64_t i = 0; i < count; i++) order[i] = keys[i].number;
    free(keys);
    return STATUS_OK;
}

enum status order_epoch(uint64_t seed, uint32_t epoch, bool shuffle, int64_t count, int64_t *order,
                        struct error *err) {
    if (shuffle) return order_shuffle(seed, ORDER_EPOCH, epoch, count, order, err);
    for (int64_t i = 0; i < count; i++) order[i] = i;
    return STATUS_OK;
}

static enum status count_validation(int64_t count, double val_size, int64_t *validation, struct error *err) {
    if (!(val_size >= 0) || val_size == 1)
        return error_usage(err, "val_size is %g: it must be 0, a part below 1, or a number of rows above 1",
                           val_size);
    double wanted = val_size > 1 ? floor(val_size) : ceil(val_size * (double)count);
    if (wanted > 0 && wanted >= (double)count)
        return error_usage(err, "val_size %g leaves none of the %lld rows to train", val_size,
                           (long long)count);
    *validation = (int64_t)wanted;
    return STATUS_OK;
}

enum status order_split_make(int64_t count, double val_size, uint64_t seed, struct order_split *split,
                             struct error *err) {
    int64_t validation = 0;
    *split = (struct order_split){0};
    enum status status = count_validation(count, val_size, &validation, err);
    if (status != STATUS_OK) return status;
    split->validation = memory_new((size_t)count, sizeof *split->validation, "the split", err);
    if (!split->validation) return STATUS_FAILED;
    split->train = split->validation + validation;
    split->validation_count = validation;
    split->train_count = count - validation;
    if (validation == 0)
        status = order_epoch(seed, 0, false, count, split->train, err);
    else
        status = order_shuffle(seed, ORDER_VALIDATION, 0, count, split->validation, err);
    if (status != STATUS_OK) {
        order_split_free(split);
        return status;
    }
    qsort(split->validation, (size_t)validation, sizeof *split->validation, compare_numbers);
    qsort(split->train, (size_t)split->train_count, sizeof *split->train, compare_numbers);
    return STATUS_OK;
}

void order_split_free(struct order_split *split) {
    free(split->validation);
    *split = (struct order_split){0};
}
