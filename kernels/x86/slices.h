/*
 * Rows, or other lines of a weight, cut into a slice for each thread.  A slice
 * is done in strips of lines that are far apart,
 *
 *	strip i		lines i, i + apart, i + 2 apart ..
 *
 * so that memory is read in as many streams, each one in order, which the
 * processor foresees: a single one does not keep it busy.  The strips that
 * follow go on where the streams are.  A thread without strips of its own takes
 * those of others.
 */
#ifndef SQ_X86_SLICES_H
#define SQ_X86_SLICES_H

#include <stdatomic.h>
#include <stddef.h>

#include "kernels/x86/sizes.h"

#define SQ_SLICES	64

struct sq_slice {
	_Alignas(64) atomic_size_t next;	/* strip */
	size_t first, end, apart;		/* lines */
};

struct sq_slices {
	size_t n;
	struct sq_slice slice[SQ_SLICES];
};

/* `lines' for so many threads, `together' in a strip. */
static inline void
sq_slices_cut(struct sq_slices *s, size_t lines, size_t threads,
    size_t together)
{
	struct sq_slice *l;
	size_t i;

	s->n = least(threads, SQ_SLICES);
	for (i = 0; i < s->n; i++) {
		l = &s->slice[i];
		l->first = lines * i / s->n;
		l->end = lines * (i + 1) / s->n;
		l->apart = up(l->end - l->first, together);
		if (l->apart > 0 && together > 1)
			l->apart |= 1;		/* other cache sets */
		l->next = 0;
	}
}

/* The next strip for thread `own', whose count of slices that are done starts
 * at 0; NULL: there is none. */
static inline const struct sq_slice *
sq_slices_take(struct sq_slices *s, size_t own, size_t *done, size_t *strip)
{
	struct sq_slice *l;

	for (; *done < s->n; ++*done) {
		l = &s->slice[(own + *done) % s->n];
		*strip = atomic_fetch_add(&l->next, 1);
		if (*strip < l->apart)
			return l;
	}
	return NULL;
}

/* Line i of a strip; the last one again where the slice has no more. */
static inline size_t
sq_slice_line(const struct sq_slice *l, size_t strip, size_t i)
{
	return least(l->first + strip + i * l->apart, l->end - 1);
}

#endif
