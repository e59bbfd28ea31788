/* Which blocks of keys are seen; see attn_sparse.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/floats.h"
#include "kernels/rows.h"
#include "model/attn_sparse.h"

#define BLOCK	SQ_KEEP_BLOCK
#define READ	512		/* keys that are read at a time */
#define POOL	16		/* queries of a pool, and keys */
#define POOLS	(BLOCK / POOL)	/* of a block */
#define DIM	512		/* of a head, at most */
#define LAST	16		/* queries that tell columns and diagonals */

int
sq_attn_choose(struct sq_attn_choice *a, const char *s)
{
	int end = -1;

	memset(a, 0, sizeof(*a));
	if (strcmp(s, "all") == 0)
		return 0;
	if (strchr(s, ' ') != NULL || (strchr(s, '-') != NULL &&
	    strncmp(s, "vertical-slash:", 15) != 0) ||
	    strchr(s, '-') != strrchr(s, '-'))
		return -1;
	a->pick = SQ_ATTN_WINDOW;
	if (sscanf(s, "window:%9zu%n", &a->window, &end) == 1 && end > 0) {
		if (s[end] != '\0' && (sscanf(s += end, "+sink:%9zu%n",
		    &a->sink, &end) != 1 || s[end] != '\0'))
			return -1;
		return a->window > 0 ? 0 : -1;
	}
	a->pick = SQ_ATTN_POOLED;
	if (sscanf(s, "pooled:%9lf%n", &a->density, &end) != 1) {
		a->pick = SQ_ATTN_VERTICAL_SLASH;
		if (sscanf(s, "vertical-slash:%9lf%n", &a->density,
		    &end) != 1)
			return -1;
	}
	return end > 0 && s[end] == '\0' && a->density > 0 &&
	    a->density <= 1 ? 0 : -1;
}

void
sq_attn_plan_release(struct sq_attn_plan *p)
{
	free(p->piece);
	free(p->bits);
	free(p->mem);
	memset(p, 0, sizeof(*p));
}

static int
grow(void *pp, size_t *cap, size_t n, size_t size)
{
	void **p = pp, *q;

	if (n <= *cap)
		return 0;
	if ((q = realloc(*p, n * size)) == NULL)
		return -1;
	*p = q;
	*cap = n;
	return 0;
}

/* What a sequence needs to choose. */
struct look {
	struct sq_ctx *c;
	const struct sq_attn_choice *how;
	const struct sq_attn *a;
	const struct sq_kv *kv;
	const struct sq_seq *seq;
	const struct sq_mat *q;
	size_t blocks;			/* of keys */
	float *keys, *values;		/* [READ][kv heads * dim] */
	float *mean;			/* [kv heads][blocks * POOLS][dim] */
	float *score, *most;		/* [blocks], [blocks * POOLS] */
	float *column, *slash;		/* [kv heads][blocks] */
};

static size_t
look_floats(const struct look *l)
{
	size_t row = l->kv->heads * l->kv->dim;

	return 2 * READ * row + POOLS * l->blocks * row +
	    (1 + POOLS + 2 * l->kv->heads) * l->blocks;
}

static void
look_carve(struct look *l, float *p)
{
	size_t row = l->kv->heads * l->kv->dim;

	l->keys = p;
	l->values = l->keys + READ * row;
	l->mean = l->values + READ * row;
	l->score = l->mean + POOLS * l->blocks * row;
	l->most = l->score + l->blocks;
	l->column = l->most + POOLS * l->blocks;
	l->slash = l->column + l->kv->heads * l->blocks;
}

/* Keys pos .. pos+n-1 of all heads, as rows of floats. */
static int
read_keys(const struct look *l, size_t pos, size_t n)
{
	size_t row = l->kv->heads * l->kv->dim;
	struct sq_mat k = { l->keys, SQ_F32, n, row, row };
	struct sq_mat v = { l->values, SQ_F32, n, row, row };
	struct sq_seq s = *l->seq;

	s.row = 0;
	s.pos = pos;
	s.n = n;
	return sq_kv_read(l->c, l->kv, &s, 1, &k, &v);
}

