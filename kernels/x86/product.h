/*
 * The product of two matrices on the x86 levels: what they share (product.c)
 * and what each of them brings.
 *
 * Both factors are laid out in lines over all of k: 16 rows of a, or 16 columns
 * of b, a panel.  Words hold one value or a pair of bf16 (kernels/panels.h):
 *
 *	a   block [16 rows][16 words], block after block
 *	b   block [16 words][16 columns], block after block
 *
 * which are tiles of AMX as they lie, and of which other levels broadcast a
 * word of a and multiply it with vectors of b.  A level whose instructions do
 * not take pairs has a in float32, rounded: two words for one of b.
 *
 * A result depends on the factors' row and column, the level and the precision;
 * not on threads.
 */
#ifndef SQ_X86_PRODUCT_H
#define SQ_X86_PRODUCT_H

#include "kernels/panels.h"

#define SQ_PR_LINE	SQ_PANEL	/* rows of a, columns of b */
#define SQ_PR_TILE	(SQ_PR_LINE * SQ_PR_LINE * sizeof(uint32_t))

/*
 * One block of a line: n of 16 members (rows of a, columns of b) by k of the
 * values that 16 words hold.  They come from p, where a member is a row, or
 * else a column; and leave as rows of a member, or of a word.
 */
struct sq_pr_square {
	const void *p;
	size_t stride;
	enum sq_dtype from, to;		/* to: F32 or BF16 */
	int round;			/* to F32, but rounded to bf16 */
	int by_row, turn;		/* turn: rows become columns */
	size_t n, k;
};

/* Up to two lines by two panels, over `words' of b. */
struct sq_pr_block {
	const char *a, *b;
	size_t next_a, next_b;		/* bytes to the second one */
	size_t words;
	float *y;
	const float *next;		/* y of the block that follows, or of
					   this one */
	size_t stride, rows, cols;
	int add;
};

struct sq_pr_level {
	size_t deep;			/* words of b at a time, whole blocks */
	int split;			/* bf16: a in float32 */
	void (*square)(const struct sq_pr_square *, void *to);
	void (*f32)(const struct sq_pr_block *);
	void (*bf16)(const struct sq_pr_block *);
	void (*begin)(void), (*end)(void);	/* of a task; may be NULL */
};

extern const struct sq_pr_level sq_pr_avx2, sq_pr_avx512, sq_pr_avx512bf16;

int	 sq_pr_run(const struct sq_pr_level *, struct sq_ctx *,
	    const struct sq_operand *a, const struct sq_operand *b, enum sq_prec,
	    int add, const struct sq_mat *y);
int	 sq_pr_panels(const struct sq_pr_level *, struct sq_ctx *,
	    const struct sq_operand *b, const struct sq_mat *to);

#endif
