/* Tuning in a stream; see tune_run.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "calib/block.h"
#include "model/weight.h"
#include "quant/tune_run.h"

#define ROWS	2048			/* tokens of a backward pass, about: what
					   memory there is must not count, as
					   sums depend on it */
#define LOOKS	9			/* of tune.c, and their samples: */
#define JUDGES	16			/* one of so many */

/* The fewer the steps, the longer: places go a quarter of a code or so. */
#define REACH	0.5f
#define LONGEST	0.01f
#define SCALE	0.002f
#define SLACK	0.48f
/* After --sequential codes are good for each other: one turns only when the
 * gradient wants so all along. */
#define SETTLED	0.3f

int
sq_tune_run_init(struct sq_tune_run *r, char *err)
{
	struct sq_tune *t = &r->tune;

	t->place = REACH / (float)t->steps;
	t->place = t->place < LONGEST ? t->place : LONGEST;
	t->scale = SCALE;
	t->slack = SLACK;
	r->in.fd = r->target.fd = -1;
	return sq_tune_state_open(&r->state, r->state_path, err);
}

static void
drop_held(struct sq_tune_run *r)
{
	struct sq_tune_tensor *h;

	while (r->nheld > 0) {
		h = &r->held[--r->nheld];
		free(h->payload);
		free(h->codes);
		sq_tune_weight_release(&h->weight);
		memset(h, 0, sizeof(*h));
	}
}

void
sq_tune_run_release(struct sq_tune_run *r)
{
	drop_held(r);
	sq_hidden_release(&r->in);
	sq_hidden_release(&r->target);
	sq_backward_release(&r->back);
	sq_model_free(r->model);
	sq_tokens_release(&r->tokens);
	sq_tune_state_release(&r->state);
}

/* ---- memory ---- */

static size_t
least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Weights of a block. */
static uint64_t
block_weights(const struct sq_config *c)
{
	return c->dim * c->head_dim * (2 * c->heads + 2 * c->kv_heads) +
	    3 * c->dim * c->ffn;
}

/* How many samples pass at a time. */
static size_t
portion(const struct sq_tune_run *r)
{
	size_t length = (size_t)r->tokens.length;
	size_t n = length > ROWS ? 1 : ROWS / length;

	n = least(n, SQ_TUNE_PORTION);
	return least(n, (size_t)(r->tokens.count / length));
}

/* Everything with all hidden states in files. */
static uint64_t
least_bytes(const struct sq_tune_run *r)
{
	const struct sq_config *c = &r->filter->inv.config;
	size_t length = (size_t)r->tokens.length, samples = portion(r);
	size_t threads = (size_t)sq_pool_threads(r->layer->ctx->pool);
	size_t group = r->filter->rules.usual.group_cols == 0 ?
	    (size_t)c->dim : r->filter->rules.usual.group_cols;
	uint64_t n = block_weights(c), embed = 2 * c->vocab * c->dim;
	uint64_t block = n * 4 + sq_tune_weight_bytes((size_t)c->dim,
	    (size_t)(n / c->dim), group);

	return SQ_CHUNKS_FIXED + SQ_WORK(threads) + (block > embed ? block :
	    embed) + sq_backward_bytes(c, samples, length) +
	    4 * (3 * samples * length * c->dim + r->tokens.count);
}

/* 1 when hidden states are to be spilled; -1 when not even that is enough. */
static int
plan(const struct sq_tune_run *r, char *err)
{
	uint64_t limit = r->layer->memory, need = least_bytes(r);

	if (limit != 0 && need > limit)
		return sq_fail(err, "-M: needs at least %juM for this model "
		    "and samples of %ju tokens", (uintmax_t)(need + 0xfffff)
		    >> 20, (uintmax_t)r->tokens.length);
	return sq_hidden_spills(2 * 4 * r->tokens.count *
	    r->filter->inv.config.dim, need, limit);
}

/* ---- the beginning of the stream ---- */

/* passes: how often all samples pass a block besides. */
static void
set_progress(const struct sq_tune_run *r, uint64_t passes)
{
	struct sq_progress *p = r->filter->progress;
	uint64_t n = r->tokens.count, length = r->tokens.length;

	p->unit = "tokens";
	p->done = 0;
	p->bytes = r->filter->inv.config.layers * (passes * n +
	    (uint64_t)r->tune.steps * r->tune.batch * length +
	    LOOKS * (n / length / JUDGES) * length);
}

