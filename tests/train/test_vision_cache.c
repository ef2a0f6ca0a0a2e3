#include "train/vision_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct error err;

static struct vision_cache *open_cache(size_t bytes, const char *folder, const char *tower) {
    struct vision_cache *cache = vision_cache_new(bytes, folder, tower, &err);
    if (!cache) fail_msg("%s", err.message);
    return cache;
}

static void store(struct vision_cache *cache, const char *key, const char *data) {
    if (vision_cache_store(cache, key, data, strlen(data), &err) != STATUS_OK) fail_msg("%s", err.message);
}

/* Whether the key gives the data; "" stands for nothing. */
static bool gives(struct vision_cache *cache, const char *key, const char *data, size_t size) {
    struct cached_features found;
    assert_int_equal(vision_cache_find(cache, key, size, &found, &err), STATUS_OK);
    bool same = data[0] == 0;
    if (found.data) same = found.size == strlen(data) && memcmp(found.data, data, found.size) == 0;
    vision_cache_release(&found);
    return same;
}

static void test_memory_up_to_the_budget(void **state) {
    (void)state;
    struct vision_cache *cache = open_cache(8, NULL, "tower");
    assert_true(gives(cache, "a", "", 5));
    store(cache, "a", "first");
    store(cache, "b", "large"); /* does not fit any more */
    store(cache, "c", "abc");
    store(cache, "a", "other"); /* known: the first stays */
    assert_true(gives(cache, "a", "first", 5));
    assert_true(gives(cache, "a", "", 4)); /* another size is another thing */
    assert_true(gives(cache, "b", "", 5));
    assert_true(gives(cache, "c", "abc", 3));
    assert_int_equal(vision_cache_use(cache).entries, 2);
    assert_int_equal(vision_cache_use(cache).bytes, 8);
    assert_int_equal(vision_cache_use(cache).found, 2);
    vision_cache_free(cache);
}

static void test_folder_serves_the_next_run(void **state) {
    (void)state;
    char folder[] = "/tmp/vs2-cache-XXXXXX", command[128];
    assert_non_null(mkdtemp(folder));
    struct vision_cache *cache = open_cache(0, folder, "tower");
    store(cache, "a", "first");
    vision_cache_free(cache);
    cache = open_cache(0, folder, "tower");
    assert_true(gives(cache, "a", "first", 5));
    assert_true(gives(cache, "a", "", 6));
    assert_true(gives(cache, "b", "", 5));
    vision_cache_free(cache);
    cache = open_cache(0, folder, "another tower");
    assert_true(gives(cache, "a", "", 5));
    vision_cache_free(cache);

    snprintf(command, sizeof command, "truncate -s -1 %s/*.vs2", folder);
    assert_int_equal(system(command), 0);
    cache = open_cache(0, folder, "tower");
    assert_true(gives(cache, "a", "", 5)); /* cut short */
    store(cache, "a", "again");
    assert_true(gives(cache, "a", "again", 5));
    vision_cache_free(cache);
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

static void test_folder_that_cannot_be(void **state) {
    (void)state;
    assert_null(vision_cache_new(0, "/dev/null/cache", "tower", &err));
    assert_non_null(strstr(err.message, "/dev/null/cache: cannot make the folder"));
    char folder[] = "/tmp/vs2-cache-XXXXXX";
    assert_non_null(mkdtemp(folder));
    struct vision_cache *cache = open_cache(0, folder, "tower");
    assert_int_equal(rmdir(folder), 0);
    assert_int_equal(vision_cache_store(cache, "a", "x", 1, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, folder));
    vision_cache_free(cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_up_to_the_budget),
        cmocka_unit_test(test_folder_serves_the_next_run),
        cmocka_unit_test(test_folder_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
