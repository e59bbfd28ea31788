/*
 * The decoder: steps, prompts; see dec.h.  A step of generation is captured
 * once for each number of sequences and replayed: it reads what changes
 * (tokens, lengths, pages) from the device's memory.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/dec_state.h"

#define RING_RUNS	128		/* sequences x KV heads */
#ifndef ATTN_FEW
#define ATTN_FEW	4		/* sequences of dec_attn_few() */
#endif

/* ---- a step ---- */

static enum dec_format
format_of(const struct dec_lin *l)
{
	return l->w4 != NULL ? DEC_W4 : l->w8 != NULL ? DEC_FP8 : DEC_DENSE;
}

static int
knows(const struct dec_lin *l, size_t n)
{
	return dec_few_knows(format_of(l), l->rows, l->cols, n);
}

/* Whether all products of n tokens are the work of dec_few(). */
static int
are_few(const struct sq_decoder *d, size_t n)
{
	const struct dec_layer *l = &d->layer[0];

	return knows(&l->qkv, n) && knows(&l->o, n) && knows(&l->gu, n) &&
	    knows(&l->down, n);
}

/* Whether they are the work of dec_mid(). */
static int
are_mid(const struct sq_decoder *d, size_t n)
{
	const struct dec_layer *l = &d->layer[0];
	const struct dec_lin *all[] = { &l->qkv, &l->o, &l->gu, &l->down };
	int i;

	if (d->coarse)
		return 0;
	for (i = 0; i < 4; i++)
		if (all[i]->w4 == NULL ||
		    !dec_mid_knows(all[i]->rows, all[i]->cols, n))
			return 0;
	return 1;
}

/* Which form products of n tokens take. */
static enum dec_form
form_of(const struct sq_decoder *d, size_t n)
{
	return d->s.mode == SQ_DEC_BF16 || are_few(d, n) ? DEC_PLAIN :
	    are_mid(d, n) ? DEC_PANELS : DEC_E4M3;
}

static struct dec_x
x_of(const struct sq_decoder *d, void *p, enum dec_form f, size_t n)
{
	return (struct dec_x){ f, p, d->scale, dec_mid_pad(n) };
}

static struct dec_mid
mid_of(const struct dec_lin *l, struct dec_x x, size_t n, void *y)
{
	return (struct dec_mid){ .w = l->w4, .rows = (uint32_t)l->rows,
	    .cols = (uint32_t)l->cols, .pad = x.pad, .n = (uint32_t)n,
	    .x = x.p, .y = y };
}

static int
product(struct sq_decoder *d, const struct dec_lin *l, struct dec_x x, size_t n,
    void *y, int f32)
{
	int bare = x.form != DEC_E4M3 || n <= DEC_BARE;

	if (x.form == DEC_PANELS) {
		dec_mid(sqc.stream, mid_of(l, x, n, y));
		return 0;
	}
	return dec_gemm(d->gemm, x.form == DEC_E4M3 ? l->w8 : l->w16,
	    bare ? NULL : l->s8, l->rows, l->cols, x, n, y, f32);
}

/* What it left at y. */
static struct dec_y
made_of(const struct dec_lin *l, struct dec_x x, size_t n, const void *y)
{
	if (x.form == DEC_PANELS)
		return (struct dec_y){ .p = y,
		    .shares = dec_mid_shares(l->rows, l->cols),
		    .tiles = (uint32_t)(l->rows / DEC_PIECE),
		    .chunks = (uint32_t)(l->cols / 128), .pad = x.pad };
	if (x.form != DEC_E4M3 || n > DEC_BARE)
		return (struct dec_y){ .p = y };
	return (struct dec_y){ .p = y, .row = x.scale, .col = l->s8 };
}

/* Few tokens: of x, or of rmsnorm(h) when there is a norm. */
static void
few(struct sq_decoder *d, const struct dec_lin *l, const void *x, float *h,
    const float *norm, size_t n, enum dec_end end, void *y)
{
	enum dec_format format = format_of(l);
	struct dec_few f = { .format = format, .scale = l->s8,
	    .w = format == DEC_W4 ? l->w4 : format == DEC_FP8 ? l->w8 :
	    l->w16, .rows = (uint32_t)l->rows, .cols = (uint32_t)l->cols,
	    .n = (uint32_t)n, .x = x, .eps = d->s.eps, .end = end, .y = y };

	if (norm != NULL && dec_few_norms(l->cols, n)) {
		f.x = NULL;
		f.h = h;
		f.norm = norm;
	} else if (norm != NULL) {
		dec_norm(sqc.stream, h, (struct dec_y){ .p = NULL }, norm,
		    d->s.eps, n, l->cols, x_of(d, d->x, DEC_PLAIN, n));
		f.x = d->x;
	}
	dec_few(sqc.stream, f);
}

