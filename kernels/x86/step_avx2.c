/*
 * The product of few tokens with AVX2, of codes of 4 bits; see step.h.
 *
 * A sum of bytes has 16 bits, and is exact for a unit of 32 columns; then hi and
 * lo are joined in 32 bits.
 *
 * Up to two tokens (alone_blocks): 32 bytes of a row at a time, that is, two
 * units; the lanes of a row's sums are 0000 1111.  Those of eight rows become two
 * registers, one for each unit.
 *
 * More (several_blocks): the codes of eight rows are spread to bytes; four of
 * them are broadcast, and multiplied with those of eight tokens, as in a tile
 * (int_steps.h).
 */
#include "kernels/x86/step_alone.h"

#define UNIT	SQ_MM_UNIT
#define BYTES	1
#define STEP	4
#define WORDS	(BLOCK / STEP)
#define TR	4
#define TV	2
#include "kernels/x86/int_steps.h"

/* A block of eight: four columns of each in a vector. */
struct several {
	int8_t hi[BLOCK / STEP][VB], lo[BLOCK / STEP][VB];
	int32_t start[SLOTS][VL];
	float sum[SLOTS][VL], scale[VL];
};

struct room {
	_Alignas(64) uint8_t codes[ROWS][BLOCK];
};

#define PACKED	sizeof(struct several)
#define ALONE	2
#define BY_ROW(tokens)	((tokens) > ALONE)

#include "kernels/x86/step_run.h"

static void
begin(const struct job *j)
{
	(void)j;
}

static void
end(const struct job *j)
{
	(void)j;
}

static struct several *
several_at(const struct job *j, size_t octet, size_t block)
{
	return (struct several *)j->packed + octet * j->blocks + block;
}

static struct alone *
alone_at(const struct job *j, size_t token, size_t block)
{
	return (struct alone *)j->packed + token * j->blocks + block;
}

/* Every STEP bytes of a token's to where the vectors have them. */
static void
put_steps(const VI from[PARTS], size_t t, int8_t (*to)[VB])
{
	int8_t bytes[BLOCK];
	size_t i;

	for (i = 0; i < PARTS; i++)
		vi_storeu(bytes + i * VB, from[i]);
	for (i = 0; i < BLOCK / STEP; i++)
		memcpy(to[i] + t * STEP, bytes + i * STEP, STEP);
}

static void
pack_several(const struct job *j, size_t octet, size_t block)
{
	struct several *to = several_at(j, octet, block);
	int32_t mid = 1 << (j->bits - 1), sum;
	struct bytes b;
	size_t t;
	int i;

	memset(to, 0, sizeof(*to));
	for (t = 0; t < tokens_of(j, octet); t++) {
		cut_token(j, octet * TOKENS + t, block, &b);
		put_steps(b.hi, t, to->hi);
		put_steps(b.lo, t, to->lo);
		for (i = 0; i < j->groups; i++) {
			sum = 256 * b.hi_sum[i] + b.lo_sum[i];
			to->start[i][t] = -mid * sum;
			to->sum[i][t] = (float)sum;
		}
		to->scale[t] = b.scale;
	}
}

static void
pack(const struct job *j, size_t octet, size_t block)
{
	size_t t;

	if (j->tokens > ALONE)
		pack_several(j, octet, block);
	else
		for (t = 0; t < j->tokens; t++)
			pack_alone(j, t, block, alone_at(j, t, block));
}

/* The codes of two units of a row: those of even columns, and those of odd
 * ones. */
SQ_INLINE void
row_codes(const uint8_t *p, VI *even, VI *odd)
{
	VI v = vi_loadu(p);

	*even = vi_and(v, vi_set1_8(15));
	*odd = vi_and(vi_shr_16(v, 4), vi_set1_8(15));
}

/* The sums of bytes to those of 32 bits: 256 hi + lo. */
SQ_INLINE VI
joined(VI hi, VI lo, const int wide)
{
	VI s = vi_madd(lo, vi_set1_16(1));

	return wide ? vi_add(s, vi_madd(hi, vi_set1_16(256))) : s;
}

/* The sums of a row's two units with the codes of a token at x. */
SQ_INLINE VI
alone_row(const uint8_t *p, const int8_t (*hi)[UNIT], const int8_t (*lo)[UNIT],
    const int wide)
{
	VI even, odd, h = vi_set1(0), l;

	row_codes(p, &even, &odd);
	l = vi_add_16(vi_maddubs(even, vi_loadu(lo[0])),
	    vi_maddubs(odd, vi_loadu(lo[1])));
	if (wide)
		h = vi_add_16(vi_maddubs(even, vi_loadu(hi[0])),
		    vi_maddubs(odd, vi_loadu(hi[1])));
	return joined(h, l, wide);
}