/* What all results depend on, but for the blocks themselves. */
static int
set_key(struct sq_tune_run *r, char *err)
{
	const struct sq_tune *t = &r->tune;
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	int bad = f == NULL;

	if (f != NULL) {
		fprintf(f, "tune %s %ju %ju %d %zu %g %g %g %d %s %s\n",
		    r->tokens.source, (uintmax_t)r->tokens.count,
		    (uintmax_t)r->tokens.length, t->steps, t->batch,
		    (double)t->place, (double)t->scale, (double)t->slack,
		    (int)r->prec, r->layer->ctx->kern->name,
		    r->layer->device.ctx == NULL ? "" :
		    r->layer->device.ctx->kern->name);
		bad = sq_filter_key(r->filter, f) < 0;
		bad |= fclose(f) != 0;
	}
	if (!bad)
		r->key = XXH3_128bits(text, n);
	free(text);
	return bad ? sq_fail(err, "out of memory") : 0;
}

static int
start(struct sq_tune_run *r, char *err)
{
	const struct sq_config *c = &r->filter->inv.config;
	size_t length = (size_t)r->tokens.length, n;
	int spill = plan(r, err);

	n = (size_t)(r->tokens.count / length);
	if (spill < 0 ||
	    (r->model = sq_model_new(c, err)) == NULL ||
	    sq_backward_init(&r->back, r->model, r->layer->ctx, r->prec,
	    portion(r), length, err) < 0 ||
	    sq_hidden_init(&r->in, n, length, (size_t)c->dim, spill,
	    err) < 0 ||
	    sq_hidden_init(&r->target, n, length, (size_t)c->dim, spill,
	    err) < 0)
		return -1;
	r->tune.back = &r->back;
	r->tune.in = &r->in;
	r->tune.target = &r->target;
	r->tune.progress = r->filter->progress;
	set_progress(r, 2);
	return set_key(r, err);
}

static int
take_tokens(struct sq_tune_run *r)
{
	struct sq_filter *f = r->filter;
	uint64_t i;

	if (sq_tokens_read(&r->tokens, &f->in) < 0)
		return sq_fail(f->err, "%s: %s", f->name, f->in.err);
	if (r->tokens.length == 0 || r->tokens.count < r->tokens.length)
		return sq_fail(f->err, "%s: TOKENS has no whole sample",
		    f->name);
	for (i = 0; i < r->tokens.count; i++)
		if (r->tokens.id[i] >= f->inv.config.vocab)
			return sq_fail(f->err, "%s: token %u is not in the "
			    "model's vocabulary", f->name, r->tokens.id[i]);
	if (sq_tokens_write(&r->tokens, &f->out) < 0)
		return sq_fail(f->err, "stdout: %s", f->out.err);
	return start(r, f->err);
}

int
sq_tune_run_record(struct sq_tune_run *r)
{
	struct sq_filter *f = r->filter;
	struct sq_stats st;
	int full;

	if (f->in.type == SQ_TOKENS)
		return take_tokens(r);
	if (f->in.type != SQ_STATS)
		return sq_filter_copy(f);
	if (sq_stats_parse(&st, &f->in, &full, f->err) < 0)
		return -1;
	if (st.is_kv || !full)
		return 0;
	return sq_gptq_stats(r->layer, &f->in, NULL, f->err);
}

/* ---- tensors ---- */

/* n samples of the backward pass to h, from sample i on. */
static int
store(struct sq_tune_run *r, struct sq_hidden *h, size_t i, size_t n,
    char *err)
{
	size_t one = h->length * h->dim, k;
	float *p;

	for (k = 0; k < n; k++) {
		if ((p = sq_hidden_get(h, i + k, err)) == NULL)
			return -1;
		sq_pool_copy(r->layer->ctx->pool, p, (float *)r->back.f.x.p +
		    k * one, one * sizeof(*p));
		if (sq_hidden_put(h, i + k, err) < 0)
			return -1;
	}
	return 0;
}

static int
embedding(struct sq_tune_run *r, const struct sq_tensor *t)
{
	struct sq_filter *f = r->filter;
	unsigned char *payload = sq_in_payload(&f->in, SQ_MAX_PAYLOAD);
	size_t i, n;
	int bad;

	if (payload == NULL)
		return sq_fail(f->err, "%s: %s", f->name, f->in.err);
	bad = sq_payload_bind(r->model, t, payload, f->err);
	for (i = 0; bad == 0 && i < r->in.samples; i += n) {
		n = least(r->back.samples, r->in.samples - i);
		if (sq_backward_embed(&r->back, r->tokens.id +
		    i * r->in.length, n, f->err) < 0 ||
		    store(r, &r->in, i, n, f->err) < 0 ||
		    store(r, &r->target, i, n, f->err) < 0)
			bad = -1;
	}
	if (bad == 0)
		bad = sq_payload_put(&f->out, t, payload, f->err);
	free(payload);
	return bad;
}

