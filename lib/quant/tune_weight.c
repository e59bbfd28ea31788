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
sq_tune_weight_rest(size_t rows, size_t cols, size_t group)
{
	uint64_t n = (uint64_t)rows * cols;
	uint64_t g = (uint64_t)rows * ((cols + group - 1) / group);

	return n * (sizeof(float) + 1) + g * (3 * sizeof(float) + 5);
}

uint64_t
sq_tune_weight_bytes(size_t rows, size_t cols, size_t group)
{
	return sq_tune_weight_rest(rows, cols, group) + (uint64_t)rows * cols *
	    4 * sizeof(float);
}

/* A place within the codes, at most `slack' from its own. */
static float
place(float f, uint8_t code, float slack)
{
	float lo = (float)code - slack, hi = (float)code + slack;

	return f < lo ? lo : f > hi ? hi : f;
}

static void
set_places(struct sq_tune_weight *t, const struct sq_mat *dense, float slack)
{
	size_t i, c, group;
	uint8_t *code;
	float s, f, *u;

	for (i = 0; i < t->rows; i++) {
		u = sq_tune_rows_get(&t->u, i, 1, 0);
		for (c = 0; c < t->cols; c++) {
			group = i * t->across + c / t->group;
			s = sq_f16_to_f32(t->s0[group]);
			code = t->best + i * t->cols + c;
			f = ((const float *)dense->p)[i * dense->stride + c];
			f = s != 0 ? f / s + (float)t->z[group] : (float)*code;
			u[c] = place(f, *code, slack);
		}
		sq_tune_rows_put(&t->u, i, 1, 0);
	}
}

int
sq_tune_weight_init(struct sq_tune_weight *t, struct sq_pool *pool,
    struct sq_tune_file *file, const struct sq_mat *dense,
    const struct sq_qrule *rule, const struct sq_qdst *q, float slack,
    char *err)
{
	size_t n = dense->rows * dense->cols, g, i, row, held;
	char why[SQ_ERR] = "out of memory";

	*t = (struct sq_tune_weight){ .rows = dense->rows,
	    .cols = dense->cols, .group = rule->group_cols,
	    .bits = sq_grid_bits(rule->grid), .pool = pool };
	t->across = (t->cols + t->group - 1) / t->group;
	g = t->rows * t->across;
	held = file == NULL ? n : 0;
	t->mem = sq_mem_host.alloc((held + n + 3 * g) * sizeof(*t->mem));
	t->s0 = malloc(2 * g * sizeof(*t->s0));
	t->best = malloc(n + g);
	if (t->mem == NULL || t->s0 == NULL || t->best == NULL ||
	    sq_tune_rows_init(&t->u, file, pool, t->rows, 3 * t->cols,
	    why) < 0) {
		sq_tune_weight_release(t);
		return sq_fail(err, "%s", why);
	}
	memset(t->mem, 0, (held + n + 3 * g) * sizeof(*t->mem));
	t->w = held > 0 ? t->mem : NULL;
	t->g = t->mem + held;
	t->a = t->g + n;
	t->a1 = t->a + g;
	t->a2 = t->a1 + g;
	t->best_s = t->s0 + g;
	memcpy(t->s0, q->scales, g * sizeof(*t->s0));
	memcpy(t->best_s, q->scales, g * sizeof(*t->s0));
	t->z = t->best + n;
	if (rule->symmetric)
		memset(t->z, 1 << (t->bits - 1), g);
	else
		memcpy(t->z, q->zeros, g);
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
	sq_tune_rows_release(&t->u);
	sq_mem_host.free(t->mem);
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
	/* a row, by its number; u: its places and their moments */
	void (*row)(const struct job *, size_t row, float *u);
	int changes;			/* them */
};

/* Some rows. */
static void
do_rows(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const struct sq_tune_rows *r = &j->t->u;
	size_t row = (size_t)task * r->some, i;
	size_t n = r->rows - row < r->some ? r->rows - row : r->some;
	float *u = sq_tune_rows_get(r, row, n, thread);

	for (i = 0; i < n; i++)
		j->row(j, row + i, u + i * r->one);
	if (j->changes)
		sq_tune_rows_put(r, row, n, thread);
}

static void
each_row(struct job *j)
{
	const struct sq_tune_rows *r = &j->t->u;

	sq_pool_run(j->t->pool, do_rows, j,
	    (long)((r->rows + r->some - 1) / r->some));
}

/* The columns of a group: *n of them, from *c. */
static void
columns(const struct sq_tune_weight *t, size_t g, size_t *c, size_t *n)
{
	*c = g * t->group;
	*n = t->cols - *c < t->group ? t->cols - *c : t->group;
}

static void
apply_row(const struct job *j, size_t row, float *u)
{
	struct sq_tune_weight *t = j->t;
	size_t g, c, n, i, group;
	float most = (float)((1 << t->bits) - 1), s, z, *w;

	w = t->w + row * t->cols;
	for (g = 0; g < t->across; g++) {
		group = row * t->across + g;
		s = sq_f16_to_f32(scale_of(t, group));
		z = (float)t->z[group];
		columns(t, g, &c, &n);
		for (i = c; i < c + n; i++)
			w[i] = s * (code_of(u[i], most) - z);
	}
}