static float
dot(const float *a, const float *b, size_t n)
{
	float s[8] = { 0 };
	size_t i, j;

	for (i = 0; i + 8 <= n; i += 8)
		for (j = 0; j < 8; j++)
			s[j] += a[i + j] * b[i + j];
	for (; i < n; i++)
		s[0] += a[i] * b[i];
	return ((s[0] + s[1]) + (s[2] + s[3])) +
	    ((s[4] + s[5]) + (s[6] + s[7]));
}

/* The mean key of each pool and head; one that is empty has 0. */
static int
pool_keys(const struct look *l)
{
	size_t dim = l->kv->dim, row = l->kv->heads * dim;
	size_t end = l->seq->pos + l->seq->n, pools = l->blocks * POOLS;
	size_t pos, n, i, h, d, b;
	float *m;

	memset(l->mean, 0, pools * row * sizeof(*l->mean));
	for (pos = 0; pos < end; pos += n) {
		n = end - pos < READ ? end - pos : READ;
		if (read_keys(l, pos, n) != 0)
			return -1;
		for (i = 0; i < n; i++)
			for (h = 0; h < l->kv->heads; h++) {
				b = (pos + i) / POOL;
				m = l->mean + (h * pools + b) * dim;
				for (d = 0; d < dim; d++)
					m[d] += l->keys[i * row + h * dim + d];
			}
	}
	for (h = 0; h < l->kv->heads; h++)
		for (b = 0; b * POOL < end; b++) {
			n = end - b * POOL < POOL ? end - b * POOL : POOL;
			m = l->mean + (h * pools + b) * dim;
			for (d = 0; d < dim; d++)
				m[d] /= (float)n;
		}
	return 0;
}

/* Query head g of KV head `head', of the token that is row i of l->q. */
static const float *
query(const struct look *l, size_t i, size_t head, size_t g)
{
	size_t group = l->a->heads / l->kv->heads;

	return sq_row(l->q, i) + (head * group + g) * l->kv->dim;
}

/* l->score: for each block up to the piece's last one, the greatest probability
 * that a pool of its queries gives to a mean key of the block. */
static void
score_pooled(const struct look *l, const struct sq_seq *piece, size_t head)
{
	size_t dim = l->kv->dim, last = (piece->pos + piece->n - 1) / BLOCK;
	size_t group = l->a->heads / l->kv->heads, i, j, n, g, d;
	size_t pools = (piece->pos + piece->n - 1) / POOL + 1;
	float mean[DIM];
	const float *x;

	memset(l->score, 0, (last + 1) * sizeof(*l->score));
	for (i = 0; i < piece->n; i += n)
		for (n = piece->n - i < POOL ? piece->n - i : POOL, g = 0;
		    g < group; g++) {
			memset(mean, 0, dim * sizeof(*mean));
			for (j = 0; j < n; j++) {
				x = query(l, piece->row + i + j, head, g);
				for (d = 0; d < dim; d++)
					mean[d] += x[d] * l->a->scale /
					    (float)n;
			}
			for (j = 0; j < pools; j++)
				l->most[j] = dot(mean, l->mean + (head *
				    l->blocks * POOLS + j) * dim, dim);
			sq_softmax(l->most, pools);
			for (j = 0; j < pools; j++)
				if (l->most[j] > l->score[j / POOLS])
					l->score[j / POOLS] = l->most[j];
		}
}

/* What the last queries of a sequence give to its columns and diagonals of
 * blocks: probabilities, summed. */
