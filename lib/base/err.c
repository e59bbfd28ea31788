/* One-line reasons; see err.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/utf8.h"

static void
clean(char *dst, const char *src)
{
	size_t i = 0, n = strlen(src), len;

	while (i < n) {
		len = sq_utf8_len(src + i, n - i);
		if (len == 0 || (unsigned char)src[i] < 32 || src[i] == 127) {
			*dst++ = '?';
			i++;
			continue;
		}
		memcpy(dst, src + i, len);
		dst += len;
		i += len;
	}
	*dst = '\0';
}

int
sq_fail(char *err, const char *fmt, ...)
{
	char raw[SQ_ERR];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	clean(err, raw);
	return -1;
}

int
sq_fail_errno(char *err, const char *fmt, ...)
{
	char raw[SQ_ERR];
	int e = errno;
	size_t n;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	n = strlen(raw);
	snprintf(raw + n, sizeof(raw) - n, ": %s", strerror(e));
	clean(err, raw);
	return -1;
}
