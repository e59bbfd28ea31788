/* Weights of GPTQ and AWQ; see source_quantized.h. */
#include <string.h>

#include "formats/fmt_awq.h"
#include "formats/fmt_gptq.h"
#include "formats/fmt_json.h"
#include "formats/fmt_safetensors.h"
#include "model/source_quantized.h"

static int
unpack(const struct sq_tensor *t, const struct sq_stored *m,
    const struct sq_st_tensor *st, const void *p, void *buf, char *err)
{
	size_t rows = (size_t)t->dim[0], cols = (size_t)t->dim[1];
	size_t groups = (size_t)m->scale->dim[0];
	int awq = m->less < 0;

	if (st == m->w && awq)
		sq_awq_get_codes(buf, p, rows, cols);
	else if (st == m->w)		/* columns of words become rows */
		sq_gptq_transpose(buf, p, (size_t)st->dim[0], rows);
	else if (st == m->zero && awq)
		sq_awq_get_zeros(buf, p, rows, groups);
	else if (st == m->zero)
		return sq_gptq_get_zeros(buf, p, rows, groups, m->bits,
		    m->less) == 0 ? 0 : sq_fail(err, "'%s': a zero point out "
		    "of range", t->name);
	else if (st->type == SQ_F32)
		sq_gptq_transpose(buf, p, groups, rows);
	else
		sq_gptq_transpose16(buf, p, groups, rows);
	return 0;
}

/* Groups that are not one after another cannot be held. */
static int
check_index(const struct sq_source *s, const char *module,
    const struct sq_tensor *t, char *err)
{
	const struct sq_st_tensor *st = sq_stored_find(s, module, "g_idx");
	const int32_t *p;
	uint64_t i;

	if (st == NULL)
		return 0;
	if (st->type != SQ_I32 || st->ndim != 1 || st->dim[0] != t->dim[1])
		return sq_fail(err, "'%s': g_idx does not fit its shape",
		    t->name);
	if ((p = sq_stored_map(s, st, err)) == NULL)
		return -1;
	for (i = 0; i < t->dim[1]; i++)
		if (p[i] != (int32_t)(i / t->group_cols))
			return sq_fail(err, "'%s': groups in the order of "
			    "activations (desc_act) are not known", t->name);
	return 0;
}

static int
all_middle(const struct sq_source *s, const struct sq_tensor *t,
    const struct sq_stored *m, char *err)
{
	size_t rows = (size_t)t->dim[0], groups = (size_t)m->scale->dim[0], i;
	const uint32_t *p = sq_stored_map(s, m->zero, err);

	if (p == NULL)
		return -1;
	if (m->less >= 0)
		return sq_gptq_is_symmetric(p, rows, groups, m->bits, m->less);
	for (i = 0; i < groups * rows / 8; i++)
		if (p[i] != 0x88888888)
			return 0;
	return 1;
}

static int
find_parts(const struct sq_source *s, const char *module,
    struct sq_source_tensor *t, struct sq_stored *m, char *err)
{
	m->scale = sq_stored_find(s, module, "scales");
	m->zero = sq_stored_find(s, module, "qzeros");
	if (sq_stored_groups(&t->t, m->scale, 1, err) < 0)
		return -1;
	if (!sq_dtype_is_float(m->scale->type) || m->scale->ndim != 2 ||
	    t->t.group_rows != 1)
		return sq_fail(err, "'%s': scales of a wrong type or shape",
		    t->t.name);
	if (!sq_stored_is(m->zero, SQ_I32, m->scale->dim[0],
	    t->t.dim[0] * (uint64_t)m->bits / 32))
		return sq_fail(err, "'%s': qzeros do not fit its shape",
		    t->t.name);
	if (check_index(s, module, &t->t, err) < 0)
		return -1;
	t->t.grid = (enum sq_grid)sq_grid_of_bits(m->bits);
	t->t.symmetric = all_middle(s, &t->t, m, err);
	return t->t.symmetric < 0 ? -1 : 1;
}

static int
stored_less(const json_t *config, int *less, char *err)
{
	const char *format = json_string_value(json_object_get(config,
	    "checkpoint_format"));

	*less = 1;
	if (format == NULL || strcmp(format, "gptq") == 0)
		return 0;
	*less = 0;
	return strcmp(format, "gptq_v2") == 0 ? 0 : sq_fail(err,
	    "quantization_config: 'checkpoint_format' is '%s', which is not "
	    "known", format);
}

static int
find_gptq(const struct sq_quantized *q, const struct sq_source *s,
    const char *module, struct sq_source_tensor *t, struct sq_stored *m,
    char *err)
{
	static const int widths[] = { 2, 3, 4, 8 };
	size_t i;

	if ((m->w = sq_stored_find(s, module, "qweight")) == NULL)
		return 0;
	if (stored_less(q->config, &m->less, err) < 0)
		return -1;
	for (i = 0; i < sizeof(widths) / sizeof(widths[0]); i++)
		if (t->t.dim[1] % 32 == 0 && sq_stored_is(m->w, SQ_I32,
		    t->t.dim[1] / 32 * (uint64_t)widths[i], t->t.dim[0]))
			m->bits = widths[i];
	if (m->bits == 0 || t->t.dim[0] % 32 != 0)
		return sq_fail(err, "'%s': qweight does not fit its shape, or "
		    "has other than 2, 3, 4 or 8 bits", t->t.name);
	return find_parts(s, module, t, m, err);
}

static int
find_awq(const struct sq_quantized *q, const struct sq_source *s,
    const char *module, struct sq_source_tensor *t, struct sq_stored *m,
    char *err)
{
	const char *version = json_string_value(json_object_get(q->config,
	    "version"));

	if ((m->w = sq_stored_find(s, module, "qweight")) == NULL)
		return 0;
	if (version != NULL && strcasecmp(version, "gemm") != 0)
		return sq_fail(err, "quantization_config: 'version' is '%s': "
		    "only gemm is known", version);
	m->bits = 4;
	m->less = -1;
	if (t->t.dim[0] % 8 != 0 || t->t.dim[1] % 2 != 0 ||
	    !sq_stored_is(m->w, SQ_I32, t->t.dim[1], t->t.dim[0] / 8))
		return sq_fail(err, "'%s': qweight does not fit its shape",
		    t->t.name);
	return find_parts(s, module, t, m, err);
}

static const char *const suffixes[] = { "qweight", "qzeros", "scales",
	"g_idx", NULL };

const struct sq_quantized_kind sq_quantized_gptq = {
	.name = "gptq", .find = find_gptq, .unpack = unpack,
	.suffixes = suffixes,
};

const struct sq_quantized_kind sq_quantized_awq = {
	.name = "awq", .find = find_awq, .unpack = unpack,
	.suffixes = suffixes,
};
