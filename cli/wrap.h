/* Text for people: lines broken at spaces. */
#ifndef VS2_CLI_WRAP_H
#define VS2_CLI_WRAP_H

#include <stddef.h>

#include "base/text.h"

/* Columns that a UTF-8 text takes on a terminal (wide characters two, combining ones none). */
size_t wrap_columns(const char *text, size_t length);

/* Appends the text in lines of at most `width` columns, each after `indent` spaces (counted in the width)
 * except the first, which goes on at column `start`; a longer word stands alone. Line ends in the text are
 * kept. Ends without a line end. Control characters other than line ends are left out, so that untrusted
 * text cannot steer the terminal. */
void wrap_text(struct text *out, const char *text, size_t start, size_t indent, size_t width);

#endif
