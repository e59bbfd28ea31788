/*
 * What each row of a weight is learned by, some floats that begin at 0: in
 * memory, or, of weights that are many, in a file without a name, which is read
 * and written a few rows at a time.
 */
#ifndef SQ_QUANT_TUNE_ROWS_H
#define SQ_QUANT_TUNE_ROWS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"

/* Of many weights. */
struct sq_tune_file {
	uint64_t left;			/* bytes that may still be in memory */
	/* private */
	int fd;				/* where space is */
	uint64_t size;
	float *space;			/* some rows for each thread */
	atomic_int bad;			/* errno of what went wrong, or 0 */
};

#define SQ_TUNE_CALM	((uint64_t)16 << 20)	/* bytes in memory, */
#define SQ_TUNE_SPACE	((size_t)1 << 18)	/* floats for each thread */

void	 sq_tune_file_release(struct sq_tune_file *);

/* -1 with the reason when a row could not be read or written since. */
int	 sq_tune_file_check(const struct sq_tune_file *, char *err);

struct sq_tune_rows {
	struct sq_tune_file *file;	/* or NULL: */
	float *mem;			/* in memory */
	uint64_t at;
	size_t rows, one;		/* floats of a row */
	size_t some;			/* rows at a time, at most */
};

/* file: NULL for memory.  -1 with the reason; released also then. */
int	 sq_tune_rows_init(struct sq_tune_rows *, struct sq_tune_file *,
	    struct sq_pool *, size_t rows, size_t one, char *err);
void	 sq_tune_rows_release(struct sq_tune_rows *);

/* n rows, until the thread's next call; and what they are now. */
float	*sq_tune_rows_get(const struct sq_tune_rows *, size_t row, size_t n,
	    int thread);
void	 sq_tune_rows_put(const struct sq_tune_rows *, size_t row, size_t n,
	    int thread);

#endif
