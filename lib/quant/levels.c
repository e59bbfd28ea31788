/* The levels of grids; see levels.h. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "quant/levels.h"

/* Adding and taking away this rounds to an integer, ties to even. */
#define MAGIC	0x1.8p23f

#define LEAST_E8M0	1		/* codes of scales that are normal */
#define MOST_E8M0	254

int
sq_levels_know(enum sq_grid g)
{
	switch (g) {
	case SQ_FP8_E4M3:
	case SQ_FP4:
	case SQ_MXFP4:
	case SQ_IQ4_NL:
	case SQ_Q4_K:
	case SQ_Q5_K:
	case SQ_Q6_K:
	case SQ_IQ4_XS:
		return 1;
	default:
		return sq_grid_is_int(g);
	}
}

size_t
sq_levels_group(enum sq_grid g)
{
	switch (g) {
	case SQ_MXFP4:
	case SQ_IQ4_NL:
	case SQ_Q4_K:
	case SQ_Q5_K:
	case SQ_IQ4_XS:
		return 32;
	case SQ_Q6_K:
		return 16;
	default:
		return 0;
	}
}

int
sq_levels_named(const char *name, size_t *group)
{
	int q4_0 = strcmp(name, "q4_0") == 0;
	int g = q4_0 ? SQ_INT4 : sq_grid_find(name);

	if (g < 0 || !sq_levels_know((enum sq_grid)g))
		return -1;
	*group = q4_0 ? 32 : sq_levels_group((enum sq_grid)g);
	return g;
}

int
sq_levels_check(const struct sq_qrule *r, uint64_t cols, char *err)
{
	const char *name = sq_grid_name(r->grid);
	size_t group = sq_levels_group(r->grid);

	if (!sq_levels_know(r->grid))
		return sq_fail(err, "nothing is quantized to grid '%s'", name);
	if (!sq_grid_is_int(r->grid) && !r->symmetric)
		return sq_fail(err, "grid '%s' has no zero points", name);
	if (group != 0 && r->group_cols != group &&
	    (r->group_cols != 0 || cols > group))
		return sq_fail(err, "grid '%s' has groups of %zu", name,
		    group);
	if (!sq_grid_is_int(r->grid) && r->grid != SQ_FP8_E4M3 &&
	    r->scale != SQ_WEIGHTED)
		return sq_fail(err, "grid '%s' has no scales but weighted ones",
		    name);
	if (sq_grid_is_super(r->grid) && cols % SQ_SUPER != 0)
		return sq_fail(err, "%ju columns are no multiple of %d, as "
		    "grid '%s' wants them", (uintmax_t)cols, SQ_SUPER, name);
	return 0;
}

/* Numbers in order, and where the nearest one changes; -0 is left out. */
static void
sort(struct sq_levels *v, int codes)
{
	int i, k, n = 0;
	float mid;

	for (i = 0; i < codes; i++) {
		if (v->number[i] == 0 && i != 0)
			continue;
		for (k = n++; k > 0 && v->sorted[k - 1] > v->number[i]; k--) {
			v->sorted[k] = v->sorted[k - 1];
			v->code[k] = v->code[k - 1];
		}
		v->sorted[k] = v->number[i];
		v->code[k] = (uint8_t)i;
	}
	v->n = n;
	for (i = 0; i + 1 < n; i++) {
		mid = (v->sorted[i] + v->sorted[i + 1]) / 2;
		v->bound[i] = v->code[i] % 2 == 0 ? mid :
		    nextafterf(mid, -INFINITY);
	}
}

/* The codes next to each. */
static void
neighbours(struct sq_levels *v, int codes)
{
	int i, k;

	for (i = 0; i < codes; i++) {
		v->above[i] = v->below[i] = (uint8_t)i;
		for (k = 0; k < codes; k++) {
			if (v->number[k] > v->number[i] && (v->above[i] == i ||
			    v->number[k] < v->number[v->above[i]]))
				v->above[i] = (uint8_t)k;
			if (v->number[k] < v->number[i] && (v->below[i] == i ||
			    v->number[k] > v->number[v->below[i]]))
				v->below[i] = (uint8_t)k;
		}
	}
}

