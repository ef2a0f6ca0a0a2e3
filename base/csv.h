/* Comma-separated values (RFC 4180): fields in quotes may hold commas, line ends and doubled quotes; a mark
 * of byte order is passed over, lines may end in LF or CRLF, and lines with nothing on them do not count. */
#ifndef VS2_BASE_CSV_H
#define VS2_BASE_CSV_H

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"

/* Reads a table whose first record names its columns: an array with an object a record, every value a string.
 * json_decref it. NULL with err "PLACE:LINE: CAUSE" (LINE is where the record begins) when a record has not
 * as many fields as there are columns, two columns have one name, a quote does not end or stands inside a
 * bare field, text follows a closing quote, or a field is not UTF-8 or holds a NUL. */
json_t *csv_read_text(const char *text, size_t length, const char *place, struct error *err);

#endif
