/* GPTQ by a device; see solver.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "quant/chunks.h"
#include "quant/gptq_tile.h"
#include "quant/solver.h"

#define B	SQ_ROUND_COLS
#define PASSES	2			/* over the columns of a unit */

/* A pivot below this part of the mean diagonal is noise of float32. */
#define FLOOR	1e-6

static size_t
least(size_t a, size_t b)
{
	return a < b ? a : b;
}

int
sq_solver_knows(const struct sq_solver *s, const struct sq_qrule *r,
    enum sq_column_order order, int mask)
{
	return s->ctx != NULL && !mask && order == SQ_ACT &&
	    sq_grid_is_int(r->grid) && r->scale == SQ_WEIGHTED &&
	    r->group_cols > 0 && r->group_cols <= B;
}

/* ---- memory, and what can fail ---- */

static int
failed(const struct sq_solver *s, char *err)
{
	return sq_fail(err, "GPTQ of %zu columns: %s", s->n,
	    s->ctx->kern->mem->error());
}

/* *p: memory of the device. */
static int
get(const struct sq_solver *s, void *p, size_t bytes)
{
	*(void **)p = s->ctx->kern->mem->alloc(bytes);
	return *(void **)p == NULL ? -1 : 0;
}

static int
put(const struct sq_solver *s, void *to, const void *from, size_t bytes)
{
	return s->ctx->kern->mem->put(to, from, bytes);
}

static struct sq_mat
mat(float *p, size_t rows, size_t cols, size_t stride)
{
	return (struct sq_mat){ p, SQ_F32, rows, cols, stride };
}

/* y = a b, as they lie. */
static int
multiply(const struct sq_solver *s, struct sq_mat a, struct sq_mat b,
    struct sq_mat y)
{
	struct sq_operand l = { a, SQ_AS_IS }, r = { b, SQ_AS_IS };

	return sq_product(s->ctx, &l, &r, SQ_PREC_F32, 0, &y);
}

/* ---- H ---- */

/* What the host holds of H while it goes over. */
struct source {
	struct sq_factor *f;
	float *ridge, *more, *pivot, *cost;	/* [n] */
	uint32_t *plain;			/* [n] */
	double mean;
};

static void
source_release(struct source *o)
{
	free(o->ridge);
	free(o->more);
	free(o->pivot);
	free(o->cost);
	free(o->plain);
}

static int
source_init(struct source *o, struct sq_factor *f)
{
	size_t n = f->n, i;

	o->f = f;
	o->ridge = malloc(n * sizeof(float));
	o->more = calloc(n, sizeof(float));
	o->pivot = malloc(n * sizeof(float));
	o->cost = malloc(n * sizeof(float));
	o->plain = malloc(n * sizeof(uint32_t));
	if (o->ridge == NULL || o->more == NULL || o->pivot == NULL ||
	    o->cost == NULL || o->plain == NULL)
		return -1;
	for (i = 0; i < n; i++)
		o->plain[i] = (uint32_t)i;
	return 0;
}

static int
get_memory(struct sq_solver *s, int pairs)
{
	size_t n = s->n, four = sizeof(float);

	return get(s, &s->h, n * n * four) < 0 ||
	    get(s, &s->r, n * n * four) < 0 ||
	    get(s, &s->cost, n * four) < 0 ||
	    get(s, &s->ridge, n * four) < 0 ||
	    get(s, &s->col, n * four) < 0 ||
	    get(s, &s->plain, n * four) < 0 ||
	    get(s, &s->none, B * B * four) < 0 ||
	    (pairs && (get(s, &s->with, n * SQ_PARTNERS * four) < 0 ||
	    get(s, &s->has, n * SQ_PARTNERS * four) < 0)) ? -1 : 0;
}