void
sq_levels_init(struct sq_levels *v, enum sq_grid g)
{
	int codes = 1 << sq_grid_bits(g), i;

	memset(v, 0, sizeof(*v));
	v->top = (float)(codes - 1);
	v->super = sq_grid_is_super(g);
	v->offsets = sq_grid_has_submins(g);
	v->least = v->offsets ? 0 : g == SQ_IQ4_XS ? -32 : -128;
	v->most = v->offsets ? 63 : g == SQ_IQ4_XS ? 31 : 127;
	v->kind = SQ_TABLE;
	for (i = 0; i < codes; i++)
		switch (g) {
		case SQ_FP8_E4M3:
			v->number[i] = sq_e4m3_to_f32((uint8_t)i);
			break;
		case SQ_FP4:
		case SQ_MXFP4:
			v->number[i] = .5f * sq_fp4_table[i];
			break;
		case SQ_IQ4_NL:
		case SQ_IQ4_XS:
			v->number[i] = sq_iq4_table[i];
			break;
		default:
			v->number[i] = (float)i;
		}
	neighbours(v, codes);
	switch (g) {
	case SQ_FP8_E4M3:
		v->kind = SQ_E4M3;
		v->reach = 448;
		break;
	case SQ_FP4:
	case SQ_MXFP4:
		v->reach = 6;
		sort(v, codes);
		break;
	case SQ_IQ4_NL:
	case SQ_IQ4_XS:
		v->reach = 120;
		sort(v, codes);
		break;
	default:
		v->kind = SQ_STEPS;
		v->zero = v->offsets ? 0 : (float)(codes / 2);
		v->reach = (float)(codes / 2) - .5f;
	}
}

static void
nearest_steps(const struct sq_levels *lv, const float *restrict t,
    const float *restrict divisor, const float *restrict zero,
    float *restrict v, uint8_t *restrict u)
{
	float x, lo, hi;
	int l;

	for (l = 0; l < SQ_LANES; l++) {
		lo = -zero[l];
		hi = lv->top - zero[l];
		x = t[l] / divisor[l];
		x = x > lo ? x : lo;
		x = x < hi ? x : hi;
		v[l] = (x + MAGIC) - MAGIC;
		u[l] = (uint8_t)(int)(v[l] + zero[l]);
	}
}

static void
nearest_table(const struct sq_levels *lv, const float *restrict t,
    const float *restrict divisor, float *restrict v, uint8_t *restrict u)
{
	float x[SQ_LANES];
	int at[SQ_LANES] = { 0 }, l, i;

	for (l = 0; l < SQ_LANES; l++)
		x[l] = t[l] / divisor[l];
	for (i = 0; i + 1 < lv->n; i++)
		for (l = 0; l < SQ_LANES; l++)
			at[l] += x[l] > lv->bound[i];
	for (l = 0; l < SQ_LANES; l++) {
		v[l] = lv->sorted[at[l]];
		u[l] = lv->code[at[l]];
	}
}

void
sq_levels_nearest(const struct sq_levels *lv, const float *t,
    const float *divisor, const float *zero, float *v, uint8_t *u)
{
	int l;

	switch (lv->kind) {
	case SQ_STEPS:
		nearest_steps(lv, t, divisor, zero, v, u);
		break;
	case SQ_TABLE:
		nearest_table(lv, t, divisor, v, u);
		break;
	case SQ_E4M3:
		for (l = 0; l < SQ_LANES; l++) {
			u[l] = sq_f32_to_e4m3(t[l] / divisor[l]);
			v[l] = lv->number[u[l]];
		}
	}
}

float
sq_levels_scale(enum sq_grid g, double s, uint16_t *bits)
{
	float f;
	int e;

	if (g != SQ_MXFP4) {
		*bits = sq_f64_to_f16(s);
		f = sq_f16_to_f32(*bits);
		return isfinite(f) ? f : NAN;
	}
	if (!(s > 0))
		return NAN;
	e = (int)lrint(log2(s)) + 127;
	e = e < LEAST_E8M0 ? LEAST_E8M0 : e > MOST_E8M0 ? MOST_E8M0 : e;
	*bits = (uint16_t)e;
	return sq_e8m0_to_f32((uint8_t)e);
}
