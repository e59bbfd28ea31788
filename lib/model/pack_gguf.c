/*
 * A stream becomes a GGUF file; see pack.h.  The beginning of the file, whose
 * size follows from the configuration and the tokenizer, is written last, when
 * the types of the tensors are known.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/half.h"
#include "base/io.h"
#include "formats/fmt_json.h"
#include "formats/fmt_records.h"
#include "model/gguf_config.h"
#include "model/gguf_names.h"
#include "model/gguf_rows.h"
#include "model/gguf_tok.h"
#include "model/inventory.h"
#include "model/pack.h"
#include "model/weight.h"

#define PIECE	((size_t)1 << 20)
#define FIXED	((uint64_t)48 << 20)	/* besides a tensor: libraries, files */

struct packer {
	struct sq_pack *p;
	struct sq_in *in;
	struct sq_gguf_out out;
	struct sq_inventory inv;
	int fd;
	uint64_t head, pos;		/* bytes of the head; of data written */
	size_t file_type;		/* where it is in the head */
	uint64_t weights[64];		/* of linear layers, by type */
	unsigned char *piece;
	/* the experts of a layer, whose tensors are slices of three */
	unsigned char *held;		/* data that wait for a place, or NULL */
	size_t nheld, room;
	int holding;
	const struct sq_gguf_kind *kind[3];
	uint64_t size[3], place[3];	/* of a slice; of the first, in data */
};

/* ---- the beginning ---- */

static json_t *
file_json(const struct sq_files *f, const char *name)
{
	char why[SQ_ERR];
	size_t size;
	const unsigned char *p = sq_files_find(f, name, &size);

	return p == NULL ? NULL : sq_json_object((const char *)p, size, why);
}

static void
put_template(struct packer *k, const struct sq_files *f)
{
	size_t size;
	const unsigned char *p = sq_files_find(f, "chat_template.jinja",
	    &size);
	json_t *o = p != NULL ? NULL : file_json(f, "tokenizer_config.json");
	const json_t *t = json_object_get(o, "chat_template");

	if (p == NULL && json_is_string(t)) {
		p = (const unsigned char *)json_string_value(t);
		size = json_string_length(t);
	}
	if (p != NULL)
		sq_gguf_put_string(&k->out, "tokenizer.chat_template",
		    (const char *)p, size);
	json_decref(o);
}

/* The second token that ends an answer, of generation_config.json: the end of a
 * turn. */
static void
put_turn_end(struct packer *k, const struct sq_files *f)
{
	json_t *o = file_json(f, "generation_config.json"), *v;
	size_t i;

	json_array_foreach(json_object_get(o, "eos_token_id"), i, v)
		if (json_is_integer(v) && json_integer_value(v) >= 0 &&
		    (uint64_t)json_integer_value(v) < k->inv.config.vocab &&
		    json_integer_value(v) != k->inv.config.eos) {
			sq_gguf_put_u32(&k->out, "tokenizer.ggml.eot_token_id",
			    (uint32_t)json_integer_value(v));
			break;
		}
	json_decref(o);
}

static void
put_maker(struct packer *k)
{
	char text[64];

	snprintf(text, sizeof(text), "%s %s", k->p->tool, k->p->version);
	sq_gguf_put_string(&k->out, "general.quantized_by", text,
	    strlen(text));
}

static int
put_keys(struct packer *k, const struct sq_files *f, char *err)
{
	json_t *conf = file_json(f, "config.json");
	json_t *tok = file_json(f, "tokenizer.json");
	size_t size;
	int r = -1;

	if (tok == NULL && sq_files_find(f, "tokenizer.json", &size) != NULL) {
		sq_fail(err, "tokenizer.json: not an object");
		goto done;
	}
	if (sq_gguf_put_config(&k->out, &k->inv.config, conf, err) < 0)
		goto done;
	sq_gguf_put_u32(&k->out, "general.file_type", 0);
	k->file_type = k->out.n - 4;
	put_maker(k);
	if (sq_gguf_put_tokenizer(&k->out, &k->inv.config, tok, conf,
	    k->p->gguf_pre, err) < 0)
		goto done;
	put_turn_end(k, f);
	put_template(k, f);
	r = k->out.failed ? sq_fail(err, "out of memory") : 0;
done:
	json_decref(conf);
	json_decref(tok);
	return r;
}

/* What the file has: all but a head that is the embedding. */
static int
is_written(const struct packer *k, const struct sq_slot *s)
{
	return s != NULL && !(s->role == SQ_HEAD && k->inv.config.tied);
}

