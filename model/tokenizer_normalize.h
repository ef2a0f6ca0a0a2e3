/* NFC, as Hugging Face's tokenizers compute it. */
#ifndef VS2_MODEL_TOKENIZER_NORMALIZE_H
#define VS2_MODEL_TOKENIZER_NORMALIZE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

/* Normalises valid UTF-8. *normal is the text itself when NFC leaves it as it is, and most text costs one
 * look at each byte; else it lies in `buffer`, which is overwritten. */
enum status normalize_nfc(const uint8_t *classes, const char **normal, size_t *length, struct text *buffer,
                          struct error *err);

#endif
