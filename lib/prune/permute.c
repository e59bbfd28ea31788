/* Channels change places; see permute.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "prune/permute.h"
#include "quant/half_block.h"

#define TRIES	24			/* pairs of runs, for each run */

/* One input: what makes it, and what takes it. */
struct joint {
	struct sq_held *made[2], *bias[2], *w;
	size_t nmade, n;		/* channels of what makes it */
	size_t dim, share;		/* in parts of dim; each has `share' in w */
	struct sq_stats *stats, *kv;	/* or NULL */
	uint32_t *order;		/* [n] */
};

static int
out_of_order(const struct sq_permute *k)
{
	return sq_fail(k->f->err, "%s: the tensors of block %ju are not in "
	    "their order", k->f->name,
	    (uintmax_t)k->half->rec[0].slot->layer);
}

/* Channel c of those that w takes, by the part, the copy and the place. */
static size_t
taken(const struct joint *j, size_t part, size_t copy, size_t i)
{
	return (part * j->share + copy) * j->dim + i;
}

/* w^2, times the mean square of the input where that counts: of a part's
 * channels, each its rows, copy after copy. */
static void
part_scores(const struct joint *j, const float *w, int weighs, size_t part,
    float *score)
{
	const struct sq_stats *st = j->stats;
	size_t rows = (size_t)j->w->t.dim[0], cols = (size_t)j->w->t.dim[1];
	size_t i, r, s, c;
	float h;

	for (i = 0; i < j->dim; i++)
		for (s = 0; s < j->share; s++) {
			c = taken(j, part, s, i);
			h = !weighs ? 1 : st->h == NULL ? st->hdiag[c] :
			    st->h[sq_triangle_at(cols, c, c)];
			for (r = 0; r < rows; r++)
				*score++ = w[r * cols + c] * w[r * cols + c] *
				    h;
		}
}

static int
find_order(struct sq_permute *k, struct joint *j)
{
	size_t rows = (size_t)j->w->t.dim[0], cols = (size_t)j->w->t.dim[1];
	struct sq_permutation p = { .n = j->dim, .len = rows * j->share,
	    .keep = k->keep, .run = k->run, .tries = TRIES }, all = p;
	struct sq_mat m = { malloc(rows * cols * sizeof(float)), SQ_F32, rows,
	    cols, cols };
	float *score = malloc(p.n * p.len * sizeof(*score));
	size_t part, i;
	int r = 0;

	p.score = score;
	if (m.p == NULL || score == NULL)
		r = sq_fail(k->f->err, "out of memory");
	else if (sq_held_rows(j->w, k->ctx, 0, &m) < 0)
		r = sq_fail(k->f->err, "tensor '%s': no kernel reads it",
		    j->w->t.name);
	for (part = 0; r == 0 && part < j->n / j->dim; part++) {
		p.perm = j->order + part * j->dim;
		part_scores(j, m.p, k->weighs, part, score);
		r = sq_permutation_find(&p, k->f->err);
		for (i = 0; i < j->dim; i++)
			p.perm[i] += (uint32_t)(part * j->dim);
		all.before += p.before;
		all.after += p.after;
		all.all += p.all;
	}
	if (r == 0 && k->said != NULL)
		k->said(j->w->t.name, &all);
	free(score);
	free(m.p);
	return r;
}

/* n pieces of `size' bytes each into their new order, in each of `rows' rows. */
static int
move(unsigned char *data, size_t rows, size_t n, size_t size,
    const uint32_t *order)
{
	unsigned char *copy = malloc(n * size);
	size_t r, i;

	if (copy == NULL)
		return -1;
	for (r = 0; r < rows; r++, data += n * size) {
		memcpy(copy, data, n * size);
		for (i = 0; i < n; i++)
			memcpy(data + i * size, copy + order[i] * size, size);
	}
	free(copy);
	return 0;
}

static int
move_floats(float *v, size_t n, const uint32_t *order)
{
	return v == NULL ? 0 : move((unsigned char *)v, 1, n, sizeof(*v),
	    order);
}

