#include "train/communicator.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/launcher.h"
#include "base/memory.h"
#include "base/text.h"
#include "train/communicator_parts.h"

enum status communicator_open(struct communicator **communicator, struct error *err) {
    *communicator = NULL;
    struct launcher_place place;
    enum status status = launcher_find(&place, err);
    if (status != STATUS_OK || place.size == 1) return status;
    struct heartbeat_limits limits;
    status = heartbeat_read_limits(&limits, err);
    if (status != STATUS_OK) return status;
    struct communicator *c = memory_new(1, sizeof *c, "the communicator", err);
    if (!c) return STATUS_FAILED;
    c->verdicts = memory_new((size_t)place.size, sizeof *c->verdicts, "the communicator", err);
    status = c->verdicts ? transport_open(&c->transport, &place, err) : STATUS_FAILED;
    c->rank = c->transport.rank;
    c->size = c->transport.size;
    if (status == STATUS_OK) {
        exchange_queue_open(c);
        status = heartbeat_start(&c->heartbeat, &c->transport, limits, err);
        if (status != STATUS_OK) { /* the others may have one, and wait */
            fprintf(stderr, "%s: error: %s\n", program_invocation_short_name, err->message);
            transport_abort(&c->transport, status);
        }
        *communicator = c;
    } else {
        free(c->verdicts);
        free(c);
    }
    return status;
}

int communicator_rank(const struct communicator *communicator) {
    return communicator ? communicator->rank : 0;
}

int communicator_size(const struct communicator *communicator) {
    return communicator ? communicator->size : 1;
}

void communicator_close(struct communicator *communicator, enum status status) {
    if (!communicator) return;
    if (status != STATUS_OK && !communicator_agreed(communicator)) {
        heartbeat_miss(communicator->heartbeat);
        heartbeat_stop(communicator->heartbeat);
        transport_abort(&communicator->transport, status);
    }
    /* Nobody falls silent before all are here. */
    struct error ignored;
    double none = 0;
    (void)communicator_sum_values(communicator, &none, 1, &ignored);
    exchange_queue_close(communicator);
    heartbeat_stop(communicator->heartbeat);
    transport_close(&communicator->transport);
    free(communicator->verdicts);
    free(communicator->sent);
    free(communicator->received);
    free(communicator);
}

void communicator_patience(struct communicator *communicator, double seconds) {
    if (communicator) heartbeat_patience(communicator->heartbeat, seconds);
}

void communicator_say(struct communicator *communicator, const char *words) {
    if (communicator) heartbeat_say(communicator->heartbeat, words);
}

/* ---- Exchanges --------------------------------------------------------------------------------------- */

enum status communicator_gather_now(struct communicator *c, const char *name, void *all, const void *own,
                                    size_t bytes, struct error *err) {
    heartbeat_wait(c->heartbeat, name);
    enum status status = transport_gather(&c->transport, all, own, bytes, err);
    heartbeat_go_on(c->heartbeat, status);
    return status;
}

enum status communicator_sum_now(struct communicator *c, float *received, const float *sent, size_t bytes,
                                 struct error *err) {
    heartbeat_wait(c->heartbeat, "gradients");
    enum status status = transport_exchange(&c->transport, received, sent, bytes, err);
    heartbeat_go_on(c->heartbeat, status);
    const size_t count = bytes / sizeof *received;
    for (size_t r = 1; status == STATUS_OK && r < (size_t)c->size; r++)
        for (size_t i = 0; i < count; i++) received[i] += received[r * count + i];
    return status;
}

enum status communicator_gather_bytes(struct communicator *c, const char *name, void *all, const void *own,
                                      size_t bytes, struct error *err) {
    exchange_settle(c);
    return communicator_gather_now(c, name, all, own, bytes, err);
}

enum status communicator_sum_bytes(struct communicator *c, float *received, const float *sent, size_t bytes,
                                   struct error *err) {
    exchange_settle(c);
    return communicator_sum_now(c, received, sent, bytes, err);
}

/* ---- Agreement --------------------------------------------------------------------------------------- */

static void verdict_fill(struct verdict *verdict, const struct communicator *c, enum status status,
                         const struct error *err) {
    *verdict = (struct verdict){.status = status};
    if (status == STATUS_OK) return;
    char host[64] = "";
    struct error told = *err;
    gethostname(host, sizeof host - 1);
    if (strcmp(told.message, c->verdict) != 0) error_prefix(&told, "process %d on %s", c->rank, host);
    memcpy(verdict->message, told.message, sizeof verdict->message);
}

enum status communicator_agree(struct communicator *communicator, enum status status, struct error *err) {
    if (communicator_size(communicator) == 1) return status;
    struct verdict own, *all = communicator->verdicts;
    verdict_fill(&own, communicator, status, err);
    enum status result = communicator_gather_bytes(communicator, "agreement", all, &own, sizeof own, err);
    for (int r = 0; result == STATUS_OK && r < communicator->size; r++) {
        if (all[r].status == STATUS_OK) continue;
        result = (enum status)all[r].status;
        error_set(err, "%s", all[r].message);
        communicator->agreed = true;
        memcpy(communicator->verdict, all[r].message, sizeof communicator->verdict);
    }
    return result;
}

