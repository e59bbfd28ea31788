/* Scores of movement; see movement.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "calib/block.h"
#include "calib/hidden.h"
#include "formats/fmt_stats.h"
#include "model/backward.h"
#include "model/head.h"
#include "prune/mapped.h"
#include "prune/movement.h"

#define FIXED	((uint64_t)160 << 20)	/* the program and the kernels' space */
#define ROWS	64			/* of logits at a time */

/* A tensor of the model. */
struct item {
	struct sq_tensor t;
	const struct sq_slot *slot;	/* NULL: the architecture has none */
	size_t at;			/* in the file of weights */
	int scored;
	size_t score;			/* in that of scores, floats */
};

struct sq_movement_work {
	struct sq_filter f;		/* first: it is cast back */
	struct sq_movement *to;
	struct sq_tokens tokens;
	struct sq_model *model;
	struct sq_backward back;
	struct sq_hidden entry;		/* [layers + 1][samples of a round] */
	struct sq_mapped weights, scores;
	struct item *item;
	size_t n, room;
	/* a round */
	size_t first, count;		/* its samples */
	struct sq_sparse pattern;
	double sparsity, nll;
	/* a block at work: of its linear layers, values as they came and in
	 * this round, and gradients */
	float *whole[SQ_LINEARS], *value[SQ_LINEARS], *grad[SQ_LINEARS];
};

/* ---- the stream ---- */

static size_t
count(const struct sq_tensor *t)
{
	return (size_t)sq_tensor_count(t);
}

static struct item *
add(struct sq_movement_work *k, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	size_t room = k->room == 0 ? 64 : 2 * k->room;
	struct item *i = k->item;

	if (k->n == k->room) {
		if ((i = realloc(i, room * sizeof(*i))) == NULL)
			return NULL;
		k->item = i;
		k->room = room;
	}
	i += k->n++;
	*i = (struct item){ .t = *t, .slot = slot };
	return i;
}

static int
keep(struct sq_movement_work *k, const struct sq_tensor *t,
    const struct sq_slot *slot, const unsigned char *payload, int scored)
{
	struct item *i = add(k, t, slot);

	if (i == NULL)
		return sq_fail(k->f.err, "out of memory");
	i->at = sq_mapped_room(&k->weights, (size_t)t->length);
	if (sq_pwrite_full(k->weights.fd, payload, (size_t)t->length,
	    (off_t)i->at) < 0)
		return sq_fail_errno(k->f.err, "temporary file");
	i->scored = scored;
	if (scored)
		i->score = sq_mapped_room(&k->scores, count(t) * sizeof(float));
	return 0;
}

static int
tensor(struct sq_filter *f, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	struct sq_movement_work *k = (struct sq_movement_work *)f;
	int scored = sq_filter_wants(f, t, slot), r = -1;
	unsigned char *payload;

	if (scored < 0)
		return -1;
	if (k->tokens.id == NULL)
		return sq_fail(f->err, "movement: no TOKENS; sq-calibrate "
		    "--tokens-only adds them");
	if ((payload = sq_in_payload(&f->in, SQ_MAX_PAYLOAD)) == NULL)
		return sq_fail(f->err, "%s: %s", f->name, f->in.err);
	if (keep(k, t, slot, payload, scored) == 0)
		r = sq_payload_put(&f->out, t, payload, f->err);
	free(payload);
	return r;
}

static int
record(struct sq_filter *f)
{
	struct sq_movement_work *k = (struct sq_movement_work *)f;

	if (f->in.type != SQ_TOKENS)
		return sq_filter_copy(f);
	if (sq_tokens_read(&k->tokens, &f->in) < 0)
		return sq_fail(f->err, "%s: %s", f->name, f->in.err);
	if (k->tokens.length < 2 || k->tokens.count < k->tokens.length)
		return sq_fail(f->err, "movement: TOKENS has no sample of two "
		    "tokens or more");
	if (sq_tokens_write(&k->tokens, &f->out) < 0)
		return sq_fail(f->err, "temporary file: %s", f->out.err);
	return 0;
}

/* ---- a block ---- */

static int
of_layer(const struct item *i, size_t layer)
{
	return i->slot != NULL && i->slot->role != SQ_EMBED &&
	    i->slot->role != SQ_NORM && i->slot->role != SQ_HEAD &&
	    i->slot->layer == layer;
}

/* Which of its layer's linear layers that is, or SQ_LINEARS. */
static int
place(struct sq_movement_work *k, const struct item *t)
{
	const struct sq_linear *lin = sq_model_slot(k->model, t->slot);
	int i;

	for (i = 0; i < SQ_LINEARS && lin != sq_layer_linear(
	    &k->model->layer[t->slot->layer], i); i++)
		;
	return i;
}

