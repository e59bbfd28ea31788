/*
 * A stream becomes a GPTQ or an AWQ directory; see pack.h, fmt_gptq.h and
 * fmt_awq.h.  Scales are F16.  What most modules are is said once; GPTQ has a
 * rule for each of the others.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "formats/fmt_awq.h"
#include "formats/fmt_gptq.h"
#include "model/pack_dir.h"

static int
cannot(const struct sq_tensor *t, const char *what, char *err)
{
	return sq_fail(err, "tensor '%s': the format has no %s: quantize it "
	    "otherwise, or --dense '%s' writes its values", t->name, what,
	    t->name);
}

static int
check_shape(const struct sq_tensor *t, char *err)
{
	if (t->dim[0] % 32 != 0 || t->dim[1] % 32 != 0)
		return cannot(t, "sides that are no multiples of 32", err);
	if (!sq_grid_is_int(t->grid))
		return cannot(t, "grid but integers", err);
	if (t->group_rows != 1 || t->dim[1] % t->group_cols != 0)
		return cannot(t, "such groups", err);
	return 0;
}

static int
no_zero(const struct sq_tensor *t, int z, const char *other, char *err)
{
	return sq_fail(err, "tensor '%s': the format has no zero point %d: "
	    "%s--dense '%s' writes its values", t->name, z, other, t->name);
}

/* Scales in F16, [groups][rows]. */
static int
put_scales(struct sq_packdir *k, const struct sq_module *m,
    const unsigned char *payload, char *err)
{
	uint64_t dim[2] = { sq_tensor_group_cols(&m->t), m->t.dim[0] };
	uint16_t *to = malloc((size_t)(dim[0] * dim[1]) * sizeof(*to));
	uint16_t *from = sq_dir_scales(k, &m->t, payload, SQ_F16, err);
	int r = -1;

	if (from == NULL)
		goto done;
	if (to == NULL) {
		sq_fail(err, "out of memory");
		goto done;
	}
	sq_gptq_transpose16(to, from, (size_t)dim[1], (size_t)dim[0]);
	r = sq_dir_put(k, m, "scales", SQ_F16, 2, dim, to, err);
done:
	free(to);
	free(from);
	return r;
}

/* Which group each input is in. */
static int
put_index(struct sq_packdir *k, const struct sq_module *m, char *err)
{
	int32_t *index = malloc((size_t)m->t.dim[1] * sizeof(*index));
	uint64_t i;
	int r;

	if (index == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < m->t.dim[1]; i++)
		index[i] = (int32_t)(i / m->t.group_cols);
	r = sq_dir_put(k, m, "g_idx", SQ_I32, 1, &m->t.dim[1], index, err);
	free(index);
	return r;
}

static int
put_gptq(struct sq_packdir *k, const struct sq_module *m,
    const unsigned char *payload, int less, uint32_t *words, char *err)
{
	int bits = sq_grid_bits(m->t.grid), worst;
	size_t rows = (size_t)m->t.dim[0], down = (size_t)m->t.dim[1] *
	    (size_t)bits / 32;
	uint64_t dim[2] = { down, rows };

	sq_gptq_transpose(words, sq_dir_part(&m->t, payload, "codes"), rows,
	    down);
	if (sq_dir_put(k, m, "qweight", SQ_I32, 2, dim, words, err) < 0)
		return -1;
	dim[0] = sq_tensor_group_cols(&m->t);
	dim[1] = rows * (size_t)bits / 32;
	if (sq_gptq_put_zeros(words, sq_dir_part(&m->t, payload, "zeros"),
	    rows, (size_t)dim[0], bits, less, &worst) < 0)
		return no_zero(&m->t, worst, worst == 0 ? "-f gptq-v2 has, and "
		    : "", err);
	if (sq_dir_put(k, m, "qzeros", SQ_I32, 2, dim, words, err) < 0 ||
	    put_scales(k, m, payload, err) < 0)
		return -1;
	return put_index(k, m, err);
}

static int
put_awq(struct sq_packdir *k, const struct sq_module *m,
    const unsigned char *payload, uint32_t *words, char *err)
{
	uint64_t dim[2] = { m->t.dim[1], m->t.dim[0] / 8 };
	int worst;

	sq_awq_put_codes(words, sq_dir_part(&m->t, payload, "codes"),
	    (size_t)m->t.dim[0], (size_t)m->t.dim[1]);
	if (sq_dir_put(k, m, "qweight", SQ_I32, 2, dim, words, err) < 0)
		return -1;
	dim[0] = sq_tensor_group_cols(&m->t);
	if (sq_awq_put_zeros(words, sq_dir_part(&m->t, payload, "zeros"),
	    (size_t)m->t.dim[0], (size_t)dim[0], &worst) < 0)
		return no_zero(&m->t, worst, "", err);
	if (sq_dir_put(k, m, "qzeros", SQ_I32, 2, dim, words, err) < 0)
		return -1;
	return put_scales(k, m, payload, err);
}

