#include "eval/row_journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/text.h"

/* Reads an unsigned number that ends at `stop`; *at moves behind that. */
static bool read_number(const char **at, const char *end, int base, char stop, uint64_t *number) {
    const char *start = *at;
    *number = 0;
    for (; *at < end && **at != stop; ++*at) {
        const char *const digits = "0123456789abcdef", *digit = strchr(digits, **at);
        if (!**at || !digit || digit - digits >= base || *number > (UINT64_MAX >> 5)) return false;
        *number = *number * (uint64_t)base + (uint64_t)(digit - digits);
    }
    return *at < end && (*at)++ > start;
}

/* Reads the line at *at; false when it is not whole. */
static bool read_line(const char **at, const char *end, uint64_t *number, const char **text, size_t *length) {
    uint64_t checksum;
    const char *line_end = memchr(*at, '\n', (size_t)(end - *at));
    if (!line_end || !read_number(at, line_end, 10, ' ', number) ||
        !read_number(at, line_end, 16, ' ', &checksum))
        return false;
    *text = *at;
    *length = (size_t)(line_end - *at);
    *at = line_end + 1;
    return crc32c(0, *text, *length) == checksum && *number <= SIZE_MAX;
}

enum status row_journal_read(const char *path, row_sink *sink, void *context, size_t *size,
                             struct error *err) {
    struct file_map map;
    enum status status = STATUS_OK;
    *size = 0;
    if (access(path, F_OK) != 0) return STATUS_OK;
    if (file_map(path, &map, err) != STATUS_OK) return STATUS_FAILED;
    const char *begin = (const char *)map.data, *at = begin, *end = begin + map.size, *text;
    uint64_t number;
    size_t length;
    while (status == STATUS_OK && at < end && read_line(&at, end, &number, &text, &length)) {
        *size = (size_t)(at - begin);
        status = sink(context, (size_t)number, text, length, err);
    }
    file_unmap(&map);
    return status;
}

static enum status skip_row(void *context, size_t number, const char *text, size_t length,
                            struct error *err) {
    (void)context, (void)number, (void)text, (void)length, (void)err;
    return STATUS_OK;
}

enum status row_journal_open(struct row_journal *journal, const char *path, struct error *err) {
    size_t size;
    enum status status = file_appender_open(&journal->file, path, err);
    if (status != STATUS_OK) return status;
    if (flock(journal->file.fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return error_set(err, "%s: another process is writing to it", path);
    status = row_journal_read(path, skip_row, NULL, &size, err);
    return status == STATUS_OK ? file_appender_cut(&journal->file, size, err) : status;
}

enum status row_journal_append(struct row_journal *journal, size_t number, const char *text, size_t length,
                               struct error *err) {
    struct text line = {0};
    text_format(&line, "%zu %08" PRIx32 " ", number, crc32c(0, text, length));
    text_append(&line, text, length);
    text_append_string(&line, "\n");
    enum status status = text_check(&line, journal->file.path, err);
    if (status == STATUS_OK) status = file_appender_write(&journal->file, line.data, line.length, err);
    if (status == STATUS_OK) status = file_appender_sync(&journal->file, err);
    text_free(&line);
    return status;
}

void row_journal_close(struct row_journal *journal) {
    file_appender_close(&journal->file);
}

void row_journal_remove(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) unlink(path);
    close(fd);
}
