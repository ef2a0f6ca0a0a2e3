/* Processes that a launcher started side by side, without talking to one another: what its environment says.
 */
#ifndef VS2_BASE_LAUNCHER_H
#define VS2_BASE_LAUNCHER_H

#include <stdint.h>

#include "base/error.h"

struct launcher_place {
    int64_t rank, size; /* which of how many processes: 0 <= rank < size */
    int64_t local_rank; /* which of those on its machine, from 0 */
};

/* From the variables of Open MPI (OMPI_COMM_WORLD_RANK and _SIZE), MPICH and Intel MPI (PMI_RANK and _SIZE),
 * srun (SLURM_PROCID and SLURM_STEP_NUM_TASKS: unlike SLURM_NTASKS, a batch script itself does not have it)
 * or torchrun (RANK and WORLD_SIZE), the first pair of which both are set; 0 of 1 when there is none. The
 * local rank is the first that is set of OMPI_COMM_WORLD_LOCAL_RANK, MPI_LOCALRANKID (MPICH, Intel MPI),
 * SLURM_LOCALID and LOCAL_RANK, which launchers also leave to one another; with none of them it is the rank,
 * as on one machine. Values that are no such numbers are an error. */
enum status launcher_find(struct launcher_place *place, struct error *err);

#endif
