/*
 * A model is turned as it passes, tensor by tensor; see rotate.h.
 *
 * With rows as vectors, for W of a linear layer y = W x, a norm's weights g:
 *
 *	W diag(g) Q	q k v, gate up, the head	E Q	the embedding
 *	Q^T W, Q^T b	o, down
 *	R^T W, R^T b	v, head by head			W R	o likewise
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "formats/fmt_json.h"
#include "quant/chunks.h"
#include "quant/put_floats.h"
#include "quant/rotate.h"
#include "quant/turn.h"

#define CHUNK	((size_t)1 << 20)	/* values of embedding or head */

static struct sq_turn
residual_turn(const struct sq_rotate *k)
{
	return (struct sq_turn){ &k->q, 1, 1 };
}

/* Of v's outputs, or o's inputs: heads in groups share one of v. */
static struct sq_turn
heads_turn(const struct sq_rotate *k, int of_o)
{
	const struct sq_config *c = &k->f.inv.config;
	size_t share = of_o ? (size_t)(c->heads / c->kv_heads) : 1;

	return (struct sq_turn){ k->r, (size_t)c->kv_heads * share, share };
}

static int
no_memory(struct sq_rotate *k)
{
	return sq_fail(k->f.err, "out of memory");
}

static void
release_heads(struct sq_rotate *k)
{
	size_t i;

	for (i = 0; k->r != NULL && i < k->f.inv.config.kv_heads; i++)
		sq_rotation_release(&k->r[i]);
	free(k->r);
	k->r = NULL;
	k->r_layer = 0;
}

/* Those of a block: other signs for each head of each. */
static int
make_heads(struct sq_rotate *k, uint64_t layer)
{
	const struct sq_config *c = &k->f.inv.config;
	size_t i;

	if (k->r_layer == layer + 1)
		return 0;
	release_heads(k);
	if ((k->r = calloc(c->kv_heads, sizeof(*k->r))) == NULL)
		return no_memory(k);
	for (i = 0; i < c->kv_heads; i++)
		if (sq_rotation_init(&k->r[i], (size_t)c->head_dim, k->seed +
		    1 + layer * c->kv_heads + i, k->f.err) < 0)
			return -1;
	k->r_layer = layer + 1;
	return 0;
}

/* ---- reading and writing ---- */

/* Only dense values can turn. */
static int
check_dense(struct sq_rotate *k, const struct sq_tensor *t)
{
	if (t->grid != SQ_DENSE || !sq_dtype_is_float(t->type))
		return sq_fail(k->f.err, "tensor '%s': is %s already", t->name,
		    t->grid == SQ_DENSE ? sq_dtype_name(t->type) :
		    "quantized");
	if (sq_tensor_part(t, "mask") != NULL)
		return sq_fail(k->f.err, "tensor '%s': has a mask, which a "
		    "rotation would not keep", t->name);
	return 0;
}

static int
to_floats(struct sq_rotate *k, const struct sq_tensor *t, const void *raw,
    size_t n, float *v)
{
	struct sq_weight w = { .grid = SQ_DENSE, .type = t->type, .rows = 1,
	    .cols = n, .data = raw };
	struct sq_mat to = { v, SQ_F32, 1, n, n };

	if (sq_dequantize(k->ctx, &w, 0, &to) == 0)
		return 0;
	return sq_fail(k->f.err, "tensor '%s': no kernel reads it", t->name);
}

/* The values of the tensor at hand. */
static float *
load(struct sq_rotate *k, const struct sq_tensor *t)
{
	size_t n = (size_t)sq_tensor_count(t);
	float *v = NULL;
	void *raw;

	if (check_dense(k, t) < 0)
		return NULL;
	if ((raw = sq_in_payload(&k->f.in, t->length)) == NULL) {
		sq_fail(k->f.err, "%s: %s", k->f.name, k->f.in.err);
		return NULL;
	}
	if ((v = malloc(n * sizeof(*v))) == NULL)
		no_memory(k);
	else if (to_floats(k, t, raw, n, v) < 0) {
		free(v);
		v = NULL;
	}
	free(raw);
	return v;
}

static struct sq_tensor
made(const struct sq_rotate *k, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	int outer = slot->role == SQ_EMBED || slot->role == SQ_HEAD;
	struct sq_tensor m = *t;

	if (k->type == SQ_ROTATE_F32 ||
	    (k->type == SQ_ROTATE_LINEAR && !outer)) {
		m.type = SQ_F32;
		sq_tensor_layout(&m, SQ_F16, 0);
	}
	return m;
}

