/* The product of few tokens with VNNI; see step.h and step_vnni.h. */
#include "kernels/x86/step_vnni.h"

#define PACKED	sizeof(struct several)
#define ALONE	2
#define BY_ROW(tokens)	0

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

/* Those that it is multiplied as: 1, 4 or 8. */
static int
form_of(const struct job *j, size_t octet)
{
	size_t n = tokens_of(j, octet);

	return n <= ALONE ? 1 : n <= 4 ? 4 : 8;
}

static struct several *
several_at(const struct job *j, size_t octet, size_t block)
{
	return (struct several *)j->packed + octet * j->blocks + block;
}

static struct alone *
alone_at(const struct job *j, size_t octet, size_t token, size_t block)
{
	return (struct alone *)several_at(j, octet, 0) + token * j->blocks +
	    block;
}

/* What a token is in a block of several: lanes of its sums, and where. */
static void
pack_sums(const struct job *j, const struct bytes *b, size_t t, int form,
    struct several *to)
{
	size_t lanes = VL / (size_t)form, at = t * lanes, i;
	int32_t mid = 1 << (j->bits - 1);
	int g;

	for (g = 0; g < j->groups; g++) {
		if (j->q == NULL)
			to->start[g][at] = -mid * b->hi_sum[g];
		to->start[g][j->q == NULL ? at + lanes / 2 : at] = -mid *
		    b->lo_sum[g];
	}
	for (i = 0; i < lanes; i++) {
		at = form == 4 ? 4 * t + i : t / 2 * 4 + t % 2 + 2 * i;
		for (g = 0; g < j->groups; g++)
			to->sum[g][at] = (float)(256 * b->hi_sum[g] +
			    b->lo_sum[g]);
		to->scale[at] = b->scale;
	}
}

static void
pack_several(const struct job *j, size_t octet, size_t block, int form)
{
	size_t n = tokens_of(j, octet), wide = j->q == NULL, width, t, i;
	struct several *to = several_at(j, octet, block);
	_Alignas(64) int8_t rows[2 * TOKENS][BLOCK] = { 0 };
	size_t all = (size_t)form * (1 + wide);
	struct bytes b;

	memset(to, 0, sizeof(*to));
	for (t = 0; t < n; t++) {
		cut_token(j, octet * TOKENS + t, block, &b);
		if (wide)
			memcpy(rows[2 * t], b.hi, BLOCK);
		memcpy(rows[wide ? 2 * t + 1 : t], b.lo, BLOCK);
		pack_sums(j, &b, t, form, to);
	}
	width = 64 / all;
	for (t = 0; t < all; t++)
		for (i = 0; i < BLOCK / width; i++)
			memcpy(to->codes[i] + t * width, rows[t] + i * width,
			    width);
}

static void
pack(const struct job *j, size_t octet, size_t block)
{
	int form = form_of(j, octet);
	size_t t;

	if (form > 1)
		pack_several(j, octet, block, form);
	else
		for (t = 0; t < tokens_of(j, octet); t++)
			pack_alone(j, octet * TOKENS + t, block,
			    alone_at(j, octet, t, block));
}

#define ALONES(X, bits)	X(bits, 1) X(bits, 2) X(bits, 4)
#define SEVERALS(X)							\
	X(0, 4, 0) X(0, 8, 0) X(1, 4, 0) X(1, 8, 0)			\
	X(0, 4, 1) X(0, 8, 1) X(1, 4, 1) X(1, 8, 1)
#define KIND(a, b, c)	((a) * 100 + (b) * 10 + (c))

#define DO_ALONE(bits, groups)						\
static void								\
alone_##bits##_##groups(const struct strip *s, const struct alone *x,	\
    size_t n, VF *sums, int zeros, int wide)				\
{									\
	if (wide)							\
		alone_blocks(s, x, n, sums, zeros, bits, groups, 1);	\
	else								\
		alone_blocks(s, x, n, sums, zeros, bits, groups, 0);	\
}
ALONES(DO_ALONE, 2) ALONES(DO_ALONE, 3) ALONES(DO_ALONE, 4)
ALONES(DO_ALONE, 5) ALONES(DO_ALONE, 6) ALONES(DO_ALONE, 8)

#define DO_SEVERAL(halves, form, wide)					\
static void								\
several_##halves##_##form##_##wide(const struct strip *s,		\
    const struct several *x, size_t n, struct room *room, VF *sums,	\
    size_t groups, int zeros, int bits)					\
{									\
	several_blocks(s, x, n, room, sums, groups, zeros, bits, halves, \
	    form, wide);						\
}
SEVERALS(DO_SEVERAL)

