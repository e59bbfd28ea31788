/* A weight that is learned; see tune_weight.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/pool.h"
#include "quant/codes.h"
#include "quant/tune_weight.h"

#define DECAY1	0.9f			/* of the mean gradient, */
#define DECAY2	0.95f			/* of its square */
#define TINY	1e-30f

uint64_t
sq_tune_weight_bytes(size_t rows, size_t cols, size_t group)
{
	uint64_t n = (uint64_t)rows * cols;
	uint64_t g = (uint64_t)rows * ((cols + group - 1) / group);

	return n * (5 * sizeof(float) + 1) + g * (3 * sizeof(float) + 5);
}

/* A place within the codes, at most `slack' from its own. */
static float
place(float f, uint8_t code, float slack)
{
	float lo = (float)code - slack, hi = (float)code + slack;

	return f < lo ? lo : f > hi ? hi : f;
}

static float
zero_of(const struct sq_tune_weight *t, size_t group)
{
	return t->z == NULL ? (float)(1 << (t->bits - 1)) :
	    (float)t->z[group];
}

static void
set_places(struct sq_tune_weight *t, const struct sq_mat *dense, float slack)
{
	size_t i, c, group;
	uint8_t *code;
	float s, f;

	for (i = 0; i < t->rows; i++)
		for (c = 0; c < t->cols; c++) {
			group = i * t->across + c / t->group;
			s = sq_f16_to_f32(t->s0[group]);
			code = t->best + i * t->cols + c;
			f = ((const float *)dense->p)[i * dense->stride + c];
			f = s != 0 ? f / s + zero_of(t, group) : (float)*code;
			t->u[i * t->cols + c] = place(f, *code, slack);
		}
}

int
sq_tune_weight_init(struct sq_tune_weight *t, struct sq_pool *pool,
    const struct sq_mat *dense, const struct sq_qrule *rule,
    const struct sq_qdst *q, float slack, char *err)
{
	size_t n = dense->rows * dense->cols, g, i, row;

	*t = (struct sq_tune_weight){ .rows = dense->rows,
	    .cols = dense->cols, .group = rule->group_cols,
	    .bits = sq_grid_bits(rule->grid), .pool = pool };
	t->across = (t->cols + t->group - 1) / t->group;
	g = t->rows * t->across;
	t->mem = calloc(5 * n + 3 * g, sizeof(*t->mem));
	t->s0 = malloc(2 * g * sizeof(*t->s0));
	t->best = malloc(n + g);
	if (t->mem == NULL || t->s0 == NULL || t->best == NULL) {
		sq_tune_weight_release(t);
		return sq_fail(err, "out of memory");
	}
	t->w = t->mem;
	t->g = t->w + n;
	t->u = t->g + n;
	t->u1 = t->u + n;
	t->u2 = t->u1 + n;
	t->a = t->u2 + n;
	t->a1 = t->a + g;
	t->a2 = t->a1 + g;
	t->best_s = t->s0 + g;
	memcpy(t->s0, q->scales, g * sizeof(*t->s0));
	memcpy(t->best_s, q->scales, g * sizeof(*t->s0));
	if (!rule->symmetric)
		t->z = memcpy(t->best + n, q->zeros, g);
	row = sq_row_bytes(t->cols, t->bits);
	for (i = 0; i < t->rows; i++)
		sq_codes_unpack(q->codes + i * row, t->cols, t->bits,
		    t->best + i * t->cols);
	set_places(t, dense, slack);
	return 0;
}

void
sq_tune_weight_release(struct sq_tune_weight *t)
{
	free(t->mem);
	free(t->s0);
	free(t->best);
	memset(t, 0, sizeof(*t));
}

/* Round to nearest of |u| < 2^22, ties to even, which compilers vectorize. */
static float
code_of(float u, float most)
{
	const float magic = 0x1.8p23f;
	float r = (u + magic) - magic;

	return r < 0 ? 0 : r > most ? most : r;
}

static uint16_t
scale_of(const struct sq_tune_weight *t, size_t group)
{
	uint16_t s = sq_f32_to_f16(sq_f16_to_f32(t->s0[group]) *
	    expf(t->a[group]));

	return isfinite(sq_f16_to_f32(s)) ? s : t->s0[group];
}

struct job {
	struct sq_tune_weight *t;
	const struct sq_tune_rate *rate;
	float fix1, fix2;		/* of moments that began at 0 */
};

/* The columns of a group: *n of them, from *c. */
static void
columns(const struct sq_tune_weight *t, size_t g, size_t *c, size_t *n)
{
	*c = g * t->group;
	*n = t->cols - *c < t->group ? t->cols - *c : t->group;
}