/* less: what GPTQ's zero points are stored less; -1: AWQ. */
static int
put(struct sq_packdir *k, const struct sq_module *m,
    const unsigned char *payload, int less, char *err)
{
	uint32_t *words;
	int r;

	if (check_shape(&m->t, err) < 0)
		return -1;
	k->p->lost_acts += m->t.act.kind != SQ_ACT_NONE;
	/* codes and zero points take at most a byte each */
	words = malloc((size_t)(m->t.dim[0] * m->t.dim[1]));
	if (words == NULL)
		return sq_fail(err, "out of memory");
	r = less < 0 ? put_awq(k, m, payload, words, err) :
	    put_gptq(k, m, payload, less, words, err);
	free(words);
	return r;
}

static int
gptq_bits_ok(const struct sq_tensor *t, char *err)
{
	if (t->grid != SQ_INT2 && t->grid != SQ_INT3 && t->grid != SQ_INT4 &&
	    t->grid != SQ_INT8)
		return cannot(t, "grid but 2, 3, 4 and 8 bits", err);
	return 0;
}

static int
put_v1(struct sq_packdir *k, struct sq_module *m, const unsigned char *payload,
    char *err)
{
	return gptq_bits_ok(&m->t, err) < 0 ? -1 : put(k, m, payload, 1, err);
}

static int
put_v2(struct sq_packdir *k, struct sq_module *m, const unsigned char *payload,
    char *err)
{
	return gptq_bits_ok(&m->t, err) < 0 ? -1 : put(k, m, payload, 0, err);
}

static int
put_4(struct sq_packdir *k, struct sq_module *m, const unsigned char *payload,
    char *err)
{
	if (m->t.grid != SQ_INT4)
		return cannot(&m->t, "grid but 4 bits", err);
	if (m->slot->role == SQ_HEAD)
		return cannot(&m->t, "quantized head", err);
	return put(k, m, payload, -1, err);
}

/* ---- the configuration ---- */

struct form {
	int bits, symmetric;
	int64_t group;			/* -1: the row */
};

static struct form
form_of(const struct sq_tensor *t)
{
	struct form f = { sq_grid_bits(t->grid), t->symmetric,
	    sq_dir_by_row(t) ? -1 : (int64_t)t->group_cols };

	return f;
}

/* Is one module's form what f says?  A group may be the row. */
static int
is_form(const struct sq_tensor *t, const struct form *f)
{
	return sq_grid_bits(t->grid) == f->bits && t->symmetric ==
	    f->symmetric && (f->group < 0 ? sq_dir_by_row(t) :
	    t->group_cols == (uint64_t)f->group);
}

/* The most frequent form: how many modules have it. */
static size_t
main_form(const struct sq_packdir *k, struct form *f)
{
	size_t i, j, n, most = 0;
	struct form g;

	for (i = 0; i < k->nmodules; i++) {
		if (k->module[i].t.grid == SQ_DENSE)
			continue;
		g = form_of(&k->module[i].t);
		if (most > 0 && memcmp(&g, f, sizeof(g)) == 0)
			continue;
		for (j = n = 0; j < k->nmodules; j++)
			n += k->module[j].t.grid != SQ_DENSE &&
			    is_form(&k->module[j].t, &g);
		if (n > most) {
			most = n;
			*f = g;
		}
	}
	return most;
}

/* A regular expression for one module: "-:^model\.layers\.0\.mlp\.up_proj$". */
static char *
rule(char out[2 * SQ_NAME], char sign, const char *name)
{
	size_t n = 0;

	out[n++] = sign;
	out[n++] = ':';
	out[n++] = '^';
	for (; *name != '\0'; name++) {
		if (*name == '.')
			out[n++] = '\\';
		out[n++] = *name;
	}
	out[n++] = '$';
	out[n] = '\0';
	return out;
}

/* What the modules are that are not of the main form; the head is known to
 * stay as it is. */