/* Panel p of H, the ridge on its diagonal while that takes. */
static int
bring_panel(const struct sq_solver *s, const struct source *o, size_t p)
{
	size_t first = p * SQ_PANEL, w = least(SQ_PANEL, s->n - first), i;
	float *d = sq_factor_at(o->f, first, p);
	struct sq_mat x = mat(sq_factor_at(o->f, 0, p), first + w, w,
	    SQ_PANEL), y = mat(s->h, s->n, s->n, s->n);
	int r;

	for (i = 0; i < w; i++)
		d[i * SQ_PANEL + i] = o->f->diagonal[first + i] +
		    o->ridge[first + i];
	r = sq_reflect(s->ctx, &x, first, &y);
	for (i = 0; i < w; i++)
		d[i * SQ_PANEL + i] = o->f->diagonal[first + i];
	return r;
}

/* 1 when it is worth having, 0 when not. */
static int
try_factor(const struct sq_solver *s, const struct source *o)
{
	struct sq_mat h = mat(s->h, s->n, s->n, s->n);
	struct sq_mat r = mat(s->r, s->n, s->n, s->n);
	size_t i;

	if (sq_factor(s->ctx, &h, s->col, o->more, &r, o->pivot) != 0 ||
	    s->ctx->kern->mem->sync() < 0)
		return -1;
	for (i = 0; i < s->n; i++)
		if (!(o->pivot[i] >= FLOOR * o->mean))
			return 0;
	return 1;
}

/* With ten times the damping until it is. */
static int
factorize(struct sq_solver *s, const struct source *o, char *err)
{
	double lambda = s->lambda;
	size_t i;
	int r;

	while ((r = try_factor(s, o)) == 0) {
		if (lambda >= o->mean)
			return sq_fail(err, "H is no sum of squares");
		lambda = fmax(10 * lambda, FLOOR * o->mean);
		for (i = 0; i < s->n; i++)
			o->more[i] = (float)(lambda - s->lambda);
		s->damp = lambda / o->mean;
	}
	return r < 0 ? failed(s, err) : 0;
}

static int
bring(struct sq_solver *s, const struct source *o, int pairs)
{
	struct sq_mat h = mat(s->h, s->n, s->n, s->n);
	size_t bytes = s->n * sizeof(float), p;

	for (p = 0; p * SQ_PANEL < s->n; p++)
		if (bring_panel(s, o, p) != 0)
			return -1;
	if (put(s, s->ridge, o->ridge, bytes) < 0 ||
	    put(s, s->plain, o->plain, bytes) < 0 ||
	    put(s, s->col, o->f->col, bytes) < 0)
		return -1;
	return pairs && sq_partners(s->ctx, &h, SQ_PARTNERS, s->with,
	    s->has) != 0 ? -1 : 0;
}

static int
set_costs(struct sq_solver *s, const struct source *o)
{
	const struct sq_factor *f = o->f;
	float none[B] = { 0 };
	size_t i;

	for (i = 0; i < s->n; i++)
		o->cost[f->col[i]] = (float)sqrt((double)o->pivot[i] *
		    sq_factor_weight(f, f->col[i]));
	for (i = 0; i < B; i++)
		if (put(s, s->none + i * B, none, sizeof(none)) < 0)
			return -1;
	return put(s, s->cost, o->cost, s->n * sizeof(float));
}

static int
make(struct sq_solver *s, struct source *o, double fraction, int pairs,
    char *err)
{
	struct sq_factor *f = o->f;
	size_t i;

	if (sq_factor_look(f, &o->mean, err) < 0)
		return -1;
	if (source_init(o, f) < 0 || sq_factor_order(f, SQ_ACT) < 0)
		return sq_fail(err, "H of %zu channels: out of memory", f->n);
	f->lambda = s->lambda = fraction * o->mean;
	s->damp = fraction;
	s->dead = f->dead;
	if (o->mean == 0)
		o->mean = 1;
	for (i = 0; i < f->n; i++)
		o->ridge[i] = sq_factor_ridge(f, i);
	if (get_memory(s, pairs) < 0 || bring(s, o, pairs) < 0)
		return failed(s, err);
	if (factorize(s, o, err) < 0)
		return -1;
	return set_costs(s, o) < 0 ? failed(s, err) : 0;
}

