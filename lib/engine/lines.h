/* Lines of a file descriptor, without waiting for them where that matters. */
#ifndef SQ_ENGINE_LINES_H
#define SQ_ENGINE_LINES_H

#include <stddef.h>

#include "base/err.h"

#define SQ_LINE_MAX	((size_t)64 << 20)

struct sq_lines {
	int fd, eof;
	char *buf;
	size_t at, n, cap;
};

/* All zero but fd is a new one. */
void	 sq_lines_release(struct sq_lines *);

enum sq_line { SQ_LINE_END, SQ_LINE_READ, SQ_LINE_LATER };

/*
 * The next line without its newline, *len bytes and a zero, until the next
 * call; the last one may lack the newline.  LATER: none is there yet, and wait
 * is 0.  -1 with the reason.
 */
int	 sq_lines_next(struct sq_lines *, int wait, char **line, size_t *len,
	    char *err);

#endif
