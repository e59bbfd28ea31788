/*
 * Space in a file without a name that is mapped as a whole: what is at work is
 * in memory, the rest need not be.
 */
#ifndef SQ_PRUNE_MAPPED_H
#define SQ_PRUNE_MAPPED_H

#include <stddef.h>

#include "base/err.h"

struct sq_mapped {
	int fd;				/* -1: none */
	size_t size;
	unsigned char *map;
};

/* -1 with the reason; either way it is released by sq_mapped_release(). */
int	 sq_mapped_open(struct sq_mapped *, char *err);

/* Room for n bytes more: where they begin. */
size_t	 sq_mapped_room(struct sq_mapped *, size_t n);

/* After all room was taken; -1 with the reason. */
int	 sq_mapped_map(struct sq_mapped *, char *err);

/* Not needed for now: the file has it. */
void	 sq_mapped_leave(const struct sq_mapped *, size_t at, size_t n);
void	 sq_mapped_release(struct sq_mapped *);

#endif