/* One record; takes v. */
static int
put(struct sq_rotate *k, const struct sq_tensor *m, float *v)
{
	struct sq_filter *f = &k->f;
	int r = -1;

	if (sq_out_tensor(&f->out, m) < 0)
		sq_fail(f->err, "%s", f->out.err);
	else if (sq_put_floats(&f->out, k->ctx, v,
	    (size_t)sq_tensor_count(m), m, f->err) == 0)
		r = sq_out_end(&f->out) < 0 ? sq_fail(f->err, "%s",
		    f->out.err) : 0;
	free(v);
	return r;
}

/* ---- embedding and head: too large to hold ---- */

/* The next n bytes: of the record at hand, kept for the head, or from there. */
static int
next_bytes(struct sq_rotate *k, int is_head, void *raw, size_t n)
{
	struct sq_filter *f = &k->f;

	if (is_head) {
		if (sq_read_full(k->fd, raw, n) != (ssize_t)n)
			return sq_fail_errno(f->err, "temporary file");
		return 0;
	}
	if (sq_in_read(&f->in, raw, n) < 0)
		return sq_fail(f->err, "%s: %s", f->name, f->in.err);
	if (k->fd >= 0 && sq_write_full(k->fd, raw, n) < 0)
		return sq_fail_errno(f->err, "temporary file");
	sq_progress_add(f->progress, n);
	return 0;
}

static int
pass_rows(struct sq_rotate *k, const struct sq_tensor *t,
    const struct sq_tensor *m, int kept, const float *scale, void *raw,
    float *v)
{
	size_t cols = (size_t)t->dim[1], step = CHUNK / cols + 1, n;
	struct sq_turn turn = residual_turn(k);
	uint64_t row;

	for (row = 0; row < t->dim[0]; row += n) {
		n = t->dim[0] - row < step ? (size_t)(t->dim[0] - row) : step;
		if (next_bytes(k, kept, raw, n * cols *
		    sq_dtype_size(t->type)) < 0 ||
		    to_floats(k, t, raw, n * cols, v) < 0)
			return -1;
		if (sq_turn_rows(&turn, v, n, cols, scale, k->ctx->pool) < 0)
			return no_memory(k);
		if (sq_put_floats(&k->f.out, k->ctx, v, n * cols, m,
		    k->f.err) < 0)
			return -1;
	}
	return 0;
}

/* kept: the values come from the file. */
static int
pass_large(struct sq_rotate *k, const struct sq_tensor *t,
    const struct sq_slot *slot, int kept, const float *scale)
{
	size_t n = CHUNK + (size_t)t->dim[1];
	void *raw = malloc(n * sizeof(float));
	float *v = malloc(n * sizeof(float));
	struct sq_tensor m = made(k, t, slot);
	struct sq_filter *f = &k->f;
	int r = -1;

	if (raw == NULL || v == NULL)
		no_memory(k);
	else if (sq_out_tensor(&f->out, &m) < 0)
		sq_fail(f->err, "%s", f->out.err);
	else if (pass_rows(k, t, &m, kept, scale, raw, v) == 0)
		r = sq_out_end(&f->out) < 0 ? sq_fail(f->err, "%s",
		    f->out.err) : 0;
	free(raw);
	free(v);
	return r;
}

static void
drop_head(struct sq_rotate *k)
{
	if (k->fd >= 0)
		close(k->fd);
	k->fd = -1;
}

static int
embedding(struct sq_rotate *k, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	if (check_dense(k, t) < 0)
		return -1;
	if (k->f.inv.config.tied && (k->fd = sq_temp_file()) < 0)
		return sq_fail_errno(k->f.err, "temporary file");
	k->head = *t;
	return pass_large(k, t, slot, 0, NULL);
}

/* The embedding once more, as the head that it was. */
static int
put_head(struct sq_rotate *k)
{
	const struct sq_inventory *inv = &k->f.inv;
	const char name[] = "lm_head.weight";
	int r;

	if (k->fd < 0)
		return 0;
	if (k->norm_of == NULL || k->norm_of->role != SQ_NORM)
		return sq_fail(k->f.err, "%s: the final norm is not in its "
		    "place", k->f.name);
	if (lseek(k->fd, 0, SEEK_SET) < 0)
		return sq_fail_errno(k->f.err, "temporary file");
	memcpy(k->head.name, name, sizeof(name));
	r = pass_large(k, &k->head, sq_slot_find(inv->slot, inv->n, name), 1,
	    k->norm);
	drop_head(k);
	return r;
}

/* ---- the others ---- */

/* Its weights go into those that follow, and ones take their place. */
static int
norm(struct sq_rotate *k, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	size_t i, n = (size_t)t->dim[0];
	float *v = load(k, t);

	if (v == NULL)
		return -1;
	memcpy(k->norm, v, n * sizeof(*v));
	k->norm_of = slot;
	for (i = 0; i < n; i++)
		v[i] = 1;
	return put(k, t, v);
}

