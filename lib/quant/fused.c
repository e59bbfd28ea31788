/* Weights that share the scale of a tensor; see fused.h. */
#include <stdlib.h>
#include <string.h>

#include "quant/fused.h"

struct sq_held {
	struct sq_tensor t;
	unsigned char *raw;	/* the payload of one that is not quantized, */
	char *json;		/* and its description */
	uint64_t row;		/* else where its rows begin */
};

static void
forget(struct sq_fused *f)
{
	size_t i;

	for (i = 0; i < f->n; i++) {
		free(f->held[i].raw);
		free(f->held[i].json);
	}
	free(f->held);
	free(f->rows);
	f->held = NULL;
	f->rows = NULL;
	f->n = 0;
	f->nrows = f->size = 0;
}

static int
part_of_qkv(enum sq_role r)
{
	return r == SQ_Q || r == SQ_K || r == SQ_V;
}

static int
is_part(const struct sq_slot *s)
{
	return s != NULL && (part_of_qkv(s->role) || s->role == SQ_GATE ||
	    s->role == SQ_UP);
}

static int
belongs(const struct sq_fused *f, const struct sq_slot *s)
{
	return f->n > 0 && is_part(s) && s->layer == f->first.layer &&
	    s->expert == f->first.expert &&
	    part_of_qkv(s->role) == part_of_qkv(f->first.role);
}

static int
same_kind(const struct sq_fused *f, const struct sq_tensor *t,
    const struct sq_qrule *r)
{
	return t->type == f->type && t->dim[1] == f->cols &&
	    r->grid == f->rule.grid && r->scale == f->rule.scale &&
	    r->symmetric == f->rule.symmetric;
}

/* A quantized tensor: its rows of all codes, and the scale of all. */
static int
put_quantized(struct sq_fused *f, const struct sq_held *h,
    const struct sq_dst *all, struct sq_out *out, char *err)
{
	struct sq_tensor *made = &f->rtn->chunks.made;
	unsigned char *payload, *part[SQ_PARTS];
	struct sq_dst q;
	size_t bytes;
	int i, r;

	sq_chunks_describe(&f->rule, &h->t, h->t.name, made);
	if ((payload = calloc(1, (size_t)made->length)) == NULL)
		return sq_fail(err, "tensor '%s': out of memory", h->t.name);
	for (i = 0; i < made->nparts; i++)
		part[i] = payload + made->part[i].offset;
	sq_chunks_dst(made, part, 0, &q);
	bytes = sq_row_bytes((size_t)f->cols, sq_grid_bits(made->grid));
	memcpy(part[0], all->codes + h->row * bytes, h->t.dim[0] * bytes);
	q.scales[0] = all->scales[0];
	if (q.zeros != NULL)
		q.zeros[0] = all->zeros[0];
	r = sq_out_tensor(out, made) < 0 || sq_out_write(out, payload,
	    (size_t)made->length) < 0 || sq_out_end(out) < 0 ?
	    sq_fail(err, "%s", out->err) : 0;
	free(payload);
	if (r == 0)
		f->made(f->arg, made);
	return r;
}

static int
put_raw(const struct sq_held *h, struct sq_out *out, char *err)
{
	return sq_out_begin(out, SQ_TENSOR, h->json, strlen(h->json),
	    h->t.length) < 0 || sq_out_write(out, h->raw,
	    (size_t)h->t.length) < 0 || sq_out_end(out) < 0 ?
	    sq_fail(err, "%s", out->err) : 0;
}

static int
quantize(struct sq_fused *f, struct sq_dst *all, char *err)
{
	struct sq_mat w = { f->rows, f->type, (size_t)f->nrows,
	    (size_t)f->cols, (size_t)f->cols };
	struct sq_qrule rule = f->rule;
	char why[SQ_ERR];

	rule.group_rows = (size_t)f->nrows;
	rule.group_cols = (size_t)f->cols;
	if (sq_rtn_rows(f->rtn, &w, &rule, all, why) < 0)
		return sq_fail(err, "tensor '%s' and those beside it %s",
		    f->held[0].t.name, why);
	return 0;
}

int
sq_fused_put(struct sq_fused *f, struct sq_out *out, char *err)
{
	uint16_t scale = 0;
	uint8_t zero = 0;
	struct sq_dst all = { .scales = &scale, .zeros = f->rule.symmetric ?
	    NULL : &zero };
	size_t i;
	int r;

	if (f->n == 0)
		return 0;
	all.codes = malloc((size_t)f->nrows * sq_row_bytes((size_t)f->cols,
	    sq_grid_bits(f->rule.grid)));
	r = all.codes == NULL ? sq_fail(err, "out of memory") :
	    quantize(f, &all, err);
	for (i = 0; i < f->n && r == 0; i++)
		r = f->held[i].raw != NULL ?
		    put_raw(&f->held[i], out, err) :
		    put_quantized(f, &f->held[i], &all, out, err);
	free(all.codes);
	forget(f);
	return r;
}

/* Whether -M allows the rows, and their codes beside them. */
static int
fits(const struct sq_fused *f, const struct sq_tensor *t, char *err)
{
	uint64_t memory = f->rtn->chunks.memory;
	uint64_t need = SQ_CHUNKS_FIXED + 2 * (f->size + t->length);

	return memory == 0 || memory >= need ? 0 : sq_fail(err,
	    "tensor '%s': -M: needs at least %juM", t->name,
	    (uintmax_t)(need + 0xfffff) >> 20);
}

static int
hold(struct sq_fused *f, const struct sq_tensor *t, int is_raw,
    struct sq_in *in, char *err)
{
	struct sq_held *h = realloc(f->held, (f->n + 1) * sizeof(*h));
	unsigned char *to;

	if (h == NULL)
		return sq_fail(err, "out of memory");
	f->held = h;
	h += f->n;
	*h = (struct sq_held){ .t = *t, .row = f->nrows };
	to = is_raw ? (h->raw = malloc((size_t)t->length)) :
	    realloc(f->rows, (size_t)(f->size + t->length));
	f->n++;
	if (is_raw)
		h->json = strndup(in->json, in->json_len);
	if (to == NULL || (is_raw && h->json == NULL))
		return sq_fail(err, "tensor '%s': out of memory", t->name);
	if (!is_raw) {
		f->rows = to;
		to += f->size;
		f->size += t->length;
		f->nrows += t->dim[0];
	}
	if (sq_in_read(in, to, (size_t)t->length) < 0)
		return sq_fail(err, "%s", in->err);
	sq_progress_add(f->rtn->chunks.progress, t->length);
	return 0;
}

int
sq_fused_tensor(struct sq_fused *f, const struct sq_tensor *t,
    const struct sq_slot *slot, const struct sq_qrule *rule,
    struct sq_in *in, struct sq_out *out, char *err)
{
	int mine = rule != NULL && rule->group_rows == 0 && is_part(slot);
	int here = belongs(f, slot) && (rule == NULL ||
	    (mine && same_kind(f, t, rule)));

	if (!here && sq_fused_put(f, out, err) < 0)
		return -1;
	if (!here && !mine)
		return 0;
	if (fits(f, t, err) < 0)
		return -1;
	if (f->n == 0) {
		f->first = *slot;
		f->rule = *rule;
		f->type = t->type;
		f->cols = t->dim[1];
	}
	if (hold(f, t, rule == NULL, in, err) < 0)
		return -1;
	if (!slot->bias && (slot->role == SQ_V || slot->role == SQ_UP) &&
	    sq_fused_put(f, out, err) < 0)
		return -1;
	return 1;
}
