/* Weights of AscendV1; see source_quantized.h. */
#include <string.h>

#include "formats/fmt_ascend.h"
#include "formats/fmt_compressed_tensors.h"
#include "formats/fmt_json.h"
#include "formats/fmt_safetensors.h"
#include "model/source_quantized.h"

static int
unpack(const struct sq_tensor *t, const struct sq_stored *m,
    const struct sq_st_tensor *st, const void *p, void *buf, char *err)
{
	size_t rows = (size_t)t->dim[0], cols = (size_t)t->dim[1];

	(void)err;			/* nothing here can be wrong */
	if (st != m->w)
		memcpy(buf, p, (size_t)st->length);
	else if (m->bits == 4)
		sq_ascend_get_pairs(buf, p, rows, cols);
	else				/* every byte is an integer of 8 bits */
		(void)sq_ct_get_bytes(buf, p, rows, cols, 8);
	return 0;
}

/* Offsets are zero: all is symmetric. */
static int
check_offset(const struct sq_source *s, const char *module, const char *suffix,
    const struct sq_tensor *t, char *err)
{
	const struct sq_st_tensor *st = sq_stored_find(s, module, suffix);
	const unsigned char *p;
	uint64_t i;

	if (st == NULL)
		return 0;
	if ((p = sq_stored_map(s, st, err)) == NULL)
		return -1;
	for (i = 0; i < st->length; i++)
		if (p[i] != 0)
			return sq_fail(err, "'%s': a %s that is not zero",
			    t->name, suffix);
	return 0;
}

static int
find(const struct sq_quantized *q, const struct sq_source *s,
    const char *module, struct sq_source_tensor *t, struct sq_stored *m,
    char *err)
{
	struct sq_tensor *w = &t->t;
	enum sq_act_kind act;
	const char *type;
	int is_static;

	m->w = sq_stored_find(s, module, "weight");
	if (m->w == NULL || m->w->type != SQ_I8)
		return 0;
	if (sq_json_string(q->config, w->name, &type, err) < 0)
		return -1;
	m->bits = strcmp(type, "W4A8_DYNAMIC") == 0 ? 4 : 8;
	is_static = strcmp(type, "W8A8") == 0;
	act = strcmp(type, "W8A16") == 0 ? SQ_ACT_NONE : SQ_ACT_INT8;
	if (m->bits == 8 && !is_static && act == SQ_ACT_INT8 &&
	    strcmp(type, "W8A8_DYNAMIC") != 0)
		return sq_fail(err, "'%s': type '%s' is not known", w->name,
		    type);
	if ((m->bits == 4 && w->dim[0] % 2 != 0) || !sq_stored_is(m->w, SQ_I8,
	    m->bits == 4 ? w->dim[0] / 2 : w->dim[0], w->dim[1]))
		return sq_fail(err, "'%s': its shape is not what config.json "
		    "says", w->name);
	m->scale = sq_stored_find(s, module, "weight_scale");
	if (sq_stored_groups(w, m->scale, 0, err) < 0 ||
	    check_offset(s, module, "weight_offset", w, err) < 0 ||
	    check_offset(s, module, "input_offset", w, err) < 0 ||
	    sq_stored_act(w, s, module, act, is_static, err) < 0)
		return -1;
	w->grid = m->bits == 4 ? SQ_INT4 : SQ_INT8;
	w->symmetric = 1;
	return 1;
}

static const char *const suffixes[] = { "weight", "weight_scale",
	"weight_offset", "scale_bias", "input_scale", "input_offset",
	"deq_scale", "quant_bias", NULL };

const struct sq_quantized_kind sq_quantized_ascend = {
	.name = "ascend", .find = find, .unpack = unpack,
	.suffixes = suffixes,
};