static void
do_alone(const struct job *j, const struct strip *s, const struct alone *x,
    size_t n, VF *sums)
{
	switch (KIND(j->bits, j->groups, 0)) {
#define CASE(bits, groups)						\
	case KIND(bits, groups, 0):					\
		alone_##bits##_##groups(s, x, n, sums, j->w->zeros != NULL, \
		    j->q == NULL);					\
		break;
	ALONES(CASE, 2) ALONES(CASE, 3) ALONES(CASE, 4)
	ALONES(CASE, 5) ALONES(CASE, 6) ALONES(CASE, 8)
#undef CASE
	}
}

static void
do_several(const struct job *j, const struct strip *s,
    const struct several *x, size_t n, struct room *room, VF *sums, int form)
{
	switch (KIND(j->bits == 4, form, j->q == NULL)) {
#define CASE(halves, form, wide)					\
	case KIND(halves, form, wide):					\
		several_##halves##_##form##_##wide(s, x, n, room, sums,	\
		    (size_t)j->groups, j->w->zeros != NULL, j->bits);	\
		break;
	SEVERALS(CASE)
#undef CASE
	}
}

/* The scales of n groups, each row's twice. */
static void
twice(float (*from)[ROWS], size_t n, float (*to)[2 * ROWS])
{
	const VI first = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2,
	    1, 1, 0, 0);
	VF v;

	for (; n > 0; n--, from++, to++) {
		v = vf_load(*from);
		vf_store(*to, _mm512_permutexvar_ps(first, v));
		vf_store(*to + ROWS, _mm512_permutexvar_ps(vi_add(first,
		    vi_set1(8)), v));
	}
}

static void
do_blocks(const struct job *j, const struct strip *s, size_t block, size_t n,
    struct scratch *t)
{
	size_t o, i;
	VF *sums;
	int form;

	if (form_of(j, 0) == 8) {
		twice(t->scales.scale, s->groups + SLOTS, t->room.scale);
		if (j->w->zeros != NULL)
			twice(t->scales.zero, s->groups + SLOTS, t->room.zero);
	}
	for (o = 0; o < j->octets; o++) {
		sums = t->sums + o * ROWS;
		form = form_of(j, o);
		if (form > 1)
			do_several(j, s, several_at(j, o, block), n, &t->room,
			    sums, form);
		else
			for (i = 0; i < tokens_of(j, o); i++)
				do_alone(j, s, alone_at(j, o, i, block), n,
				    sums + i);
	}
}

/* Quarters of four registers: rows to columns. */
SQ_INLINE void
turn_quarters(const VF v[4], VF to[4])
{
	VF a = _mm512_shuffle_f32x4(v[0], v[1], 0x44);
	VF b = _mm512_shuffle_f32x4(v[2], v[3], 0x44);
	VF c = _mm512_shuffle_f32x4(v[0], v[1], 0xee);
	VF d = _mm512_shuffle_f32x4(v[2], v[3], 0xee);

	to[0] = _mm512_shuffle_f32x4(a, b, 0x88);
	to[1] = _mm512_shuffle_f32x4(a, b, 0xdd);
	to[2] = _mm512_shuffle_f32x4(c, d, 0x88);
	to[3] = _mm512_shuffle_f32x4(c, d, 0xdd);
}

/* A quarter of a register has four rows of one token, or two rows of two. */
static void
total(const struct job *j, size_t octet, const VF *sums, VF rows[TOKENS])
{
	const VI even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14,
	    12, 10, 8, 6, 4, 2, 0);
	int form = form_of(j, octet), i;
	VF low[4], high[4];

	if (form == 1) {
		memcpy(rows, sums, tokens_of(j, octet) * sizeof(*rows));
	} else if (form == 4) {
		turn_quarters(sums, rows);
	} else {
		turn_quarters(sums, low);
		turn_quarters(sums + 4, high);
		SQ_UNROLL for (i = 0; i < 4; i++) {
			rows[2 * i] = _mm512_permutex2var_ps(low[i], even,
			    high[i]);
			rows[2 * i + 1] = _mm512_permutex2var_ps(low[i],
			    vi_add(even, vi_set1(1)), high[i]);
		}
	}
}

int
sq_few_allows(const struct sq_weight *w)
{
	return sq_mm_int_fits(w);
}

int
sq_few_vnni(struct sq_ctx *c, const struct sq_few *f)
{
	return run(c, f);
}
