/* Processes that a launcher started side by side: what its environment says of them. */
#ifndef VS2_BASE_LAUNCHER_H
#define VS2_BASE_LAUNCHER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct launcher_place {
    int64_t rank, size; /* which of how many processes: 0 <= rank < size */
    int64_t local_rank; /* which of those on its machine, from 0 */
    bool mpi;           /* MPI joins them */
};

/* From the variables of torchrun (RANK and WORLD_SIZE beside TORCHELASTIC_RUN_ID), Open MPI
 * (OMPI_COMM_WORLD_RANK and _SIZE), MPICH and Intel MPI (PMI_RANK and _SIZE), srun (SLURM_PROCID and
 * SLURM_STEP_NUM_TASKS: unlike SLURM_NTASKS, a batch script itself does not have it; MPI joins them where
 * there is PMIX_RANK, too), or whoever sets RANK and WORLD_SIZE: the first pair of which both are set; 0 of 1
 * when there is none. The local rank is LOCAL_RANK under torchrun, else the first that is set of
 * OMPI_COMM_WORLD_LOCAL_RANK, MPI_LOCALRANKID (MPICH, Intel MPI), SLURM_LOCALID and LOCAL_RANK, which
 * launchers also leave to one another; with none of them it is the rank, as on one machine. Values that are
 * no such numbers are an error. */
enum status launcher_find(struct launcher_place *place, struct error *err);

/* Where processes that MPI does not join find each other. */
struct launcher_meeting {
    char host[256]; /* a name or address of the machine of process 0 */
    int port;
    char run[64]; /* tells this run from others that meet there by mistake: torchrun's id, or the job and step
                   * of srun, where these started the processes; may be empty */
};

/* The host is MASTER_ADDR, or without it the first of SLURM_STEP_NODELIST. The port is VS2_MASTER_PORT; else
 * MASTER_PORT, or the next one where torchrun itself listens at that one (TORCHELASTIC_USE_AGENT_STORE=True);
 * else under SLURM 20000 + (SLURM_JOB_ID + SLURM_STEP_ID) % 10000, the step only where srun started the
 * processes. A usage error where these say nothing, or
 * nonsense. */
enum status launcher_find_meeting(struct launcher_meeting *meeting, struct error *err);

#endif
