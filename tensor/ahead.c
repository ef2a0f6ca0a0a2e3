#include "tensor/ahead.h"

#include <stdlib.h>

#include "base/activity.h"
#include "base/memory.h"
#include "tensor/backend.h"

enum { ROOM_PUTS = 64, ALIGNMENT = 64 };

struct room {
    char *memory;
    size_t used;
    struct {
        const void *host;
        char *there;
    } puts[ROOM_PUTS];
    int count;
};

struct ahead {
    struct device *device;
    size_t bytes; /* of a room */
    struct room rooms[2];
    int filled; /* the room that puts go to; the other one is read */
};

struct ahead *ahead_new(struct device *device, size_t bytes, struct error *err) {
    struct ahead *ahead = memory_new(1, sizeof *ahead, "copies to the device", err);
    if (!ahead) return NULL;
    *ahead = (struct ahead){.device = device, .bytes = bytes};
    for (int r = 0; r < 2; r++) {
        ahead->rooms[r].memory = device_allocate(device, bytes, "copies to the device", err);
        if (ahead->rooms[r].memory) continue;
        ahead_free(ahead);
        return NULL;
    }
    ahead_turn(ahead); /* the first copies come after the zeros of new memory */
    return ahead;
}

void ahead_free(struct ahead *ahead) {
    if (!ahead) return;
    for (int r = 0; r < 2; r++) device_release(ahead->device, ahead->rooms[r].memory);
    free(ahead);
}

bool ahead_put(struct ahead *ahead, const void *host, size_t bytes) {
    struct device *device = ahead->device;
    struct room *room = &ahead->rooms[ahead->filled];
    if (device->failed || bytes > ahead->bytes - room->used || room->count == ROOM_PUTS) return false;
    char *there = room->memory + room->used;
    activity_step();
    if (device->backend->write_ahead)
        device->backend->write_ahead(device, there, host, bytes);
    else if (bytes > 0)
        device->backend->write(device, there, host, bytes);
    room->puts[room->count].host = host;
    room->puts[room->count++].there = there;
    size_t left = ahead->bytes - room->used, taken = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    room->used += taken < left ? taken : left;
    return true;
}

void ahead_turn(struct ahead *ahead) {
    struct device *device = ahead->device;
    if (!device->failed && device->backend->turn_ahead) device->backend->turn_ahead(device);
    ahead->filled = !ahead->filled;
    ahead->rooms[ahead->filled].used = 0;
    ahead->rooms[ahead->filled].count = 0;
}

void *ahead_find(const struct ahead *ahead, const void *host) {
    const struct room *room = &ahead->rooms[!ahead->filled];
    for (int i = 0; i < room->count; i++)
        if (room->puts[i].host == host) return room->puts[i].there;
    return NULL;
}