/* Two blocks for each multiprocessor, or one for a KV head of a sequence. */
static size_t
splits(const struct sq_decoder *d, size_t n)
{
	size_t want = 2 * (size_t)sqc.units / (n * d->s.kv_heads);
	size_t most = d->s.context / SQ_DEC_PAGE + 1;

	want = want > DEC_SPLITS ? DEC_SPLITS : want < 1 ? 1 : want;
	return want > most ? most : want;
}

/* Whether n sequences are enough for dec_ring(): a run for each unit. */
static int
rings(const struct sq_decoder *d, size_t n)
{
	return d->plan.units > 0 && n * d->s.kv_heads >= RING_RUNS;
}

struct prompts {
	size_t n, longest;
};

/* The attention of a block, into what `o' takes. */
static void
look(struct sq_decoder *d, struct dec_step s, const struct prompts *p,
    struct dec_x x)
{
	size_t q = d->s.heads * d->s.head_dim, cut;
	void *to = x.form == DEC_PLAIN ? x.p : d->att;

	if (p == NULL && x.form == DEC_PLAIN && s.n <= ATTN_FEW &&
	    s.y.p == NULL && s.pos == NULL && dec_attn_few(sqc.stream, s,
	    d->qkv, x.p) == 0)
		return;
	dec_rope(sqc.stream, s, d->qkv, d->first, p == NULL ? 0 : p->n,
	    p == NULL ? 0 : p->longest);
	if (p == NULL) {
		cut = rings(d, s.n) ? 0 : splits(d, s.n);
		if (cut == 0)
			dec_ring(sqc.stream, s, d->plan, d->qkv, d->sums);
		else
			dec_attn(sqc.stream, s, d->qkv, cut, d->sums);
		dec_merge(sqc.stream, s, d->sums, cut, d->plan, x);
		return;
	}
	if (s.dim != 128 || dec_prompts_wg(sqc.stream, d->qkv, d->first, p->n,
	    s.n, p->longest, s.heads, s.kv_heads, to) < 0)
		dec_prompts(sqc.stream, d->qkv, d->first, p->n, p->longest,
		    s.heads, s.kv_heads, s.dim, to);
	if (x.form != DEC_PLAIN)
		dec_form(sqc.stream, d->att, s.n, q, x);
}

/* What block i has made and not yet added. */
static struct dec_y
last_of(const struct sq_decoder *d, size_t i, size_t n)
{
	return made_of(&d->layer[i].down, x_of(d, NULL, form_of(d, n), n), n,
	    d->out);
}

static void
few_block(struct sq_decoder *d, struct dec_layer *l, struct dec_step s,
    const struct prompts *p)
{
	few(d, &l->qkv, NULL, d->h, l->attn_norm, s.n, DEC_BF16, d->qkv);
	look(d, s, p, x_of(d, d->y, DEC_PLAIN, s.n));
	few(d, &l->o, d->y, NULL, NULL, s.n, DEC_ADD, d->h);
	few(d, &l->gu, NULL, d->h, l->ffn_norm, s.n, DEC_SILU, d->y);
	few(d, &l->down, d->y, NULL, NULL, s.n, DEC_ADD, d->h);
}

/* The products of dec_mid() in a step with what lies between them as their
 * ends: h has all that blocks add. */
static int
has_ends(const struct sq_decoder *d, const struct dec_step *s,
    const struct prompts *p)
{
	return form_of(d, s->n) == DEC_PANELS && p == NULL && s->pos == NULL;
}

static void
then(struct dec_mid *m, const struct dec_lin *next)
{
	m->next = next->w4;
	m->next_rows = (uint32_t)next->rows;
	m->next_cols = (uint32_t)next->cols;
}

