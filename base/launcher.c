#include "base/launcher.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>

static const struct {
    const char *rank, *size;
} launchers[] = {
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
    {"PMI_RANK", "PMI_SIZE"},
    {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"},
    {"RANK", "WORLD_SIZE"},
};

static const char *const local_ranks[] = {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID",
                                          "LOCAL_RANK"};

static bool read_number(const char *text, int64_t *number) {
    char *end;
    errno = 0;
    *number = strtoimax(text, &end, 10);
    return *text && !*end && errno == 0;
}

static enum status find_local_rank(struct launcher_place *place, struct error *err) {
    place->local_rank = place->rank;
    for (size_t i = 0; i < sizeof local_ranks / sizeof *local_ranks; i++) {
        const char *text = getenv(local_ranks[i]);
        if (!text) continue;
        if (read_number(text, &place->local_rank) && place->local_rank >= 0) return STATUS_OK;
        return error_usage(err, "environment: %s=%s names no process", local_ranks[i], text);
    }
    return STATUS_OK;
}

enum status launcher_find(struct launcher_place *place, struct error *err) {
    *place = (struct launcher_place){.size = 1};
    for (size_t i = 0; i < sizeof launchers / sizeof *launchers; i++) {
        const char *rank = getenv(launchers[i].rank), *size = getenv(launchers[i].size);
        if (!rank || !size) continue;
        if (read_number(rank, &place->rank) && read_number(size, &place->size) && place->rank >= 0 &&
            place->rank < place->size)
            return find_local_rank(place, err);
        return error_usage(err, "environment: %s=%s and %s=%s name no process", launchers[i].rank, rank,
                           launchers[i].size, size);
    }
    return STATUS_OK;
}
