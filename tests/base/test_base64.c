/* Base64: the vectors of RFC 4648, section 10, and all digits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base64.h"

static void assert_encoded(const void *data, size_t size, const char *wanted) {
    struct text out = {0};
    text_append(&out, "", 0);
    base64_append(&out, data, size);
    assert_string_equal(out.data, wanted);
    text_free(&out);
}

static void bytes_are_encoded(void **state) {
    (void)state;
    static const char *const vectors[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    for (size_t size = 0; size < sizeof vectors / sizeof *vectors; size++)
        assert_encoded("foobar", size, vectors[size]);
    const uint8_t all[] = {0x00, 0x10, 0x83, 0x10, 0x51, 0x87, 0x20, 0x92, 0x8B, 0x30, 0xD3, 0x8F,
                           0x41, 0x14, 0x93, 0x51, 0x55, 0x97, 0x61, 0x96, 0x9B, 0x71, 0xD7, 0x9F,
                           0x82, 0x18, 0xA3, 0x92, 0x59, 0xA7, 0xA2, 0x9A, 0xAB, 0xB2, 0xDB, 0xAF,
                           0xC3, 0x1C, 0xB3, 0xD3, 0x5D, 0xB7, 0xE3, 0x9E, 0xBB, 0xF3, 0xDF, 0xBF};
    assert_encoded(all, sizeof all, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bytes_are_encoded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