static void
mid_block(struct sq_decoder *d, size_t i, struct dec_step s)
{
	struct dec_layer *l = &d->layer[i];
	const float *next = i + 1 < d->s.layers ? l[1].attn_norm : NULL;
	struct dec_x x = x_of(d, d->x, DEC_PANELS, s.n);
	struct dec_x y = x_of(d, d->y, DEC_PANELS, s.n);
	struct dec_mid qkv = mid_of(&l->qkv, x, s.n, d->gu), o, gu, down;

	o = mid_of(&l->o, y, s.n, d->gu);
	gu = mid_of(&l->gu, x, s.n, d->gu);
	down = mid_of(&l->down, y, s.n, d->gu);
	gu.end = DEC_MID_SILU;
	o.end = down.end = DEC_MID_ADD;
	o.done = gu.clear = d->done;
	gu.done = down.clear = d->done + d->ntiles;
	down.done = o.clear = d->done + 2 * d->ntiles;
	o.ntiles = gu.ntiles = down.ntiles = d->ntiles;
	then(&o, &l->gu);
	then(&gu, &l->down);
	if (next != NULL)
		then(&down, &l[1].qkv);
	gu.squares = o.sums = down.sums = d->squares;
	qkv.eps = gu.eps = d->s.eps;
	o.h = down.h = d->h;
	o.norm = l->ffn_norm;
	down.norm = next;
	o.out = down.out = d->x;
	gu.out = d->y;
	s.y = made_of(&l->qkv, x, s.n, d->gu);
	if (i == 0)
		dec_norm(sqc.stream, d->h, (struct dec_y){ .p = NULL },
		    l->attn_norm, d->s.eps, s.n, d->s.dim, x);
	else {
		qkv.squares = d->squares;
		s.y.row = qkv.roots = d->scale;
	}
	dec_mid(sqc.stream, qkv);
	look(d, s, NULL, y);
	dec_mid(sqc.stream, o);
	dec_mid(sqc.stream, gu);
	dec_mid(sqc.stream, down);
}

static int
block(struct sq_decoder *d, size_t i, struct dec_step s,
    const struct prompts *p)
{
	struct dec_layer *l = &d->layer[i];
	enum dec_form f = form_of(d, s.n);
	struct dec_x x = x_of(d, d->x, f, s.n), y = x_of(d, d->y, f, s.n);
	const struct dec_y none = { .p = NULL };
	float eps = d->s.eps;
	void *qkv = f == DEC_PANELS ? d->gu : d->qkv;

	s.k = l->k;
	s.v = l->v;
	if (are_few(d, s.n)) {
		few_block(d, l, s, p);
		return 0;
	}
	if (has_ends(d, &s, p)) {
		mid_block(d, i, s);
		return 0;
	}
	dec_norm(sqc.stream, d->h, i == 0 ? none : last_of(d, i - 1, s.n),
	    l->attn_norm, eps, s.n, d->s.dim, x);
	if (product(d, &l->qkv, x, s.n, qkv, 0) < 0)
		return -1;
	if (f == DEC_PANELS || (f == DEC_E4M3 && s.n <= DEC_BARE))
		s.y = made_of(&l->qkv, x, s.n, qkv);
	look(d, s, p, y);
	if (product(d, &l->o, y, s.n, d->out, 0) < 0)
		return -1;
	dec_norm(sqc.stream, d->h, made_of(&l->o, y, s.n, d->out), l->ffn_norm,
	    eps, s.n, d->s.dim, x);
	if (product(d, &l->gu, x, s.n, d->gu, 0) < 0)
		return -1;
	dec_silu(sqc.stream, made_of(&l->gu, x, s.n, d->gu), s.n, d->s.ffn, y);
	return product(d, &l->down, y, s.n, d->out, 0);
}

/* Logits from rows of h (with what the last block adds, unless it is in h). */
static int
logits(struct sq_decoder *d, float *h, struct dec_y add, size_t n)
{
	struct dec_x x = x_of(d, d->x, d->s.mode == SQ_DEC_BF16 ? DEC_PLAIN :
	    DEC_E4M3, n);

	dec_norm(sqc.stream, h, add, d->norm, d->s.eps, n, d->s.dim, x);
	if (!d->short_logits && product(d, &d->head, x, n, d->logits, 1) < 0)
		d->short_logits = 1;
	return d->short_logits ? product(d, &d->head, x, n, d->logits, 0) : 0;
}