/* The norm before the inputs of a role; NULL when they are not behind one. */
static const float *
norm_before(struct sq_rotate *k, const struct sq_slot *slot, int *bad)
{
	enum sq_role want = slot->role <= SQ_V ? SQ_ATTN_NORM :
	    slot->role == SQ_HEAD ? SQ_NORM : SQ_FFN_NORM;

	*bad = k->norm_of == NULL || k->norm_of->role != want ||
	    k->norm_of->layer != slot->layer;
	if (*bad)
		sq_fail(k->f.err, "%s: the norm before '%s' is not in its "
		    "place", k->f.name, slot->name);
	return k->norm;
}

static int
reads_residual(enum sq_role r)
{
	return r == SQ_Q || r == SQ_K || r == SQ_V || r == SQ_GATE ||
	    r == SQ_UP || r == SQ_HEAD || r == SQ_ROUTER;
}

static int
adds_to_residual(enum sq_role r)
{
	return r == SQ_O || r == SQ_DOWN;
}

/* Both sides of a weight; of a bias, a column, the left one. */
static int
turn_weight(struct sq_rotate *k, const struct sq_slot *slot, float *v,
    size_t rows, size_t cols)
{
	struct sq_turn q = residual_turn(k), in, out;
	struct sq_pool *pool = k->ctx->pool;
	enum sq_role role = slot->role;
	const float *g;
	int bad, r = 0;

	in = heads_turn(k, 1);
	out = heads_turn(k, 0);
	if (!slot->bias && k->residual && reads_residual(role)) {
		g = norm_before(k, slot, &bad);
		if (bad)
			return -1;
		r |= sq_turn_rows(&q, v, rows, cols, g, pool);
	}
	if (!slot->bias && k->heads && role == SQ_O)
		r |= sq_turn_rows(&in, v, rows, cols, NULL, pool);
	if (k->heads && role == SQ_V)
		r |= sq_turn_cols(&out, v, rows, cols, pool);
	if (k->residual && adds_to_residual(role))
		r |= sq_turn_cols(&q, v, rows, cols, pool);
	return r < 0 ? no_memory(k) : 0;
}

static int
is_turned(const struct sq_rotate *k, const struct sq_slot *s)
{
	if (k->heads && (s->role == SQ_V || (s->role == SQ_O && !s->bias)))
		return 1;
	return k->residual && (adds_to_residual(s->role) ||
	    (reads_residual(s->role) && !s->bias));
}

static int
weight(struct sq_rotate *k, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	size_t rows = (size_t)t->dim[0];
	size_t cols = t->ndim == 1 ? 1 : (size_t)t->dim[1];
	struct sq_tensor m = made(k, t, slot);
	float *v;

	if (k->heads && make_heads(k, slot->layer) < 0)
		return -1;
	if ((v = load(k, t)) == NULL)
		return -1;
	if (turn_weight(k, slot, v, rows, cols) < 0) {
		free(v);
		return -1;
	}
	return put(k, &m, v);
}

static int
tensor(struct sq_filter *f, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	struct sq_rotate *k = (struct sq_rotate *)f;

	if (slot == NULL && put_head(k) < 0)
		return -1;		/* what has no place comes after it */
	if (slot != NULL && k->residual) {
		if (slot->role == SQ_EMBED)
			return embedding(k, t, slot);
		if (slot->role == SQ_ATTN_NORM || slot->role == SQ_FFN_NORM ||
		    slot->role == SQ_NORM)
			return norm(k, t, slot);
		if (slot->role == SQ_HEAD) {
			int bad;
			const float *g = norm_before(k, slot, &bad);

			drop_head(k);	/* the model has one of its own */
			return bad || check_dense(k, t) < 0 ? -1 :
			    pass_large(k, t, slot, 0, g);
		}
	}
	if (slot != NULL && is_turned(k, slot)) {
		sq_progress_add(f->progress, t->length);
		return weight(k, t, slot);
	}
	sq_progress_add(f->progress, t->length);
	return sq_filter_copy(f);
}

/* ---- statistics ---- */

static int
turn_linear(struct sq_rotate *k, struct sq_stats *s,
    const struct sq_slot *slot)
{
	struct sq_turn turn = slot->role == SQ_O ? heads_turn(k, 1) :
	    residual_turn(k);
	float *scale = NULL;
	size_t i, n = (size_t)s->channels;
	int bad, r;

	if (s->h == NULL)
		return sq_fail(k->f.err, "the statistics of '%s' have the "
		    "diagonal of H alone, which cannot be rotated; "
		    "sq-calibrate --stats full makes all of it", s->tensor[0]);
	if (n != slot->dim[1])
		return sq_fail(k->f.err, "the statistics of '%s' are of %zu "
		    "channels", s->tensor[0], n);
	if (slot->role != SQ_O) {
		const float *g = norm_before(k, slot, &bad);

		if (bad)
			return -1;
		if ((scale = malloc(n * sizeof(*scale))) == NULL)
			return no_memory(k);
		for (i = 0; i < n; i++)	/* what is always 0 stays it */
			scale[i] = g[i] == 0 ? 0 : 1 / g[i];
	}
	r = sq_turn_stats(&turn, s, scale, k->ctx->pool);
	free(scale);
	return r < 0 ? no_memory(k) : 0;
}