static int
has_divisors(const struct packer *k)
{
	return k->inv.config.rope.kind == SQ_ROPE_LLAMA3;
}

/* A slot's tensor in the list; the experts of a layer are one. */
static uint64_t
put_info(const struct packer *k, struct sq_gguf_out *o,
    const struct sq_slot *s, const struct sq_gguf_kind *kind)
{
	uint64_t dim[3] = { k->inv.config.experts, s->dim[0], s->dim[1] };
	char name[SQ_GGUF_NAME];

	sq_gguf_slot_name(s, name);
	if (s->expert < 0)
		return sq_gguf_put_tensor(o, name, s->ndim, s->dim, kind);
	return sq_gguf_put_tensor(o, name, 3, dim, kind);
}

/* The size of the head: the list of tensors has places for types, whatever
 * these will be. */
static int
measure_head(struct packer *k, char *err)
{
	const struct sq_gguf_kind *f32 = sq_gguf_kind(SQ_GGUF_F32);
	struct sq_gguf_out o = { .n = 0 };
	uint64_t dim = k->inv.config.head_dim / 2;
	const struct sq_slot *s;
	size_t i;

	if (has_divisors(k))
		sq_gguf_put_tensor(&o, SQ_GGUF_ROPE, 1, &dim, f32);
	for (i = 0; i < k->inv.n; i++) {
		s = &k->inv.slot[i];
		if (!is_written(k, s) || s->expert > 0)
			continue;
		put_info(k, &o, s, f32);
	}
	k->head = (k->out.n + o.n + SQ_GGUF_ALIGN - 1) / SQ_GGUF_ALIGN *
	    SQ_GGUF_ALIGN;
	i = (size_t)o.failed;
	sq_gguf_out_release(&o);
	if (i != 0)
		return sq_fail(err, "out of memory");
	return lseek(k->fd, (off_t)k->head, SEEK_SET) < 0 ?
	    sq_fail_errno(err, "output") : 0;
}

/* To the end of what is held. */
static int
hold(struct packer *k, const void *p, size_t n, char *err)
{
	unsigned char *held = k->held;
	size_t room = k->nheld + n;

	if (room > k->room) {
		if ((held = realloc(held, room)) == NULL)
			return sq_fail(err, "out of memory");
		k->held = held;
		k->room = room;
	}
	memcpy(k->held + k->nheld, p, n);
	k->nheld += n;
	return 0;
}

static int
put_data(struct packer *k, const void *p, size_t n, char *err)
{
	if (k->holding)
		return hold(k, p, n, err);
	k->pos += n;
	return sq_write_full(k->fd, p, n) < 0 ?
	    sq_fail_errno(err, "output") : 0;
}

/* Zeros up to the next multiple of the alignment. */
static int
pad(struct packer *k, char *err)
{
	static const char zero[SQ_GGUF_ALIGN];
	size_t n = (size_t)(k->out.data - k->pos);

	return n == 0 ? 0 : put_data(k, zero, n, err);
}

static int
put_divisors(struct packer *k, char *err)
{
	uint64_t n = k->inv.config.head_dim / 2;
	float *div = malloc((size_t)n * sizeof(*div));
	int r = -1;

	if (div == NULL)
		return sq_fail(err, "out of memory");
	sq_gguf_divisors(&k->inv.config, div);
	sq_gguf_put_tensor(&k->out, SQ_GGUF_ROPE, 1, &n,
	    sq_gguf_kind(SQ_GGUF_F32));
	if (put_data(k, div, (size_t)n * sizeof(*div), err) == 0)
		r = pad(k, err);
	free(div);
	return r;
}

static int
pack_header(struct packer *k, char *err)
{
	const unsigned char *config;
	struct sq_files f;
	size_t size;
	int r = -1;

	if (sq_files_read(&f, k->in) < 0)
		return sq_fail(err, "%s", k->in->err);
	config = sq_files_find(&f, "config.json", &size);
	k->p->progress->tensors = f.h.tensors;
	if (sq_inventory_init(&k->inv, (const char *)config, size, err) == 0 &&
	    sq_pack_check_model(k->p, &k->inv.config, err) == 0 &&
	    put_keys(k, &f, err) == 0 && measure_head(k, err) == 0)
		r = has_divisors(k) ? put_divisors(k, err) : 0;
	sq_files_release(&f);
	return r;
}

/* ---- tensors ---- */

