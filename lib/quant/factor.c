/*
 * H = R R^T in place; see factor.h.
 *
 *	panel   0   1   2	From the last panel to the first: the block D on
 *	      +---+---+---+	the diagonal is factorized, the rows X above it
 *	      | D | X | X |	are solved with the result, and X X^T is taken
 *	      +---+---+---+	from the panels before.  Blocks are of one size,
 *	          | D | X |	whoever computes them, so the bits do not depend
 *	          +---+---+	on threads.
 *	              | D |
 *	              +---+
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/factor.h"

#define B	SQ_PANEL
#define STRIP	512		/* rows of a task, a multiple of B */
#define SPAN	1024		/* channels of a task of exchanging */

/* A pivot below this part of the mean diagonal is noise of float32. */
#define FLOOR	1e-6

static size_t
least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t
panels(size_t n)
{
	return (n + B - 1) / B;
}

/* Whole columns: the last panel is as wide in memory as the others. */
static size_t
values(size_t n)
{
	size_t p = panels(n);

	return p * (p + 1) / 2 * B * B;
}

uint64_t
sq_factor_bytes(size_t n, int keep)
{
	return (keep ? 2 : 1) * (uint64_t)values(n) * sizeof(float) +
	    (uint64_t)n * (sizeof(uint32_t) + 2 * sizeof(double) +
	    2 * sizeof(float)) + 2 * B * B * sizeof(float);
}

int
sq_factor_init(struct sq_factor *f, size_t n, int keep, char *err)
{
	size_t bytes = values(n) * sizeof(float);

	memset(f, 0, sizeof(*f));
	f->n = n;
	f->panels = aligned_alloc(64, bytes);
	f->col = calloc(n, sizeof(*f->col));
	f->pivot = calloc(n, sizeof(*f->pivot));
	f->added = calloc(n, sizeof(*f->added));
	f->diagonal = calloc(n, sizeof(*f->diagonal));
	f->cost = calloc(n, sizeof(*f->cost));
	f->h = keep ? aligned_alloc(64, bytes) : NULL;
	if (f->panels == NULL || f->col == NULL || f->pivot == NULL ||
	    f->added == NULL || f->diagonal == NULL ||
	    f->cost == NULL || (keep && f->h == NULL)) {
		sq_factor_release(f);
		return sq_fail(err, "H of %zu channels: out of memory", n);
	}
	memset(f->panels, 0, bytes);
	return 0;
}

void
sq_factor_release(struct sq_factor *f)
{
	free(f->panels);
	free(f->col);
	free(f->pivot);
	free(f->added);
	free(f->diagonal);
	free(f->cost);
	free(f->h);
	memset(f, 0, sizeof(*f));
}

void
sq_factor_row(struct sq_factor *f, size_t i, const float *row)
{
	size_t j = i / B, c = i % B, k;

	for (k = i; k < f->n; k += B - c, j++, c = 0)
		memcpy(sq_factor_at(f, i, j) + c, row + (k - i),
		    (f->n - k < B - c ? f->n - k : B - c) * sizeof(float));
}

/* The next n bytes of the payload, passed on. */
static int
take(struct sq_in *in, struct sq_out *out, void *buf, size_t n, char *err)
{
	if (sq_in_read(in, buf, n) < 0)
		return sq_fail(err, "%s", in->err);
	if (out != NULL && sq_out_write(out, buf, n) < 0)
		return sq_fail(err, "%s", out->err);
	return 0;
}

/* Passes what comes before the last n floats of the payload. */
static int
skip_to(struct sq_in *in, struct sq_out *out, void *buf, size_t size,
    uint64_t n, char *err)
{
	uint64_t skip = in->length - n * sizeof(float);
	size_t i;

	for (; skip > 0; skip -= i) {
		i = skip < size ? (size_t)skip : size;
		if (take(in, out, buf, i, err) < 0)
			return -1;
	}
	return 0;
}

static int
read_rows(struct sq_factor *f, struct sq_in *in, struct sq_out *out,
    float *row, char *err)
{
	size_t i;

	if (skip_to(in, out, row, f->n * sizeof(float), sq_triangle(f->n),
	    err) < 0)
		return -1;
	for (i = 0; i < f->n; i++) {
		if (take(in, out, row, (f->n - i) * sizeof(float), err) < 0)
			return -1;
		sq_factor_row(f, i, row);
	}
	return 0;
}