/* The mask that the scores so far make, on values that were copied to `to'. */
static int
apply_mask(struct sq_movement_work *k, const struct item *i, float *to,
    char *err)
{
	const float *score = (const float *)(k->scores.map + i->score);
	struct sq_mask m;
	size_t n;
	int r;

	if (k->sparsity == 0)
		return 0;
	if (sq_mask_init(&m, &k->pattern, i->t.dim[0], i->t.dim[1], err) < 0)
		return -1;
	r = sq_score_mask(&m, score, k->sparsity, 0, err);
	for (n = 0; r == 0 && n < m.rows * m.cols; n++)
		if (!sq_mask_get(&m, n / m.cols, n % m.cols))
			to[n] = 0;
	sq_mask_release(&m);
	return r;
}

/* The values of a tensor with scores, whole and as they are in this round,
 * take its place; and there is room for a gradient. */
static int
enter_scored(struct sq_movement_work *k, const struct item *i, char *err)
{
	struct sq_linear *lin = sq_model_slot(k->model, i->slot);
	size_t n = count(&i->t), c;
	int at = place(k, i);
	struct sq_mat m = { NULL, SQ_F32, lin->w.rows, lin->w.cols,
	    lin->w.cols };

	if (at == SQ_LINEARS)
		return sq_fail(err, "tensor '%s': no backward pass for it",
		    i->t.name);
	m.p = k->whole[at] = malloc(n * sizeof(float));
	k->value[at] = malloc(n * sizeof(float));
	k->grad[at] = calloc(n, sizeof(float));
	if (m.p == NULL || k->value[at] == NULL || k->grad[at] == NULL)
		return sq_fail(err, "out of memory");
	if (sq_dequantize(k->to->ctx, &lin->w, 0, &m) != 0)
		return sq_fail(err, "tensor '%s': no kernel reads it",
		    i->t.name);
	for (c = 0; c < n && isfinite(k->whole[at][c]); c++)
		;
	if (c < n)
		return sq_fail(err, "tensor '%s': its weights hold infinity "
		    "or NaN", i->t.name);
	memcpy(k->value[at], k->whole[at], n * sizeof(float));
	lin->w = (struct sq_weight){ .grid = SQ_DENSE, .rows = m.rows,
	    .cols = m.cols, .type = SQ_F32, .data = k->value[at] };
	return apply_mask(k, i, k->value[at], err);
}

/* Binds the tensors of a block as they are in this round. */
static int
enter(struct sq_movement_work *k, size_t layer, char *err)
{
	const struct item *i;

	for (i = k->item; i < k->item + k->n; i++) {
		if (!of_layer(i, layer))
			continue;
		if (sq_payload_bind(k->model, &i->t, k->weights.map + i->at,
		    err) < 0)
			return -1;
		if (i->scored && enter_scored(k, i, err) < 0)
			return -1;
	}
	return 0;
}

static void
drop(struct sq_movement_work *k)
{
	int i;

	for (i = 0; i < SQ_LINEARS; i++) {
		free(k->whole[i]);
		free(k->value[i]);
		free(k->grad[i]);
		k->whole[i] = k->value[i] = k->grad[i] = NULL;
	}
}

static void
leave(struct sq_movement_work *k, size_t layer)
{
	const struct item *i;

	drop(k);
	for (i = k->item; i < k->item + k->n; i++) {
		if (!of_layer(i, layer))
			continue;
		sq_mapped_leave(&k->weights, i->at, (size_t)i->t.length);
		if (i->scored)
			sq_mapped_leave(&k->scores, i->score,
			    count(&i->t) * sizeof(float));
	}
}

/* ---- forth and back ---- */

static struct sq_mat
mat(float *p, size_t rows, size_t cols)
{
	return (struct sq_mat){ p, SQ_F32, rows, cols, cols };
}

static float *
entry(struct sq_movement_work *k, size_t layer, size_t sample)
{
	return sq_hidden_get(&k->entry, layer * k->count + sample, k->f.err);
}

static int
put_entry(struct sq_movement_work *k, size_t layer, size_t sample)
{
	size_t at = layer * k->count + sample;

	/* what it was is of no use */
	memcpy(k->entry.one, k->back.f.x.p, k->entry.length * k->entry.dim *
	    sizeof(float));
	return sq_hidden_put(&k->entry, at, k->f.err);
}