/* The sums of four lanes each of a, b, c and d, in each half. */
SQ_INLINE VI
four_rows(VI a, VI b, VI c, VI d)
{
	VI ab = vi_add(_mm256_unpacklo_epi32(a, b),
	    _mm256_unpackhi_epi32(a, b));
	VI cd = vi_add(_mm256_unpacklo_epi32(c, d),
	    _mm256_unpackhi_epi32(c, d));

	return vi_add(_mm256_unpacklo_epi64(ab, cd),
	    _mm256_unpackhi_epi64(ab, cd));
}

/* Two units of eight rows. */
SQ_INLINE void
alone_units(const struct strip *s, size_t at, const struct alone *x,
    const int i, VI sum[2], const int wide)
{
	VI p[ROWS], low, high;
	int r;

	SQ_UNROLL for (r = 0; r < ROWS; r++)
		p[r] = alone_row(s->row[r] + at, x->hi + i, x->lo + i, wide);
	low = four_rows(p[0], p[1], p[2], p[3]);
	high = four_rows(p[4], p[5], p[6], p[7]);
	sum[0] = vi_halves(low, high, 0);
	sum[1] = vi_halves(low, high, 1);
}

/* n blocks of a strip; sums: of eight rows. */
SQ_INLINE void
alone_blocks(const struct strip *s, const struct alone *x, size_t n, VF *sums,
    int zeros, const int groups, const int wide)
{
	const VF mid = vf_set1(8);
	size_t b, g = 0, left = s->left, at = s->at;
	const float *scale, *zero;
	VF acc = sums[0], part, f;
	VI sum[SLOTS];
	int i;

	for (b = 0; b < n; b++, x++, at += BLOCK / 2) {
		SQ_UNROLL for (i = 0; i < ROWS; i++)
			fetch(s->row[i] + at + s->ahead, 4);
		alone_units(s, at, x, 0, sum, wide);
		alone_units(s, at + UNIT, x, 2, sum + 2, wide);
		if (groups <= 2) {
			sum[0] = vi_add(sum[0], sum[1]);
			sum[1] = vi_add(sum[2], sum[3]);
		}
		if (groups == 1)
			sum[0] = vi_add(sum[0], sum[1]);
		part = vf_zero();
		SQ_UNROLL for (i = 0; i < groups; i++) {
			scale = s->scales->scale[g + (size_t)i];
			zero = s->scales->zero[g + (size_t)i];
			f = vf_from_i(vi_add(sum[i], vi_set1(x->start[i])));
			if (zeros)
				f = vf_fma(vf_add(vf_load(zero), mid),
				    vf_set1(x->sum[i]), f);
			part = i == 0 ? vf_mul(vf_load(scale), f) :
			    vf_fma(vf_load(scale), f, part);
		}
		acc = vf_fma(vf_set1(x->scale), part, acc);
		g = next_group(g, &left, s, groups);
	}
	sums[0] = acc;
}

/* The bytes of a block of eight rows, in the order of a token's. */
SQ_INLINE void
spread(const struct strip *s, size_t at, struct room *room)
{
	VI even, odd;
	int r, i;

	SQ_UNROLL for (r = 0; r < ROWS; r++) {
		fetch(s->row[r] + at + s->ahead, 4);
		SQ_UNROLL for (i = 0; i < 2; i++) {
			row_codes(s->row[r] + at + i * VB, &even, &odd);
			vi_storeu(room->codes[r] + 2 * i * VB,
			    vi_halves(even, odd, 0));
			vi_storeu(room->codes[r] + (2 * i + 1) * VB,
			    vi_halves(even, odd, 1));
		}
	}
}

/* The sums of a unit: of nr rows from r on. */
SQ_INLINE void
unit_sums(const struct room *room, const struct several *x, size_t u, int r,
    VI *sum, const int nr, const int wide)
{
	const int32_t *w = (const int32_t *)(room->codes[r] + u * UNIT);
	const size_t at = u * UNIT / STEP;
	VI s[2 * TR][TV];
	int i;

	if (wide)
		sums_of(w, (const char *)x->hi[at], sizeof(x->hi), UNIT, s,
		    nr, 2);
	else
		sums_of(w, (const char *)x->lo[at], 0, UNIT, s, nr, 1);
	SQ_UNROLL for (i = 0; i < nr; i++)
		sum[r + i] = wide ? joined(s[i][0], s[i][1], 1) :
		    joined(s[i][0], s[i][0], 0);
}

