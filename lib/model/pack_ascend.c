/*
 * A stream becomes an AscendV1 directory, for vllm-ascend and MindIE; see
 * pack.h and fmt_ascend.h.  Weights are symmetric, with one F32 scale for each
 * row.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/floats.h"
#include "formats/fmt_ascend.h"
#include "formats/fmt_compressed_tensors.h"
#include "model/pack_dir.h"
#include "model/pack_kv.h"

#define SPLIT	16		/* sums of a row, for tensor parallelism */

static int
cannot(const struct sq_tensor *t, const char *what, char *err)
{
	return sq_fail(err, "tensor '%s': AscendV1 has no %s: quantize it "
	    "otherwise, or --dense '%s' writes its values", t->name, what,
	    t->name);
}

/* The type of a module, or NULL with the reason. */
static const char *
type_of(const struct sq_tensor *t, char *err)
{
	enum sq_act_kind act = t->act.kind;
	int is_static = t->act.scale > 0;

	if (!sq_dir_by_row(t) || !t->symmetric)
		cannot(t, "weights but symmetric ones with a scale for each "
		    "row", err);
	else if (t->grid == SQ_INT8 && act == SQ_ACT_NONE)
		return "W8A16";
	else if (t->grid == SQ_INT8 && act == SQ_ACT_INT8)
		return is_static ? "W8A8" : "W8A8_DYNAMIC";
	else if (t->grid == SQ_INT4 && act == SQ_ACT_INT8 && !is_static) {
		if (t->dim[0] % 2 == 0 && t->dim[1] % SPLIT == 0)
			return "W4A8_DYNAMIC";
		cannot(t, "4-bit weights of such a shape", err);
	} else
		cannot(t, "such grid with such activations (int8 with int8 or "
		    "none, int4 with int8: sq-act, --act)", err);
	return NULL;
}

static int
put_as(struct sq_packdir *k, const struct sq_module *m, const char *suffix,
    enum sq_dtype type, const uint64_t dim[2], const void *data,
    const char *as, char *err)
{
	char name[SQ_NAME + 32];

	if (sq_dir_put(k, m, suffix, type, 2, dim, data, err) < 0)
		return -1;
	snprintf(name, sizeof(name), "%s.%s", m->name, suffix);
	json_object_set_new(k->names, name, json_string(as));
	return 0;
}

static int
put_codes(struct sq_packdir *k, const struct sq_module *m, const uint8_t *codes,
    const char *as, char *err)
{
	size_t rows = (size_t)m->t.dim[0], cols = (size_t)m->t.dim[1];
	int four = m->t.grid == SQ_INT4, r;
	uint64_t dim[2] = { four ? rows / 2 : rows, cols };
	uint8_t *bytes = malloc((size_t)(dim[0] * dim[1]));

	if (bytes == NULL)
		return sq_fail(err, "out of memory");
	if (four)
		sq_ascend_put_pairs(bytes, codes, rows, cols);
	else
		sq_ct_put_bytes(bytes, codes, rows, cols, 8);
	r = put_as(k, m, "weight", SQ_I8, dim, bytes, as, err);
	free(bytes);
	return r;
}

static int
put_bias(struct sq_packdir *k, const struct sq_module *m, const uint8_t *codes,
    const float *scales, const char *as, char *err)
{
	int rows_split = m->slot->role == SQ_DOWN || m->slot->role == SQ_O;
	uint64_t dim[2] = { m->t.dim[0], rows_split ? SPLIT : 1 };
	float *bias = malloc((size_t)(dim[0] * dim[1]) * sizeof(*bias));
	int r;

	if (bias == NULL)
		return sq_fail(err, "out of memory");
	sq_ascend_scale_bias(bias, codes, scales, (size_t)dim[0],
	    (size_t)m->t.dim[1], (size_t)dim[1]);
	r = put_as(k, m, "scale_bias", SQ_F32, dim, bias, as, err);
	free(bias);
	return r;
}

static int
put_vector(struct sq_packdir *k, const struct sq_module *m, const char *suffix,
    enum sq_dtype type, uint64_t n, const void *data, char *err)
{
	char name[SQ_NAME + 32];

	if (sq_dir_put(k, m, suffix, type, 1, &n, data, err) < 0)
		return -1;
	snprintf(name, sizeof(name), "%s.%s", m->name, suffix);
	json_object_set_new(k->names, name, json_string("W8A8"));
	return 0;
}

/*
 * One scale for all inputs: the product of both scales with it, which in models
 * of 16-bit floats that are not bf16 hides in an I64, for the bias that follows
 * too.
 */
static int
put_static(struct sq_packdir *k, struct sq_module *m, const float *scales,
    char *err)
{
	const uint64_t n = m->t.dim[0];
	const float zero = 0;
	int64_t *wide = NULL;
	uint64_t i;
	int r;

	m->deq = malloc((size_t)n * sizeof(*m->deq));
	if (m->t.type != SQ_BF16)
		wide = calloc((size_t)n, sizeof(*wide));
	if (m->deq == NULL || (m->t.type != SQ_BF16 && wide == NULL)) {
		free(wide);
		return sq_fail(err, "out of memory");
	}
	for (i = 0; i < n; i++) {
		m->deq[i] = m->t.act.scale * scales[i];
		if (wide != NULL)
			memcpy(&wide[i], &m->deq[i], sizeof(m->deq[i]));
	}
	r = put_vector(k, m, "input_scale", SQ_F32, 1, &m->t.act.scale, err);
	if (r == 0)
		r = put_vector(k, m, "input_offset", SQ_F32, 1, &zero, err);
	if (r == 0)
		r = wide == NULL ? put_vector(k, m, "deq_scale", SQ_F32, n,
		    m->deq, err) : put_vector(k, m, "deq_scale", SQ_I64, n,
		    wide, err);
	free(wide);
	return r;
}