static json_t *
rules(const struct sq_packdir *k, const struct form *f)
{
	json_t *o = json_object();
	char key[2 * SQ_NAME + 8];
	const struct sq_module *m;
	struct form g;
	size_t i;

	for (i = 0; i < k->nmodules; i++) {
		m = &k->module[i];
		if (m->slot->role == SQ_EMBED || (m->t.grid == SQ_DENSE &&
		    m->slot->role == SQ_HEAD))
			continue;
		if (m->t.grid == SQ_DENSE)
			json_object_set_new(o, rule(key, '-', m->name),
			    json_object());
		else if (!is_form(&m->t, f)) {
			g = form_of(&m->t);
			json_object_set_new(o, rule(key, '+', m->name),
			    json_pack("{s:i, s:I, s:b}", "bits", g.bits,
			    "group_size", (json_int_t)g.group, "sym",
			    g.symmetric));
		}
	}
	return o;
}

static int
head_is_quantized(const struct sq_packdir *k)
{
	size_t i;

	for (i = 0; i < k->nmodules; i++)
		if (k->module[i].slot->role == SQ_HEAD)
			return k->module[i].t.grid != SQ_DENSE;
	return 0;
}

static int
finish_gptq(struct sq_packdir *k, const char *format, char *err)
{
	char made[64];
	json_t *config, *o;
	struct form f;

	if (main_form(k, &f) == 0)
		return sq_dir_config(k, NULL, err);
	snprintf(made, sizeof(made), "%s:%s", k->p->tool, k->p->version);
	config = json_pack("{s:s, s:i, s:I, s:b, s:b, s:b, s:b, s:b, s:f, s:s, "
	    "s:s, s:{s:[s]}}", "quant_method", "gptq", "bits", f.bits,
	    "group_size", (json_int_t)f.group, "desc_act", 0, "sym",
	    f.symmetric, "static_groups", 0, "true_sequential", 1, "lm_head",
	    head_is_quantized(k), "damp_percent", 0.05, "checkpoint_format",
	    format, "pack_dtype", "int32", "meta", "quantizer", made);
	o = rules(k, &f);
	if (config != NULL && json_object_size(o) > 0)
		json_object_set(config, "dynamic", o);
	json_decref(o);
	if (sq_dir_json(k, "quantize_config.json", json_incref(config),
	    err) < 0) {
		json_decref(config);
		return -1;
	}
	return sq_dir_config(k, config, err);
}

static int
finish_v1(struct sq_packdir *k, char *err)
{
	return finish_gptq(k, "gptq", err);
}

static int
finish_v2(struct sq_packdir *k, char *err)
{
	return finish_gptq(k, "gptq_v2", err);
}

static int
finish_awq(struct sq_packdir *k, char *err)
{
	json_t *left = json_array();
	const struct sq_module *m;
	struct form f;
	size_t i;

	if (main_form(k, &f) == 0) {
		json_decref(left);
		return sq_dir_config(k, NULL, err);
	}
	for (i = 0; i < k->nmodules; i++) {
		m = &k->module[i];
		if (m->t.grid == SQ_DENSE && m->slot->role != SQ_EMBED &&
		    m->slot->role != SQ_HEAD)
			json_array_append_new(left, json_string(m->name));
		if (m->t.grid != SQ_DENSE && (f.group < 0 ?
		    !sq_dir_by_row(&m->t) :
		    m->t.group_cols != (uint64_t)f.group)) {
			json_decref(left);
			return cannot(&m->t, "second group size", err);
		}
	}
	json_array_append_new(left, json_string("lm_head"));
	return sq_dir_config(k, json_pack("{s:s, s:i, s:I, s:b, s:s, s:o}",
	    "quant_method", "awq", "bits", 4, "group_size",
	    (json_int_t)f.group, "zero_point", 1, "version", "gemm",
	    "modules_to_not_convert", left), err);
}

int
sq_pack_gptq(struct sq_pack *p, struct sq_in *in, int dirfd, char *err)
{
	static const struct sq_dir_kind kind = { .stem = "model",
	    .tensors = 4, .put = put_v1, .finish = finish_v1 };

	return sq_pack_dir(p, &kind, in, dirfd, err);
}

int
sq_pack_gptq_v2(struct sq_pack *p, struct sq_in *in, int dirfd, char *err)
{
	static const struct sq_dir_kind kind = { .stem = "model",
	    .tensors = 4, .put = put_v2, .finish = finish_v2 };

	return sq_pack_dir(p, &kind, in, dirfd, err);
}

int
sq_pack_awq(struct sq_pack *p, struct sq_in *in, int dirfd, char *err)
{
	static const struct sq_dir_kind kind = { .stem = "model",
	    .tensors = 3, .put = put_4, .finish = finish_awq };

	return sq_pack_dir(p, &kind, in, dirfd, err);
}
