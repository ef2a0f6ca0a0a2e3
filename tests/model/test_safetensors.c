/* Headers that lie, shards that are not there: every one refused by a line that names file and tensor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/safetensors.h"
#include "tests/model/support_checkpoint.h"

/* Writes a file of this header and `bytes` bytes of data counting up from 0. */
static void write_file(const char *folder, const char *name, const char *header, size_t bytes) {
    uint64_t length = strlen(header);
    unsigned char *data = malloc(sizeof length + length + bytes);
    memcpy(data, &length, sizeof length);
    memcpy(data + sizeof length, header, length);
    for (size_t i = 0; i < bytes; i++) data[sizeof length + length + i] = (unsigned char)i;
    support_write(folder, name, data, sizeof length + length + bytes);
    free(data);
}

static void good_file(void **state) {
    (void)state;
    struct error err;
    struct safetensors checkpoint;
    char *folder = support_folder();
    write_file(
        folder, "model.safetensors",
        "{\"__metadata__\": {\"format\": \"pt\"}, \"b\": {\"dtype\": \"BF16\", \"shape\": [2, 3], "
        "\"data_offsets\": [8, 20]}, \"a\": {\"dtype\": \"I64\", \"shape\": [], \"data_offsets\": [0, 8]}, "
        "\"none\": {\"dtype\": \"F32\", \"shape\": [0, 5], \"data_offsets\": [8, 8]}}  ",
        20);
    if (safetensors_open(folder, &checkpoint, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_int_equal(checkpoint.count, 3);
    const struct stored_tensor *b = safetensors_find(&checkpoint, "b");
    assert_non_null(b);
    assert_int_equal(b->rank, 2);
    assert_int_equal(b->shape[1], 3);
    assert_int_equal(b->type->dtype, DTYPE_BF16);
    assert_int_equal(b->bytes, 12);
    assert_int_equal(b->data[0], 8);
    assert_false(safetensors_find(&checkpoint, "a")->type->usable);
    assert_int_equal(safetensors_find(&checkpoint, "none")->bytes, 0);
    assert_null(safetensors_find(&checkpoint, "c"));
    safetensors_close(&checkpoint);
    support_folder_remove(folder);
}

static void expect_failure(const char *folder, const char *message) {
    struct error err = {0};
    struct safetensors checkpoint;
    assert_int_equal(safetensors_open(folder, &checkpoint, &err), STATUS_FAILED);
    if (!strstr(err.message, message) || strchr(err.message, '\n'))
        fail_msg("'%s' lacks '%s'", err.message, message);
    assert_null(checkpoint.files);
}

static void lying_headers(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t bytes;
        const char *message;
    } cases[] = {
        {"", 0, "model.safetensors: line 1 column 0"},
        {"[]", 0, "the header is no JSON object"},
        {"{\"a\": 3}", 0, "tensor 'a': not an object with"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}, \"a\": {}}", 4,
         "duplicate"},
        {"{\"a\": {\"dtype\": \"Q4\", \"shape\": [1], \"data_offsets\": [0, 4]}}", 4,
         "'a': unknown dtype 'Q4'"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": 1, \"data_offsets\": [0, 4]}}", 4,
         "'shape' must be a list"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [-1], \"data_offsets\": [0, 4]}}", 4,
         "'shape' must hold sizes"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1.5], \"data_offsets\": [0, 4]}}", 4,
         "'shape' must hold sizes"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1,1,1,1,1,1,1,1,1], \"data_offsets\": [0, 4]}}", 4,
         "more than 8 dimensions"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [4294967296, 4294967297], \"data_offsets\": [0, 4]}}", 4,
         "the shape is larger than any memory"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [9223372036854775807, 2, 0], \"data_offsets\": [0, 0]}}", 0,
         "the shape is larger than any memory"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0]}}", 4, "must be two offsets"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, \"4\"]}}", 4,
         "must be two offsets"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [4, 0]}}", 4, "run backwards"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [-4, 0]}}", 4, "run backwards"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 8]}}", 7,
         "tensor 'a': its data ends at byte 8 of the 7 there are; is the file cut short?"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 9223372036854775807]}}", 4,
         "is the file cut short?"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [3], \"data_offsets\": [0, 8]}}", 8,
         "F32 [3] needs 12 bytes, 'data_offsets' span 8"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 8]}, \"b\": {\"dtype\": "
         "\"F32\", "
         "\"shape\": [2], \"data_offsets\": [4, 12]}}",
         12, "tensors 'a' and 'b' overlap"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}, \"b\": {\"dtype\": "
         "\"F32\", "
         "\"shape\": [1], \"data_offsets\": [8, 12]}}",
         12, "4 bytes before tensor 'b' belong to no tensor"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}", 6,
         "the last 2 bytes belong to no tensor"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *folder = support_folder();
        write_file(folder, "model.safetensors", cases[i].header, cases[i].bytes);
        expect_failure(folder, cases[i].message);
        support_folder_remove(folder);
    }
}