/* n blocks of a strip, of eight tokens; sums: of each row. */
SQ_INLINE void
several_blocks(const struct strip *s, const struct several *x, size_t n,
    struct room *room, VF *sums, int zeros, const int groups, const int wide)
{
	const size_t units = SLOTS / (size_t)groups;
	size_t b, g = 0, left = s->left, at = s->at, u, i;
	VF part[ROWS], f;
	VI sum[ROWS], more[ROWS];
	int r;

	for (b = 0; b < n; b++, x++, at += BLOCK / 2) {
		spread(s, at, room);
		for (i = 0; i < (size_t)groups; i++) {
			SQ_UNROLL for (r = 0; r < ROWS; r++)
				sum[r] = vi_loadu(x->start[i]);
			for (u = i * units; u < (i + 1) * units; u++) {
				SQ_UNROLL for (r = 0; r < ROWS; r += wide ? TR
				    : ROWS)
					unit_sums(room, x, u, r, more,
					    wide ? TR : ROWS, wide);
				SQ_UNROLL for (r = 0; r < ROWS; r++)
					sum[r] = vi_add(sum[r], more[r]);
			}
			SQ_UNROLL for (r = 0; r < ROWS; r++) {
				f = vf_from_i(sum[r]);
				if (zeros)
					f = vf_fma(vf_set1(s->scales->
					    row_zero[r][g + i] + 8),
					    vf_load(x->sum[i]), f);
				part[r] = i == 0 ? vf_mul(vf_set1(s->scales->
				    row_scale[r][g]), f) : vf_fma(vf_set1(
				    s->scales->row_scale[r][g + i]), f,
				    part[r]);
			}
		}
		SQ_UNROLL for (r = 0; r < ROWS; r++)
			sums[r] = vf_fma(vf_load(x->scale), part[r], sums[r]);
		g = next_group(g, &left, s, groups);
	}
}

#define KINDS(X)	X(1, 0) X(2, 0) X(4, 0) X(1, 1) X(2, 1) X(4, 1)
#define KIND(groups, wide)	((groups) * 2 + (wide))

#define DO(groups, wide)						\
static void								\
alone_##groups##_##wide(const struct strip *s, const struct alone *x,	\
    size_t n, VF *sums, int zeros)					\
{									\
	alone_blocks(s, x, n, sums, zeros, groups, wide);		\
}									\
									\
static void								\
several_##groups##_##wide(const struct strip *s, const struct several *x, \
    size_t n, struct room *room, VF *sums, int zeros)			\
{									\
	several_blocks(s, x, n, room, sums, zeros, groups, wide);	\
}
KINDS(DO)

static void
do_blocks(const struct job *j, const struct strip *s, size_t block, size_t n,
    struct scratch *t)
{
	int zeros = j->w->zeros != NULL;
	size_t i;

	switch (KIND(j->groups, j->q == NULL)) {
#define CASE(groups, wide)						\
	case KIND(groups, wide):					\
		for (i = 0; j->tokens > ALONE && i < j->octets; i++)	\
			several_##groups##_##wide(s, several_at(j, i,	\
			    block), n, &t->room, t->sums + i * ROWS,	\
			    zeros);					\
		for (i = 0; j->tokens <= ALONE && i < j->tokens; i++)	\
			alone_##groups##_##wide(s, alone_at(j, i, block), \
			    n, t->sums + i, zeros);			\
		break;
	KINDS(CASE)
#undef CASE
	}
}

static void
total(const struct job *j, size_t octet, const VF *sums, VF rows[TOKENS])
{
	(void)octet;
	memcpy(rows, sums, TOKENS * sizeof(*rows));
	if (j->tokens > ALONE)
		vf_transpose(rows);
}

/* Others have a direct product. */
static int
allows(const struct sq_weight *w)
{
	return sq_mm_int_fits(w) && w->grid == SQ_INT4;
}

int
sq_few_avx2(struct sq_ctx *c, const struct sq_few *f)
{
	return allows(f->w[0]) ? run(c, f) : SQ_UNSUP;
}
