/* Copies to shared memory that run beside their threads. They are late: memory holds NaN from the call until
 * the thread waits for it, so that a read before the wait, or a copy over what others still read, shows. */
#include <string.h>

#include "tests/emulator/machine.h"

enum { COPIES_MOST = 256 }; /* of a thread on their way */

struct copy {
    void *to;
    const void *from; /* NULL: zeros */
    size_t bytes;
    int group;
};

static struct thread_copies {
    struct copy list[COPIES_MOST];
    int count, groups; /* groups: committed so far */
} threads[MACHINE_THREADS_MOST];

void emulator_copy(void *to, const void *from, size_t bytes, bool there) {
    struct thread_copies *own = &threads[machine_thread()];
    emulator_check_shared("the destination of a copy", to, bytes);
    if ((uintptr_t)from % bytes) machine_die("the source of a copy is not aligned to %d bytes", (int)bytes);
    if (there && !machine_is_device(from, bytes))
        machine_die("the source of a copy does not lie in device memory");
    if (own->count == COPIES_MOST) machine_die("a thread has over %d copies on their way", COPIES_MOST);
    own->list[own->count++] = (struct copy){to, there ? from : NULL, bytes, own->groups};
    memset(to, 0xff, bytes);
}

void emulator_copies_commit(void) {
    threads[machine_thread()].groups++;
}

void emulator_copies_wait(int left) {
    struct thread_copies *own = &threads[machine_thread()];
    int done = 0;
    for (; done < own->count && own->list[done].group < own->groups - left; done++) {
        const struct copy *copy = &own->list[done];
        if (copy->from)
            memcpy(copy->to, copy->from, copy->bytes);
        else
            memset(copy->to, 0, copy->bytes);
    }
    own->count -= done;
    memmove(own->list, own->list + done, (size_t)own->count * sizeof own->list[0]);
}

void machine_copies_end(void) {
    struct thread_copies *own = &threads[machine_thread()];
    if (own->count) machine_die("a thread returned before it waited for its copies");
    own->groups = 0;
}