bool communicator_agreed(const struct communicator *communicator) {
    return communicator_size(communicator) == 1 || communicator->agreed;
}

bool communicator_tells(const struct communicator *communicator) {
    return communicator_rank(communicator) == 0 || !communicator->agreed;
}

/* The texts, padded to one length, cut out of one buffer. */
static char **cut_texts(const char *all, int count, size_t length, struct error *err) {
    char **texts = memory_new((size_t)count, sizeof *texts, "texts of the processes", err);
    for (int r = 0; texts && r < count; r++) {
        const char *text = all + (size_t)r * length;
        texts[r] = memory_text(text, strlen(text), "texts of the processes", err);
        if (texts[r]) continue;
        while (r > 0) free(texts[--r]);
        free(texts);
        return NULL;
    }
    return texts;
}

/* *longest = the bytes of the longest of everybody's texts. Whether memory is short is agreed on first: the
 * others would wait for this process. */
static enum status find_longest(struct communicator *c, const char *text, uint64_t *longest,
                                struct error *err) {
    uint64_t own = strlen(text) + 1;
    uint64_t *lengths = memory_new((size_t)c->size, sizeof *lengths, "texts of the processes", err);
    enum status status = communicator_agree(c, lengths ? STATUS_OK : STATUS_FAILED, err);
    if (status == STATUS_OK)
        status = communicator_gather_bytes(c, "lengths of texts", lengths, &own, sizeof own, err);
    *longest = 0;
    for (int r = 0; lengths && status == STATUS_OK && r < c->size; r++)
        if (lengths[r] > *longest) *longest = lengths[r];
    free(lengths);
    return status;
}

char **communicator_share(struct communicator *communicator, const char *text, struct error *err) {
    const int size = communicator_size(communicator);
    if (size == 1) return cut_texts(text, 1, 0, err);
    uint64_t longest;
    if (find_longest(communicator, text, &longest, err) != STATUS_OK) return NULL;
    char **texts = NULL, *padded = memory_new(longest, 1, "texts of the processes", err);
    char *all = memory_new((size_t)size, longest, "texts of the processes", err);
    if (communicator_agree(communicator, padded && all ? STATUS_OK : STATUS_FAILED, err) == STATUS_OK &&
        padded && all) {
        memcpy(padded, text, strlen(text) + 1);
        if (communicator_gather_bytes(communicator, "texts", all, padded, longest, err) == STATUS_OK)
            texts = cut_texts(all, size, longest, err);
    }
    free(padded);
    free(all);
    return texts;
}

/* The first key whose values differ, or that one of them lacks; NULL: none. */
static const char *difference(const json_t *a, const json_t *b) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)a, key, value) if (!json_equal(value, json_object_get(b, key))) return key;
    json_object_foreach((json_t *)b, key, value) if (!json_object_get(a, key)) return key;
    return NULL;
}

static void append_value(struct text *text, const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (value)
        json_append(text, value, false);
    else
        text_append_string(text, "nothing");
}

/* Says how this process's object differs from that of process 0. */
static enum status compare_with_first(const char *what, const json_t *first, const json_t *own,
                                      struct error *err) {
    const char *key = difference(first, own);
    if (!key) return STATUS_OK;
    struct text text = {0};
    text_format(&text, "%s differ: '%s' is ", what, key);
    append_value(&text, own, key);
    text_append_string(&text, " here and ");
    append_value(&text, first, key);
    text_append_string(&text, " in process 0");
    enum status status = text_check(&text, what, err);
    if (status == STATUS_OK) status = error_usage(err, "%s", text.data);
    text_free(&text);
    return status;
}

enum status communicator_compare(struct communicator *communicator, const char *what, const json_t *object,
                                 struct error *err) {
    if (communicator_size(communicator) == 1) return STATUS_OK;
    char *text = json_dumps(object, 0);
    enum status status = text ? STATUS_OK : error_set(err, "out of memory for %s", what);
    status = communicator_agree(communicator, status, err);
    if (!text || status != STATUS_OK) {
        free(text);
        return status;
    }
    char **texts = communicator_share(communicator, text, err);
    json_t *first = texts ? json_read_text(texts[0], strlen(texts[0]), what, err) : NULL;
    status = first ? compare_with_first(what, first, object, err) : STATUS_FAILED;
    json_decref(first);
    for (int r = 0; texts && r < communicator->size; r++) free(texts[r]);
    free(texts);
    free(text);
    return communicator_agree(communicator, status, err);
}

/* ---- Numbers ----------------------------------------------------------------------------------------- */

enum status communicator_sum_values(struct communicator *communicator, double *values, int count,
                                    struct error *err) {
    if (communicator_size(communicator) == 1) return STATUS_OK;
    const size_t bytes = (size_t)count * sizeof *values;
    double *all = memory_new((size_t)communicator->size, bytes, "sums over the processes", err);
    enum status status =
        all ? communicator_gather_bytes(communicator, "sums", all, values, bytes, err) : STATUS_FAILED;
    for (int i = 0; status == STATUS_OK && i < count; i++) {
        values[i] = 0;
        for (int r = 0; r < communicator->size; r++) values[i] += all[r * count + i];
    }
    free(all);
    return status;
}
