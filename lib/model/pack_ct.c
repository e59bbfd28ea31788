/*
 * A stream becomes a directory of compressed-tensors, for vLLM and
 * Transformers; see pack.h and fmt_compressed_tensors.h.  Modules that are
 * quantized alike make one group of the configuration: the largest group is
 * that of all linear layers, the others list their modules.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/fmt_compressed_tensors.h"
#include "model/pack_dir.h"
#include "model/pack_kv.h"

#define BLOCK	128

static int
cannot(const struct sq_tensor *t, const char *what, char *err)
{
	return sq_fail(err, "tensor '%s': compressed-tensors has no %s: "
	    "quantize it otherwise, or --dense '%s' writes its values",
	    t->name, what, t->name);
}

static uint64_t
least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* How the groups lie: -1 when the format has no such. */
static int
strategy_of(const struct sq_tensor *t, struct sq_ct_scheme *s)
{
	if (sq_dir_by_row(t))
		s->strategy = SQ_CT_CHANNEL;
	else if (t->group_rows == 1 && t->dim[1] % t->group_cols == 0) {
		s->strategy = SQ_CT_GROUP;
		s->group = t->group_cols;
	} else if (sq_dir_groups(t) == 1)
		s->strategy = SQ_CT_TENSOR;
	else if (t->group_rows == least(BLOCK, t->dim[0]) &&
	    t->group_cols == least(BLOCK, t->dim[1]))
		s->strategy = SQ_CT_BLOCK;
	else
		return -1;
	return 0;
}

static int
int_scheme(const struct sq_tensor *t, struct sq_ct_scheme *s, char *err)
{
	int by_row = s->strategy == SQ_CT_CHANNEL ||
	    s->strategy == SQ_CT_GROUP;

	if (t->act.kind == SQ_ACT_INT8) {
		if (!t->symmetric || (s->bits != 4 && s->bits != 8) ||
		    (s->bits == 8 && s->strategy == SQ_CT_GROUP) ||
		    s->strategy == SQ_CT_BLOCK)
			return cannot(t, "8-bit activations with such weights "
			    "(they take symmetric int8 by rows, or int4)",
			    err);
		s->format = SQ_CT_INT;
		return 0;
	}
	if (t->act.kind == SQ_ACT_FP8 && s->bits != 4)
		return cannot(t, "FP8 activations with integer weights of "
		    "other than 4 bits", err);
	s->format = SQ_CT_PACKED;
	return by_row ? 0 : cannot(t, "integers with such groups", err);
}

static int
fp8_scheme(const struct sq_tensor *t, struct sq_ct_scheme *s, char *err)
{
	s->format = SQ_CT_FLOAT;
	if (s->strategy == SQ_CT_GROUP)
		return cannot(t, "FP8 in groups of a row (it takes one scale "
		    "for a row, a tensor, or blocks of 128 x 128)", err);
	return t->act.kind != SQ_ACT_INT8 ? 0 : cannot(t, "FP8 weights with "
	    "integer activations", err);
}

static int
scheme_of(const struct sq_tensor *t, struct sq_ct_scheme *s, char *err)
{
	memset(s, 0, sizeof(*s));
	s->act = t->act.kind == SQ_ACT_INT8 ? SQ_CT_ACT_INT8 :
	    t->act.kind == SQ_ACT_FP8 ? SQ_CT_ACT_FP8 : SQ_CT_ACT_NONE;
	s->act_static = t->act.scale > 0;
	s->bits = sq_grid_bits(t->grid);
	s->symmetric = sq_grid_is_int(t->grid) ? t->symmetric : 1;
	if (strategy_of(t, s) < 0)
		return cannot(t, "such groups", err);
	if (sq_grid_is_int(t->grid))
		return int_scheme(t, s, err);
	if (t->grid == SQ_FP8_E4M3)
		return fp8_scheme(t, s, err);
	if (t->grid != SQ_MXFP4 || t->dim[1] % 32 != 0 ||
	    s->act != SQ_CT_ACT_NONE)
		return cannot(t, t->grid == SQ_GRIDS ? "grid that is not known"
		    : "such grid", err);
	s->format = SQ_CT_MXFP4;
	s->strategy = SQ_CT_GROUP;
	s->group = 32;
	return 0;
}

static int
put_scales(struct sq_packdir *k, const struct sq_module *m,
    const struct sq_ct_scheme *s, const unsigned char *payload, char *err)
{
	uint64_t dim[2] = { sq_tensor_group_rows(&m->t),
	    sq_tensor_group_cols(&m->t) };
	const struct sq_part *p = sq_tensor_part(&m->t, "scales");
	enum sq_dtype type = p->type;
	void *scales;
	int r;

	if (s->format == SQ_CT_MXFP4)
		return sq_dir_put(k, m, "weight_scale", SQ_U8, 2, dim,
		    payload + p->offset, err);
	if (k->p->scales >= 0)
		type = (enum sq_dtype)k->p->scales;
	else if (!sq_dtype_is_float(type))
		type = SQ_F32;
	if ((scales = sq_dir_scales(k, &m->t, payload, type, err)) == NULL)
		return -1;
	r = sq_dir_put(k, m, "weight_scale", type,
	    s->strategy == SQ_CT_TENSOR ? 1 : 2, dim, scales, err);
	free(scales);
	return r;
}