/* The tokens after rows of h. */
static int
tokens(struct sq_decoder *d, float *h, struct dec_y add, const uint32_t *slot,
    size_t n, int grow)
{
	int is_few = add.p == NULL && knows(&d->head, n);

	if (is_few)
		few(d, &d->head, NULL, h, d->norm, n, DEC_F32, d->logits);
	else if (logits(d, h, add, n) < 0)
		return -1;
	dec_pick(sqc.stream, d->logits, !is_few && d->short_logits,
	    is_few || n > DEC_BARE ? NULL : d->head.s8, d->s.vocab, slot, n,
	    d->best, d->next, d->made, d->nmade, d->s.context, d->length, grow,
	    d->draws > 0 ? d->how : NULL);
	return 0;
}

/* What the last block leaves to be added, of n tokens. */
static struct dec_y
left_over(const struct sq_decoder *d, const struct dec_step *s,
    const struct prompts *p)
{
	if (are_few(d, s->n) || has_ends(d, s, p))
		return (struct dec_y){ .p = NULL };
	return last_of(d, d->s.layers - 1, s->n);
}

static struct dec_step
step_of(const struct sq_decoder *d, size_t n)
{
	return (struct dec_step){ .n = (uint32_t)n, .slot = d->active,
	    .length = d->length, .table = d->table,
	    .max_pages = d->max_pages, .heads = (uint32_t)d->s.heads,
	    .kv_heads = (uint32_t)d->s.kv_heads,
	    .dim = (uint32_t)d->s.head_dim, .angles = d->angles,
	    .kv = d->s.kv };
}

static int
one_step(struct sq_decoder *d, size_t n)
{
	struct dec_step s = step_of(d, n);
	size_t i;

	dec_embed(sqc.stream, d->embed, d->s.dim, d->next, d->active, n, d->h);
	if (rings(d, n))
		dec_ring_plan(sqc.stream, s, d->plan);
	for (i = 0; i < d->s.layers; i++)
		if (block(d, i, s, NULL) < 0)
			return -1;
	return tokens(d, d->h, left_over(d, &s, NULL), d->active, n, 1);
}

/* The graph of n sequences.  The library picks its kernels in a step that is
 * run outside of the capture, on slots that are nobody's. */
static struct dec_graph *
graph_of(struct sq_decoder *d, size_t n)
{
	cudaGraph_t g;
	int i, r;

	for (i = 0; i < d->ngraphs; i++)
		if (d->graph[i].n == n && d->graph[i].draws == (d->draws > 0))
			return &d->graph[i];
	if (d->ngraphs == (int)(sizeof(d->graph) / sizeof(d->graph[0]))) {
		snprintf(sqc.err, sizeof(sqc.err), "too many graphs");
		return NULL;
	}
	if (one_step(d, n) < 0 || sqc_ok(GPU(StreamSynchronize)(sqc.stream),
	    "first step") < 0 || sqc_ok(cudaStreamBeginCapture(sqc.stream,
	    cudaStreamCaptureModeThreadLocal), "capture") < 0)
		return NULL;
	r = one_step(d, n);
	if (sqc_ok(cudaStreamEndCapture(sqc.stream, &g), "capture") < 0 ||
	    r < 0)
		return NULL;
	if (sqc_ok(cudaGraphInstantiate(&d->graph[i].exec, g, 0),
	    "graph") < 0)
		return NULL;
	(void)cudaGraphDestroy(g);
	d->graph[i].n = n;
	d->graph[i].draws = d->draws > 0;
	d->ngraphs++;
	return &d->graph[i];
}

static size_t
bucket(size_t n)
{
	size_t step = n <= 4 ? 1 : n <= 16 ? 4 : n <= 64 ? 16 : n <= 256 ? 32 :
	    64;

	return (n + step - 1) / step * step;
}

/* Which slots a step is of: n of them, then nobody's. */
static int
set_active(struct sq_decoder *d, const uint32_t *slot, size_t n, size_t all)
{
	uint32_t list[1024], zero = 0;
	size_t i;

	for (i = 0; i < all; i++)
		list[i] = i < n ? slot[i] : (uint32_t)d->s.slots;
	return sqc_ok(GPU(MemcpyAsync)(d->active, list, all * 4,
	    GPU(MemcpyDefault), sqc.stream), "copy") < 0 ||
	    sqc_ok(GPU(MemcpyAsync)(d->length + d->s.slots, &zero, 4,
	    GPU(MemcpyDefault), sqc.stream), "copy") < 0 ? -1 : 0;
}

