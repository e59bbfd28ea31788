/*
 * The two products of attention_many.h on AMX tiles, 16 x 16 sums of pairs of
 * bf16.  A panel's vectors are columns of tiles, its units their pairs, so
 * that queries and probabilities are used as they lie:
 *
 *	score[16 keys][16 rows]  += key[16][32 elements] * query[16 units][16]
 *	sum[16 elements][16 rows] += value[16][32 keys]  * prob[16 units][16]
 *
 * Only the values are brought into another order, element by element, once
 * for all panels.  Tiles 0 to 2 are the sums, 3 the left factor, 4 to 6 the
 * right ones.  The dimension is a multiple of 32.
 */
#include "kernels/x86/tiles.h"

#define VALUES	(BLOCK / 2)		/* units of an element's values */

#define tiles_begin()	sq_tiles_begin()
#define tiles_end()	_tile_release()

#define FOR_TILES(nv, op)						\
	do {								\
		op(0, 4);						\
		if ((nv) > 1)						\
			op(1, 5);					\
		if ((nv) > 2)						\
			op(2, 6);					\
	} while (0)

/* Tiles 0 .. nv-1 += units of a (rows of `wide' units) times those of b. */
SQ_INLINE void
tile_sums(const float *a, size_t wide, const float *b, size_t units,
    size_t nv)
{
	size_t i, row = nv * SQ_TILE_BYTES;

	for (i = 0; i < units; i += 16, a += 16, b += 16 * nv * VL) {
		_tile_loadd(3, a, wide * sizeof(*a));
		sq_tile_space();
#define MULTIPLY(c, right)						\
		_tile_loadd(right, b + (c) * VL, row);			\
		sq_tile_space();					\
		_tile_dpbf16ps(c, 3, right);				\
		sq_tile_done(right);					\
		sq_tile_space()
		FOR_TILES(nv, MULTIPLY);
		sq_tile_done(3);
#undef MULTIPLY
	}
}

SQ_INLINE void
panel_score(struct many *m, const struct panel *p, size_t nv, size_t dim)
{
	size_t j, units = dim / PER_UNIT, row = nv * SQ_TILE_BYTES;
	float *s = m->score;

	for (j = 0; j < m->block.n; j += 16, s += 16 * nv * VL) {
#define ZERO(c, right)	_tile_zero(c)
		FOR_TILES(nv, ZERO);
#undef ZERO
		tile_sums(m->key + j * units, units, p->query, units, nv);
#define STORE(c, right)	_tile_stored(c, s + (c) * VL, row)
		FOR_TILES(nv, STORE);
	}
}

/* The sums of a panel by the factor of each row. */
SQ_INLINE void
panel_fade(struct panel *p, size_t nv, size_t dim)
{
	size_t i, v;
	float *s = p->sum;

	for (i = 0; i < dim; i++)
		for (v = 0; v < nv; v++, s += VL)
			vf_store(s, vf_mul(vf_load(s), vf_load(p->fade +
			    v * VL)));
}

SQ_INLINE void
panel_mix(struct many *m, struct panel *p, size_t nv, size_t dim)
{
	size_t i, row = nv * SQ_TILE_BYTES;
	size_t used = (m->block.n + 1) / 2, units = (used + 15) / 16 * 16;
	float *s;

	if (p->fades)
		panel_fade(p, nv, dim);
	memset(m->score + used * nv * VL, 0, (units - used) * row);
	for (i = 0; i < dim; i += 16) {
		s = p->sum + i * nv * VL;
#define LOAD(c, right)	_tile_loadd(c, s + (c) * VL, row)
		FOR_TILES(nv, LOAD);
#undef LOAD
		tile_sums(m->value + i * VALUES, VALUES, m->score, units, nv);
		FOR_TILES(nv, STORE);
#undef STORE
	}
}

/* Element by element, the values of a block's keys in pairs. */
SQ_INLINE void
values_load(float *to, const struct block *b, enum sq_dtype type, size_t dim)
{
	VF x[16];
	size_t i, j, u, at;

	(void)type;
	for (j = 0; j < b->n; j += 32)
		for (i = 0; i < dim; i += 16) {
			SQ_UNROLL for (u = 0; u < 16; u++) {
				at = j + 2 * u;
				if (at >= b->n)
					at = b->n - 1;
				x[u] = pairs(b->v[at] + 2 * i, b->v[at + 1] +
				    2 * i);
			}
			vf_transpose(x);
			SQ_UNROLL for (u = 0; u < 16; u++)
				vf_store(to + (i + u) * VALUES + j / 2, x[u]);
		}
}