/* Words of n codes. */
static size_t
words_of(const struct sq_packdir *k, size_t n, int bits)
{
	return k->p->old ? sq_ct_old_words(n, bits) : sq_ct_words(n, bits);
}

/* Rows of codes, padded to words. */
static int
put_words(struct sq_packdir *k, const struct sq_module *m,
    const unsigned char *codes, int bits, char *err)
{
	size_t rows = (size_t)m->t.dim[0], cols = (size_t)m->t.dim[1], i;
	size_t n = sq_row_bytes(cols, bits), words = words_of(k, cols, bits);
	uint64_t dim[2] = { rows, words };
	uint32_t *packed;
	int r;

	if (n == 4 * words && (!k->p->old || 32 % bits == 0))
		return sq_dir_put(k, m, "weight_packed", SQ_I32, 2, dim, codes,
		    err);
	if ((packed = calloc(rows * words, sizeof(*packed))) == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < rows; i++)
		if (k->p->old)
			sq_ct_put_old(packed + i * words, codes + i * n, cols,
			    bits);
		else
			memcpy(packed + i * words, codes + i * n, n);
	r = sq_dir_put(k, m, "weight_packed", SQ_I32, 2, dim, packed, err);
	free(packed);
	return r;
}

static int
put_zeros(struct sq_packdir *k, const struct sq_module *m,
    const unsigned char *zeros, int bits, char *err)
{
	size_t rows = (size_t)m->t.dim[0];
	uint64_t dim[2] = { words_of(k, rows, bits),
	    sq_tensor_group_cols(&m->t) };
	uint32_t *packed = malloc((size_t)(dim[0] * dim[1]) * sizeof(*packed));
	int r, worst;

	if (packed == NULL)
		return sq_fail(err, "out of memory");
	if (sq_ct_put_zeros(packed, zeros, rows, (size_t)dim[1], bits,
	    k->p->old, &worst) < 0)
		r = sq_fail(err, "tensor '%s': its zero point %d is not one "
		    "of %d bits: --dense '%s' writes its values", m->t.name,
		    worst, bits, m->t.name);
	else
		r = sq_dir_put(k, m, "weight_zero_point", SQ_I32, 2, dim,
		    packed, err);
	free(packed);
	return r;
}

static int
put_packed(struct sq_packdir *k, const struct sq_module *m,
    const struct sq_ct_scheme *s, const unsigned char *payload, char *err)
{
	const int64_t shape[2] = { (int64_t)m->t.dim[0],
	    (int64_t)m->t.dim[1] };
	const uint64_t two = 2;
	const unsigned char *zeros = sq_dir_part(&m->t, payload, "zeros");

	if (put_words(k, m, sq_dir_part(&m->t, payload, "codes"), s->bits,
	    err) < 0 || put_scales(k, m, s, payload, err) < 0)
		return -1;
	if (zeros != NULL && put_zeros(k, m, zeros, s->bits, err) < 0)
		return -1;
	return sq_dir_put(k, m, "weight_shape", SQ_I64, 1, &two, shape, err);
}

static int
put_int(struct sq_packdir *k, const struct sq_module *m,
    const struct sq_ct_scheme *s, const unsigned char *payload, char *err)
{
	uint8_t *bytes = malloc((size_t)sq_tensor_count(&m->t));
	int r;

	if (bytes == NULL)
		return sq_fail(err, "out of memory");
	sq_ct_put_bytes(bytes, sq_dir_part(&m->t, payload, "codes"),
	    (size_t)m->t.dim[0], (size_t)m->t.dim[1], s->bits);
	r = sq_dir_put(k, m, "weight", SQ_I8, 2, m->t.dim, bytes, err);
	free(bytes);
	return r < 0 ? -1 : put_scales(k, m, s, payload, err);
}

static int
put_weight(struct sq_packdir *k, const struct sq_module *m,
    const struct sq_ct_scheme *s, const unsigned char *payload, char *err)
{
	const void *codes = sq_dir_part(&m->t, payload, "codes");
	uint64_t half[2] = { m->t.dim[0], m->t.dim[1] / 2 };

	switch (s->format) {
	case SQ_CT_PACKED:
		return put_packed(k, m, s, payload, err);
	case SQ_CT_INT:
		return put_int(k, m, s, payload, err);
	case SQ_CT_FLOAT:
		if (sq_dir_put(k, m, "weight", SQ_F8_E4M3, 2, m->t.dim, codes,
		    err) < 0)
			return -1;
		break;
	default:
		if (sq_dir_put(k, m, "weight_packed", SQ_U8, 2, half, codes,
		    err) < 0)
			return -1;
	}
	return put_scales(k, m, s, payload, err);
}

