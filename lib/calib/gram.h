/*
 * H += X X^T over a sample of tokens: what GPTQ and its relatives minimize
 * with.  Inputs are rounded to bf16, products summed in float32.
 *
 * One sample is one addition to H, whatever the batch or the thread count, so
 * the statistics depend on the text alone.
 *
 * On a device a sample keeps no tokens: what comes is added to an H of its own,
 * whole and in the device's memory, sample after sample, until sq_gram_fetch().
 */
#ifndef SQ_CALIB_GRAM_H
#define SQ_CALIB_GRAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/kern.h"

struct sq_gram {
	struct sq_ctx *ctx;
	size_t channels;		/* C */
	size_t length;			/* tokens of a sample */
	size_t have;			/* of this sample so far */
	enum sq_prec prec;
	void *x;		/* [length][C]: the sample, BF16 or F32 */
	void *panels;		/* the same in panels, once it is laid; x's */
	int laid;
	float *h;		/* upper triangle of C x C, row by row */
	float *far;		/* NULL, or C x C on the device */
	int far_any;		/* there is something in it */
	float *tile;			/* scratch of sq_gram_add() */
};

/* h all zero.  -1 when there is no memory. */
int	 sq_gram_init(struct sq_gram *, struct sq_ctx *, size_t channels,
	    size_t length, enum sq_prec, char *err);
/* The same without h: for sq_gram_cross(). */
int	 sq_gram_init_plain(struct sq_gram *, struct sq_ctx *, size_t channels,
	    size_t length, enum sq_prec, char *err);
void	 sq_gram_release(struct sq_gram *);

/* The same without scratch either: a sample for sq_gram_piece(). */
int	 sq_gram_init_sample(struct sq_gram *, struct sq_ctx *, size_t channels,
	    size_t length, enum sq_prec, char *err);

/* Bytes that one takes, all told; those of h, and of a sample's x, alone. */
uint64_t sq_gram_bytes(size_t channels, size_t length, enum sq_prec);
uint64_t sq_gram_h_bytes(size_t channels);
uint64_t sq_gram_x_bytes(size_t channels, size_t length, enum sq_prec);

/* The next tokens of the sample: [tokens][C], F32. */
int	 sq_gram_take(struct sq_gram *, const struct sq_mat *x, char *err);

/* The sample has fewer tokens than others: the rest of it is zeros. */
void	 sq_gram_pad(struct sq_gram *);

/* The sample is whole: what its products want is made. */
int	 sq_gram_lay(struct sq_gram *, char *err);

/* The samples of both are whole: to += X Y^T, [C][C], with X from the first
 * one, whose sample ends. */
int	 sq_gram_cross(struct sq_gram *, struct sq_gram *, float *to,
	    char *err);

/* The sample is whole: H += X X^T, and the next sample begins. */
int	 sq_gram_add(struct sq_gram *, char *err);

/*
 * The same for n samples, one after the other, and one piece of h: pieces may
 * be worked on at the same time, each with a space of its own, and together
 * they are what sq_gram_add() of each sample would have made.  Samples are laid;
 * those without tokens count for nothing; sq_gram_end() begins the next one.
 */
struct sq_gram_space {
	struct sq_ctx *ctx;
	float *tile;
};

int	 sq_gram_space_init(struct sq_gram_space *, struct sq_ctx *,
	    char *err);
void	 sq_gram_space_release(struct sq_gram_space *);
uint64_t sq_gram_space_bytes(void);
size_t	 sq_gram_pieces(size_t channels);
int	 sq_gram_piece(float *h, const struct sq_gram *const *sample, size_t n,
	    size_t piece, const struct sq_gram_space *, char *err);
void	 sq_gram_end(struct sq_gram *);

/* Of samples on a device, for which pieces do nothing: h becomes what all of
 * them made, and the next ones begin anew. */
int	 sq_gram_fetch(struct sq_gram *, float *h, char *err);

#endif
