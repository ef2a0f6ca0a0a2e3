#include "data/sizes.h"

#include <inttypes.h>
#include <math.h>

enum { MAX_ASPECT = 200, CUT_ASPECT = 180, MIN_SIDE = 28 };

enum status size_check(struct size size, struct error *err) {
    if (size.width < 1 || size.height < 1 || size.width > SIZE_MAX_SIDE || size.height > SIZE_MAX_SIDE ||
        size.width * size.height > SIZE_MAX_AREA)
        return error_set(err, "a picture of %" PRId64 " x %" PRId64 " pixels is not supported", size.width,
                         size.height);
    return STATUS_OK;
}

/* Rounds half to even, as Python does. */
static int64_t nearest_multiple(int64_t side, int64_t factor) {
    return (int64_t)rint((double)side / (double)factor) * factor;
}

static int64_t lower_multiple(double side, int64_t factor) {
    return (int64_t)floor(side / (double)factor) * factor;
}

static int64_t upper_multiple(double side, int64_t factor) {
    return (int64_t)ceil(side / (double)factor) * factor;
}

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}
static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Both variants: `least` is what a side must be before the area is looked at, `floor_least` after shrinking.
 */
static enum status fit(struct size from, int64_t factor, double min_pixels, double max_pixels, int64_t least,
                       int64_t floor_least, struct size *to, struct error *err) {
    if (size_check(from, err)) return STATUS_FAILED;
    double width = (double)from.width;
    double height = (double)from.height;
    if (fmax(width, height) / fmin(width, height) > MAX_ASPECT)
        return error_set(err, "%" PRId64 " x %" PRId64 " pixels: one side is over %d times the other",
                         from.width, from.height, MAX_ASPECT);

    struct size fitted = {.width = larger(least, nearest_multiple(from.width, factor)),
                          .height = larger(least, nearest_multiple(from.height, factor))};
    double area = (double)(fitted.width * fitted.height);
    if (area > max_pixels) {
        double beta = sqrt(height * width / max_pixels);
        fitted.height = larger(floor_least, lower_multiple(height / beta, factor));
        fitted.width = larger(floor_least, lower_multiple(width / beta, factor));
    } else if (area < min_pixels) {
        double beta = sqrt(min_pixels / (height * width));
        fitted.height = upper_multiple(height * beta, factor);
        fitted.width = upper_multiple(width * beta, factor);
    }
    if (size_check(fitted, err)) return STATUS_FAILED;
    *to = fitted;
    return STATUS_OK;
}

enum status size_smart(struct size from, int64_t factor, double min_pixels, double max_pixels,
                       struct size *to, struct error *err) {
    return fit(from, factor, min_pixels, max_pixels, 0, factor, to, err);
}

enum status size_smart_qwen(struct size from, int64_t factor, double min_pixels, double max_pixels,
                            struct size *to, struct error *err) {
    return fit(from, factor, min_pixels, max_pixels, factor, 0, to, err);
}

static struct size scaled(struct size from, double pixels) {
    double factor = sqrt(pixels / (double)(from.width * from.height));
    return (struct size){.width = (int64_t)((double)from.width * factor),
                         .height = (int64_t)((double)from.height * factor)};
}

enum status size_llamafactory(struct size from, double min_pixels, double max_pixels,
                              struct size steps[SIZE_MAX_STEPS], int *count, int *own, struct error *err) {
    if (size_check(from, err)) return STATUS_FAILED;
    int made = 0;
    struct size now = from;
    if ((double)(now.width * now.height) > max_pixels) steps[made++] = now = scaled(now, max_pixels);
    if (size_check(now, err)) return STATUS_FAILED;
    if ((double)(now.width * now.height) < min_pixels) steps[made++] = now = scaled(now, min_pixels);
    if (size_check(now, err)) return STATUS_FAILED;
    *own = made;
    if (smaller(now.width, now.height) < MIN_SIDE)
        steps[made++] = now = (struct size){larger(now.width, MIN_SIDE), larger(now.height, MIN_SIDE)};
    if (now.width > MAX_ASPECT * now.height)
        steps[made++] = now = (struct size){now.height * CUT_ASPECT, now.height};
    if (now.height > MAX_ASPECT * now.width) steps[made++] = (struct size){now.width, now.width * CUT_ASPECT};
    for (int i = 0; i < made; i++)
        if (size_check(steps[i], err)) return STATUS_FAILED;
    *count = made;
    return STATUS_OK;
}
