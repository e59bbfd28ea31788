/* The product of few tokens with VNNI and AMX; see step.h. */
#include "kernels/x86/step_many.h"
#include "kernels/x86/step_one.h"

#define PACKED	sizeof(struct many)
#define ALONE	1
#define BY_ROW(tokens)	((tokens) > 1)

#include "kernels/x86/step_run.h"

static void
begin(const struct job *j)
{
	if (j->tokens > 1)
		begin_tiles(j->groups);
}

static void
end(const struct job *j)
{
	if (j->tokens > 1)
		_tile_release();
}

static void
pack_one(const struct job *j, size_t block, struct one *to)
{
	int32_t mid = 1 << (j->bits - 1);
	struct bytes b;
	int i;

	cut_token(j, 0, block, &b);
	put_block(j, b.hi, to->hi);
	put_block(j, b.lo, to->lo);
	for (i = 0; i < j->groups; i++) {
		to->hi_start[i] = -mid * b.hi_sum[i];
		to->lo_start[i] = -mid * b.lo_sum[i];
		to->hi_sum[i] = (float)b.hi_sum[i];
		to->lo_sum[i] = (float)b.lo_sum[i];
	}
	to->hi_scale = 256 * b.scale;
	to->lo_scale = b.scale;
}

static void
pack_many(const struct job *j, size_t octet, size_t block, struct many *to)
{
	size_t tokens = least(TOKENS, j->tokens - octet * TOKENS), t;
	struct bytes b;
	VF all[2][VL];
	int i, k;

	memset(to, 0, sizeof(*to));
	memset(all, 0, sizeof(all));
	for (t = 0; t < tokens; t++) {
		cut_token(j, octet * TOKENS + t, block, &b);
		for (i = 0; i < 2; i++) {
			all[i][t] = (VF)b.hi[i];
			all[i][TOKENS + t] = (VF)b.lo[i];
		}
		for (i = 0; i < j->groups; i++) {
			to->sum[i][t] = (float)b.hi_sum[i];
			to->sum[i][TOKENS + t] = (float)b.lo_sum[i];
		}
		to->scale[t] = 256 * b.scale;
		to->scale[TOKENS + t] = b.scale;
	}
	for (i = 0; i < 2; i++) {
		vf_transpose(all[i]);
		for (k = 0; k < VL; k++)
			vi_storeu(to->codes[i][k], (VI)all[i][k]);
	}
}

static void
pack(const struct job *j, size_t octet, size_t block)
{
	if (j->tokens == 1)
		pack_one(j, block, (struct one *)j->packed + block);
	else
		pack_many(j, octet, block, (struct many *)j->packed + octet *
		    j->blocks + block);
}

#define KINDS(X)							\
	X(4, 1, 0) X(4, 2, 0) X(4, 4, 0) X(4, 1, 1) X(4, 2, 1) X(4, 4, 1) \
	X(8, 1, 0) X(8, 2, 0) X(8, 4, 0) X(8, 1, 1) X(8, 2, 1) X(8, 4, 1)
#define KIND(bits, groups, zeros)	((bits) * 100 + (groups) * 10 + (zeros))

#define BLOCKS(bits, groups, zeros)					\
static void								\
one_##bits##_##groups##_##zeros(const struct strip *s,			\
    const struct one *x, size_t n, VF *sums)				\
{									\
	one_blocks(s, x, n, sums, bits, groups, zeros);			\
}									\
static void								\
many_##bits##_##groups##_##zeros(const struct strip *s,		\
    const struct many *x, size_t n, struct room *room, VF *sums)	\
{									\
	many_blocks(s, x, n, room, sums, bits, groups, zeros);		\
}
KINDS(BLOCKS)

static void
do_blocks(const struct job *j, const struct strip *s, size_t block, size_t n,
    struct scratch *t)
{
	const struct many *x = (const struct many *)j->packed + block;
	size_t o;

	switch (KIND(j->bits, j->groups, j->w->zeros != NULL)) {
#define CASE(bits, groups, zeros)					\
	case KIND(bits, groups, zeros):					\
		if (j->tokens == 1)					\
			one_##bits##_##groups##_##zeros(s, (const struct one *)\
			    j->packed + block, n, t->sums);		\
		for (o = 0; j->tokens > 1 && o < j->octets; o++)	\
			many_##bits##_##groups##_##zeros(s, x + o * j->blocks, \
			    n, &t->room, t->sums + o * ROWS);		\
		break;
	KINDS(CASE)
#undef CASE
	}
}

static void
total(const struct job *j, size_t octet, const VF *sums, VF rows[TOKENS])
{
	VF v[VL];
	int i;

	(void)octet;
	if (j->tokens == 1) {
		rows[0] = vf_add(sums[0], sums[1]);
		return;
	}
	memcpy(v, sums, sizeof(v));
	vf_transpose(v);
	for (i = 0; i < TOKENS; i++)
		rows[i] = vf_add(v[i], v[TOKENS + i]);
}

/* Other codes are spread where they are multiplied, without tiles. */
static int
has_tiles(const struct sq_weight *w)
{
	return w->grid == SQ_INT4 || w->grid == SQ_INT8;
}

int
sq_few_amx(struct sq_ctx *c, const struct sq_few *f)
{
	return has_tiles(f->w[0]) ? run(c, f) : sq_few_vnni(c, f);
}