static void
apply_row(void *arg, long row, int thread)
{
	const struct job *j = arg;
	struct sq_tune_weight *t = j->t;
	size_t g, c, n, i, group, at;
	float most = (float)((1 << t->bits) - 1), s, z;

	(void)thread;
	for (g = 0; g < t->across; g++) {
		group = (size_t)row * t->across + g;
		s = sq_f16_to_f32(scale_of(t, group));
		z = zero_of(t, group);
		columns(t, g, &c, &n);
		at = (size_t)row * t->cols + c;
		for (i = at; i < at + n; i++)
			t->w[i] = s * (code_of(t->u[i], most) - z);
	}
}

void
sq_tune_weight_apply(struct sq_tune_weight *t)
{
	struct job j = { .t = t };

	sq_pool_run(t->pool, apply_row, &j, (long)t->rows);
}

size_t
sq_tune_weight_state(const struct sq_tune_weight *t)
{
	return 3 * t->rows * (t->cols + t->across);
}

/* What Adam makes of a gradient: about -1 .. 1. */
static float
adam(const struct job *j, float g, float *m1, float *m2)
{
	*m1 = DECAY1 * *m1 + (1 - DECAY1) * g;
	*m2 = DECAY2 * *m2 + (1 - DECAY2) * g * g;
	return *m1 * j->fix1 / (sqrtf(*m2 * j->fix2) + TINY);
}

float
sq_tune_weight_by_scale(const struct sq_tune_weight *t, size_t group)
{
	float sum = 0, most = (float)((1 << t->bits) - 1);
	float z = zero_of(t, group);
	size_t c, n, i, at;

	columns(t, group % t->across, &c, &n);
	at = group / t->across * t->cols + c;
	for (i = at; i < at + n; i++)
		sum += t->g[i] * (code_of(t->u[i], most) - z);
	return sum * sq_f16_to_f32(scale_of(t, group));
}

/* A group's places move. */
static void
step_group(const struct job *j, size_t at, size_t n, float s)
{
	struct sq_tune_weight *t = j->t;
	float most = (float)((1 << t->bits) - 1), u, d;
	size_t i;

	for (i = at; i < at + n; i++) {
		u = t->u[i] - j->rate->place * adam(j, t->g[i] * s,
		    &t->u1[i], &t->u2[i]);
		/* past the ends nothing changes: it must find back */
		d = most + 0.5f;
		t->u[i] = u < -0.5f ? -0.5f : u > d ? d : u;
		t->g[i] = 0;
	}
}

static void
step_row(void *arg, long row, int thread)
{
	const struct job *j = arg;
	struct sq_tune_weight *t = j->t;
	size_t g, c, n, group;
	float d;

	(void)thread;
	for (g = 0; g < t->across; g++) {
		group = (size_t)row * t->across + g;
		columns(t, g, &c, &n);
		d = sq_tune_weight_by_scale(t, group);
		step_group(j, (size_t)row * t->cols + c, n,
		    sq_f16_to_f32(scale_of(t, group)));
		t->a[group] -= j->rate->scale * adam(j, d, &t->a1[group],
		    &t->a2[group]);
	}
}

void
sq_tune_weight_step(struct sq_tune_weight *t, const struct sq_tune_rate *r)
{
	struct job j = { t, r,
	    1 / (1 - powf(DECAY1, (float)r->step)),
	    1 / (1 - powf(DECAY2, (float)r->step)) };

	sq_pool_run(t->pool, step_row, &j, (long)t->rows);
}

static void
note_row(void *arg, long row, int thread)
{
	const struct job *j = arg;
	struct sq_tune_weight *t = j->t;
	float most = (float)((1 << t->bits) - 1);
	size_t i, at = (size_t)row * t->cols, g = (size_t)row * t->across;

	(void)thread;
	for (i = at; i < at + t->cols; i++)
		t->best[i] = (uint8_t)code_of(t->u[i], most);
	for (i = g; i < g + t->across; i++)
		t->best_s[i] = scale_of(t, i);
}

void
sq_tune_weight_note(struct sq_tune_weight *t)
{
	struct job j = { .t = t };

	sq_pool_run(t->pool, note_row, &j, (long)t->rows);
}

void
sq_tune_weight_noted(const struct sq_tune_weight *t, const struct sq_qdst *q)
{
	size_t i, row = sq_row_bytes(t->cols, t->bits);

	for (i = 0; i < t->rows; i++)
		sq_codes_pack(t->best + i * t->cols, t->cols, t->bits,
		    q->codes + i * row);
	memcpy(q->scales, t->best_s, t->rows * t->across *
	    sizeof(*q->scales));
}