/* The parts of the payload that is made. */
static struct sq_qdst
places(const struct sq_tune_tensor *h)
{
	const struct sq_part *z = sq_tensor_part(&h->made, "zeros");

	return (struct sq_qdst){ .codes = h->codes +
	    h->made.part[0].offset, .scales = (uint16_t *)(void *)(h->codes +
	    sq_tensor_part(&h->made, "scales")->offset),
	    .zeros = z == NULL ? NULL : h->codes + z->offset };
}

/* Rounded to nearest. */
static int
round_weight(struct sq_tune_run *r, struct sq_tune_tensor *h,
    const struct sq_mat *w, char *err)
{
	struct sq_qrule rule = r->layer->rule;
	struct sq_qdst q;

	sq_chunks_describe(&rule, &h->t, h->t.name, &h->made);
	if ((h->codes = calloc(1, (size_t)h->made.length)) == NULL)
		return sq_fail(err, "tensor '%s': out of memory", h->t.name);
	rule.scale = SQ_MSE;
	rule.group_cols = (size_t)h->made.group_cols;
	q = places(h);
	return sq_quantize(r->layer->ctx, w, &rule, &q) == 0 ? 0 :
	    sq_fail(err, "tensor '%s': the weights " SQ_CHUNKS_BAD,
	    h->t.name);
}

/* From the codes that there are. */
static int
init_weight(struct sq_tune_run *r, struct sq_tune_tensor *h,
    const struct sq_mat *w, char *err)
{
	struct sq_qrule rule = r->layer->rule;
	struct sq_qdst q = places(h);

	rule.group_cols = (size_t)h->made.group_cols;
	return sq_tune_weight_init(&h->weight, r->layer->ctx->pool, NULL, w,
	    &rule, &q, r->tune.slack, err);
}

/* As GPTQ leaves it or, without statistics, rounding. */
static int
begin_weight(struct sq_tune_run *r, struct sq_tune_tensor *h,
    const struct sq_mat *w, char *err)
{
	if ((sq_gptq_concerns(r->layer, h->t.name) ?
	    sq_gptq_matrix(r->layer, &h->t, w->p, NULL, &h->made, &h->codes,
	    err) :
	    round_weight(r, h, w, err)) < 0)
		return -1;
	return init_weight(r, h, w, err);
}

/* fn is called with the values that the tensor came with. */
static int
with_values(struct sq_tune_run *r, struct sq_tune_tensor *h,
    int (*fn)(struct sq_tune_run *, struct sq_tune_tensor *,
    const struct sq_mat *, char *), char *err)
{
	struct sq_weight w;
	struct sq_mat m = { NULL, SQ_F32, h->t.dim[0], h->t.dim[1],
	    h->t.dim[1] };
	int bad;

	r->layer->rule = sq_filter_rule(r->filter, &h->t, h->slot);
	if (!sq_grid_is_int(r->layer->rule.grid) ||
	    r->layer->rule.group_rows > 1)
		return sq_fail(err, "tensor '%s': --tune-blocks is for "
		    "integers in groups of a row", h->t.name);
	if (sq_tensor_part(&h->t, "mask") != NULL ||
	    r->layer->choose.kind != SQ_MASK_NONE)
		return sq_fail(err, "tensor '%s': has a mask, which "
		    "--tune-blocks would fill", h->t.name);
	if (sq_weight_init(&w, &h->t, h->payload, err) < 0)
		return -1;
	if ((m.p = malloc(m.rows * m.cols * sizeof(float))) == NULL)
		return sq_fail(err, "tensor '%s': out of memory", h->t.name);
	bad = sq_dequantize(r->layer->ctx, &w, 0, &m) != 0 ?
	    sq_no_kernel(err, SQ_OP_dequantize) :
	    fn(r, h, &m, err);
	free(m.p);
	return bad;
}

/* ---- a block ---- */

/* All samples through the block as it is bound. */
static int
pass(struct sq_tune_run *r, struct sq_hidden *h, char *err)
{
	size_t i, n;

	for (i = 0; i < h->samples; i += n) {
		n = least(r->back.samples, h->samples - i);
		if (sq_tune_pass(&r->back, h, (size_t)r->block, i, n,
		    err) < 0 || store(r, h, i, n, err) < 0)
			return -1;
		sq_progress_add(r->filter->progress, n * h->length);
	}
	return 0;
}