/* H, row by row of its upper triangle. */
static int
move_h(float *h, size_t n, const uint32_t *order)
{
	float *copy;
	size_t i, j, a, b;

	if (h == NULL)
		return 0;
	if ((copy = malloc(sq_triangle(n) * sizeof(*copy))) == NULL)
		return -1;
	memcpy(copy, h, sq_triangle(n) * sizeof(*copy));
	for (i = 0; i < n; i++)
		for (j = i; j < n; j++) {
			a = order[i] < order[j] ? order[i] : order[j];
			b = order[i] < order[j] ? order[j] : order[i];
			*h++ = copy[sq_triangle_at(n, a, b)];
		}
	free(copy);
	return 0;
}

static int
move_stats(struct sq_stats *st, size_t n, const uint32_t *order)
{
	return move_floats(st->min, n, order) < 0 ||
	    move_floats(st->max, n, order) < 0 ||
	    move_floats(st->mean, n, order) < 0 ||
	    move_floats(st->absmean, n, order) < 0 ||
	    move_floats(st->hdiag, n, order) < 0 ||
	    move_h(st->h, n, order) < 0 ? -1 : 0;
}

/* The order of all columns of w. */
static uint32_t *
columns(const struct joint *j)
{
	uint32_t *to = malloc(j->n * j->share * sizeof(*to));
	size_t part, s, i;

	for (part = 0; to != NULL && part < j->n / j->dim; part++)
		for (s = 0; s < j->share; s++)
			for (i = 0; i < j->dim; i++)
				to[taken(j, part, s, i)] = (uint32_t)taken(j,
				    part, s, j->order[part * j->dim + i] -
				    part * j->dim);
	return to;
}

static int
apply(struct joint *j)
{
	size_t cols = j->n * j->share, i, size;
	uint32_t *across = columns(j);
	const struct sq_tensor *t;
	int r = across == NULL ? -1 : 0;

	for (i = 0; r == 0 && i < j->nmade; i++) {
		t = &j->made[i]->t;
		size = (size_t)t->dim[1] * sq_dtype_size(t->type);
		r = move(j->made[i]->data, 1, j->n, size, j->order);
		if (r == 0 && j->bias[i] != NULL)
			r = move(j->bias[i]->data, 1, j->n,
			    sq_dtype_size(j->bias[i]->t.type), j->order);
	}
	if (r == 0)
		r = move(j->w->data, (size_t)j->w->t.dim[0], cols,
		    sq_dtype_size(j->w->t.type), across);
	if (r == 0 && j->stats != NULL)
		r = move_stats(j->stats, cols, across);
	if (r == 0 && j->kv != NULL)
		r = move_floats(j->kv->vmin, j->n, j->order) < 0 ? -1 :
		    move_floats(j->kv->vmax, j->n, j->order);
	free(across);
	return r;
}

/* Whether all are there, plain and as large as they should be. */
static int
plain(struct sq_permute *k, const struct joint *j)
{
	const struct sq_tensor *t[3];
	size_t i;

	for (i = 0; i < j->nmade; i++)
		if (j->made[i] == NULL)
			return out_of_order(k);
	if (j->w == NULL)
		return out_of_order(k);
	for (i = 0; i < j->nmade; i++)
		t[i] = &j->made[i]->t;
	t[i] = &j->w->t;
	for (i = 0; i <= j->nmade; i++)
		if (t[i]->grid != SQ_DENSE || sq_tensor_part(t[i], "mask") !=
		    NULL)
			return sq_fail(k->f->err, "tensor '%s': is quantized "
			    "or masked already", t[i]->name);
	return 0;
}