/* The bias in units of the integer product; zeros for a layer without one. */
static int
put_quant_bias(struct sq_packdir *k, struct sq_module *m, const void *bias,
    enum sq_dtype type, char *err)
{
	int32_t *q = calloc((size_t)m->t.dim[0], sizeof(*q));
	char name[SQ_NAME + 32];
	double v;
	uint64_t i;
	int r;

	if (q == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; bias != NULL && i < m->t.dim[0]; i++) {
		v = rint((double)sq_float_get(bias, type, (size_t)i) /
		    m->deq[i]);
		q[i] = m->deq[i] == 0 ? 0 : v > INT32_MAX ? INT32_MAX :
		    v < INT32_MIN ? INT32_MIN : (int32_t)v;
	}
	snprintf(name, sizeof(name), "%s.quant_bias", m->name);
	r = sq_dir_extra(k, name, SQ_I32, m->t.dim[0], q, err);
	free(q);
	free(m->deq);
	m->deq = NULL;
	return r;
}

static int
bias(struct sq_packdir *k, const struct sq_tensor *t,
    const struct sq_slot *slot, const void *data, char *err)
{
	struct sq_module *m = &k->module[k->nmodules - 1];

	if (k->nmodules == 0 || m->slot->role != slot->role ||
	    m->slot->layer != slot->layer || m->deq == NULL)
		return 0;
	return put_quant_bias(k, m, data, t->type, err);
}

static int
put(struct sq_packdir *k, struct sq_module *m, const unsigned char *payload,
    char *err)
{
	const uint8_t *codes = sq_dir_part(&m->t, payload, "codes");
	const char *as = type_of(&m->t, err);
	uint64_t dim[2] = { m->t.dim[0], 1 };
	float *scales = NULL, *zeros = NULL;
	int r = -1;

	if (as == NULL)
		return -1;
	if (m->slot->role == SQ_HEAD)
		return cannot(&m->t, "quantized head", err);
	scales = sq_dir_scales(k, &m->t, payload, SQ_F32, err);
	if (scales == NULL)
		return -1;
	if ((zeros = calloc((size_t)dim[0], sizeof(*zeros))) == NULL) {
		sq_fail(err, "out of memory");
		goto done;
	}
	if (put_codes(k, m, codes, as, err) < 0 ||
	    put_as(k, m, "weight_scale", SQ_F32, dim, scales, as, err) < 0 ||
	    put_as(k, m, "weight_offset", SQ_F32, dim, zeros, as, err) < 0)
		goto done;
	if (m->t.act.scale > 0 && put_static(k, m, scales, err) < 0)
		goto done;
	if (m->t.grid == SQ_INT4 &&
	    put_bias(k, m, codes, scales, as, err) < 0)
		goto done;
	r = 0;
done:
	free(scales);
	free(zeros);
	return r;
}

/* The type of the most modules. */
static const char *
model_type(const struct sq_packdir *k, char *err)
{
	static const char *const types[] = { "W8A8_DYNAMIC", "W8A16",
	    "W4A8_DYNAMIC", "W8A8" };
	size_t n[4] = { 0, 0, 0, 0 }, i, j, best = 0;

	for (i = 0; i < k->nmodules; i++)
		for (j = 0; j < 4; j++)
			if (k->module[i].t.grid != SQ_DENSE &&
			    strcmp(type_of(&k->module[i].t, err),
			    types[j]) == 0)
				n[j]++;
	for (j = 0; j < 4; j++)
		if (n[j] > n[best])
			best = j;
	return n[best] > 0 ? types[best] : "FLOAT";
}

/* The layers that had no bias. */
static int
end(struct sq_packdir *k, char *err)
{
	size_t i;

	for (i = 0; i < k->nmodules; i++)
		if (k->module[i].deq != NULL && put_quant_bias(k,
		    &k->module[i], NULL, SQ_F32, err) < 0)
			return -1;
	return 0;
}

static int
finish(struct sq_packdir *k, char *err)
{
	json_t *o = json_pack("{s:s, s:s, s:i, s:{}, s:{}}", "version",
	    "1.0.0", "model_quant_type", model_type(k, err), "group_size", 0,
	    "metadata", "optional");
	const char *name;
	json_t *v;

	if (k->kv_layers > 0) {
		json_object_set_new(o, "kv_quant_type", json_string("C8"));
		json_object_set_new(o, "kv_cache_type", json_string("C8"));
	}
	json_object_foreach(k->names, name, v)
		json_object_set_new(o, name, json_is_string(v) ?
		    json_incref(v) : json_string(
		    strstr(name, ".kv_cache_") != NULL ? "C8" :
		    strstr(name, ".quant_bias") != NULL ? "W8A8" : "FLOAT"));
	if (sq_dir_json(k, "quant_model_description.json", o, err) < 0)
		return -1;
	return sq_dir_config(k, NULL, err);
}

int
sq_pack_ascend(struct sq_pack *p, struct sq_in *in, int dirfd, char *err)
{
	static const struct sq_dir_kind kind = {
	    .stem = "quant_model_weights", .tensors = 8, .put = put,
	    .bias = bias, .end = end,
	    .kv = sq_pack_kv_int8, .kv_suffix = ".k_proj.kv_cache_scale",
	    .finish = finish };

	return sq_pack_dir(p, &kind, in, dirfd, err);
}