static int
bind_role(struct sq_movement_work *k, enum sq_role role, int bind)
{
	struct item *i;

	for (i = k->item; i < k->item + k->n; i++)
		if (i->slot != NULL && i->slot->role == role) {
			if (!bind)
				sq_mapped_leave(&k->weights, i->at,
				    (size_t)i->t.length);
			else if (sq_payload_bind(k->model, &i->t,
			    k->weights.map + i->at, k->f.err) < 0)
				return -1;
		}
	return 0;
}

static int
embed(struct sq_movement_work *k)
{
	size_t i;

	if (bind_role(k, SQ_EMBED, 1) < 0)
		return -1;
	for (i = 0; i < k->count; i++)
		if (sq_backward_embed(&k->back, k->tokens.id + (k->first +
		    i) * k->tokens.length, 1, k->f.err) < 0 ||
		    put_entry(k, 0, i) < 0)
			return -1;
	return bind_role(k, SQ_EMBED, 0);
}

static int
forth(struct sq_movement_work *k, size_t layer)
{
	size_t i, bytes = k->entry.length * k->entry.dim * sizeof(float);
	float *x;

	if (enter(k, layer, k->f.err) < 0)
		return -1;
	for (i = 0; i < k->count; i++) {
		if ((x = entry(k, layer, i)) == NULL)
			return -1;
		memcpy(k->back.f.x.p, x, bytes);
		if (sq_backward_forward(&k->back, layer, k->f.err) < 0 ||
		    put_entry(k, layer + 1, i) < 0)
			return -1;
	}
	leave(k, layer);
	return 0;
}

/* The loss of a sample, x in the forward pass, and its gradient by x. */
static int
loss(struct sq_movement_work *k, const struct sq_head *h, float *work,
    const uint32_t *next, const struct sq_mat *dx)
{
	size_t vocab = (size_t)k->model->config.vocab, dim = dx->cols;
	size_t all = dx->rows - 1, row, n, i;
	float *lse = work + 2 * ROWS * vocab, *nll = lse + ROWS;
	float *spare = nll + ROWS;
	struct sq_ctx *ctx = k->to->ctx;
	struct sq_mat l, dl, s, x, d;

	memset((float *)dx->p + all * dim, 0, dim * sizeof(float));
	for (row = 0; row < all; row += n) {
		n = all - row < ROWS ? all - row : ROWS;
		l = mat(work, n, vocab);
		dl = mat(work + ROWS * vocab, n, vocab);
		s = mat(spare, n, dim);
		x = mat((float *)k->back.f.x.p + row * dim, n, dim);
		d = mat((float *)dx->p + row * dim, n, dim);
		memset(dl.p, 0, n * vocab * sizeof(float));
		if (sq_head_logits(h, &k->back.f, row, n, &l, k->f.err) < 0)
			return -1;
		if (sq_nll(ctx, &l, next + row, nll, NULL) != 0 ||
		    sq_nll(ctx, &l, NULL, lse, NULL) != 0 ||
		    sq_softmax_add(ctx, &l, lse, 1, &dl) != 0)
			return sq_fail(k->f.err, "no kernel for the loss");
		for (i = 0; i < n; i++) {
			((float *)dl.p)[i * vocab + next[row + i]] -= 1;
			k->nll += (double)nll[i];
		}
		if (sq_head_back(h, &dl, &x, &s, &d, NULL, k->f.err) < 0)
			return -1;
	}
	return 0;
}

/* Logits, and the gradient in the place of the last blocks' output. */
static int
head(struct sq_movement_work *k)
{
	size_t dim = k->entry.dim, length = k->entry.length, i;
	size_t bytes = length * dim * sizeof(float), layers;
	size_t vocab = (size_t)k->model->config.vocab;
	struct sq_mat dx = mat(NULL, length, dim);
	struct sq_head h = { 0 };
	float *work, *x;
	int r;

	layers = (size_t)k->model->config.layers;
	dx.p = malloc(bytes);
	work = malloc((2 * vocab + 2 + dim) * ROWS * sizeof(float));
	r = dx.p == NULL || work == NULL ?
	    sq_fail(k->f.err, "out of memory") :
	    bind_role(k, k->model->config.tied ? SQ_EMBED : SQ_HEAD, 1);
	if (r == 0)
		r = bind_role(k, SQ_NORM, 1);
	if (r == 0)
		r = sq_head_init(&h, k->model, k->to->ctx, k->back.f.prec, 1,
		    NULL, k->f.err);
	for (i = 0; r == 0 && i < k->count; i++) {
		if ((x = entry(k, layers, i)) == NULL) {
			r = -1;
			break;
		}
		memcpy(k->back.f.x.p, x, bytes);
		r = loss(k, &h, work, k->tokens.id + (k->first + i) *
		    length + 1, &dx);
		if (r == 0) {
			memcpy(k->entry.one, dx.p, bytes);
			r = sq_hidden_put(&k->entry, layers * k->count + i,
			    k->f.err);
		}
	}
	if (r == 0)
		r = bind_role(k, k->model->config.tied ? SQ_EMBED : SQ_HEAD, 0);
	sq_head_release(&h);
	free(dx.p);
	free(work);
	return r;
}

