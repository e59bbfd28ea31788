/* A smaller model; see pruning.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "calib/block.h"
#include "model/config_text.h"
#include "model/weight.h"
#include "prune/pruning.h"
#include "quant/chunks.h"
#include "quant/put_floats.h"

/* ---- what is left, and the configuration that says so ---- */

/* `part' of n goes, to the nearest, of equals the less. */
static uint64_t
left(uint64_t n, double part)
{
	uint64_t drop = (uint64_t)ceil(part * (double)n - 0.5);

	return drop >= n ? 1 : n - drop;
}

static int
plan(struct sq_pruning *k)
{
	const struct sq_config *c = &k->f.inv.config;
	double ffn = (1 - k->channels) * (double)c->ffn / SQ_CHANNELS;

	k->groups = left(c->kv_heads, k->heads);
	k->ffn = c->ffn;
	if (k->channels > 0)
		k->ffn = (uint64_t)fmax(rint(ffn), 1) * SQ_CHANNELS;
	if (k->channels > 0 && c->experts > 0)
		return sq_fail(k->f.err, "--channels: not for a mixture of "
		    "experts");
	if (k->ffn > c->ffn)
		return sq_fail(k->f.err, "--channels: %ju are left of %ju "
		    "already", (uintmax_t)c->ffn, (uintmax_t)k->ffn);
	if (k->heads > 0 && k->groups == c->kv_heads)
		return sq_fail(k->f.err, "--heads %g: of %ju groups, that is "
		    "none", k->heads, (uintmax_t)c->kv_heads);
	k->kept_layers = c->layers - k->layers.drop;
	return 0;
}

/* A key of config.json; *text is replaced. */
static int
set(char **text, size_t *n, const char *key, json_t *value)
{
	char *made = sq_config_text_set(*text, *n, key, value, n);

	free(*text);
	*text = made;
	return made == NULL ? -1 : 0;
}

/* What is said of each layer, of those that stay. */
static int
set_layer_types(struct sq_pruning *k, char **text, size_t *n)
{
	json_t *o = json_loadb(*text, *n, 0, NULL);
	const json_t *types = json_object_get(o, "layer_types");
	json_t *some = json_array();
	size_t i;
	int r = 0;

	for (i = 0; i < json_array_size(types); i++)
		if (!sq_influence_drops(&k->layers, i))
			json_array_append(some, json_array_get(types, i));
	if (json_is_array(types))
		r = set(text, n, "layer_types", json_incref(some));
	json_decref(some);
	json_decref(o);
	return r;
}

static int
header(struct sq_filter *f, const struct sq_files *old)
{
	struct sq_pruning *k = (struct sq_pruning *)f;
	const struct sq_config *c = &f->inv.config;
	uint64_t share;
	const unsigned char *config;
	size_t n;
	char *text;
	int r = 0;

	if (plan(k) < 0)
		return -1;
	share = c->heads / c->kv_heads;
	config = sq_files_find(old, "config.json", &n);
	if ((text = strndup((const char *)config, n)) == NULL)
		return sq_fail(f->err, "out of memory");
	if (k->groups < c->kv_heads)
		r = set(&text, &n, "num_attention_heads", json_integer(
		    (json_int_t)(k->groups * share))) < 0 ||
		    set(&text, &n, "num_key_value_heads", json_integer(
		    (json_int_t)k->groups)) < 0 ||
		    set(&text, &n, "head_dim", json_integer(
		    (json_int_t)c->head_dim)) < 0;
	if (r == 0 && k->ffn < c->ffn)
		r = set(&text, &n, "intermediate_size", json_integer(
		    (json_int_t)k->ffn));
	if (r == 0 && k->layers.drop > 0)
		r = set(&text, &n, "num_hidden_layers", json_integer(
		    (json_int_t)k->kept_layers)) < 0 ||
		    set_layer_types(k, &text, &n) < 0;
	if (r != 0)
		return sq_fail(f->err, "out of memory");
	r = sq_files_write_config(old, text, n, &f->out);
	free(text);
	return r == 0 ? 0 : sq_fail(f->err, "stdout: %s", f->out.err);
}

/* ---- records ---- */

/* The name in the smaller model. */
static void
rename_tensor(const struct sq_pruning *k, struct sq_tensor *t,
    const struct sq_slot *slot)
{
	char old[24], rest[SQ_NAME], *at;
	uint64_t place;

	if (slot == NULL || k->layers.dropped == NULL)
		return;
	place = sq_influence_place(&k->layers, slot->layer);
	snprintf(old, sizeof(old), ".%ju.", (uintmax_t)slot->layer);
	if (place == slot->layer || (at = strstr(t->name, old)) == NULL)
		return;
	snprintf(rest, sizeof(rest), "%s", at + strlen(old));
	snprintf(at, sizeof(t->name) - (size_t)(at - t->name), ".%ju.%s",
	    (uintmax_t)place, rest);
}

static int
of_block(const struct sq_slot *slot)
{
	return slot != NULL && slot->role != SQ_EMBED &&
	    slot->role != SQ_NORM && slot->role != SQ_HEAD;
}