int
sq_solver_factor(struct sq_solver *s, struct sq_factor *f, double fraction,
    int pairs, char *err)
{
	struct source o = { .f = f };
	int r;

	sq_solver_release(s);
	s->n = f->n;
	r = make(s, &o, fraction, pairs, err);
	source_release(&o);
	return r;
}

/* ---- rows ---- */

struct sq_solver_rows {
	size_t most, across;		/* rows there is room for; groups */
	float *w, *x, *g, *t, *scales, *zeros;
	uint8_t *codes;
	double *sums;
	/* the host's */
	uint8_t *host_codes;
	float *host_scales, *host_zeros;
	double *host_sums;
};

/* At work on some rows. */
struct work {
	struct sq_solver *s;
	struct sq_gptq *g;
	struct sq_rounding round;
	struct sq_solver_rows *m;
};

static void
rows_free(const struct sq_solver *s, struct sq_solver_rows *m)
{
	void (*no)(void *) = s->ctx->kern->mem->free;

	no(m->w);
	no(m->x);
	no(m->g);
	no(m->t);
	no(m->scales);
	no(m->zeros);
	no(m->codes);
	no(m->sums);
	free(m->host_codes);
	free(m->host_scales);
	free(m->host_zeros);
	free(m->host_sums);
	free(m);
}

static struct sq_solver_rows *
rows_new(const struct sq_solver *s, size_t rows, size_t across)
{
	size_t all = rows * s->n, four = sizeof(float);
	struct sq_solver_rows *m = calloc(1, sizeof(*m));

	if (m == NULL)
		return NULL;
	m->most = rows;
	m->across = across;
	m->host_codes = malloc(all);
	m->host_scales = malloc(rows * across * four);
	m->host_zeros = malloc(rows * across * four);
	m->host_sums = malloc(rows * sizeof(double));
	if (get(s, &m->w, all * four) == 0 && get(s, &m->x, all * four) == 0 &&
	    get(s, &m->g, all * four) == 0 && get(s, &m->codes, all) == 0 &&
	    get(s, &m->t, rows * B * four) == 0 &&
	    get(s, &m->scales, rows * across * four) == 0 &&
	    get(s, &m->zeros, rows * across * four) == 0 &&
	    get(s, &m->sums, rows * sizeof(double)) == 0 &&
	    m->host_codes != NULL && m->host_scales != NULL &&
	    m->host_zeros != NULL && m->host_sums != NULL)
		return m;
	rows_free(s, m);
	return NULL;
}

/* Room for them: that of the rows before, if it will do. */
static struct sq_solver_rows *
room(struct sq_solver *s, size_t rows, size_t across)
{
	if (s->rows != NULL && s->rows->most >= rows &&
	    s->rows->across == across)
		return s->rows;
	if (s->rows != NULL)
		rows_free(s, s->rows);
	return s->rows = rows_new(s, rows, across);
}

static struct sq_mat
columns(const struct work *k, float *p, size_t first, size_t n)
{
	return mat(p + first, k->round.rows, n, k->s->n);
}

static struct sq_mat
square(const struct work *k, float *p, size_t row, size_t col, size_t rows,
    size_t cols)
{
	return mat(p + row * k->s->n + col, rows, cols, k->s->n);
}

static struct sq_mat
some(const struct work *k, float *p, size_t n)
{
	return mat(p, k->round.rows, n, n);
}

static int
load(const struct work *k, const struct sq_mat *w)
{
	struct sq_weight from = { .grid = SQ_DENSE, .rows = w->rows,
	    .cols = w->cols, .type = w->type, .data = w->p };
	struct sq_mat to = columns(k, k->m->w, 0, w->cols);

	return sq_dequantize(k->s->ctx, &from, 0, &to);
}

