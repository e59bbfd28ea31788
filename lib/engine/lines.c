/* Lines as they come; see lines.h. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/lines.h"

void
sq_lines_release(struct sq_lines *l)
{
	free(l->buf);
	memset(l, 0, sizeof(*l));
}

static int
can_read(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

/* Some bytes more, into room for them and a zero. */
static int
more(struct sq_lines *l, char *err)
{
	ssize_t got;
	char *p;

	memmove(l->buf, l->buf + l->at, l->n - l->at);
	l->n -= l->at;
	l->at = 0;
	if (l->n > SQ_LINE_MAX)
		return sq_fail(err, "a line of more than %zu bytes",
		    SQ_LINE_MAX);
	if (l->n + 65536 >= l->cap) {
		if ((p = realloc(l->buf, 2 * l->cap + 131072)) == NULL)
			return sq_fail(err, "out of memory");
		l->buf = p;
		l->cap = 2 * l->cap + 131072;
	}
	do
		got = read(l->fd, l->buf + l->n, 65536);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return sq_fail_errno(err, "cannot be read");
	l->eof = got == 0;
	l->n += (size_t)got;
	return 0;
}

int
sq_lines_next(struct sq_lines *l, int wait, char **line, size_t *len,
    char *err)
{
	size_t seen = 0;
	char *end;

	for (;;) {
		end = l->n == l->at ? NULL : memchr(l->buf + l->at + seen,
		    '\n', l->n - l->at - seen);
		if (end != NULL || l->eof)
			break;
		seen = l->n - l->at;
		if (!wait && !can_read(l->fd))
			return SQ_LINE_LATER;
		if (l->buf == NULL && (l->buf = calloc(1, 1)) == NULL)
			return sq_fail(err, "out of memory");
		if (more(l, err) < 0)
			return -1;
	}
	if (end == NULL && l->n == l->at)
		return SQ_LINE_END;
	if (end == NULL)
		end = l->buf + l->n;
	*line = l->buf + l->at;
	*len = (size_t)(end - *line);
	l->at += *len + (end < l->buf + l->n);
	*end = '\0';
	return SQ_LINE_READ;
}
