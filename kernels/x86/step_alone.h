/*
 * The product of few tokens without AMX: what a token is that is multiplied
 * alone.  256 hi + lo are joined while they are integers.
 */
#ifndef SQ_X86_STEP_ALONE_H
#define SQ_X86_STEP_ALONE_H

#include "kernels/x86/step_tokens.h"

/* A block of one token: codes in the order of the weight's bytes. */
struct alone {
	int8_t hi[PARTS][VB], lo[PARTS][VB];
	int32_t start[SLOTS];
	float sum[SLOTS];		/* of the codes */
	float scale, none[7];
};

/* Tokens of an octet. */
static size_t
tokens_of(const struct job *j, size_t octet)
{
	return least(TOKENS, j->tokens - octet * TOKENS);
}

static void
pack_alone(const struct job *j, size_t token, size_t block, struct alone *to)
{
	int32_t mid = 1 << (j->bits - 1), sum;
	struct bytes b;
	int i;

	cut_token(j, token, block, &b);
	put_block(j, b.hi, to->hi);
	put_block(j, b.lo, to->lo);
	for (i = 0; i < j->groups; i++) {
		sum = 256 * b.hi_sum[i] + b.lo_sum[i];
		to->start[i] = -mid * sum;
		to->sum[i] = (float)sum;
	}
	to->scale = b.scale;
}

#endif