/* += tr(X H X^T) of x [rows][n], over g. */
static int
form(const struct work *k, float *p, double *sum)
{
	const struct sq_solver *s = k->s;
	struct sq_mat x = columns(k, p, 0, s->n);
	struct sq_mat g = columns(k, k->m->g, 0, s->n);
	size_t i;

	if (multiply(s, x, square(k, s->h, 0, 0, s->n, s->n), g) != 0 ||
	    sq_row_forms(s->ctx, &x, &g, s->ridge, k->m->sums) != 0 ||
	    s->ctx->kern->mem->get(k->m->host_sums, k->m->sums,
	    x.rows * sizeof(double)) < 0)
		return -1;
	for (i = 0; i < x.rows; i++)
		*sum += k->m->host_sums[i];
	return 0;
}

/* t: nothing is asked of n columns. */
static int
ask_nothing(const struct work *k, size_t n)
{
	return multiply(k->s, columns(k, k->m->w, 0, n), mat(k->s->none, n, n,
	    B), some(k, k->m->t, n));
}

/* t: what is asked of n columns in the order, by the errors of those before,
 * which are in g. */
static int
ask(const struct work *k, size_t at, size_t n)
{
	return at == 0 ? ask_nothing(k, n) : multiply(k->s, columns(k, k->m->g,
	    0, at), square(k, k->s->r, 0, at, at, n), some(k, k->m->t, n));
}

static int
round_some(const struct work *k, const uint32_t *col, struct sq_mat m,
    size_t at, size_t n)
{
	struct sq_mat t = some(k, k->m->t, n), e = columns(k, k->m->g, at, n);

	return sq_round_columns(k->s->ctx, &k->round, col + at, n, &t, &m, &e);
}

static int
round_all(const struct work *k)
{
	const struct sq_solver *s = k->s;
	size_t at, n;

	for (at = 0; at < s->n; at += n) {
		n = least(B, s->n - at);
		if (ask(k, at, n) != 0 || round_some(k, s->col, square(k, s->r,
		    at, at, n, n), at, n) != 0)
			return -1;
	}
	return 0;
}

/* What rounding to nearest would leave, and the norm. */
static int
measure(const struct work *k)
{
	const struct sq_solver *s = k->s;
	size_t at, n;

	for (at = 0; at < s->n; at += n) {
		n = least(B, s->n - at);
		if (ask_nothing(k, n) != 0 || round_some(k, s->plain,
		    mat(s->none, n, n, B), at, n) != 0)
			return -1;
	}
	return form(k, k->m->x, &k->g->rtn_error) < 0 ||
	    form(k, k->m->w, &k->g->norm) < 0 ? -1 : 0;
}

static int
move_unit(const struct work *k, size_t at, size_t n)
{
	const struct sq_solver *s = k->s;
	struct sq_mat h = square(k, s->h, at, at, n, n);
	struct sq_mat g = some(k, k->m->t, n);

	if (multiply(s, columns(k, k->m->x, 0, s->n), square(k, s->h, 0, at,
	    s->n, n), g) != 0)
		return -1;
	return sq_move_columns(s->ctx, &k->round, at, &h, &g, k->g->refit,
	    PASSES);
}

static int
move_pairs(const struct work *k)
{
	const struct sq_solver *s = k->s;
	struct sq_mat h = square(k, s->h, 0, 0, s->n, s->n);
	struct sq_mat g = columns(k, k->m->g, 0, s->n);

	if (multiply(s, columns(k, k->m->x, 0, s->n), h, g) != 0)
		return -1;
	return sq_move_pairs(s->ctx, &k->round, &h, SQ_PARTNERS, s->with,
	    s->has, &g);
}

static int
sweep(const struct work *k)
{
	size_t step = B / k->round.group_cols * k->round.group_cols, at;

	for (at = 0; at < k->s->n; at += step)
		if (move_unit(k, at, least(step, k->s->n - at)) != 0)
			return -1;
	return k->s->with != NULL ? move_pairs(k) : 0;
}

/* ---- codes ---- */

struct packing {
	const struct work *k;
	const struct sq_dst *q;
	int bits;
};