/* S += (w g)^2 of a sample: the weight as it came, also where the mask dropped
 * it. */
static int
score(struct sq_movement_work *k, const struct item *i, char *err)
{
	int at = place(k, i);
	float *s = (float *)(k->scores.map + i->score), *g = k->grad[at];
	const float *w = k->whole[at];
	size_t n, all = count(&i->t);

	for (n = 0; n < all; n++) {
		s[n] += w[n] * g[n] * (w[n] * g[n]);
		if (!isfinite(s[n]))
			return sq_fail(err, "tensor '%s': its gradient is not "
			    "finite", i->t.name);
		g[n] = 0;
	}
	return 0;
}

static int
score_all(struct sq_movement_work *k, size_t layer)
{
	const struct item *i;

	for (i = k->item; i < k->item + k->n; i++)
		if (i->scored && of_layer(i, layer) &&
		    score(k, i, k->f.err) < 0)
			return -1;
	return 0;
}

static int
back(struct sq_movement_work *k, size_t layer)
{
	size_t i, bytes = k->entry.length * k->entry.dim * sizeof(float);
	struct sq_mat dx = mat(NULL, k->entry.length, k->entry.dim);
	size_t layers = (size_t)k->model->config.layers;
	struct sq_layer_grad g = { 0 };
	float *x;
	int r = -1;

	if ((dx.p = malloc(bytes)) == NULL)
		return sq_fail(k->f.err, "out of memory");
	if (enter(k, layer, k->f.err) < 0)
		goto out;
	for (i = 0; i < SQ_LINEARS; i++)
		sq_layer_linear_grad(&g, (int)i)->w = k->grad[i];
	for (i = 0; i < k->count; i++) {
		if ((x = entry(k, layers, i)) == NULL)
			goto out;
		memcpy(dx.p, x, bytes);
		if ((x = entry(k, layer, i)) == NULL)
			goto out;
		memcpy(k->back.f.x.p, x, bytes);
		if (sq_backward_forward(&k->back, layer, k->f.err) < 0 ||
		    sq_backward_block(&k->back, layer, &dx, &g, layer > 0,
		    k->f.err) < 0 || score_all(k, layer) < 0)
			goto out;
		memcpy(k->entry.one, dx.p, bytes);
		if (sq_hidden_put(&k->entry, layers * k->count + i,
		    k->f.err) < 0)
			goto out;
	}
	r = 0;
out:
	leave(k, layer);
	free(dx.p);
	return r;
}

/* ---- rounds ---- */

/* The mask of a round: nothing goes in the first; what is dropped nears all of
 * it as the cube of what is left of the run falls. */
static void
set_mask(struct sq_movement_work *k, int round)
{
	const struct sq_masking *m = k->to->masking;
	double left = 1 - (double)round / k->to->rounds;
	double part = 1 - left * left * left;

	k->pattern = m->pattern;
	k->sparsity = part * sq_masking_ratio(m);
	if (m->pattern.kind != SQ_MASK_RUNS)
		return;
	k->pattern.n = m->pattern.m - (unsigned)rint(part *
	    (m->pattern.m - m->pattern.n));
	k->sparsity = 1 - (double)k->pattern.n / k->pattern.m;
}

static int
pass(struct sq_movement_work *k, int round)
{
	size_t all = (size_t)(k->tokens.count / k->tokens.length), l;
	size_t layers = (size_t)k->model->config.layers;
	size_t n = (size_t)k->to->rounds, r = (size_t)round;

	k->first = all * r / n;
	k->count = all * (r + 1) / n - k->first;
	k->nll = 0;
	set_mask(k, round);
	if (k->count == 0)
		return 0;
	if (embed(k) < 0)
		return -1;
	for (l = 0; l < layers; l++)
		if (forth(k, l) < 0)
			return -1;
	if (head(k) < 0)
		return -1;
	while (l-- > 0)
		if (back(k, l) < 0)
			return -1;
	if (k->to->told != NULL)
		k->to->told(k->to->arg, round, k->nll / (double)(k->count *
		    (k->tokens.length - 1)), k->sparsity);
	return 0;
}

