/* CRC-32C (Castagnoli, RFC 3720 appendix B.4): the checksum of TFRecord files and of our checkpoints. */
#ifndef VS2_BASE_CRC32C_H
#define VS2_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of the data that `crc` is the checksum of (0: none), followed by these bytes. */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);

#endif
