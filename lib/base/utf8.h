/* UTF-8: where a character ends, and whether it is one (RFC 3629). */
#ifndef SQ_BASE_UTF8_H
#define SQ_BASE_UTF8_H

#include <stddef.h>

/* Bytes of the character at s (n bytes left), or 0 when it is not valid. */
size_t	 sq_utf8_len(const char *s, size_t n);

/* 1 when all n bytes are valid UTF-8. */
int	 sq_utf8_valid(const char *s, size_t n);

#endif