/* Of inputs that were never seen, each one counts the same. */
static int
read_diagonal(struct sq_factor *f, struct sq_in *in, struct sq_out *out,
    float *row, char *err)
{
	float *d = row + f->n;
	size_t i, seen = 0;

	if (skip_to(in, out, row, f->n * sizeof(float), f->n, err) < 0 ||
	    take(in, out, d, f->n * sizeof(float), err) < 0)
		return -1;
	for (i = 0; i < f->n; i++)
		seen += d[i] > 0;
	memset(row, 0, f->n * sizeof(float));
	for (i = 0; i < f->n; i++) {
		row[0] = seen == 0 ? 1 : d[i];
		sq_factor_row(f, i, row);
	}
	return 0;
}

int
sq_factor_read(struct sq_factor *f, int full, struct sq_in *in,
    struct sq_out *out, char *err)
{
	float *row = malloc(2 * f->n * sizeof(*row));
	int r = -1;

	if (row == NULL)
		return sq_fail(err, "out of memory");
	if (out != NULL && sq_out_begin_copy(out, in) < 0)
		sq_fail(err, "%s", out->err);
	else if ((full ? read_rows(f, in, out, row, err) :
	    read_diagonal(f, in, out, row, err)) == 0)
		r = out != NULL && sq_out_end(out) < 0 ?
		    sq_fail(err, "%s", out->err) : 0;
	free(row);
	return r;
}

static float *
entry(const struct sq_factor *f, size_t i, size_t k)
{
	return sq_factor_at(f, i, k / B) + k % B;
}

/* ---- order ---- */

struct place {
	float run, diagonal;		/* the sum of its run's; its own */
	uint32_t first, col;
};

/* Runs by falling diagonal, and columns within them. */
static int
by_diagonal(const void *a, const void *b)
{
	const struct place *p = a, *q = b;

	if (p->run != q->run)
		return p->run > q->run ? -1 : 1;
	if (p->first != q->first)
		return p->first < q->first ? -1 : 1;
	if (p->diagonal != q->diagonal)
		return p->diagonal > q->diagonal ? -1 : 1;
	return p->col < q->col ? -1 : 1;
}

static void
swap(float *a, float *b)
{
	float t = *a;

	*a = *b;
	*b = t;
}

/* Two channels of H, a < b, change places. */
struct exchange {
	struct sq_factor *f;
	size_t a, b;
};

/* A part of it: what the two have in common with SPAN other channels.  Of H the
 * upper half is there. */
static void
exchange_part(void *arg, long task, int thread)
{
	const struct exchange *e = arg;
	const struct sq_factor *f = e->f;
	size_t a = e->a, b = e->b, i = (size_t)task * SPAN;
	size_t end = least(i + SPAN, f->n);
	float *p, *q;

	(void)thread;
	if (i < a) {
		p = entry(f, i, a);
		q = entry(f, i, b);
		for (; i < end && i < a; i++, p += B, q += B)
			swap(p, q);
	}
	if (i == a && i < end) {
		swap(entry(f, a, a), entry(f, b, b));
		i++;
	}
	for (; i < end && i < b; i++)
		swap(entry(f, a, i), entry(f, i, b));
	if (i == b)
		i++;
	for (; i < end; i++)
		swap(entry(f, a, i), entry(f, b, i));
}

/* Puts channel col[i] in i-th place, exchange by exchange: from the end, where
 * columns are long, for that way they get out of the way soon. */
static int
permute(struct sq_factor *f, struct sq_pool *pool)
{
	uint32_t *held = malloc(f->n * sizeof(*held));	/* by place i */
	uint32_t *where = malloc(f->n * sizeof(*where));
	struct exchange e = { .f = f };
	uint32_t i;

	if (held == NULL || where == NULL) {
		free(held);
		free(where);
		return -1;
	}
	for (i = 0; i < f->n; i++)
		held[i] = where[i] = i;
	for (i = (uint32_t)f->n; i-- > 0;) {
		e.a = where[f->col[i]];
		e.b = i;
		if (e.a == i)
			continue;
		sq_pool_run(pool, exchange_part, &e,
		    (long)((f->n + SPAN - 1) / SPAN));
		held[e.a] = held[i];
		where[held[e.a]] = (uint32_t)e.a;
	}
	free(held);
	free(where);
	return 0;
}

