#include "base/launcher.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The innermost launcher comes first: srun and mpirun start torchrun, which starts processes. */
static const struct {
    const char *needs; /* must be set, too; NULL: nothing */
    const char *rank, *size;
    const char *local; /* NULL: the first of local_ranks that is set */
    bool mpi, slurm;
} launchers[] = {
    {"TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE", "LOCAL_RANK", false, false},
    {NULL, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", NULL, true, false},
    {NULL, "PMI_RANK", "PMI_SIZE", NULL, true, false},
    {"PMIX_RANK", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", NULL, true, true},
    {NULL, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", NULL, false, true},
    {NULL, "RANK", "WORLD_SIZE", NULL, false, false},
};

enum { LAUNCHERS = sizeof launchers / sizeof *launchers };

/* Which one started this process; LAUNCHERS: none. */
static size_t find_launcher(void) {
    size_t i = 0;
    while (i < LAUNCHERS && (!getenv(launchers[i].rank) || !getenv(launchers[i].size) ||
                             (launchers[i].needs && !getenv(launchers[i].needs))))
        i++;
    return i;
}

static const char *const local_ranks[] = {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID",
                                          "LOCAL_RANK"};

/* False: TEXT is no whole number, or NULL. */
static bool read_number(const char *text, int64_t *number) {
    if (!text) return false;
    char *end;
    errno = 0;
    *number = strtoimax(text, &end, 10);
    return *text && !*end && errno == 0;
}

static enum status find_local_rank(struct launcher_place *place, const char *variable, struct error *err) {
    for (size_t i = 0; !variable && i < sizeof local_ranks / sizeof *local_ranks; i++)
        if (getenv(local_ranks[i])) variable = local_ranks[i];
    const char *text = variable ? getenv(variable) : NULL;
    place->local_rank = place->rank;
    if (!text || (read_number(text, &place->local_rank) && place->local_rank >= 0)) return STATUS_OK;
    return error_usage(err, "environment: %s=%s names no process", variable, text);
}

enum status launcher_find(struct launcher_place *place, struct error *err) {
    *place = (struct launcher_place){.size = 1};
    const size_t i = find_launcher();
    if (i == LAUNCHERS) return STATUS_OK;
    const char *rank = getenv(launchers[i].rank), *size = getenv(launchers[i].size);
    place->mpi = launchers[i].mpi;
    if (read_number(rank, &place->rank) && read_number(size, &place->size) && place->rank >= 0 &&
        place->rank < place->size)
        return find_local_rank(place, launchers[i].local, err);
    return error_usage(err, "environment: %s=%s and %s=%s name no process", launchers[i].rank, rank,
                       launchers[i].size, size);
}

/* ---- Meeting ----------------------------------------------------------------------------------------- */

/* The first host of a list of SLURM's: "gpu[03-05,9]-ib,cpu1" begins with gpu03-ib. Empty: there is none, or
 * it is too long. */
static void first_host(const char *list, char *host, size_t room) {
    size_t length = 0;
    while (*list && *list != ',') {
        bool many = *list == '[';
        size_t take = many ? strcspn(++list, ",-]") : strcspn(list, "[,");
        if (take >= room - length) {
            length = 0;
            break;
        }
        memcpy(host + length, list, take);
        length += take;
        list += many ? strcspn(list, "]") : take;
        if (*list == ']') list++;
    }
    host[length] = 0;
}

static enum status find_host(char *host, size_t room, struct error *err) {
    const char *address = getenv("MASTER_ADDR"), *nodes = getenv("SLURM_STEP_NODELIST");
    *host = 0;
    if (address && strlen(address) < room) memcpy(host, address, strlen(address) + 1);
    if (!address && nodes) first_host(nodes, host, room);
    if (*host) return STATUS_OK;
    if (address || nodes)
        return error_usage(err, "environment: %s=%s names no machine",
                           address ? "MASTER_ADDR" : "SLURM_STEP_NODELIST", address ? address : nodes);
    return error_usage(
        err, "several processes were started, but MASTER_ADDR, the machine of process 0, is not set");
}

static int64_t number_of(const char *variable) {
    const char *text = getenv(variable);
    int64_t number = 0;
    return read_number(text, &number) && number > 0 ? number : 0;
}

/* Whether srun started the processes, so that all have the same job and step. Other launchers may be started
 * by a step on each machine. */
static bool are_slurms(void) {
    const size_t i = find_launcher();
    return i < LAUNCHERS && launchers[i].slurm;
}

static enum status find_port(int *port, struct error *err) {
    const char *agent = getenv("TORCHELASTIC_USE_AGENT_STORE");
    const char *variable = getenv("VS2_MASTER_PORT") ? "VS2_MASTER_PORT" : "MASTER_PORT",
               *text = getenv(variable);
    int64_t number = 0;
    if (text) {
        if (!read_number(text, &number)) number = 0;
        if (number > 0 && agent && strcmp(agent, "True") == 0 && strcmp(variable, "MASTER_PORT") == 0)
            number++;
        if (number < 1 || number > UINT16_MAX)
            return error_usage(err, "environment: %s=%s leaves no port to meet at", variable, text);
    } else if (getenv("SLURM_JOB_ID"))
        number =
            20000 + (number_of("SLURM_JOB_ID") + (are_slurms() ? number_of("SLURM_STEP_ID") : 0)) % 10000;
    else
        return error_usage(err,
                           "several processes were started, but MASTER_PORT, where they meet, is not set");
    *port = (int)number;
    return STATUS_OK;
}

enum status launcher_find_meeting(struct launcher_meeting *meeting, struct error *err) {
    const bool slurm = are_slurms();
    const char *torchrun = getenv("TORCHELASTIC_RUN_ID"), *job = slurm ? getenv("SLURM_JOB_ID") : NULL,
               *step = slurm ? getenv("SLURM_STEP_ID") : NULL;
    *meeting = (struct launcher_meeting){0};
    snprintf(meeting->run, sizeof meeting->run, "%.30s %.15s.%.15s", torchrun ? torchrun : "", job ? job : "",
             step ? step : "");
    enum status status = find_host(meeting->host, sizeof meeting->host, err);
    return status == STATUS_OK ? find_port(&meeting->port, err) : status;
}
