/* Weights of compressed-tensors; see source_quantized.h. */
#include <string.h>

#include "formats/fmt_compressed_tensors.h"
#include "formats/fmt_safetensors.h"
#include "model/source_quantized.h"

/* ---- pack-quantized ---- */

static void
old_zeros(uint8_t *zeros, const uint32_t *p, size_t rows, size_t groups,
    int bits)
{
	size_t i, g, in_word = 32 / (size_t)bits;

	for (i = 0; i < rows; i++)
		for (g = 0; g < groups; g++)
			zeros[i * groups + g] = (uint8_t)(p[i / in_word *
			    groups + g] >> i % in_word * (size_t)bits &
			    ((1u << bits) - 1));
}

static void
packed_codes(const struct sq_tensor *t, const struct sq_stored *m,
    const uint32_t *p, uint8_t *codes)
{
	size_t rows = (size_t)t->dim[0], cols = (size_t)t->dim[1], i;
	size_t n = sq_row_bytes(cols, m->bits), words;

	words = m->old ? sq_ct_old_words(cols, m->bits) :
	    sq_ct_words(cols, m->bits);
	for (i = 0; i < rows; i++) {
		if (m->old) {
			sq_ct_get_old(codes + i * n, p + i * words, 1, cols,
			    m->bits);
			continue;
		}
		memcpy(codes + i * n, p + i * words, n);
		if (cols * (size_t)m->bits % 8 != 0)	/* what pads is zero */
			codes[i * n + n - 1] &= (uint8_t)(0xff >>
			    (8 - cols * (size_t)m->bits % 8));
	}
}

static int
unpack(const struct sq_tensor *t, const struct sq_stored *m,
    const struct sq_st_tensor *st, const void *p, void *buf, char *err)
{
	size_t rows = (size_t)t->dim[0], cols = (size_t)t->dim[1];

	if (st == m->zero && m->old)
		old_zeros(buf, p, rows, (size_t)st->dim[1], m->bits);
	else if (st == m->zero)
		sq_ct_get_zeros(buf, p, rows, (size_t)st->dim[1], m->bits);
	else if (st == m->w && st->type == SQ_I32)
		packed_codes(t, m, p, buf);
	else if (st == m->w && st->type == SQ_I8) {
		if (sq_ct_get_bytes(buf, p, rows, cols, m->bits) < 0)
			return sq_fail(err, "'%s': not %d-bit integers",
			    t->name, m->bits);
	} else
		memcpy(buf, p, (size_t)st->length);
	return 0;
}

/* How many bits a row of so many words has, now or in old files. */
static int
packed_bits(struct sq_stored *m, uint64_t words, uint64_t cols, int said)
{
	int b;

	if (said > 0) {
		m->old = words != sq_ct_words((size_t)cols, said);
		return !m->old || words == sq_ct_old_words((size_t)cols,
		    said) ? said : 0;
	}
	for (b = 2; b <= 8; b++)
		if (words == sq_ct_words((size_t)cols, b))
			return b;
	return 0;
}

static int
find_packed(struct sq_source_tensor *t, struct sq_stored *m, int said,
    char *err)
{
	struct sq_tensor *w = &t->t;
	int grid;

	m->bits = packed_bits(m, m->w->ndim == 2 ? m->w->dim[1] : 0,
	    w->dim[1], said);
	if (m->bits == 0 || !sq_stored_is(m->w, SQ_I32, w->dim[0],
	    m->w->dim[1]))
		return sq_fail(err, "'%s': weight_packed does not fit its "
		    "shape", w->name);
	if ((grid = sq_grid_of_bits(m->bits)) < 0)
		return sq_fail(err, "'%s': %d bits are not known", w->name,
		    m->bits);
	w->grid = (enum sq_grid)grid;
	w->symmetric = m->zero == NULL;
	if (w->group_rows != 1)
		return sq_fail(err, "'%s': packed, and not in groups of a row",
		    w->name);
	if (m->zero != NULL && !sq_stored_is(m->zero, SQ_I32, m->old ?
	    sq_ct_old_words((size_t)w->dim[0], m->bits) :
	    sq_ct_words((size_t)w->dim[0], m->bits), sq_tensor_group_cols(w)))
		return sq_fail(err, "'%s': weight_zero_point does not fit its "
		    "shape", w->name);
	return 1;
}