static int
put(struct sq_packdir *k, struct sq_module *m, const unsigned char *payload,
    char *err)
{
	const uint64_t one = 1;
	struct sq_ct_scheme s;

	if (scheme_of(&m->t, &s, err) < 0 ||
	    put_weight(k, m, &s, payload, err) < 0)
		return -1;
	return !s.act_static ? 0 : sq_dir_put(k, m, "input_scale", SQ_F32, 1,
	    &one, &m->t.act.scale, err);
}

/* ---- the configuration ---- */

struct group {
	struct sq_ct_scheme s;
	size_t n;
	json_t *names;
};

/* Does a group of inputs that is the whole row belong to those of scheme s? */
static int
same_scheme(const struct sq_ct_scheme *s, const struct sq_ct_scheme *one,
    uint64_t cols)
{
	struct sq_ct_scheme o = *one;

	if (o.strategy == SQ_CT_CHANNEL && s->strategy == SQ_CT_GROUP &&
	    s->group == cols) {
		o.strategy = SQ_CT_GROUP;
		o.group = cols;
	}
	return memcmp(s, &o, sizeof(o)) == 0;
}

static int
add_group(struct group *g, size_t *n, const struct sq_ct_scheme *s,
    const struct sq_module *m, int may_add)
{
	size_t i;

	for (i = 0; i < *n; i++)
		if (same_scheme(&g[i].s, s, m->t.dim[1]))
			break;
	if (i == *n) {
		if (!may_add)
			return 0;
		memset(&g[i], 0, sizeof(g[i]));
		g[i].s = *s;
		g[i].names = json_array();
		(*n)++;
	}
	g[i].n++;
	json_array_append_new(g[i].names, json_string(m->name));
	return 1;
}

/* Sorts the quantized modules into groups: whole rows last, since they may be
 * groups of that size. */
static int
make_groups(struct sq_packdir *k, struct group *g, size_t *n, char *err)
{
	const struct sq_module *m;
	struct sq_ct_scheme s;
	size_t i;
	int whole;

	for (whole = 0; whole < 2; whole++)
		for (i = 0; i < k->nmodules; i++) {
			m = &k->module[i];
			if (m->t.grid == SQ_DENSE)
				continue;
			if (scheme_of(&m->t, &s, err) < 0)
				return -1;
			if ((s.strategy == SQ_CT_CHANNEL) == whole)
				add_group(g, n, &s, m, 1);
		}
	return 0;
}

static json_t *
groups_json(const struct group *g, size_t n)
{
	json_t *groups = json_object(), *targets;
	size_t i, most = 0;
	char key[32];

	for (i = 0; i < n; i++)
		if (g[i].n > g[most].n)
			most = i;
	for (i = 0; i < n; i++) {
		snprintf(key, sizeof(key), "group_%zu", i);
		targets = i == most ? json_pack("[s]", "Linear") :
		    json_incref(g[i].names);
		json_object_set_new(groups, key,
		    sq_ct_group_json(&g[i].s, targets));
	}
	return groups;
}

/* The linear layers that are not quantized; a head that is the embedding, too.
 */
static json_t *
ignored(const struct sq_packdir *k)
{
	json_t *a = json_array();
	size_t i;

	for (i = 0; i < k->nmodules; i++)
		if (k->module[i].t.grid == SQ_DENSE &&
		    k->module[i].slot->role != SQ_EMBED)
			json_array_append_new(a,
			    json_string(k->module[i].name));
	if (!k->head)
		json_array_append_new(a, json_string("lm_head"));
	return a;
}

static int
finish(struct sq_packdir *k, char *err)
{
	struct group *g = calloc(k->nmodules + 1, sizeof(*g));
	const char *format = NULL;
	json_t *config = NULL;
	size_t i, n = 0;
	int r;

	if (g == NULL)
		return sq_fail(err, "out of memory");
	r = make_groups(k, g, &n, err);
	for (i = 0; i < n; i++)
		format = i > 0 && g[i].s.format != g[0].s.format ?
		    "mixed-precision" : format != NULL ? format :
		    sq_ct_format_name(g[i].s.format);
	if (r == 0 && n > 0) {
		config = sq_ct_config_json(groups_json(g, n), ignored(k),
		    format, k->kv_layers > 0);
		if (config == NULL)
			r = sq_fail(err, "out of memory");
	}
	if (r == 0)
		r = sq_dir_config(k, config, err);
	for (i = 0; i < n; i++)
		json_decref(g[i].names);
	free(g);
	return r;
}

int
sq_pack_compressed_tensors(struct sq_pack *p, struct sq_in *in, int dirfd,
    char *err)
{
	static const struct sq_dir_kind kind = { .stem = "model",
	    .tensors = 4, .put = put, .kv = sq_pack_kv_fp8,
	    .kv_suffix = ".k_scale", .finish = finish };

	return sq_pack_dir(p, &kind, in, dirfd, err);
}
