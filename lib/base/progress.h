/*
 * The progress line: tensor k of n, bytes, rate, time left.  It is written to
 * the descriptor that it is given, only when that is a terminal, at most ten
 * times a second, and wiped at the end.
 */
#ifndef SQ_BASE_PROGRESS_H
#define SQ_BASE_PROGRESS_H

#include <stdint.h>

struct sq_progress {
	int fd;				/* -1: silent */
	const char *tool;
	uint64_t tensors, bytes;	/* expected; 0: unknown */
	uint64_t tensor, done;		/* so far */
	const char *unit;		/* NULL: bytes; else what is counted */
	double start, last;		/* seconds */
};

void	 sq_progress_start(struct sq_progress *, int fd, const char *tool);
void	 sq_progress_tensor(struct sq_progress *);	/* one more */
void	 sq_progress_add(struct sq_progress *, uint64_t bytes);
void	 sq_progress_end(struct sq_progress *);

#endif