static int
find_mxfp4(struct sq_source_tensor *t, struct sq_stored *m, char *err)
{
	struct sq_tensor *w = &t->t;

	if (m->scale->type != SQ_U8)
		return sq_fail(err, "'%s': NVFP4 is not known", w->name);
	if (!sq_stored_is(m->w, SQ_U8, w->dim[0], w->dim[1] / 2) ||
	    w->dim[1] % 32 != 0 || w->group_rows != 1 || w->group_cols != 32)
		return sq_fail(err, "'%s': weight_packed does not fit its "
		    "shape", w->name);
	w->grid = SQ_MXFP4;
	return 1;
}

/* "weight" itself: integers in bytes, or FP8. */
static int
find_bytes(struct sq_source_tensor *t, struct sq_stored *m, int said,
    char *err)
{
	struct sq_tensor *w = &t->t;

	if (!sq_stored_is(m->w, m->w->type, w->dim[0], w->dim[1]))
		return sq_fail(err, "'%s': its shape is not what config.json "
		    "says", w->name);
	if (m->zero != NULL)
		return sq_fail(err, "'%s': zero points of integers in bytes "
		    "are not known", w->name);
	w->symmetric = 1;
	m->bits = 8;
	w->grid = SQ_FP8_E4M3;
	if (m->w->type == SQ_F8_E4M3)
		return 1;
	m->bits = said > 0 ? said : 8;
	w->grid = (enum sq_grid)sq_grid_of_bits(m->bits);
	return m->bits == 4 || m->bits == 8 ? 1 : sq_fail(err, "'%s': %d-bit "
	    "integers in bytes are not known", w->name, m->bits);
}

static enum sq_act_kind
act_of(const struct sq_ct_scheme *s)
{
	return s->act == SQ_CT_ACT_INT8 ? SQ_ACT_INT8 :
	    s->act == SQ_CT_ACT_FP8 ? SQ_ACT_FP8 : SQ_ACT_NONE;
}

static int
find(const struct sq_quantized *q, const struct sq_source *s,
    const char *module, struct sq_source_tensor *t, struct sq_stored *m,
    char *err)
{
	struct sq_ct_scheme scheme = { .bits = 0 };
	int packed;

	m->w = sq_stored_find(s, module, "weight_packed");
	packed = m->w != NULL;
	if (!packed)
		m->w = sq_stored_find(s, module, "weight");
	if (m->w == NULL || (!packed && m->w->type != SQ_I8 &&
	    m->w->type != SQ_F8_E4M3))
		return 0;
	m->scale = sq_stored_find(s, module, "weight_scale");
	m->zero = sq_stored_find(s, module, "weight_zero_point");
	if (sq_ct_find(&scheme, q->config, module, err) < 0 ||
	    sq_stored_groups(&t->t, m->scale, 0, err) < 0 ||
	    sq_stored_act(&t->t, s, module, act_of(&scheme),
	    scheme.act_static, err) < 0)
		return -1;
	if (sq_stored_find(s, module, "input_zero_point") != NULL)
		return sq_fail(err, "'%s': zero points of inputs are not "
		    "known", t->t.name);
	if (sq_stored_find(s, module, "weight_g_idx") != NULL)
		return sq_fail(err, "'%s': groups in the order of activations "
		    "are not known", t->t.name);
	if (!packed)
		return find_bytes(t, m, scheme.bits, err);
	return m->w->type == SQ_U8 ? find_mxfp4(t, m, err) :
	    find_packed(t, m, scheme.bits, err);
}

static const char *const suffixes[] = { "weight", "weight_packed",
	"weight_scale", "weight_zero_point", "weight_shape", "input_scale", NULL };

const struct sq_quantized_kind sq_quantized_ct = {
	.name = "compressed-tensors", .find = find, .unpack = unpack,
	.suffixes = suffixes,
};