/* The tensor that is linear layer i of the block, if it is to be tuned. */
static struct sq_tune_tensor *
tuned(struct sq_tune_run *r, int i)
{
	static const enum sq_role roles[SQ_LINEARS] = { SQ_Q, SQ_K, SQ_V, SQ_O,
	    SQ_GATE, SQ_UP, SQ_DOWN };
	int h;

	for (h = 0; h < r->nheld; h++)
		if (r->held[h].codes != NULL &&
		    r->held[h].slot->role == roles[i])
			return &r->held[h];
	return NULL;
}

/* The payloads that are made, one after the other; *size is that of all. */
static unsigned char *
gather(const struct sq_tune_run *r, size_t *size)
{
	unsigned char *all = NULL, *p;
	int h;

	*size = 0;
	for (h = 0; h < r->nheld; h++) {
		if (r->held[h].codes == NULL)
			continue;
		if ((p = realloc(all, *size + r->held[h].made.length)) ==
		    NULL) {
			free(all);
			return NULL;
		}
		all = p;
		memcpy(all + *size, r->held[h].codes,
		    r->held[h].made.length);
		*size += r->held[h].made.length;
	}
	return all;
}

static void
scatter(struct sq_tune_run *r, const unsigned char *all)
{
	int h;

	for (h = 0; h < r->nheld; h++)
		if (r->held[h].codes != NULL) {
			memcpy(r->held[h].codes, all,
			    r->held[h].made.length);
			all += r->held[h].made.length;
		}
}

/* Model, text, options, and all that the block is and begins as. */
static XXH128_hash_t
block_key(const struct sq_tune_run *r, const void *begun, size_t size)
{
	XXH128_hash_t part[3] = { r->key, XXH3_128bits(begun, size) };
	int h;

	for (h = 0; h < r->nheld; h++) {
		part[2] = XXH3_128bits(r->held[h].payload,
		    r->held[h].t.length);
		part[0] = XXH3_128bits(part, sizeof(part));
	}
	return part[0];
}

static int
learn(struct sq_tune_run *r, char *err)
{
	struct sq_tune_weight *w[SQ_LINEARS];
	struct sq_tune_tensor *h;
	struct sq_qdst q;
	int i;

	for (i = 0; i < SQ_LINEARS; i++)
		w[i] = (h = tuned(r, i)) == NULL ? NULL : &h->weight;
	if (sq_tune_block(&r->tune, r->model, (size_t)r->block, w, err) < 0)
		return -1;
	for (i = 0; i < SQ_LINEARS; i++)
		if ((h = tuned(r, i)) != NULL) {
			q = places(h);
			sq_tune_weight_noted(&h->weight, &q);
		}
	return 0;
}

/* From the file, or by learning: the payloads are made. */
static int
make(struct sq_tune_run *r, char *err)
{
	size_t size;
	unsigned char *all = gather(r, &size);
	XXH128_hash_t key;
	int found, bad = -1;

	if (size == 0)
		return 0;		/* nothing of this block is meant */
	if (all == NULL)
		return sq_fail(err, "out of memory");
	key = block_key(r, all, size);
	found = sq_tune_state_get(&r->state, r->block, key, all, size, err);
	if (found > 0) {
		scatter(r, all);
		bad = 0;
	} else if (found == 0 && learn(r, err) == 0) {
		free(all);
		all = gather(r, &size);
		bad = all == NULL ? sq_fail(err, "out of memory") :
		    sq_tune_state_put(&r->state, r->block, key, all, size,
		    err);
	}
	free(all);
	if (bad == 0 && r->told != NULL)
		r->told(r->arg, r, found > 0);
	return bad;
}

static int
run_block(struct sq_tune_run *r, char *err)
{
	struct sq_tune_tensor *t;
	int h;

	for (h = 0; h < r->nheld; h++)
		if (sq_payload_bind(r->model, &r->held[h].t,
		    r->held[h].payload, err) < 0)
			return -1;
	if (pass(r, &r->target, err) < 0 || make(r, err) < 0)
		return -1;
	for (h = 0; h < r->nheld; h++) {
		t = &r->held[h];
		if (t->codes != NULL && sq_payload_bind(r->model, &t->made,
		    t->codes, err) < 0)
			return -1;
	}
	return r->block + 1 == r->filter->inv.config.layers ? 0 :
	    pass(r, &r->in, err);
}