static void lying_lengths(void **state) {
    (void)state;
    char *folder = support_folder();
    support_write(folder, "model.safetensors", "1234567", 7);
    expect_failure(folder, "model.safetensors: 7 bytes are no safetensors file");
    support_write(folder, "model.safetensors", "", 0);
    expect_failure(folder, "0 bytes are no safetensors file");
    support_write(folder, "model.safetensors", "\x05\0\0\0\0\0\0\0{}  ", 12);
    expect_failure(folder, "a header of 5 bytes does not fit the file of 12");
    support_write(folder, "model.safetensors", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    expect_failure(folder, "a header of 18446744073709551615 bytes does not fit");
    support_folder_remove(folder);
}

static const char shard_a[] = "{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}";
static const char shard_b[] = "{\"b\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}";

static void shards(void **state) {
    (void)state;
    struct error err;
    struct safetensors checkpoint;
    char *folder = support_folder();
    const char *index = "model.safetensors.index.json";
    expect_failure(folder, "no model.safetensors and no model.safetensors.index.json there");

    support_write_text(folder, index,
                       "{\"weight_map\": {\"a\": \"x.safetensors\", \"b\": \"y.safetensors\"}}");
    write_file(folder, "x.safetensors", shard_a, 4);
    expect_failure(folder, "index.json: "); /* the dangling shard, with the index that names it */
    expect_failure(folder, "y.safetensors: No such file or directory");
    write_file(folder, "y.safetensors", shard_b, 4);
    if (safetensors_open(folder, &checkpoint, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_int_equal(checkpoint.file_count, 2);
    assert_int_equal(checkpoint.count, 2);
    safetensors_close(&checkpoint);

    write_file(folder, "y.safetensors", shard_a, 4);
    expect_failure(folder, "tensor 'a' is in ");
    support_write_text(folder, index,
                       "{\"weight_map\": {\"a\": \"x.safetensors\", \"c\": \"x.safetensors\"}}");
    expect_failure(folder, "tensor 'c' is not in x.safetensors");
    write_file(folder, "y.safetensors", shard_b, 4);
    support_write_text(folder, index,
                       "{\"weight_map\": {\"a\": \"y.safetensors\", \"b\": \"x.safetensors\"}}");
    expect_failure(folder, "tensor 'a' is not in y.safetensors");
    support_write_text(folder, index, "{\"weight_map\": {\"a\": \"../x.safetensors\"}}");
    expect_failure(folder, "tensor 'a': '../x.safetensors' is no file name");
    support_write_text(folder, index, "{\"weight_map\": {\"a\": 3}}");
    expect_failure(folder, "tensor 'a': the file name must be a string");
    support_write_text(folder, index, "{\"weight_map\": []}");
    expect_failure(folder, "no object 'weight_map'");
    support_write_text(folder, index, "[1]");
    expect_failure(folder, "no object 'weight_map'");
    support_write_text(folder, index, "{\"weight_map\"");
    expect_failure(folder, "model.safetensors.index.json: line 1");
    support_folder_remove(folder);
}

/* A written checkpoint cut at every length is refused or, never, read past its end. */
static void every_truncation(void **state) {
    (void)state;
    struct error err;
    struct safetensors checkpoint;
    char *folder = support_folder(), path[4096], *text;
    size_t length;
    write_file(folder, "model.safetensors", shard_a, 4);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    assert_int_equal(file_read(path, SIZE_MAX, &text, &length, &err), STATUS_OK);
    for (size_t cut = 0; cut < length; cut++) {
        support_write(folder, "model.safetensors", text, cut);
        assert_int_equal(safetensors_open(folder, &checkpoint, &err), STATUS_FAILED);
    }
    free(text);
    support_folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_file), cmocka_unit_test(lying_headers),    cmocka_unit_test(lying_lengths),
        cmocka_unit_test(shards),    cmocka_unit_test(every_truncation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