int
sq_pack_gguf_rounds(const struct sq_gguf_kind *kind)
{
	return kind->grid == SQ_DENSE || sq_grid_is_int(kind->grid);
}

static int
rounds_to(const struct sq_gguf_kind *kind, const struct sq_tensor *t)
{
	return t->grid == SQ_DENSE && t->dim[1] % kind->cols == 0;
}

/* The type of a tensor in the file. */
static const struct sq_gguf_kind *
choose(const struct packer *k, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	const struct sq_gguf_kind *held, *want = k->p->gguf;

	if (t->ndim == 1 || slot->role == SQ_ROUTER)
		return sq_gguf_kind(SQ_GGUF_F32);
	if (want != NULL && (want->grid == SQ_DENSE ||
	    (slot->linear && rounds_to(want, t))))
		return want;
	if ((held = sq_gguf_holds(t)) != NULL)
		return held;
	return sq_gguf_kind(t->type == SQ_F32 ? SQ_GGUF_F32 :
	    t->type == SQ_F16 ? SQ_GGUF_F16 : SQ_GGUF_BF16);
}

/* A finite value may be beyond F16. */
static int
check_range(const struct sq_tensor *t, const struct sq_mat *m, char *err)
{
	const uint16_t *h = m->p;
	size_t i;

	for (i = 0; m->type == SQ_F16 && i < m->rows * m->cols; i++)
		if ((h[i] & 0x7c00) == 0x7c00)
			return sq_fail(err, "tensor '%s': values beyond the "
			    "range of F16", t->name);
	return 0;
}

/* Rows row .. of w as values of the file's type, those of permuted heads in
 * the file's order. */
static int
put_values(struct packer *k, const struct sq_tensor *t,
    const struct sq_weight *w, const struct sq_gguf_kind *kind,
    uint64_t heads, char *err)
{
	size_t size = w->cols * kind->bytes, most = PIECE / size + 1, row, i;
	unsigned char *values = malloc(most * size);
	struct sq_mat m = { values, kind->dtype, 0, w->cols, w->cols };
	int r = 0;

	if (values == NULL)
		return sq_fail(err, "out of memory");
	for (row = 0; row < w->rows && r == 0; row += i) {
		i = w->rows - row < most ? w->rows - row : most;
		m.rows = heads == 0 ? i : 1;
		for (m.p = values; m.p < (void *)(values + i * size) && r == 0;
		    m.p = (char *)m.p + m.rows * size)
			r = sq_dequantize(k->p->ctx, w, (size_t)sq_gguf_row_of(
			    row + (size_t)((unsigned char *)m.p - values) /
			    size, w->rows, heads), &m);
		m.p = values;
		m.rows = i;
		if (r != 0)
			r = sq_fail(err, "tensor '%s': no kernel", t->name);
		else if (check_range(t, &m, err) < 0 ||
		    put_data(k, values, i * size, err) < 0)
			r = -1;
	}
	free(values);
	return r;
}

/* A vector: a matrix of one column, so that its elements are rows. */
static int
put_vector(struct packer *k, const struct sq_tensor *t,
    const struct sq_weight *w, uint64_t heads, char *err)
{
	struct sq_weight v = *w;

	if (heads != 0) {
		v.rows = w->cols;
		v.cols = 1;
	}
	return put_values(k, t, &v, sq_gguf_kind(SQ_GGUF_F32), heads, err);
}

static int
put_blocks(struct packer *k, const struct sq_tensor *t, const void *payload,
    const struct sq_gguf_kind *kind, uint64_t heads, char *err)
{
	size_t size = (size_t)sq_gguf_row_bytes(kind, t->dim[1]);
	struct sq_gguf_rows rows;
	unsigned char *blocks;
	uint64_t i;
	size_t n = 0;
	int r = 0;

	if (sq_gguf_rows_init(&rows, t, kind, payload, err) < 0)
		return -1;
	if ((blocks = malloc(PIECE + size)) == NULL)
		r = sq_fail(err, "out of memory");
	for (i = 0; i < t->dim[0] && r == 0; i++) {
		r = sq_gguf_rows_put(&rows, sq_gguf_row_of(i, t->dim[0],
		    heads), blocks + n, err);
		n += size;
		if (r == 0 && (n >= PIECE || i == t->dim[0] - 1)) {
			r = put_data(k, blocks, n, err);
			n = 0;
		}
	}
	free(blocks);
	sq_gguf_rows_release(&rows);
	return r;
}