/* A block is whole when something else comes. */
static int
end_block(struct sq_tune_run *r)
{
	struct sq_out *out = &r->filter->out;
	char *err = r->filter->err;
	struct sq_tune_tensor *t;
	int h, bad;

	if (r->nheld == 0)
		return 0;
	bad = run_block(r, err);
	for (h = 0; bad == 0 && h < r->nheld; h++) {
		t = &r->held[h];
		bad = t->codes != NULL ?
		    sq_payload_put(out, &t->made, t->codes, err) :
		    sq_payload_put(out, &t->t, t->payload, err);
	}
	drop_held(r);
	r->block++;
	return bad;
}

static int
hold(struct sq_tune_run *r, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	struct sq_filter *f = r->filter;
	struct sq_tune_tensor *h;
	int wants;

	if (slot->layer != r->block && end_block(r) < 0)
		return -1;
	if (slot->layer != r->block || r->nheld == SQ_TUNE_HELD)
		return sq_fail(f->err, "tensor '%s': not in the order of a "
		    "forward pass", t->name);
	h = &r->held[r->nheld++];
	h->t = *t;
	h->slot = slot;
	h->payload = sq_in_payload(&f->in, SQ_MAX_PAYLOAD);
	if (h->payload == NULL)
		return sq_fail(f->err, "%s: %s", f->name, f->in.err);
	if (!slot->linear || slot->bias ||
	    (wants = sq_filter_wants(f, t, slot)) == 0)
		return 0;
	return wants < 0 ? -1 : with_values(r, h, begin_weight, f->err);
}

int
sq_tune_run_tensor(struct sq_tune_run *r, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	struct sq_filter *f = r->filter;
	int wants;

	if (r->model == NULL)
		return sq_fail(f->err, "%s: no TOKENS: sq-calibrate makes "
		    "them", f->name);
	if (slot != NULL && slot->role == SQ_EMBED)
		return embedding(r, t);
	if (slot != NULL && slot->role != SQ_NORM && slot->role != SQ_HEAD)
		return hold(r, t, slot);
	if ((wants = sq_filter_wants(f, t, slot)) != 0)
		return wants < 0 ? -1 : sq_fail(f->err, "tensor '%s': not in "
		    "a block, so it cannot be tuned", t->name);
	return end_block(r) < 0 ? -1 : sq_filter_copy(f);
}

int
sq_tune_run_end(struct sq_tune_run *r)
{
	return end_block(r);
}

/* ---- after --sequential ---- */

uint64_t
sq_tune_run_memory(void *arg, const struct sq_tokens *tokens)
{
	struct sq_tune_run *r = arg;

	r->tokens = *tokens;
	r->tokens.id = NULL;		/* the lender's */
	return least_bytes(r);
}

/* The tensors of the block; what is quantized now is to be tuned. */
static int
borrow(struct sq_tune_run *r, const struct sq_sequential_block *b, char *err)
{
	const struct sq_held *was, *now;
	struct sq_tune_tensor *h;
	int i;

	if (b->whole->n > SQ_TUNE_HELD)
		return sq_fail(err, "block %ju: more tensors than a block has",
		    (uintmax_t)r->block);
	for (i = 0; i < b->whole->n; i++) {
		was = &b->whole->held[i];
		now = &b->small->held[i];
		h = &r->held[r->nheld++];
		h->t = was->t;
		h->made = now->t;
		h->slot = was->slot;
		h->payload = was->payload;
		if (now->t.grid == was->t.grid)
			continue;
		h->codes = now->payload;
		if (with_values(r, h, init_weight, err) < 0)
			return -1;
	}
	return 0;
}

static void
give_back(struct sq_tune_run *r)
{
	struct sq_tune_tensor *h;

	while (r->nheld > 0) {
		h = &r->held[--r->nheld];
		sq_tune_weight_release(&h->weight);
		memset(h, 0, sizeof(*h));
	}
	r->model = NULL;
}

static int
follow(struct sq_tune_run *r, const struct sq_sequential_block *b, char *err)
{
	size_t length = (size_t)r->tokens.length;

	r->tune.progress = r->filter->progress;
	r->tune.slack = SETTLED;
	set_progress(r, 0);
	if (set_key(r, err) < 0)
		return -1;
	return sq_backward_init(&r->back, b->model, r->layer->ctx, r->prec,
	    portion(r), length, err);
}

int
sq_tune_run_block(void *arg, const struct sq_sequential_block *b, char *err)
{
	struct sq_tune_run *r = arg;
	int bad;

	if (r->back.samples == 0 && follow(r, b, err) < 0)
		return -1;
	r->block = b->whole->layer;
	r->model = b->model;
	r->tune.back = &r->back;
	r->tune.in = b->in;
	r->tune.target = b->target;
	bad = borrow(r, b, err) < 0 ? -1 : make(r, err);
	give_back(r);
	return bad;
}