static int
dec_decode(struct sq_decoder *d, const uint32_t *slot, size_t n, size_t steps,
    char *err)
{
	size_t all = bucket(n), i;
	struct dec_graph *g;

	all = all > d->s.slots ? n : all;
	if (n == 0 || n > d->s.slots || all > 1024) {
		snprintf(err, SQ_ERR, "decoder: %zu sequences at a time", n);
		return -1;
	}
	if (set_active(d, slot, 0, all) < 0 ||
	    (g = graph_of(d, all)) == NULL || set_active(d, slot, n, all) < 0)
		return dec_why(err);
	for (i = 0; i < steps; i++)
		if (sqc_ok(cudaGraphLaunch(g->exec, sqc.stream), "step") < 0)
			return dec_why(err);
	for (i = 0; i < n; i++) {
		d->host_made[slot[i]] += steps;
		d->host_length[slot[i]] += steps;
	}
	return 0;
}

/* ---- prompts ---- */

/* Pages for `most' tokens, of which the first n are in those of `shared'. */
static int
take_pages(struct sq_decoder *d, size_t slot, size_t n, size_t most,
    const uint32_t *shared, char *err)
{
	size_t need = (most + SQ_DEC_PAGE - 1) / SQ_DEC_PAGE, i;
	size_t have = shared == NULL ? 0 : n / SQ_DEC_PAGE;
	uint32_t *t = d->host_table + slot * d->max_pages;

	if (slot >= d->s.slots || n == 0 || most < n ||
	    most > d->s.context || need - have > d->nunused ||
	    d->slot_pages[slot] > 0) {
		snprintf(err, SQ_ERR, "decoder: no room for a prompt of %zu "
		    "tokens", n);
		return -1;
	}
	for (i = 0; i < need; i++) {
		t[i] = i < have ? shared[i] : d->unused[--d->nunused];
		d->holders[t[i]]++;
	}
	d->slot_pages[slot] = need;
	d->host_length[slot] = n;
	d->host_made[slot] = 1;
	return 0;
}

struct pack {
	uint32_t *ids, *pos, *slot, *first, *row, *to, *zero;
	size_t rows, longest;
};

/* `at': the place of the first token, in a prompt that goes on. */
static void
pack_prompts(struct pack *k, const struct sq_dec_prompt *p, size_t n,
    size_t at)
{
	size_t i, j;

	for (i = 0; i < n; i++) {
		k->first[i] = (uint32_t)k->rows;
		for (j = 0; j < p[i].n; j++, k->rows++) {
			k->ids[k->rows] = p[i].ids[j];
			k->pos[k->rows] = (uint32_t)(at + j);
			k->slot[k->rows] = (uint32_t)p[i].slot;
		}
		k->row[i] = (uint32_t)(k->rows - 1);
		k->to[i] = (uint32_t)p[i].slot;
		k->longest = p[i].n > k->longest ? p[i].n : k->longest;
	}
	k->first[n] = (uint32_t)k->rows;
}

static int
push(void *to, const void *from, size_t n)
{
	return sqc_ok(GPU(MemcpyAsync)(to, from, n * 4, GPU(MemcpyDefault),
	    sqc.stream), "copy");
}

static int
push_pack(struct sq_decoder *d, const struct pack *k,
    const struct sq_dec_prompt *p, size_t n)
{
	uint32_t v[2] = { 0, 0 };
	size_t i, s;

	for (i = 0; i < n; i++) {
		s = p[i].slot;
		v[0] = (uint32_t)d->host_length[s];
		if (push(d->table + s * d->max_pages, d->host_table + s *
		    d->max_pages, d->slot_pages[s]) < 0 ||
		    push(d->length + s, &v[0], 1) < 0 ||
		    push(d->nmade + s, &v[1], 1) < 0)
			return -1;
	}
	return push(d->ids, k->ids, k->rows) < 0 ||
	    push(d->pos, k->pos, k->rows) < 0 ||
	    push(d->slot, k->slot, k->rows) < 0 ||
	    push(d->first, k->first, n + 1) < 0 ||
	    push(d->row, k->row, n) < 0 || push(d->active, k->to, n) < 0 ?
	    -1 : 0;
}

