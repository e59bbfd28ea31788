/*
 * Sweeps under a mask: before a run moves, a weight that is kept may be dropped
 * and another one kept in its place; see refine.c.
 */
#include "quant/refine.h"

#define ROWS	SQ_GPTQ_ROWS
#define B	SQ_PANEL
#define LANES	SQ_LANES

/* The best exchange in columns a to b of LANES rows. */
struct exchange {
	float gain[LANES];
	uint32_t in[LANES], out[LANES];	/* columns of the unit */
};

/*
 * What it is worth to drop column j and keep column i instead: dropping moves
 * the error there by q_j, which costs 2 q_j G_j + H_jj q_j^2, and keeping i,
 * with its best value, gains (G_i + H_ij q_j)^2 / H_ii.
 */
static void
weigh_exchange(const struct sq_refine_unit *u, size_t i, size_t j, size_t r,
    struct exchange *e)
{
	const struct sq_gptq_tile *s = u->k->s;
	const uint8_t *in = s->keep + (u->a + i) * ROWS + r;
	const uint8_t *out = s->keep + (u->a + j) * ROWS + r;
	const float *q = s->q + (u->a + j) * ROWS + r;
	const float *gi = u->g + i * ROWS + r, *gj = u->g + j * ROWS + r;
	float h = u->square[i * B + j], hj = u->square[j * B + j];
	float one = 1 / u->square[i * B + i], t, gain;
	size_t l;

	for (l = 0; l < LANES; l++) {
		t = gi[l] + h * q[l];
		gain = t * t * one - q[l] * (2 * gj[l] + hj * q[l]);
		gain = in[l] || !out[l] ? 0 : gain;
		e->in[l] = gain > e->gain[l] ? (uint32_t)i : e->in[l];
		e->out[l] = gain > e->gain[l] ? (uint32_t)j : e->out[l];
		e->gain[l] = gain > e->gain[l] ? gain : e->gain[l];
	}
}

/* Row r + l exchanges. */
static void
do_exchange(const struct sq_refine_unit *u, size_t i, size_t j, size_t b,
    size_t r, size_t from)
{
	struct sq_gptq_tile *s = u->k->s;
	size_t ai = (u->a + i) * ROWS + r, aj = (u->a + j) * ROWS + r, c;
	float dj = s->q[aj], di;

	di = -(u->g[i * ROWS + r] + u->square[i * B + j] * dj) /
	    u->square[i * B + i];
	s->keep[ai] = 1;
	s->keep[aj] = 0;
	s->q[ai] = -di;
	s->q[aj] = 0;
	s->x[ai] += di;
	s->x[aj] += dj;
	u->moved[i * ROWS + r] += di;
	u->moved[j * ROWS + r] += dj;
	for (c = from; c < b; c++)
		u->g[c * ROWS + r] += u->square[i * B + c] * di +
		    u->square[j * B + c] * dj;
}

void
sq_refine_exchange(const struct sq_refine_unit *u, size_t a, size_t end,
    size_t b, size_t r)
{
	struct exchange e = { .gain = { 0 } };
	size_t i, j, l;

	for (i = a; i < end; i++)
		for (j = a; j < end; j++)
			if (i != j)
				weigh_exchange(u, i, j, r, &e);
	for (l = 0; l < LANES; l++)
		if (e.gain[l] > 0)
			do_exchange(u, e.in[l], e.out[l], b, r + l, a);
}