static void
note_row(const struct job *j, size_t row, float *u)
{
	struct sq_tune_weight *t = j->t;
	float most = (float)((1 << t->bits) - 1);
	uint8_t *best = t->best + row * t->cols;
	size_t i, g = row * t->across;

	for (i = 0; i < t->cols; i++)
		best[i] = (uint8_t)code_of(u[i], most);
	for (i = g; i < g + t->across; i++)
		t->best_s[i] = scale_of(t, i);
}

/* What a row stands for now, where that is held. */
static void
follow_row(const struct job *j, size_t row, float *u)
{
	if (j->t->w != NULL)
		apply_row(j, row, u);
	else
		note_row(j, row, u);
}

void
sq_tune_weight_apply(struct sq_tune_weight *t)
{
	struct job j = { .t = t, .row = follow_row };

	each_row(&j);
}

int
sq_tune_weight_state(struct sq_tune_weight *t, int set,
    int (*fn)(void *arg, float *p, size_t n), void *arg)
{
	const struct sq_tune_rows *r = &t->u;
	size_t row, n;

	for (row = 0; row < r->rows; row += n) {
		n = r->rows - row < r->some ? r->rows - row : r->some;
		if (fn(arg, sq_tune_rows_get(r, row, n, 0), n * r->one) < 0)
			return -1;
		if (set)
			sq_tune_rows_put(r, row, n, 0);
	}
	return fn(arg, t->a, 3 * t->rows * t->across);
}

/* What Adam makes of a gradient: about -1 .. 1. */
static float
adam(const struct job *j, float g, float *m1, float *m2)
{
	*m1 = DECAY1 * *m1 + (1 - DECAY1) * g;
	*m2 = DECAY2 * *m2 + (1 - DECAY2) * g * g;
	return *m1 * j->fix1 / (sqrtf(*m2 * j->fix2) + TINY);
}

/* u: the places of the group's row. */
static float
by_scale(const struct sq_tune_weight *t, size_t group, const float *u)
{
	float sum = 0, most = (float)((1 << t->bits) - 1);
	float z = (float)t->z[group];
	const float *g = t->g + group / t->across * t->cols;
	size_t c, n, i;

	columns(t, group % t->across, &c, &n);
	for (i = c; i < c + n; i++)
		sum += g[i] * (code_of(u[i], most) - z);
	return sum * sq_f16_to_f32(scale_of(t, group));
}

float
sq_tune_weight_by_scale(const struct sq_tune_weight *t, size_t group)
{
	return by_scale(t, group, sq_tune_rows_get(&t->u, group / t->across,
	    1, 0));
}

/* A group's places move: n columns of a row, whose gradient is at g. */
static void
step_group(const struct job *j, float *u, float *g, size_t n, float s)
{
	const struct sq_tune_weight *t = j->t;
	float *u1 = u + t->cols, *u2 = u1 + t->cols, to;
	float most = (float)((1 << t->bits) - 1), d = most + 0.5f;
	size_t i;

	for (i = 0; i < n; i++) {
		to = u[i] - j->rate->place * adam(j, g[i] * s, &u1[i], &u2[i]);
		/* past the ends nothing changes: it must find back */
		u[i] = to < -0.5f ? -0.5f : to > d ? d : to;
		g[i] = 0;
	}
}

static void
step_row(const struct job *j, size_t row, float *u)
{
	struct sq_tune_weight *t = j->t;
	size_t g, c, n, group;
	float d;

	for (g = 0; g < t->across; g++) {
		group = row * t->across + g;
		columns(t, g, &c, &n);
		d = by_scale(t, group, u);
		step_group(j, u + c, t->g + row * t->cols + c, n,
		    sq_f16_to_f32(scale_of(t, group)));
		t->a[group] -= j->rate->scale * adam(j, d, &t->a1[group],
		    &t->a2[group]);
	}
	follow_row(j, row, u);
}

void
sq_tune_weight_step(struct sq_tune_weight *t, const struct sq_tune_rate *r)
{
	struct job j = { .t = t, .rate = r,
	    .fix1 = 1 / (1 - powf(DECAY1, (float)r->step)),
	    .fix2 = 1 / (1 - powf(DECAY2, (float)r->step)),
	    .row = step_row, .changes = 1 };

	each_row(&j);
}

void
sq_tune_weight_note(struct sq_tune_weight *t)
{
	struct job j = { .t = t, .row = note_row };

	each_row(&j);
}

struct sq_weight
sq_tune_weight_now(const struct sq_tune_weight *t)
{
	return (struct sq_weight){ .grid = SQ_INT8, .rows = t->rows,
	    .cols = t->cols, .data = t->best, .group_rows = 1,
	    .group_cols = t->group, .scale_type = SQ_F16,
	    .scales = t->best_s, .zeros = t->z };
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