int
sq_factor_order(struct sq_factor *f, enum sq_column_order order)
{
	size_t i, run = f->run > 1 && f->n % f->run == 0 ? f->run : 1;
	struct place *p;

	for (i = 0; i < f->n; i++)
		f->col[i] = (uint32_t)i;
	if (order == SQ_NATURAL)
		return 0;
	if ((p = calloc(f->n, sizeof(*p))) == NULL)
		return -1;
	for (i = 0; i < f->n; i++) {
		p[i].diagonal = *entry(f, i, i);
		p[i / run * run].run += p[i].diagonal;
	}
	for (i = 0; i < f->n; i++) {
		p[i].first = (uint32_t)(i / run * run);
		p[i].col = (uint32_t)i;
		p[i].run = p[p[i].first].run;
	}
	qsort(p, f->n, sizeof(*p), by_diagonal);
	for (i = 0; i < f->n; i++)
		f->col[i] = p[i].col;
	free(p);
	return 0;
}

/* ---- factorization ---- */

struct job {
	struct sq_factor *f;
	const struct sq_lapack *la;
	size_t panel;			/* being done */
	size_t row, width;		/* its diagonal's first row; columns */
	double lambda, mean;		/* added now; of the diagonal */
	int raised;			/* it is more than was asked for */
	float *block, *spare;		/* B x B: factorized here; as it was */
};

/*
 * The block on the diagonal, and the way back.  LAPACK factorizes into a lower
 * triangle times its transpose; with rows and columns reversed that is the
 * upper one we want.
 */
static void
get_block(const struct job *j, float *a)
{
	const float *d = sq_factor_at(j->f, j->row, j->panel);
	size_t w = j->width, i, k;

	for (i = 0; i < w; i++)
		for (k = i; k < w; k++)
			a[(w - 1 - i) * B + w - 1 - k] = d[i * B + k];
}

static void
put_block(const struct job *j, const float *a)
{
	float *d = sq_factor_at(j->f, j->row, j->panel);
	size_t w = j->width, i, k;

	for (i = 0; i < w; i++)
		for (k = 0; k < w; k++)
			d[i * B + k] = k < i ? 0 :
			    a[(w - 1 - i) * B + w - 1 - k];
}

/* 1 when the block had a factor worth having. */
static int
try_block(const struct job *j)
{
	size_t i;
	float d;

	memcpy(j->block, j->spare, B * B * sizeof(float));
	/* the lower triangle by rows is the upper one by columns */
	if (sq_spotrf(j->la, 'U', (int)j->width, j->block, B) != 0)
		return 0;
	for (i = 0; i < j->width; i++) {
		d = j->block[i * B + i];
		if (!((double)d * d >= FLOOR * j->mean))
			return 0;
	}
	return 1;
}

/* More damping for all that is not factorized yet. */
static void
damp_more(struct job *j)
{
	struct sq_factor *f = j->f;
	double before = j->lambda, more;
	size_t i, w = j->width;

	j->lambda = fmax(10 * before, FLOOR * j->mean);
	more = j->lambda - before;
	j->raised = 1;
	for (i = 0; i < j->row; i++)
		*entry(f, i, i) += (float)more;
	for (i = 0; i < w; i++)
		j->spare[i * B + i] += (float)more;
	for (i = 0; i < j->row + w; i++)
		f->added[i] += more;
}

static int
do_block(struct job *j, char *err)
{
	size_t i;
	float d;

	get_block(j, j->spare);
	while (!try_block(j)) {
		if (j->lambda >= j->mean)
			return sq_fail(err, "H is no sum of squares");
		damp_more(j);
	}
	put_block(j, j->block);
	for (i = 0; i < j->width; i++) {
		d = *entry(j->f, j->row + i, j->row + i);
		j->f->pivot[j->row + i] = (double)d * d;
	}
	return 0;
}

/* X D^T = A for a strip of the rows above the block. */
static void
solve_strip(void *arg, long task, int thread)
{
	const struct job *j = arg;
	size_t i = (size_t)task * STRIP;

	(void)thread;
	sq_strsm(j->la, 'L', 'L', 'T', 'N', (int)j->width,
	    (int)least(STRIP, j->row - i), 1,
	    sq_factor_at(j->f, j->row, j->panel), B,
	    sq_factor_at(j->f, i, j->panel), B);
}

/* Takes X X^T from a strip of a panel before; tasks: panel by panel. */
static void
update_strip(void *arg, long task, int thread)
{
	const struct job *j = arg;
	size_t strips = 0, k = 0, i;

	(void)thread;
	for (;; k++, task -= (long)strips) {
		strips = ((k + 1) * B + STRIP - 1) / STRIP;
		if (task < (long)strips)
			break;
	}
	i = (size_t)task * STRIP;
	sq_sgemm(j->la, 'T', 'N', B, (int)least(STRIP, (k + 1) * B - i),
	    (int)j->width, -1, sq_factor_at(j->f, k * B, j->panel), B,
	    sq_factor_at(j->f, i, j->panel), B, 1, sq_factor_at(j->f, i, k),
	    B);
}