static int
do_joint(struct sq_permute *k, struct joint *j)
{
	int r;

	if (plain(k, j) < 0)
		return -1;
	if ((r = sq_filter_wants(k->f, &j->w->t, j->w->slot)) <= 0)
		return r;
	if (j->dim % k->run != 0 || j->dim < 2 * k->run)
		return 0;
	j->stats = sq_half_stats(k->half, j->w->t.name, 0);
	if (k->weighs && (j->stats == NULL ||
	    j->stats->channels != j->n * j->share))
		return sq_fail(k->f->err, "tensor '%s': no statistics before "
		    "it; sq-calibrate makes them", j->w->t.name);
	if ((j->order = malloc(j->n * sizeof(*j->order))) == NULL)
		return sq_fail(k->f->err, "out of memory");
	r = find_order(k, j);
	if (r == 0 && (r = apply(j)) < 0)
		sq_fail(k->f->err, "out of memory");
	free(j->order);
	return r;
}

static int
attention(struct sq_permute *k)
{
	const struct sq_config *c = &k->f->inv.config;
	struct joint j = { .made = { sq_half_tensor(k->half, SQ_V, 0) },
	    .bias = { sq_half_tensor(k->half, SQ_V, 1) }, .nmade = 1,
	    .w = sq_half_tensor(k->half, SQ_O, 0),
	    .n = (size_t)(c->kv_heads * c->head_dim),
	    .dim = (size_t)c->head_dim,
	    .share = (size_t)(c->heads / c->kv_heads) };

	if (j.made[0] != NULL)
		j.kv = sq_half_stats(k->half, j.made[0]->t.name, 1);
	return do_joint(k, &j);
}

static int
mlp(struct sq_permute *k)
{
	struct sq_half *b = k->half;
	struct joint j = { .made = { sq_half_tensor(b, SQ_GATE, 0),
	    sq_half_tensor(b, SQ_UP, 0) }, .bias = { sq_half_tensor(b,
	    SQ_GATE, 1), sq_half_tensor(b, SQ_UP, 1) }, .nmade = 2,
	    .w = sq_half_tensor(b, SQ_DOWN, 0), .share = 1 };

	if (j.made[0] != NULL)
		j.n = j.dim = (size_t)j.made[0]->t.dim[0];
	return do_joint(k, &j);
}

int
sq_permute_end(struct sq_permute *k)
{
	int r;

	if (k->half == NULL || k->half->n == 0)
		return 0;
	if (sq_half_tensor(k->half, SQ_ATTN_NORM, 0) != NULL)
		r = attention(k);
	else
		r = mlp(k);
	return r < 0 ? -1 : sq_half_put(k->half, k->f, k->ctx, 0);
}

/* What has no place in half a block: the ends of a model, and experts. */
static int
is_outside(const struct sq_permute *k, const struct sq_slot *s)
{
	if (s == NULL || s->role == SQ_EMBED || s->role == SQ_NORM ||
	    s->role == SQ_HEAD)
		return 1;
	return sq_config_has_experts(&k->f->inv.config, s->layer) &&
	    (s->role == SQ_FFN_NORM || s->role == SQ_ROUTER ||
	    s->role == SQ_GATE || s->role == SQ_UP || s->role == SQ_DOWN);
}

int
sq_permute_tensor(struct sq_permute *k, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	int outside = is_outside(k, slot);

	if ((outside || slot->role == SQ_ATTN_NORM ||
	    slot->role == SQ_FFN_NORM) && sq_permute_end(k) < 0)
		return -1;
	if (k->half == NULL && (k->half = calloc(1,
	    sizeof(*k->half))) == NULL)
		return sq_fail(k->f->err, "out of memory");
	if (!outside)
		return sq_half_take(k->half, k->f, t, slot, 0);
	if (sq_filter_copy(k->f) < 0)
		return -1;
	sq_progress_add(k->f->progress, k->f->in.length);
	return 0;
}

int
sq_permute_record(struct sq_permute *k)
{
	if (k->f->in.type == SQ_STATS && k->half != NULL && k->half->n > 0)
		return sq_half_take(k->half, k->f, NULL, NULL, 0);
	if (k->f->in.type == SQ_PROVENANCE && sq_permute_end(k) < 0)
		return -1;
	return sq_filter_copy(k->f);
}

void
sq_permute_release(struct sq_permute *k)
{
	if (k->half != NULL)
		sq_half_release(k->half);
	free(k->half);
	k->half = NULL;
}