static int
score_last(const struct look *l)
{
	size_t dim = l->kv->dim, row = l->kv->heads * dim, h, g, i, j, pos, n;
	size_t group = l->a->heads / l->kv->heads, end = l->seq->pos +
	    l->seq->n, first = end - LAST, all = l->kv->heads * l->blocks;
	float *p, *scores = malloc(l->a->heads * LAST * end * sizeof(*p));

	if (scores == NULL)
		return -1;
	for (pos = 0; pos < end; pos += n) {
		n = end - pos < READ ? end - pos : READ;
		if (read_keys(l, pos, n) != 0) {
			free(scores);
			return -1;
		}
		for (h = 0; h < l->a->heads; h++)
			for (i = 0; i < LAST; i++) {
				p = scores + (h * LAST + i) * end + pos;
				for (j = 0; j < n; j++)
					p[j] = l->a->scale * dot(query(l,
					    l->seq->row + l->seq->n - LAST + i,
					    h / group, h % group), l->keys +
					    j * row + h / group * dim, dim);
			}
	}
	memset(l->column, 0, all * sizeof(*l->column));
	memset(l->slash, 0, all * sizeof(*l->slash));
	for (h = 0; h < l->kv->heads; h++)
		for (g = 0; g < group; g++)
			for (i = 0; i < LAST; i++) {
				p = scores + ((h * group + g) * LAST + i) * end;
				sq_softmax(p, first + i + 1);
				for (j = 0; j <= first + i; j++) {
					l->column[h * l->blocks + j / BLOCK] +=
					    p[j];
					l->slash[h * l->blocks + (first + i -
					    j) / BLOCK] += p[j];
				}
			}
	free(scores);
	return 0;
}

static void
set(uint64_t *mask, size_t b)
{
	mask[b / 64] |= (uint64_t)1 << b % 64;
}

/* The most of x[0 .. n-1], at most `most' of them: their places, the first of
 * equals first; each is taken out of x. */
static void
take(float *x, size_t n, size_t most, size_t last, int diagonal,
    uint64_t *mask)
{
	size_t i, j, at;

	for (i = 0; i < most && i < n; i++) {
		for (at = 0, j = 1; j < n; j++)
			if (x[j] > x[at])
				at = j;
		if (x[at] < 0)
			return;
		x[at] = -1;
		set(mask, diagonal ? last - at : at);
	}
}

/* Columns until k blocks are kept: some were both column and diagonal. */
static void
fill(const struct look *l, size_t head, size_t n, size_t k, uint64_t *mask)
{
	size_t b;

	memcpy(l->score, l->column + head * l->blocks, n * sizeof(*l->score));
	for (b = 0; b < n; b++)
		if (sq_kept(mask, b)) {
			l->score[b] = -1;
			k -= k > 0;
		}
	take(l->score, n, k, n - 1, 0, mask);
}

/* So many of n blocks, at least two. */
static size_t
budget(const struct look *l, size_t n)
{
	size_t k = (size_t)ceil(l->how->density * (double)n);

	return k < 2 ? 2 : k;
}

static void
choose(const struct look *l, const struct sq_seq *piece, size_t head,
    uint64_t *mask)
{
	size_t last = (piece->pos + piece->n - 1) / BLOCK, k;
	size_t own = piece->pos / BLOCK;

	k = budget(l, last + 1);
	if (l->how->pick == SQ_ATTN_POOLED) {
		score_pooled(l, piece, head);
		l->score[0] = l->score[own] = 2;	/* always */
		take(l->score, last + 1, k, last, 0, mask);
	} else {
		memcpy(l->score, l->column + head * l->blocks,
		    (last + 1) * sizeof(*l->score));
		l->score[0] = 1e9f;
		take(l->score, last + 1, (k + 1) / 2, last, 0, mask);
		memcpy(l->score, l->slash + head * l->blocks,
		    (last + 1) * sizeof(*l->score));
		l->score[0] = 1e9f;
		take(l->score, last + 1, k - (k + 1) / 2, last, 1, mask);
		fill(l, head, last + 1, k, mask);
	}
	set(mask, own);
}

/* The blocks of the window of a piece's tokens, and of the sink. */
static void
window(const struct sq_attn_choice *how, const struct sq_seq *piece,
    uint64_t *mask)
{
	size_t last = (piece->pos + piece->n - 1) / BLOCK, b;
	size_t far = (how->window + BLOCK - 1) / BLOCK;

	for (b = 0; b <= last; b++)
		if (b * BLOCK < how->sink || b + far >= piece->pos / BLOCK)
			set(mask, b);
}