static long
update_tasks(size_t panel)
{
	size_t k, n = 0;

	for (k = 0; k < panel; k++)
		n += ((k + 1) * B + STRIP - 1) / STRIP;
	return (long)n;
}

/* R_ik to R_ik / R_kk, a panel. */
static void
scale_panel(void *arg, long task, int thread)
{
	const struct job *j = arg;
	struct sq_factor *f = j->f;
	size_t p = (size_t)task, first = p * B, i, k;
	size_t w = least(B, f->n - first);
	float d[B], *row;

	(void)thread;
	for (k = 0; k < w; k++)
		d[k] = *entry(f, first + k, first + k);
	for (i = 0; i < first + w; i++) {
		row = sq_factor_at(f, i, p);
		for (k = 0; k < w; k++)
			row[k] /= d[k];
	}
}

static int
factorize(struct job *j, struct sq_pool *pool, char *err)
{
	struct sq_factor *f = j->f;

	for (j->panel = panels(f->n); j->panel-- > 0;) {
		j->row = j->panel * B;
		j->width = least(B, f->n - j->row);
		if (do_block(j, err) < 0)
			return -1;
		sq_pool_run(pool, solve_strip, j,
		    (long)((j->row + STRIP - 1) / STRIP));
		sq_pool_run(pool, update_strip, j, update_tasks(j->panel));
	}
	sq_pool_run(pool, scale_panel, j, (long)panels(f->n));
	return 0;
}

int
sq_factor_look(struct sq_factor *f, double *mean, char *err)
{
	size_t i;
	double sum = 0;
	float d;

	f->dead = 0;
	for (i = 0; i < f->n; i++) {
		d = *entry(f, i, i);
		if (!(d >= 0 && d <= 3e38f))
			return sq_fail(err, "H has %g on its diagonal",
			    (double)d);
		f->diagonal[i] = d;
		sum += d;
		f->dead += d == 0;
	}
	*mean = sum / (double)f->n;
	return 0;
}

/* A channel that was always zero has no part in any error: with anything on
 * the diagonal its weights are rounded to nearest. */
static void
damp(struct job *j)
{
	struct sq_factor *f = j->f;
	size_t i;
	float *d;

	for (i = 0; i < f->n; i++) {
		d = entry(f, i, i);
		f->added[i] = *d == 0 && j->lambda == 0 ? j->mean : j->lambda;
		*d += (float)f->added[i];
	}
}

/* H is kept as it came, the blocks on the diagonal whole. */
static void
keep(struct sq_factor *f)
{
	size_t i, k, p, first, w;
	float *d;

	memcpy(f->h, f->panels, values(f->n) * sizeof(float));
	for (p = 0; p < panels(f->n); p++) {
		first = p * B;
		w = least(B, f->n - first);
		d = f->h + (sq_factor_at(f, first, p) - f->panels);
		for (i = 0; i < w; i++)
			for (k = 0; k < i; k++)
				d[i * B + k] = d[k * B + i];
	}
}

int
sq_factor_make(struct sq_factor *f, const struct sq_lapack *la,
    struct sq_pool *pool, enum sq_column_order order, double fraction,
    char *err)
{
	struct job j = { .f = f, .la = la };
	int r = -1;
	size_t i;

	if (sq_factor_look(f, &j.mean, err) < 0)
		return -1;
	if (f->h != NULL)
		keep(f);
	j.block = aligned_alloc(64, B * B * sizeof(float));
	j.spare = aligned_alloc(64, B * B * sizeof(float));
	if (j.block == NULL || j.spare == NULL ||
	    sq_factor_order(f, order) < 0 ||
	    (order == SQ_ACT && permute(f, pool) < 0)) {
		sq_fail(err, "H of %zu channels: out of memory", f->n);
		goto done;
	}
	memset(j.spare, 0, B * B * sizeof(float));
	f->lambda = j.lambda = fraction * j.mean;
	if (j.mean == 0)
		j.mean = 1;
	damp(&j);
	r = factorize(&j, pool, err);
	for (i = 0; i < f->n; i++)
		f->cost[f->col[i]] = (float)sqrt(f->pivot[i] *
		    sq_factor_weight(f, f->col[i]));
	f->damp = j.raised ? j.lambda / j.mean : fraction;
done:
	free(j.block);
	free(j.spare);
	return r;
}