/* Prompts from their first token on, or the rest of one: then each token is
 * to attention what a sequence is in a step of generation. */
static int
run_prompts(struct sq_decoder *d, const struct pack *k, size_t n, int rest)
{
	struct dec_step s = step_of(d, k->rows);
	const struct dec_y none = { .p = NULL };
	struct prompts p = { n, k->longest };
	size_t i, m, q = d->s.dim;

	s.slot = d->slot;
	s.pos = d->pos;
	dec_embed(sqc.stream, d->embed, q, d->ids, NULL, k->rows, d->h);
	if (rest && rings(d, k->rows))
		dec_ring_plan(sqc.stream, s, d->plan);
	for (i = 0; i < d->s.layers; i++)
		if (block(d, i, s, rest ? NULL : &p) < 0)
			return -1;
	/* what the last block adds is taken in by a norm of all rows */
	if (!are_few(d, k->rows))
		dec_norm(sqc.stream, d->h, left_over(d, &s, rest ? NULL : &p),
		    d->norm, d->s.eps, k->rows, q, x_of(d, d->x, DEC_PLAIN,
		    k->rows));
	dec_gather(sqc.stream, d->h, d->row, n, q, d->last);
	for (i = 0; i < n; i += m) {
		m = n - i < DEC_LOGITS ? n - i : DEC_LOGITS;
		if (tokens(d, d->last + i * q, none, d->active + i, m, 0) < 0)
			return -1;
	}
	return 0;
}

/* at: how many tokens the one prompt has already, or 0. */
static int
pass(struct sq_decoder *d, const struct sq_dec_prompt *p, size_t n,
    size_t rows, size_t at, char *err)
{
	struct pack k = { .rows = 0 };
	uint32_t *mem;
	int r;

	if ((mem = malloc((3 * rows + 3 * n + 1) * sizeof(*mem))) == NULL) {
		snprintf(err, SQ_ERR, "out of memory");
		return -1;
	}
	k.ids = mem;
	k.pos = k.ids + rows;
	k.slot = k.pos + rows;
	k.row = k.slot + rows;
	k.to = k.row + n;
	k.first = k.to + n;
	pack_prompts(&k, p, n, at);
	r = push_pack(d, &k, p, n) < 0 || run_prompts(d, &k, n, at > 0) < 0 ||
	    sqc_ok(GPU(GetLastError)(), "kernel") < 0 ? dec_why(err) : 0;
	free(mem);
	return r;
}

static int
dec_prefill(struct sq_decoder *d, const struct sq_dec_prompt *p, size_t n,
    char *err)
{
	size_t i, rows = 0;

	for (i = 0; i < n; i++)
		rows += p[i].n;
	if (n == 0 || n > d->s.slots || rows > d->s.rows) {
		snprintf(err, SQ_ERR, "decoder: prompts of %zu tokens are "
		    "more than %zu", rows, d->s.rows);
		return -1;
	}
	for (i = 0; i < n; i++)
		if (take_pages(d, p[i].slot, p[i].n, p[i].most, NULL, err) < 0)
			return -1;
	return pass(d, p, n, rows, 0, err);
}

static long
dec_share(struct sq_decoder *d, size_t from, size_t to, size_t n, size_t most,
    char *err)
{
	size_t whole = n / SQ_DEC_PAGE * SQ_DEC_PAGE;

	if (from >= d->s.slots || n > d->host_length[from]) {
		snprintf(err, SQ_ERR, "decoder: no slot with %zu tokens", n);
		return -1;
	}
	return take_pages(d, to, whole, most, d->host_table + from *
	    d->max_pages, err) < 0 ? -1 : (long)whole;
}

static int
dec_extend(struct sq_decoder *d, size_t slot, const uint32_t *ids, size_t n,
    char *err)
{
	struct sq_dec_prompt p = { slot, n, ids, 0 };
	size_t at = slot < d->s.slots ? d->host_length[slot] : 0;

	if (at == 0 || n == 0 || n > d->s.slots || n > 1024 || n > d->s.rows ||
	    at + n > d->slot_pages[slot] * SQ_DEC_PAGE) {
		snprintf(err, SQ_ERR, "decoder: no room for %zu tokens more",
		    n);
		return -1;
	}
	d->host_length[slot] += n;
	d->host_made[slot] = 1;
	return pass(d, &p, 1, n, at, err);
}