static int
turn_stats(struct sq_rotate *k, struct sq_stats *s)
{
	const struct sq_inventory *inv = &k->f.inv;
	const struct sq_slot *slot = sq_slot_find(inv->slot, inv->n,
	    s->tensor[0]);

	if (slot == NULL)
		return 0;
	if (k->heads && make_heads(k, slot->layer) < 0)
		return -1;
	if (s->is_kv) {
		if (k->heads) {
			free(s->vmin);
			free(s->vmax);
			s->vmin = s->vmax = NULL;
		}
		return 0;
	}
	if ((slot->role == SQ_O && k->heads) ||
	    (reads_residual(slot->role) && k->residual))
		return turn_linear(k, s, slot);
	return 0;
}

static int
record(struct sq_filter *f)
{
	struct sq_rotate *k = (struct sq_rotate *)f;
	struct sq_stats s;
	int r;

	if (f->in.type == SQ_PROVENANCE && put_head(k) < 0)
		return -1;
	if (f->in.type != SQ_STATS)
		return sq_filter_copy(f);
	if (sq_stats_read(&s, &f->in, f->in.length) < 0)
		return sq_fail(f->err, "%s: %s", f->name, f->in.err);
	if ((r = turn_stats(k, &s)) == 0 && sq_stats_write(&s, &f->out) < 0)
		r = sq_fail(f->err, "%s", f->out.err);
	sq_stats_release(&s);
	return r;
}

/* ---- begin and end ---- */

/* config.json with a head of its own. */
static char *
untied(const unsigned char *config, size_t size, char *err)
{
	json_t *o = sq_json_object((const char *)config, size, err);
	char *text;

	if (o == NULL)
		return NULL;
	json_object_set_new(o, "tie_word_embeddings", json_false());
	text = sq_json_pretty(o);
	json_decref(o);
	return text;
}

static int
header(struct sq_filter *f, const struct sq_files *old)
{
	struct sq_rotate *k = (struct sq_rotate *)f;
	const unsigned char *config;
	char *text;
	size_t size;
	int r;

	if (!k->residual || !f->inv.config.tied) {
		r = sq_files_write(old, &f->out);
	} else {
		config = sq_files_find(old, "config.json", &size);
		if ((text = untied(config, size, f->err)) == NULL)
			return -1;
		r = sq_files_write_config(old, text, strlen(text), &f->out);
		free(text);
	}
	return r == 0 ? 0 : sq_fail(f->err, "stdout: %s", f->out.err);
}

/* A tensor as it came, or H whole, and as floats. */
static uint64_t
memory_needed(const struct sq_config *c)
{
	uint64_t q = c->heads * c->head_dim, wide = q < c->dim ? c->dim : q;
	uint64_t most = c->dim * (c->ffn < q ? q : c->ffn);

	most *= 3 * sizeof(uint16_t);
	if (most < sq_triangle(wide) * 3 * sizeof(float))
		most = sq_triangle(wide) * 3 * sizeof(float);
	if (most < CHUNK * 3 * sizeof(float))
		most = CHUNK * 3 * sizeof(float);
	return SQ_CHUNKS_FIXED + most;
}

static int
begin(struct sq_filter *f)
{
	struct sq_rotate *k = (struct sq_rotate *)f;
	const struct sq_config *c = &f->inv.config;
	uint64_t need = memory_needed(c);

	if (k->memory != 0 && k->memory < need)
		return sq_fail(f->err, "-M: needs at least %juM",
		    (uintmax_t)(need + 0xfffff) >> 20);
	if ((k->norm = malloc(c->dim * sizeof(*k->norm))) == NULL)
		return no_memory(k);
	return sq_rotation_init(&k->q, (size_t)c->dim, k->seed, f->err);
}

static int
end(struct sq_filter *f)
{
	return put_head((struct sq_rotate *)f);
}

void
sq_rotate_init(struct sq_rotate *k)
{
	k->fd = -1;
	k->f.header = header;
	k->f.begin = begin;
	k->f.tensor = tensor;
	k->f.record = record;
	k->f.end = end;
}

void
sq_rotate_release(struct sq_rotate *k)
{
	drop_head(k);
	release_heads(k);
	sq_rotation_release(&k->q);
	free(k->norm);
	k->norm = NULL;
}
