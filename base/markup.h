/* Text inside HTML and XML. */
#ifndef VS2_BASE_MARKUP_H
#define VS2_BASE_MARKUP_H

#include <stddef.h>

#include "base/text.h"

/* Appends the text so that it means itself, in an element or in a quoted attribute: & < > " ' become
 * entities. What neither language can hold (bytes that are not UTF-8, control characters but tab and line
 * ends, U+FFFE and U+FFFF) becomes U+FFFD. */
void markup_append(struct text *out, const char *text, size_t length);
void markup_append_string(struct text *out, const char *string);

#endif
