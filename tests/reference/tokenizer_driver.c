/* Encodes and decodes with this project's tokenizer, for tests/reference/tokenizer.py.
 *
 *   tokenizer_driver FOLDER          reads (uint32 length, bytes)* from stdin; for each writes uint32 count,
 *                                    the int32 ids, uint32 length, the decoded text
 *   tokenizer_driver FOLDER FILE     prints the least CPU time of 7 to load, to encode and to decode FILE
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/memory.h"
#include "model/tokenizer.h"

enum { REPEATS = 7 };

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static enum status put(const void *data, size_t size, size_t count, struct error *err) {
    uint32_t header = (uint32_t)count;
    if (fwrite(&header, sizeof header, 1, stdout) != 1 || fwrite(data, size, count, stdout) != count)
        return error_set(err, "stdout: cannot write");
    return STATUS_OK;
}

/* One request from stdin; *more is false at its end. */
static enum status answer(const struct tokenizer *tokenizer, bool *more, struct error *err) {
    enum status status = STATUS_FAILED;
    uint32_t length;
    struct token_list list = {0};
    struct text decoded = {0};
    *more = fread(&length, sizeof length, 1, stdin) == 1;
    if (!*more) return STATUS_OK;
    char *text = memory_new(length + 1, 1, "a request", err);
    if (!text) return STATUS_FAILED;
    if (fread(text, 1, length, stdin) != length) {
        error_set(err, "stdin: a request ends too early");
        goto err;
    }
    if (tokenizer_encode(tokenizer, text, length, &list, err) != STATUS_OK) goto err;
    tokenizer_decode(tokenizer, list.ids, list.count, false, &decoded);
    if (put(list.ids, sizeof *list.ids, list.count, err) != STATUS_OK) goto err;
    status = put(decoded.data, 1, decoded.length, err);
    fflush(stdout); /* the asker waits for it */
err:
    free(text);
    token_list_free(&list);
    text_free(&decoded);
    return status;
}

static enum status measure(const char *folder, const char *path, struct error *err) {
    double best_load = 1e9, best_encode = 1e9, best_decode = 1e9;
    struct token_list list = {0};
    struct text decoded = {0};
    char *text;
    size_t length;
    if (file_read(path, SIZE_MAX, &text, &length, err) != STATUS_OK) return STATUS_FAILED;
    for (int i = 0; i < REPEATS; i++) {
        double start = seconds();
        struct tokenizer *tokenizer = tokenizer_load(folder, err);
        if (!tokenizer) {
            free(text);
            return STATUS_FAILED;
        }
        double loaded = seconds();
        list.count = 0;
        tokenizer_encode(tokenizer, text, length, &list, err);
        double encoded = seconds();
        decoded.length = 0;
        tokenizer_decode(tokenizer, list.ids, list.count, false, &decoded);
        double end = seconds();
        tokenizer_free(tokenizer);
        if (loaded - start < best_load) best_load = loaded - start;
        if (encoded - loaded < best_encode) best_encode = encoded - loaded;
        if (end - encoded < best_decode) best_decode = end - encoded;
    }
    double megabytes = (double)length * 1e-6;
    printf("load %.4f s, encode %.1f MB/s, decode %.1f MB/s, %zu tokens\n", best_load,
           megabytes / best_encode, megabytes / best_decode, list.count);
    free(text);
    token_list_free(&list);
    text_free(&decoded);
    return STATUS_OK;
}

int main(int argc, char **argv) {
    struct error err;
    enum status status = STATUS_OK;
    bool more = true;
    if (argc < 2) {
        fprintf(stderr, "tokenizer_driver: usage: tokenizer_driver FOLDER [FILE]\n");
        return STATUS_USAGE;
    }
    if (argc > 2) {
        status = measure(argv[1], argv[2], &err);
    } else {
        struct tokenizer *tokenizer = tokenizer_load(argv[1], &err);
        if (!tokenizer) status = STATUS_FAILED;
        while (status == STATUS_OK && more) status = answer(tokenizer, &more, &err);
        tokenizer_free(tokenizer);
    }
    if (status != STATUS_OK) fprintf(stderr, "tokenizer_driver: error: %s\n", err.message);
    return (int)status;
}