/* The record at hand as it is, but for its name. */
static int
pass(struct sq_pruning *k, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	struct sq_filter *f = &k->f;
	struct sq_tensor named = *t;

	if (of_block(slot))
		rename_tensor(k, &named, slot);
	if (strcmp(named.name, t->name) == 0)
		return sq_filter_copy(f);
	if (sq_out_tensor(&f->out, &named) < 0 ||
	    sq_out_pass(&f->out, &f->in) < 0 || sq_out_end(&f->out) < 0)
		return sq_fail(f->err, "%s", f->out.err);
	return 0;
}

static int
hold(struct sq_pruning *k, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	struct sq_pruned *h = &k->held[k->nheld];

	if (k->nheld == (int)(sizeof(k->held) / sizeof(k->held[0])))
		return sq_fail(k->f.err, "tensor '%s': out of its place",
		    t->name);
	h->t = *t;
	h->slot = slot;
	h->payload = sq_in_payload(&k->f.in, SQ_MAX_PAYLOAD);
	if (h->payload == NULL)
		return sq_fail(k->f.err, "%s: %s", k->f.name, k->f.in.err);
	k->nheld++;
	return 0;
}

/* Rows of a held tensor (elements of a bias) that stay: those of units, each
 * `unit' of them. */
static int
put_held(struct sq_pruning *k, const struct sq_pruned *h,
    const uint32_t *units, size_t n, size_t unit)
{
	size_t row = (size_t)(h->t.length / h->t.dim[0]) * unit, i;
	struct sq_filter *f = &k->f;
	struct sq_tensor t = h->t;

	if (unit > 0) {
		t.dim[0] = n * unit;
		sq_tensor_layout(&t, SQ_F16, 0);
	}
	rename_tensor(k, &t, h->slot);
	if (sq_out_tensor(&f->out, &t) < 0)
		return sq_fail(f->err, "%s", f->out.err);
	if (unit == 0 && sq_out_write(&f->out, h->payload,
	    (size_t)t.length) < 0)
		return sq_fail(f->err, "%s", f->out.err);
	for (i = 0; unit > 0 && i < n; i++)
		if (sq_out_write(&f->out, h->payload + units[i] * row,
		    row) < 0)
			return sq_fail(f->err, "%s", f->out.err);
	return sq_out_end(&f->out) < 0 ? sq_fail(f->err, "%s", f->out.err) :
	    0;
}

/* Rows of a role's tensors for each unit; 0: they stay as they are. */
static size_t
rows_of(const struct sq_pruning *k, enum sq_role role)
{
	const struct sq_config *c = &k->f.inv.config;

	switch (role) {
	case SQ_Q:
		return (size_t)(c->heads / c->kv_heads * c->head_dim);
	case SQ_K:
	case SQ_V:
		return (size_t)c->head_dim;
	case SQ_GATE:
	case SQ_UP:
		return 1;
	default:
		return 0;
	}
}

static void
drop_held(struct sq_pruning *k)
{
	while (k->nheld > 0)
		free(k->held[--k->nheld].payload);
}

/* ---- o and down ---- */

static float *
values(struct sq_pruning *k, const struct sq_tensor *t)
{
	void *payload = sq_in_payload(&k->f.in, SQ_MAX_PAYLOAD);
	struct sq_mat m = { NULL, SQ_F32, t->dim[0], t->dim[1], t->dim[1] };
	struct sq_weight w;

	if (payload == NULL) {
		sq_fail(k->f.err, "%s: %s", k->f.name, k->f.in.err);
		return NULL;
	}
	if (sq_weight_init(&w, t, payload, k->f.err) == 0) {
		m.p = malloc(m.rows * m.cols * sizeof(float));
		if (m.p == NULL)
			sq_fail(k->f.err, "out of memory");
		else if (sq_dequantize(k->ctx, &w, 0, &m) != 0) {
			sq_fail(k->f.err, "tensor '%s': no kernel reads it",
			    t->name);
			free(m.p);
			m.p = NULL;
		}
	}
	free(payload);
	return m.p;
}

static int
put_shrunk(struct sq_pruning *k, const struct sq_tensor *t,
    const struct sq_slot *slot, const struct sq_shrink *s)
{
	struct sq_filter *f = &k->f;
	struct sq_tensor made = *t;

	made.dim[1] = s->keep * s->unit;
	sq_tensor_layout(&made, SQ_F16, 0);
	rename_tensor(k, &made, slot);
	k->made(k, t, s);
	if (sq_out_tensor(&f->out, &made) < 0)
		return sq_fail(f->err, "%s", f->out.err);
	if (sq_put_floats(&f->out, k->ctx, s->kept, s->rows * made.dim[1],
	    &made, f->err) < 0)
		return -1;
	return sq_out_end(&f->out) < 0 ? sq_fail(f->err, "%s", f->out.err) :
	    0;
}

