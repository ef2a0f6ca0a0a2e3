/* Classes of characters, and the pattern by which Qwen2 cuts a text into pieces before BPE:
 *
 *     (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+
 *     |\s+(?!\S)|\s+
 */
#ifndef VS2_MODEL_TOKENIZER_SPLIT_H
#define VS2_MODEL_TOKENIZER_SPLIT_H

#include <stddef.h>
#include <stdint.h>

/* What a character is, as bits. */
enum character_class {
    CHARACTER_LETTER = 1,    /* \p{L} */
    CHARACTER_NUMBER = 2,    /* \p{N} */
    CHARACTER_SPACE = 4,     /* \s */
    CHARACTER_NEWLINE = 8,   /* \r or \n */
    CHARACTER_COMBINES = 16, /* NFC may change it or order it: its combining class is not 0, or
                                NFC_Quick_Check is not Yes */
};

enum { CHARACTER_COUNT = 0x110000 };

/* Fills the table with the class of each code point, as Hugging Face's tokenizers 0.22 sees them (Unicode 16
 * for letters and numbers, Unicode 9 for NFC), whatever versions the libraries of this machine know. The
 * table must be zeroed. */
void character_classes_fill(uint8_t classes[CHARACTER_COUNT]);

/* The length in bytes of the first piece of a text of `length` bytes (at least 1) of valid UTF-8. */
size_t split_piece(const uint8_t *classes, const char *text, size_t length);

#endif