/* ---- the rest ---- */

static long
dec_made(struct sq_decoder *d, size_t slot, uint32_t *ids, size_t most,
    char *err)
{
	size_t n = d->host_made[slot];

	n = n < most ? n : most;
	if (sqc_ok(GPU(MemcpyAsync)(ids, d->made + slot * d->s.context, n * 4,
	    GPU(MemcpyDefault), sqc.stream), "copy") < 0 ||
	    sqc_ok(GPU(StreamSynchronize)(sqc.stream), "kernel") < 0)
		return dec_why(err);
	return (long)n;
}

static int
set_how(struct sq_decoder *d, size_t slot, const struct dec_how *how)
{
	char draws = how->temperature > 0;

	d->draws += (size_t)draws - (size_t)d->host_draws[slot];
	d->host_draws[slot] = draws;
	return sqc_ok(GPU(MemcpyAsync)(d->how + slot, how, sizeof(*how),
	    GPU(MemcpyDefault), sqc.stream), "copy");
}

static int
dec_sample(struct sq_decoder *d, size_t slot, const struct sq_dec_sampling *s,
    char *err)
{
	struct dec_how how = { s->temperature, s->top_p, s->min_p, s->top_k,
	    s->seed };

	if (slot >= d->s.slots || d->slot_pages[slot] > 0) {
		snprintf(err, SQ_ERR, "decoder: slot %zu is not empty", slot);
		return -1;
	}
	return set_how(d, slot, &how) < 0 ? dec_why(err) : 0;
}

static void
dec_clear(struct sq_decoder *d, size_t slot)
{
	static const struct dec_how greedy;
	uint32_t *t = d->host_table + slot * d->max_pages;

	uint32_t page;

	while (d->slot_pages[slot] > 0) {
		page = t[--d->slot_pages[slot]];
		if (--d->holders[page] == 0)
			d->unused[d->nunused++] = page;
	}
	d->host_made[slot] = 0;
	d->host_length[slot] = 0;
	if (d->host_draws[slot])
		(void)set_how(d, slot, &greedy);
}

static size_t
dec_pages_left(struct sq_decoder *d)
{
	return d->nunused;
}

static void
dec_memory(struct sq_decoder *d, size_t *all, size_t *page)
{
	*all = d->bytes;
	*page = 2 * d->s.layers * d->s.kv_heads * DEC_PAGE_BYTES(d->s.kv,
	    d->s.head_dim);
}

static int
dec_sync(struct sq_decoder *d, char *err)
{
	(void)d;
	return sqc_ok(GPU(StreamSynchronize)(sqc.stream), "kernel") < 0 ?
	    dec_why(err) : 0;
}

/* The management library comes with the driver; it has no header here. */
static double
dec_energy(struct sq_decoder *d)
{
	static void *so, *dev;
	static int (*total)(void *, unsigned long long *);
	int (*init)(void), (*handle)(unsigned, void **);
	unsigned long long mj;

	(void)d;
	if (so == NULL) {
		if ((so = dlopen("libnvidia-ml.so.1", RTLD_NOW)) == NULL)
			return -1;
		*(void **)&init = dlsym(so, "nvmlInit_v2");
		*(void **)&handle = dlsym(so,
		    "nvmlDeviceGetHandleByIndex_v2");
		*(void **)&total = dlsym(so,
		    "nvmlDeviceGetTotalEnergyConsumption");
		if (init == NULL || handle == NULL || init() != 0 ||
		    handle(0, &dev) != 0)
			total = NULL;
	}
	return total == NULL || total(dev, &mj) != 0 ? -1 : (double)mj / 1e3;
}

static const struct sq_decoder_ops ops = {
	dec_open, dec_close, dec_weight, dec_vector, dec_angles, dec_random,
	dec_prefill, dec_share, dec_extend, dec_sample, dec_decode, dec_made,
	dec_clear, dec_pages_left, dec_memory, dec_sync, dec_energy
};

__attribute__((visibility("default"))) const struct sq_decoder_ops *
sq_plugin_decoder(void)
{
	return &ops;
}