/* The statistics at hand are those of t, and -M is enough. */
static int
ready(struct sq_pruning *k, const struct sq_tensor *t)
{
	uint64_t need = SQ_CHUNKS_FIXED + sq_shrink_bytes(t->dim[1],
	    t->dim[0]) + 4 * t->dim[0] * t->dim[1] + 2 * t->dim[1] *
	    t->dim[1];

	if (k->stats.ntensors == 0 ||
	    strcmp(k->stats.tensor[0], t->name) != 0 ||
	    k->stats.channels != t->dim[1])
		return sq_fail(k->f.err, "tensor '%s': no statistics before "
		    "it; sq-calibrate makes them", t->name);
	if (k->stats.h == NULL)
		return sq_fail(k->f.err, "tensor '%s': its statistics have the "
		    "diagonal of H alone", t->name);
	if (k->memory != 0 && need > k->memory)
		return sq_fail(k->f.err, "tensor '%s': -M: needs at least "
		    "%juM", t->name, (uintmax_t)(need + 0xfffff) >> 20);
	return 0;
}

/* What goes is decided, and what was held can go out. */
static int
shrink(struct sq_pruning *k, const struct sq_tensor *t,
    const struct sq_slot *slot, size_t keep, size_t unit)
{
	struct sq_shrink s = { .lapack = k->lapack, .damp = k->damp,
	    .n = t->dim[1], .unit = unit, .rows = t->dim[0], .keep = keep,
	    .h = k->stats.h };
	char why[SQ_ERR];
	float *w;
	int i, r = 0;

	if (ready(k, t) < 0 || (w = values(k, t)) == NULL)
		return -1;
	s.w = w;
	if (sq_shrink(&s, why) < 0)
		r = sq_fail(k->f.err, "tensor '%s': %s", t->name, why);
	for (i = 0; r == 0 && i < k->nheld; i++)
		r = put_held(k, &k->held[i], s.unit_kept, keep,
		    rows_of(k, k->held[i].slot->role));
	if (r == 0)
		r = put_shrunk(k, t, slot, &s);
	drop_held(k);
	sq_shrink_release(&s);
	free(w);
	return r;
}

/* ---- the stream ---- */

static int
is_dense(struct sq_pruning *k, const struct sq_tensor *t)
{
	if (t->grid == SQ_DENSE && sq_dtype_is_float(t->type) &&
	    sq_tensor_part(t, "mask") == NULL)
		return 0;
	return sq_fail(k->f.err, "tensor '%s': is quantized or masked "
	    "already", t->name);
}

static int
tensor(struct sq_filter *f, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	struct sq_pruning *k = (struct sq_pruning *)f;
	const struct sq_config *c = &f->inv.config;
	int heads = k->groups < c->kv_heads, ffn = k->ffn < c->ffn;
	enum sq_role role = slot == NULL ? SQ_HEAD : slot->role;
	size_t unit = (size_t)(c->heads / c->kv_heads * c->head_dim);

	if (of_block(slot) && sq_influence_drops(&k->layers, slot->layer))
		return 0;
	heads &= role >= SQ_Q && role <= SQ_O;
	ffn &= role >= SQ_GATE && role <= SQ_DOWN;
	sq_progress_add(f->progress, f->in.length);
	if ((!heads && !ffn) || (slot->bias && (role == SQ_O ||
	    role == SQ_DOWN)))
		return pass(k, t, slot);
	if (is_dense(k, t) < 0)
		return -1;
	if (role == SQ_O)
		return shrink(k, t, slot, (size_t)k->groups, unit);
	if (role == SQ_DOWN)
		return shrink(k, t, slot, (size_t)k->ffn, 1);
	return hold(k, t, slot);
}

static int
record(struct sq_filter *f)
{
	struct sq_pruning *k = (struct sq_pruning *)f;
	const struct sq_slot *slot;
	struct sq_stats st;
	int full;

	if (f->in.type != SQ_STATS)
		return sq_filter_copy(f);
	if (sq_stats_parse(&st, &f->in, &full, f->err) < 0)
		return -1;
	slot = sq_slot_find(f->inv.slot, f->inv.n, st.tensor[0]);
	if (st.is_kv || slot == NULL ||
	    !(slot->role == SQ_O ? k->heads > 0 :
	    slot->role == SQ_DOWN && k->channels > 0))
		return 0;
	sq_stats_release(&k->stats);
	memset(&k->stats, 0, sizeof(k->stats));
	return sq_stats_read(&k->stats, &f->in, SQ_MAX_PAYLOAD) < 0 ?
	    sq_fail(f->err, "%s: %s", f->name, f->in.err) : 0;
}

static int
end(struct sq_filter *f)
{
	struct sq_pruning *k = (struct sq_pruning *)f;

	return k->nheld == 0 ? 0 : sq_fail(f->err, "%s: '%s' is out of its "
	    "place", f->name, k->held[0].t.name);
}

void
sq_pruning_init(struct sq_pruning *k)
{
	k->f.header = header;
	k->f.tensor = tensor;
	k->f.record = record;
	k->f.end = end;
}

void
sq_pruning_release(struct sq_pruning *k)
{
	drop_held(k);
	sq_stats_release(&k->stats);
	sq_influence_release(&k->layers);
}
