/*
 * The hidden states of all samples between two blocks: in memory, or in a file
 * without a name when they do not fit.  The memory may be a device's: then
 * sq_hidden_get() gives what only its kernels reach.
 */
#ifndef SQ_CALIB_HIDDEN_H
#define SQ_CALIB_HIDDEN_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/kern.h"

struct sq_hidden {
	size_t samples, length, dim;	/* length tokens, dim values each */
	float *mem;			/* or NULL */
	const struct sq_mem *far;	/* whose memory, or NULL */
	int fd;				/* or -1 */
	float *one;			/* a sample, when they are in a file */
};

/*
 * Whether states of so many bytes go to a file: where they do not fit beside
 * what else there is; without a ceiling (0), where they are many.
 */
#define SQ_HIDDEN_CALM	((uint64_t)128 << 20)
int	 sq_hidden_spills(uint64_t bytes, uint64_t beside, uint64_t ceiling);

/* spill: into a file in TMPDIR. */
int	 sq_hidden_init(struct sq_hidden *, size_t samples, size_t length,
	    size_t dim, int spill, char *err);
/* In a device's memory; -1 when there is not so much. */
int	 sq_hidden_init_far(struct sq_hidden *, size_t samples, size_t length,
	    size_t dim, const struct sq_mem *);
void	 sq_hidden_release(struct sq_hidden *);

/* The same states for another thread, which works on other samples; it is let
 * go first, by sq_hidden_unshare(). */
int	 sq_hidden_share(struct sq_hidden *, const struct sq_hidden *of,
	    char *err);
void	 sq_hidden_unshare(struct sq_hidden *);

/* Sample i in memory: [length][dim], until the next call; NULL on failure. */
float	*sq_hidden_get(struct sq_hidden *, size_t i, char *err);

/* Puts back what sq_hidden_get(i) gave, changed. */
int	 sq_hidden_put(struct sq_hidden *, size_t i, char *err);

#endif