static int
cut(struct sq_attn_plan *p, const struct sq_seq *seq, size_t nseq)
{
	struct sq_seq s;
	size_t i, left;

	p->n = p->keep.words = 0;
	for (i = 0; i < nseq; i++) {
		s = seq[i];
		if (grow(&p->piece, &p->cap, p->n + s.n / BLOCK + 2,
		    sizeof(*p->piece)) < 0)
			return -1;
		for (left = s.n; left > 0; left -= s.n) {
			s.n = BLOCK - s.pos % BLOCK;
			s.n = s.n < left ? s.n : left;
			p->piece[p->n++] = s;
			s.row += s.n;
			s.pos += s.n;
		}
		if (s.pos / BLOCK / 64 + 1 > p->keep.words)
			p->keep.words = s.pos / BLOCK / 64 + 1;
	}
	return 0;
}

/* The pieces of one sequence, from number `first' on. */
static int
plan_one(struct sq_attn_plan *p, struct look *l, size_t first, size_t n)
{
	size_t heads = l->kv->heads, i, h, words = p->keep.words;
	int chosen = l->how->pick != SQ_ATTN_WINDOW && l->seq->n >= BLOCK &&
	    l->kv->dim <= DIM;
	uint64_t *mask;

	l->blocks = (l->seq->pos + l->seq->n - 1) / BLOCK + 1;
	if (chosen) {
		if (grow(&p->mem, &p->mem_cap, look_floats(l),
		    sizeof(float)) < 0)
			return -1;
		look_carve(l, p->mem);
		if ((l->how->pick == SQ_ATTN_POOLED ? pool_keys(l) :
		    score_last(l)) < 0)
			return -1;
	}
	for (i = first; i < first + n; i++)
		for (h = 0; h < heads; h++) {
			mask = p->bits + (i * heads + h) * words;
			if (l->how->pick == SQ_ATTN_WINDOW)
				window(l->how, &p->piece[i], mask);
			else if (chosen)
				choose(l, &p->piece[i], h, mask);
			else
				memset(mask, 0xff, words * sizeof(*mask));
		}
	return 0;
}

static void
count(struct sq_attn_plan *p, size_t heads)
{
	size_t i, h, b, last;
	const uint64_t *mask;

	for (i = 0; i < p->n; i++)
		for (h = 0; h < heads; h++) {
			mask = p->bits + (i * heads + h) * p->keep.words;
			last = (p->piece[i].pos + p->piece[i].n - 1) / BLOCK;
			p->all += last + 1;
			for (b = 0; b <= last; b++)
				p->kept += (uint64_t)sq_kept(mask, b);
		}
}

int
sq_attn_plan(struct sq_attn_plan *p, const struct sq_attn_choice *how,
    struct sq_ctx *c, const struct sq_attn *a, const struct sq_kv *kv,
    const struct sq_seq *seq, size_t nseq, const struct sq_mat *q, char *err)
{
	struct look l = { .c = c, .how = how, .a = a, .kv = kv, .q = q };
	size_t i, n, first = 0, size;

	if (cut(p, seq, nseq) < 0)
		return sq_fail(err, "out of memory");
	size = p->n * kv->heads * p->keep.words;
	if (grow(&p->bits, &p->bits_cap, size, sizeof(*p->bits)) < 0)
		return sq_fail(err, "out of memory");
	memset(p->bits, 0, size * sizeof(*p->bits));
	for (i = 0; i < nseq; i++, first += n) {
		for (n = 0; first + n < p->n && p->piece[first + n].k ==
		    seq[i].k && p->piece[first + n].row < seq[i].row +
		    seq[i].n; n++)
			;
		if (seq[i].n == 0)
			continue;
		l.seq = &seq[i];
		if (plan_one(p, &l, first, n) < 0)
			return sq_fail(err, "sparse attention: out of memory, "
			    "or keys that cannot be read");
	}
	p->keep.bits = p->bits;
	count(p, kv->heads);
	return 0;
}
