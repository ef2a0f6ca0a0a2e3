/* Base64 (RFC 4648), as data: addresses have it. */
#ifndef VS2_BASE_BASE64_H
#define VS2_BASE_BASE64_H

#include <stddef.h>

#include "base/text.h"

/* Appends the bytes as four characters for every three, padded with '='. */
void base64_append(struct text *out, const void *data, size_t size);

#endif