/* Beside the model's own files: of a block weights, values, gradients and
 * scores; or the head twice, and logits. */
static int
check_memory(struct sq_movement_work *k)
{
	const struct sq_config *c = &k->f.inv.config;
	uint64_t block = 0, most = 0, need, vocab;
	const struct item *i;
	size_t l;

	for (l = 0; l < c->layers; l++) {
		for (block = 0, i = k->item; i < k->item + k->n; i++)
			if (of_layer(i, l))
				block += i->t.length + (i->scored ?
				    16 * count(&i->t) : 0);
		most = block > most ? block : most;
	}
	vocab = 12 * c->vocab * c->dim + 4 * ROWS * (2 * c->vocab + c->dim);
	need = FIXED + (vocab > most ? vocab : most) +
	    sq_backward_bytes(c, 1, (size_t)k->tokens.length) +
	    8 * k->tokens.length * c->dim + 4 * k->tokens.count;
	return k->to->memory == 0 || k->to->memory >= need ? 0 :
	    sq_fail(k->f.err, "-M: movement needs at least %juM",
	    (uintmax_t)(need + 0xfffff) >> 20);
}

static int
run(struct sq_movement_work *k)
{
	const struct sq_config *c = &k->f.inv.config;
	size_t samples = (size_t)(k->tokens.count / k->tokens.length), i;
	size_t length = (size_t)k->tokens.length, dim = (size_t)c->dim;
	size_t most;
	int r;

	for (i = 0; i < k->tokens.count; i++)
		if (k->tokens.id[i] >= c->vocab)
			return sq_fail(k->f.err, "token %u is not in the "
			    "vocabulary", k->tokens.id[i]);
	if ((size_t)k->to->rounds > samples)
		k->to->rounds = (int)samples;
	most = (samples + (size_t)k->to->rounds - 1) / (size_t)k->to->rounds;
	if (check_memory(k) < 0 || sq_mapped_map(&k->weights, k->f.err) < 0 ||
	    sq_mapped_map(&k->scores, k->f.err) < 0 ||
	    (k->model = sq_model_new(c, k->f.err)) == NULL ||
	    sq_backward_init(&k->back, k->model, k->to->ctx, k->to->prec, 1,
	    length, k->f.err) < 0 ||
	    sq_hidden_init(&k->entry, ((size_t)c->layers + 1) * most, length,
	    dim, 1, k->f.err) < 0)
		return -1;
	for (r = 0; r < k->to->rounds; r++)
		if (pass(k, r) < 0)
			return -1;
	return 0;
}

static int
end(struct sq_filter *f)
{
	struct sq_movement_work *k = (struct sq_movement_work *)f;

	if (sq_inventory_complete(&f->inv, f->err) < 0)
		return -1;
	return run(k);
}

/* What only the rounds need. */
static void
release_run(struct sq_movement_work *k)
{
	drop(k);
	sq_backward_release(&k->back);
	sq_hidden_release(&k->entry);
	sq_model_free(k->model);
	k->model = NULL;
	sq_mapped_release(&k->weights);
	sq_tokens_release(&k->tokens);
}

int
sq_movement_survey(struct sq_movement *m, struct sq_filter *f)
{
	struct sq_movement_work *k = calloc(1, sizeof(*k));
	int r;

	if ((m->work = k) == NULL)
		return sq_fail(f->err, "out of memory");
	k->to = m;
	k->f.tensor = tensor;
	k->f.record = record;
	k->f.end = end;
	k->entry.fd = k->weights.fd = k->scores.fd = -1;
	if (sq_mapped_open(&k->weights, f->err) < 0 ||
	    sq_mapped_open(&k->scores, f->err) < 0)
		return -1;
	r = sq_filter_survey(f, &k->f);
	release_run(k);
	return r;
}

void
sq_movement_release(struct sq_movement *m)
{
	if (m->work == NULL)
		return;
	release_run(m->work);
	sq_mapped_release(&m->work->scores);
	free(m->work->item);
	free(m->work);
	m->work = NULL;
}

const float *
sq_movement_of(struct sq_movement *m, const char *name)
{
	struct sq_movement_work *k = m->work;
	size_t i;

	for (i = 0; i < k->n; i++)
		if (k->item[i].scored && strcmp(k->item[i].t.name, name) == 0)
			return (const float *)(k->scores.map +
			    k->item[i].score);
	return NULL;
}