/* Values rounded to the type: what sq-rtn makes of them with such groups. */
static int
put_rounded(struct packer *k, const struct sq_tensor *t, const void *payload,
    const struct sq_gguf_kind *kind, uint64_t heads, char *err)
{
	struct sq_qrule rule = { .grid = kind->grid, .scale = SQ_ABSMAX,
	    .symmetric = 1, .group_rows = 1, .group_cols = 32 };
	struct sq_mat m = { (void *)(uintptr_t)payload, t->type,
	    (size_t)t->dim[0], (size_t)t->dim[1], (size_t)t->dim[1] };
	struct sq_tensor q = *t;
	struct sq_qdst to = { .codes = NULL };
	unsigned char *parts;
	int r = -1;

	sq_gguf_describe(kind, &q);
	if ((parts = malloc((size_t)q.length)) == NULL)
		return sq_fail(err, "out of memory");
	to.codes = parts + q.part[0].offset;
	to.scales = (uint16_t *)(void *)(parts + q.part[1].offset);
	if (sq_quantize(k->p->ctx, &m, &rule, &to) != 0)
		sq_fail(err, "tensor '%s': weights that are not finite, or too "
		    "great", t->name);
	else
		r = put_blocks(k, &q, parts, kind, heads, err);
	free(parts);
	return r;
}

/* Dense, the same type in the file, rows in order: passed on in pieces. */
static int
pass(struct packer *k, const struct sq_tensor *t, char *err)
{
	uint64_t left = t->part[0].length;
	size_t n;

	for (; left > 0; left -= n) {
		n = left < PIECE ? (size_t)left : PIECE;
		if (sq_in_read(k->in, k->piece, n) < 0)
			return sq_fail(err, "%s", k->in->err);
		if (put_data(k, k->piece, n, err) < 0)
			return -1;
	}
	return 0;
}

static int
convert(struct packer *k, const struct sq_tensor *t,
    const struct sq_gguf_kind *kind, uint64_t heads, char *err)
{
	uint64_t need = FIXED + t->length + 4 * PIECE;
	unsigned char *payload;
	struct sq_weight w;
	int r = -1;

	if (k->p->memory != 0 && k->p->memory < need)
		return sq_fail(err, "tensor '%s': -M: needs at least %juM",
		    t->name, (uintmax_t)(need + 0xfffff) >> 20);
	payload = sq_in_payload(k->in, k->in->length);
	if (payload == NULL)
		return sq_fail(err, "%s", k->in->err);
	if (sq_tensor_check_data(t, payload, err) < 0 ||
	    sq_weight_init(&w, t, payload, err) < 0)
		goto done;
	if (kind->grid != SQ_DENSE && t->grid == SQ_DENSE)
		r = put_rounded(k, t, payload, kind, heads, err);
	else if (kind->grid != SQ_DENSE)
		r = put_blocks(k, t, payload, kind, heads, err);
	else if (t->ndim == 1)
		r = put_vector(k, t, &w, heads, err);
	else
		r = put_values(k, t, &w, kind, heads, err);
done:
	free(payload);
	return r;
}

static int
put_matrix(struct packer *k, const struct sq_tensor *t,
    const struct sq_slot *slot, const struct sq_gguf_kind *kind, char *err)
{
	uint64_t heads = sq_gguf_permuted(&k->inv.config, slot);

	if (slot->linear)
		k->weights[kind->type] += sq_tensor_count(t);
	if (t->grid == SQ_DENSE && kind->dtype == t->type &&
	    kind->grid == SQ_DENSE && heads == 0 && t->nparts == 1)
		return pass(k, t, err);
	return convert(k, t, kind, heads, err);
}

/* The three tensors of a layer's experts get their places. */
static int
place_experts(struct packer *k, const struct sq_slot *gate, char *err)
{
	uint64_t experts = k->inv.config.experts;
	int j;

	for (j = 0; j < 3; j++)
		k->place[j] = put_info(k, &k->out, gate + j, k->kind[j]);
	k->pos = k->out.data;
	for (j = 0; j < 3; j++)
		if (k->place[j] + experts * k->size[j] > k->pos)
			return sq_fail(err, "experts of different sizes");
	return lseek(k->fd, (off_t)(k->head + k->pos), SEEK_SET) < 0 ?
	    sq_fail_errno(err, "output") : 0;
}

/*
 * Gate, up and down of expert after expert come; in the file, all gates are
 * one tensor, and so on.  Where they begin is known when the first expert has
 * come: what it has is held that long.
 */
