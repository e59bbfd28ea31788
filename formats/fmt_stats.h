/*
 * The STATS and TOKENS records of sq-stream(5): what calibration has seen.
 */
#ifndef SQ_FMT_STATS_H
#define SQ_FMT_STATS_H

#include "formats/fmt_stream.h"

#define SQ_STATS_TENSORS	8	/* that share one input */
#define SQ_HIST			256	/* bins of the histogram */

/* Statistics of the input of linear layers, or of keys and values.  All arrays
 * are the record's own (malloc) after sq_stats_read(). */
struct sq_stats {
	int is_kv;
	size_t ntensors;
	char tensor[SQ_STATS_TENSORS][SQ_NAME];
	uint64_t tokens;
	char model[SQ_DIGEST], source[SQ_DIGEST];
	int rescaled;
	/* linear: C channels.  Arrays of a record that does not have them are
	 * NULL; one of h and hdiag is there. */
	uint64_t channels;
	float *min, *max, *mean, *absmean;	/* [C] */
	uint64_t *hist;				/* [SQ_HIST] */
	float *h;			/* upper triangle, row by row */
	float *hdiag;			/* [C], when there is no h */
	/* keys and values: N heads of dimension D */
	uint64_t heads, dim;
	float *kmin, *kmax, *vmin, *vmax;	/* [N * D] */
};

/* The STATS record that in has just read; -1 with the reason in in->err, also
 * when it needs more than max bytes of memory. */
int	 sq_stats_read(struct sq_stats *, struct sq_in *in, uint64_t max);
void	 sq_stats_release(struct sq_stats *);

/*
 * What its description says, no array read: for who puts H somewhere else.
 * *full: it has H, which is the end of the payload then, sq_triangle(channels)
 * values.
 */
int	 sq_stats_parse(struct sq_stats *, const struct sq_in *in, int *full,
	    char *err);

/* Copies it to out and reads all but H on the way: the reason is in in->err. */
int	 sq_stats_pass(struct sq_stats *, struct sq_in *in, struct sq_out *out);

/* Writes one, with the arrays that there are; they stay the caller's. */
int	 sq_stats_write(const struct sq_stats *, struct sq_out *out);

/* Bytes of the payload that sq_stats_write() makes. */
uint64_t sq_stats_bytes(const struct sq_stats *);

/* Entries of the upper triangle of a C x C matrix, and the place of (i, j),
 * i <= j, in it. */
static inline uint64_t
sq_triangle(uint64_t c)
{
	return c * (c + 1) / 2;
}

static inline uint64_t
sq_triangle_at(uint64_t c, uint64_t i, uint64_t j)
{
	return i * (2 * c - i + 1) / 2 + (j - i);
}

/* The calibration text. */
struct sq_tokens {
	uint32_t *id;			/* [count] */
	uint64_t count, length, skip;	/* length: tokens of a sample */
	char source[SQ_DIGEST], tokenizer[SQ_DIGEST];
};

int	 sq_tokens_read(struct sq_tokens *, struct sq_in *in);
void	 sq_tokens_release(struct sq_tokens *);
int	 sq_tokens_write(const struct sq_tokens *, struct sq_out *out);

#endif
