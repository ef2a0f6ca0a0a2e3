#include "base/nearest.h"

#include <stdint.h>
#include <string.h>

enum { LONGEST_NAME = 64 };

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

size_t nearest_distance(const char *a, const char *b) {
    size_t rows = strlen(a), cols = strlen(b);
    if (rows > LONGEST_NAME || cols > LONGEST_NAME) return SIZE_MAX;
    size_t table[3][LONGEST_NAME + 1]; /* the last three rows of the table of distances between prefixes */
    for (size_t j = 0; j <= cols; j++) table[0][j] = j;
    for (size_t i = 1; i <= rows; i++) {
        size_t *row = table[i % 3], *above = table[(i + 2) % 3], *above2 = table[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= cols; j++) {
            size_t replace = above[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = smaller(replace, smaller(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = smaller(row[j], above2[j - 2] + 1);
        }
    }
    return table[rows % 3][cols];
}

struct nearest nearest_start(const char *wanted) {
    size_t length = strlen(wanted);
    size_t enough = length < 4 ? 1 : length < 6 ? 2 : length / 3;
    return (struct nearest){.wanted = wanted, .distance = enough + 1};
}

void nearest_offer(struct nearest *search, const char *name) {
    size_t distance = nearest_distance(search->wanted, name);
    if (distance >= search->distance) return;
    search->best = name;
    search->distance = distance;
}
