/*
 * A quantized tensor in the place of a dense one, in chunks of rows: weights
 * are read, codes go out as they are made, scales and zero points are collected
 * to follow them.  What quantizes the rows is the caller's.
 */
#ifndef SQ_QUANT_CHUNKS_H
#define SQ_QUANT_CHUNKS_H

#include "base/progress.h"
#include "formats/fmt_stream.h"
#include "quant/levels.h"

struct sq_chunks {
	struct sq_qrule rule;		/* group_rows, _cols 0: all */
	uint64_t memory;		/* bytes, of the process; 0: enough */
	uint64_t taken;			/* of them, by what the caller holds */
	uint64_t per_row;		/* what the caller takes for each row of
					   a chunk, bytes */
	size_t step;			/* chunks are multiples of this many
					   rows; 0: of one */
	/* Quantizes the rows of w to q, with the rule made whole: 0, or -1 with
	 * the reason, such as "hold infinity". */
	int (*quantize)(void *arg, const struct sq_mat *w,
	    const struct sq_qrule *rule, const struct sq_dst *q, char *err);
	void *arg;
	struct sq_sparse choose;	/* a mask that quantize() writes */
	struct sq_progress *progress;
	unsigned char *keep;		/* NULL, or the payload goes there, too */
	struct sq_tensor made;		/* result: the last one */
};

/* The program, its libraries, the streams' own buffers, those for compression
 * included. */
#define SQ_CHUNKS_FIXED	((uint64_t)30 << 20)

/* What values that F16 scales cannot reach, or no values at all, are called. */
#define SQ_CHUNKS_BAD							\
	"hold infinity, NaN or values too large for 16-bit scales"

/* What becomes of t, under a name; with a mask where t has one, or says what it
 * will keep to. */
void	 sq_chunks_describe(const struct sq_qrule *, const struct sq_tensor *t,
	    const char *name, struct sq_tensor *made);

/* Where the scales of rows from `row' on go, given where each part begins; the
 * codes are the caller's. */
void	 sq_chunks_dst(const struct sq_tensor *made, unsigned char *const *part,
	    uint64_t row, struct sq_dst *q);

/*
 * Reads the payload of dense tensor t from in and writes the quantized record
 * to out: 0, or -1 with the reason.  A mask that t has passes on; what it drops
 * is known by the zeros that stand there.
 */
int	 sq_chunks_tensor(struct sq_chunks *, const struct sq_tensor *t,
	    struct sq_in *in, struct sq_out *out, char *err);

/*
 * The same, but t itself passes through unchanged, and the quantized record,
 * under another name, is kept in a file without a name until it is put: the
 * head of a model whose embedding it shares.
 */
struct sq_twin;

struct sq_twin *sq_chunks_twin(struct sq_chunks *, const struct sq_tensor *t,
	    const char *name, struct sq_in *in, struct sq_out *out, char *err);
int	 sq_twin_put(struct sq_twin *, struct sq_out *out, char *err);
void	 sq_twin_free(struct sq_twin *);

#endif