static int
put_expert(struct packer *k, const struct sq_tensor *t,
    const struct sq_slot *slot, char *err)
{
	const struct sq_gguf_kind *kind = choose(k, t, slot);
	int which = slot->role == SQ_GATE ? 0 : slot->role == SQ_UP ? 1 : 2, j;
	uint64_t e = (uint64_t)slot->expert;
	size_t before, at = 0;

	if (e == 0) {
		k->kind[which] = kind;
		if (which == 0)
			k->nheld = 0;
	} else if (k->kind[which] != kind)
		return sq_fail(err, "tensor '%s': not of the type that the "
		    "first expert has", t->name);
	else
		k->nheld = 0;
	before = k->nheld;
	k->holding = 1;
	if (put_matrix(k, t, slot, kind, err) < 0)
		return -1;
	k->holding = 0;
	k->size[which] = k->nheld - before;
	if (e == 0 && which < 2)
		return 0;
	if (e == 0 && place_experts(k, slot - 2, err) < 0)
		return -1;
	for (j = e == 0 ? 0 : which; j <= which; at += k->size[j++])
		if (sq_pwrite_full(k->fd, k->held + at, (size_t)k->size[j],
		    (off_t)(k->head + k->place[j] + e * k->size[j])) < 0)
			return sq_fail_errno(err, "output");
	return 0;
}

static int
put_tensor(struct packer *k, const struct sq_tensor *t,
    const struct sq_slot *slot, char *err)
{
	const struct sq_gguf_kind *kind;

	if (slot->expert >= 0)
		return put_expert(k, t, slot, err);
	kind = choose(k, t, slot);
	put_info(k, &k->out, slot, kind);
	return put_matrix(k, t, slot, kind, err) < 0 ? -1 : pad(k, err);
}

static int
pack_tensor(struct packer *k, char *err)
{
	const struct sq_slot *slot;
	struct sq_tensor t;
	uint64_t at = k->pos;

	if (sq_tensor_parse(&t, k->in->desc, k->in->length, err) < 0 ||
	    sq_inventory_add(&k->inv, &t, &slot, err) < 0 ||
	    sq_pack_check_tensor(k->p, &t, slot, err) < 0)
		return -1;
	sq_progress_tensor(k->p->progress);
	if (!is_written(k, slot)) {
		k->p->dropped++;
		return 0;
	}
	if (put_tensor(k, &t, slot, err) < 0)
		return -1;
	sq_progress_add(k->p->progress, k->in->length);
	k->p->tensors++;
	k->p->quantized += t.grid != SQ_DENSE;
	k->p->before += t.length;
	k->p->after += k->pos - at;
	return 0;
}

/* ---- the whole ---- */

/* The type that most weights of linear layers have. */
static void
set_file_type(struct packer *k)
{
	int best = 0, i;

	for (i = 1; i < 64; i++)
		if (k->weights[i] > k->weights[best])
			best = i;
	k->out.head[k->file_type] =
	    (uint8_t)sq_gguf_kind((uint32_t)best)->file_type;
}

static int
put_head(struct packer *k, char *err)
{
	if (sq_inventory_complete(&k->inv, err) < 0)
		return -1;
	if (sq_gguf_finish(&k->out) < 0)
		return sq_fail(err, "out of memory");
	if (k->out.n != k->head)
		return sq_fail(err, "tensors in an order that is not the "
		    "model's");
	set_file_type(k);
	return sq_pwrite_full(k->fd, k->out.head, k->out.n, 0) < 0 ?
	    sq_fail_errno(err, "output") : 0;
}

static int
pack_record(struct packer *k, char *err)
{
	switch (k->in->type) {
	case SQ_HEADER:
		return pack_header(k, err);
	case SQ_TENSOR:
		return pack_tensor(k, err);
	default:
		k->p->dropped++;
		return 0;
	}
}

int
sq_pack_gguf(struct sq_pack *p, struct sq_in *in, int fd, char *err)
{
	struct packer k = { .p = p, .in = in, .fd = fd };
	int r = -1, got;

	if ((k.piece = malloc(PIECE)) == NULL)
		return sq_fail(err, "out of memory");
	while ((got = sq_in_next(in)) > 0)
		if (pack_record(&k, err) < 0)
			goto done;
	r = got < 0 ? sq_fail(err, "%s", in->err) : put_head(&k, err);
done:
	sq_gguf_out_release(&k.out);
	sq_inventory_release(&k.inv);
	free(k.piece);
	free(k.held);
	return r;
}
