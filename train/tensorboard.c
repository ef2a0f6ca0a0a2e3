#include "train/tensorboard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/folder.h"

static const char file_prefix[] = "events.out.tfevents.";

/* ---- Protocol buffers (tensorboard/compat/proto: event.proto, summary.proto) --------------------------- */

enum wire_type { WIRE_VARINT = 0, WIRE_64_BITS = 1, WIRE_BYTES = 2, WIRE_32_BITS = 5 };

enum field {
    EVENT_WALL_TIME = 1,
    EVENT_STEP = 2,
    EVENT_FILE_VERSION = 3,
    EVENT_SUMMARY = 5,
    EVENT_SESSION_LOG = 7,
    SUMMARY_VALUE = 1,
    VALUE_TAG = 1,
    VALUE_SIMPLE_VALUE = 2,
    SESSION_LOG_STATUS = 1,
};

enum { SESSION_START = 1 };

static void append_varint(struct text *out, uint64_t value) {
    enum { BITS = 7, MORE = 0x80 };
    while (value >= MORE) {
        text_append(out, &(char){(char)(value % MORE | MORE)}, 1);
        value >>= BITS;
    }
    text_append(out, &(char){(char)value}, 1);
}

static void append_key(struct text *out, enum field field, enum wire_type type) {
    append_varint(out, (uint64_t)field << 3 | (uint64_t)type);
}

static void append_little_endian(struct text *out, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) text_append(out, &(char){(char)(value >> (8 * i))}, 1);
}

static void append_bytes(struct text *out, enum field field, const char *data, size_t length) {
    append_key(out, field, WIRE_BYTES);
    append_varint(out, length);
    text_append(out, data, length);
}

/* A message of its own inside the outer one; frees it. */
static void append_message(struct text *out, enum field field, struct text *message) {
    if (message->failed) out->failed = true;
    append_bytes(out, field, message->data, message->length);
    text_free(message);
}

static void append_float(struct text *out, enum field field, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    append_key(out, field, WIRE_32_BITS);
    append_little_endian(out, bits, sizeof bits);
}

static struct text begin_event(double wall_time, int64_t step) {
    struct text event = {0};
    uint64_t bits;
    memcpy(&bits, &wall_time, sizeof bits);
    append_key(&event, EVENT_WALL_TIME, WIRE_64_BITS);
    append_little_endian(&event, bits, sizeof bits);
    if (step != 0) { /* what is 0 is left out */
        append_key(&event, EVENT_STEP, WIRE_VARINT);
        append_varint(&event, (uint64_t)step);
    }
    return event;
}

/* ---- TFRecord ---------------------------------------------------------------------------------------- */

/* Checksums of data that itself holds checksums are weak; this is how TFRecord keeps clear of it. */
static uint32_t masked_checksum(const char *data, size_t size) {
    uint32_t crc = crc32c(0, data, size);
    return (crc >> 15 | crc << 17) + 0xA282EAD8;
}

/* Frames the event and frees it. */
static void append_record(struct text *records, struct text *event) {
    enum { LENGTH_BYTES = 8, CHECKSUM_BYTES = 4 };
    if (event->failed) records->failed = true;
    append_little_endian(records, event->length, LENGTH_BYTES);
    if (!records->failed) {
        uint32_t checksum = masked_checksum(records->data + records->length - LENGTH_BYTES, LENGTH_BYTES);
        append_little_endian(records, checksum, CHECKSUM_BYTES);
        text_append(records, event->data, event->length);
        append_little_endian(records, masked_checksum(event->data, event->length), CHECKSUM_BYTES);
    }
    text_free(event);
}

void tensorboard_append_version(struct text *records, double wall_time) {
    static const char version[] = "brain.Event:2";
    struct text event = begin_event(wall_time, 0);
    append_bytes(&event, EVENT_FILE_VERSION, version, strlen(version));
    append_record(records, &event);
}

void tensorboard_append_start(struct text *records, double wall_time, int64_t first_step) {
    struct text event = begin_event(wall_time, first_step), session = {0};
    append_key(&session, SESSION_LOG_STATUS, WIRE_VARINT);
    append_varint(&session, SESSION_START);
    append_message(&event, EVENT_SESSION_LOG, &session);
    append_record(records, &event);
}

void tensorboard_append_scalars(struct text *records, double wall_time, int64_t step,
                                const struct tensorboard_scalar *scalars, size_t count) {
    struct text event = begin_event(wall_time, step), summary = {0};
    for (size_t i = 0; i < count; i++) {
        struct text value = {0};
        append_bytes(&value, VALUE_TAG, scalars[i].tag, strlen(scalars[i].tag));
        append_float(&value, VALUE_SIMPLE_VALUE, scalars[i].value);
        append_message(&summary, SUMMARY_VALUE, &value);
    }
    append_message(&event, EVENT_SUMMARY, &summary);
    append_record(records, &event);
}

/* ---- Files ------------------------------------------------------------------------------------------- */

static double wall_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* The time for the file's name: now, or right after the latest event file of the folder: readers take the
 * files in the order of their names. */
static enum status name_time(const char *folder, long long *seconds, struct error *err) {
    const size_t prefix = strlen(file_prefix);
    struct folder_names list;
    if (folder_list(folder, &list, err) != STATUS_OK) return STATUS_FAILED;
    *seconds = (long long)time(NULL);
    for (size_t i = 0; i < list.count; i++) {
        if (strncmp(list.names[i], file_prefix, prefix) != 0) continue;
        long long there = strtoll(list.names[i] + prefix, NULL, 10);
        if (there >= *seconds && there < INT64_MAX) *seconds = there + 1;
    }
    folder_names_free(&list);
    return STATUS_OK;
}

static char *make_path(const char *folder, struct error *err) {
    enum { HOST_SIZE = 256 };
    char host[HOST_SIZE] = "localhost";
    struct text path = {0};
    long long seconds;
    if (name_time(folder, &seconds, err) != STATUS_OK) return NULL;
    if (gethostname(host, sizeof host - 1) != 0) snprintf(host, sizeof host, "localhost");
    text_format(&path, "%s/%s%010lld.%s.%ld.0", folder, file_prefix, seconds, host, (long)getpid());
    return text_take(&path, "an event file's name", err);
}

static enum status write_records(struct tensorboard *board, struct text *records, struct error *err) {
    enum status status = text_check(records, board->file.path, err);
    if (status == STATUS_OK) status = file_appender_write(&board->file, records->data, records->length, err);
    text_free(records);
    return status;
}

enum status tensorboard_open(struct tensorboard *board, const char *folder, int64_t first_step,
                             struct error *err) {
    struct text records = {0};
    board->file.fd = -1;
    board->file.path = NULL;
    if (folder_make(folder, err) != STATUS_OK) return STATUS_FAILED;
    char *path = make_path(folder, err);
    if (!path) return STATUS_FAILED;
    enum status status = file_appender_open(&board->file, path, err);
    free(path);
    if (status != STATUS_OK) return status;
    tensorboard_append_version(&records, wall_seconds());
    tensorboard_append_start(&records, wall_seconds(), first_step);
    status = write_records(board, &records, err);
    if (status != STATUS_OK) tensorboard_close(board);
    return status;
}

enum status tensorboard_write(struct tensorboard *board, int64_t step,
                              const struct tensorboard_scalar *scalars, size_t count, struct error *err) {
    struct text records = {0};
    tensorboard_append_scalars(&records, wall_seconds(), step, scalars, count);
    return write_records(board, &records, err);
}

void tensorboard_close(struct tensorboard *board) {
    file_appender_close(&board->file);
}
