/* In which order a data set is gone through, and which rows validate. All of it is a function of the seed
 * alone: the same on every machine, however many processes or threads there are. */
#ifndef VS2_DATA_ORDER_H
#define VS2_DATA_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* What is ordered: orders of one seed for different uses have nothing in common. */
enum order_use { ORDER_EPOCH, ORDER_VALIDATION, ORDER_CHOICE };

/* Writes the numbers 0 to count - 1 in random order: sorted by a random key each, of (seed, use, round,
 * number). `round` is the epoch. */
enum status order_shuffle(uint64_t seed, enum order_use use, uint32_t round, int64_t count, int64_t *order,
                          struct error *err);

/* The order of one epoch; as they stand without `shuffle` (disable_shuffling). */
enum status order_epoch(uint64_t seed, uint32_t epoch, bool shuffle, int64_t count, int64_t *order,
                        struct error *err);

/* The rows that train and those that validate. */
struct order_split {
    int64_t *train, *validation; /* row numbers in the order of the data set; the split's own */
    int64_t train_count, validation_count;
};

/* Splits `count` rows by val_size: 0 none, above 1 that many rows (cut to a whole number), below 1 that part,
 * rounded up. What leaves no row to train is a usage error. order_split_free frees it. */
enum status order_split_make(int64_t count, double val_size, uint64_t seed, struct order_split *split,
                             struct error *err);
void order_split_free(struct order_split *split);

#endif