static void
pack_row(const uint8_t *u, size_t n, int bits, uint8_t *to)
{
	size_t i, have = 0;
	uint32_t v = 0;

	for (i = 0; i < n; i++) {
		v |= (uint32_t)u[i] << have;
		for (have += (size_t)bits; have >= 8; have -= 8, v >>= 8)
			*to++ = (uint8_t)v;
	}
	if (have > 0)
		*to = (uint8_t)v;
}

static void
pack(void *arg, long task, int thread)
{
	const struct packing *p = arg;
	const struct sq_solver_rows *m = p->k->m;
	size_t n = p->k->s->n, r = (size_t)task, at = r * m->across, i;

	(void)thread;
	pack_row(m->host_codes + r * n, n, p->bits,
	    p->q->codes + r * sq_row_bytes(n, p->bits));
	for (i = at; i < at + m->across; i++) {
		p->q->scales[i] = sq_f32_to_f16(m->host_scales[i]);
		if (p->q->zeros != NULL)
			p->q->zeros[i] = (uint8_t)m->host_zeros[i];
	}
}

static int
store(const struct work *k, const struct sq_dst *q)
{
	const struct sq_mem *mem = k->s->ctx->kern->mem;
	struct packing p = { k, q, k->round.bits };
	size_t rows = k->round.rows, some = rows * k->m->across *
	    sizeof(float);

	if (mem->get(k->m->host_codes, k->m->codes, rows * k->s->n) < 0 ||
	    mem->get(k->m->host_scales, k->m->scales, some) < 0 ||
	    mem->get(k->m->host_zeros, k->m->zeros, some) < 0)
		return -1;
	sq_pool_run(k->g->ctx->pool, pack, &p, (long)rows);
	return 0;
}

static int
solve(const struct work *k, const struct sq_dst *q)
{
	int i;

	if ((k->g->want_error && measure(k) != 0) || round_all(k) != 0)
		return -1;
	for (i = 0; i < k->g->sweeps; i++)
		if (sweep(k) != 0)
			return -1;
	if (k->g->want_error && form(k, k->m->x, &k->g->error) != 0)
		return -1;
	return store(k, q);
}

int
sq_solver_rows(struct sq_solver *s, struct sq_gptq *g, const struct sq_mat *w,
    const struct sq_dst *q, char *err)
{
	const struct sq_qrule *rule = &g->rule;
	struct work k = { .s = s, .g = g };
	int r;

	k.round = (struct sq_rounding){ .rows = w->rows, .cols = w->cols,
	    .group_cols = rule->group_cols, .bits = sq_grid_bits(rule->grid),
	    .symmetric = rule->symmetric };
	k.m = room(s, w->rows, (w->cols + rule->group_cols - 1) /
	    rule->group_cols);
	if (k.m == NULL)
		return failed(s, err);
	k.round.w = k.m->w;
	k.round.x = k.m->x;
	k.round.codes = k.m->codes;
	k.round.scales = k.m->scales;
	k.round.zeros = k.m->zeros;
	if (load(&k, w) != 0)
		return failed(s, err);
	/* of a device that still works, the weights are to blame */
	if ((r = sq_weighted_scales(s->ctx, &k.round, s->cost)) != 0)
		return r < 0 && s->ctx->kern->mem->sync() == 0 ?
		    sq_fail(err, SQ_CHUNKS_BAD) : failed(s, err);
	return solve(&k, q) != 0 ? failed(s, err) : 0;
}

void
sq_solver_release(struct sq_solver *s)
{
	void (*no)(void *);

	if (s->ctx == NULL)
		return;
	no = s->ctx->kern->mem->free;
	if (s->rows != NULL)
		rows_free(s, s->rows);
	no(s->h);
	no(s->r);
	no(s->cost);
	no(s->ridge);
	no(s->col);
	no(s->plain);
	no(s->with);
	no(s->has);
	no(s->none);
	*s = (struct sq_solver){ .ctx = s->ctx };
}
