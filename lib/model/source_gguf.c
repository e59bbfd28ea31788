/*
 * A GGUF file as a source; see source.h.  Blocks become the parts of the
 * stream's tensors, with the same integers; config.json and the tokenizer's
 * files are made from the keys.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "formats/fmt_gguf.h"
#include "formats/fmt_json.h"
#include "model/gguf_config.h"
#include "model/gguf_names.h"
#include "model/gguf_tok.h"
#include "model/model_digest.h"
#include "model/source_kinds.h"

/* What a tensor is made from. */
struct from {
	const struct sq_gguf_info *info;
	uint64_t heads;			/* whose rows change their order */
	uint64_t at, length;		/* in the file: all of it, or a slice */
};

/* ---- the small files ---- */

/* json: taken. */
static int
add_file(struct sq_source *s, const char *name, json_t *json, int pretty,
    char *err)
{
	size_t i = (size_t)s->files.h.nblobs;
	char *text = pretty ? sq_json_pretty(json) : sq_json_text(json);

	json_decref(json);
	if (text == NULL)
		return sq_fail(err, "out of memory");
	s->blobs[i] = text;
	return sq_files_add(&s->files, name, text, strlen(text), err);
}

/* The text of the token whose id a key has, under the name. */
static void
set_token(const struct sq_gguf *g, json_t *o, const char *key,
    const char *name)
{
	const struct sq_gguf_kv *kv = sq_gguf_find(g, "tokenizer.ggml.tokens");
	struct sq_gguf_str s = { NULL, 0 };
	const uint8_t *at = NULL;
	uint64_t id, i;
	json_t *v;

	if (kv == NULL || !kv->is_array || kv->type != SQ_GGUF_STRING ||
	    sq_gguf_uint(g, key, &id) < 0 || id >= kv->n)
		return;
	for (i = 0; i <= id; i++)
		s = sq_gguf_next(kv, &at);
	if ((v = json_stringn(s.p, s.n)) != NULL)
		json_object_set_new(o, name, v);
}

static json_t *
tokenizer_config(const struct sq_gguf *g)
{
	json_t *o = json_pack("{s:s}", "tokenizer_class",
	    "PreTrainedTokenizerFast"), *v;
	struct sq_gguf_str t;

	set_token(g, o, "tokenizer.ggml.bos_token_id", "bos_token");
	set_token(g, o, "tokenizer.ggml.eos_token_id", "eos_token");
	set_token(g, o, "tokenizer.ggml.padding_token_id", "pad_token");
	if (sq_gguf_string(g, "tokenizer.chat_template", &t) == 0 &&
	    (v = json_stringn(t.p, t.n)) != NULL)
		json_object_set_new(o, "chat_template", v);
	return o;
}

/* The tokens that end an answer; NULL when it is the configuration's alone. */
static json_t *
generation_config(const struct sq_gguf *g)
{
	uint64_t eos, turn;

	if (sq_gguf_uint(g, "tokenizer.ggml.eos_token_id", &eos) < 0 ||
	    sq_gguf_uint(g, "tokenizer.ggml.eot_token_id", &turn) < 0 ||
	    eos > UINT32_MAX || turn > UINT32_MAX)
		return NULL;
	return json_pack("{s:[I, I]}", "eos_token_id", (json_int_t)eos,
	    (json_int_t)turn);
}

static int
make_files(struct sq_source *s, char *err)
{
	json_t *o = sq_gguf_config(s->gguf, err);
	char why[SQ_ERR] = "";

	if (o == NULL || add_file(s, "config.json", o, 1, err) < 0)
		return -1;
	if ((o = sq_gguf_tokenizer(s->gguf, why)) == NULL)
		return why[0] == '\0' ? 0 : sq_fail(err, "%s", why);
	if (add_file(s, "tokenizer.json", o, 0, err) < 0)
		return -1;
	if ((o = generation_config(s->gguf)) != NULL &&
	    add_file(s, "generation_config.json", o, 1, err) < 0)
		return -1;
	return add_file(s, "tokenizer_config.json", tokenizer_config(s->gguf),
	    1, err);
}

/* ---- the tensors ---- */

/* The rows of part `part' to out, from blocks in memory. */
static int
turn(const struct sq_tensor *t, const struct from *f, const uint8_t *blocks,
    int part, uint8_t *out, uint8_t *row[SQ_PARTS])
{
	const struct sq_gguf_info *info = f->info;
	uint64_t cols = info->dim[info->ndim - 1], i, rows = t->dim[0], size;

	if (info->ndim == 1)		/* a permuted vector */
		cols = 1;
	size = t->part[part].length / rows;
	for (i = 0; i < rows; i++) {
		row[part] = out + i * size;
		if (sq_gguf_row_get(info->kind, blocks + f->length / rows *
		    sq_gguf_row(i, rows, f->heads), cols, row) < 0)
			return -1;
	}
	return 0;
}

static int
read_blocks(const struct sq_source *s, const struct from *f, uint8_t *blocks,
    char *err)
{
	ssize_t n = sq_pread_full(s->gguf->fd, blocks, (size_t)f->length,
	    (off_t)f->at);

	if (n < 0)
		return sq_fail_errno(err, "'%s'", f->info->name);
	return (uint64_t)n == f->length ? 0 : sq_fail(err, "'%s': the file "
	    "has become shorter", f->info->name);
}

/* One whole part, row after row in the model's order. */
static int
make(const struct sq_source *s, const struct sq_source_tensor *t, int part,
    void *buf, char *err)
{
	const struct from *f = t->from;
	uint8_t *row[SQ_PARTS] = { NULL }, *blocks = malloc((size_t)f->length);
	int p, r = -1, bad = blocks == NULL;

	for (p = 0; p < t->t.nparts; p++) {
		if (p == part)
			continue;
		row[p] = malloc((size_t)(t->t.part[p].length / t->t.dim[0]));
		bad |= row[p] == NULL;
	}
	if (bad)
		sq_fail(err, "out of memory");
	else if (read_blocks(s, f, blocks, err) == 0)
		r = turn(&t->t, f, blocks, part, buf, row) == 0 ? 0 :
		    sq_fail(err, "tensor '%s': a scale that is not finite",
		    f->info->name);
	row[part] = NULL;
	for (p = 0; p < t->t.nparts; p++)
		free(row[p]);
	free(blocks);
	return r;
}

/* The type of the values before they were quantized: not said, so that of the
 * file's other tensors. */
static enum sq_dtype
value_type(const struct sq_gguf *g)
{
	size_t i;

	for (i = 0; i < g->n; i++)
		if (g->tensor[i].kind->type == SQ_GGUF_BF16)
			return SQ_BF16;
	return SQ_F16;
}

/* expert: which slice of a tensor that has those of all, or -1. */
static int
add(struct sq_source *s, const struct sq_gguf_info *info, const char *name,
    uint64_t heads, int64_t expert, char *err)
{
	struct sq_source_tensor *t = &s->tensor[s->n];
	struct from *f = (struct from *)s->from + s->n;
	uint64_t slices = expert < 0 ? 1 : info->dim[0];

	memset(t, 0, sizeof(*t));
	memcpy(t->t.name, name, strlen(name) + 1);
	t->t.type = value_type(s->gguf);
	if (expert >= 0 && (info->ndim != 3 || (uint64_t)expert >= slices))
		return sq_fail(err, "tensor '%s': not one matrix for each "
		    "expert", info->name);
	t->t.ndim = info->ndim - (expert >= 0);
	memcpy(t->t.dim, info->dim + (expert >= 0),
	    (size_t)t->t.ndim * sizeof(t->t.dim[0]));
	sq_gguf_describe(info->kind, &t->t);
	if (sq_tensor_check(&t->t, err) < 0)
		return -1;
	if (heads != 0 && (t->t.dim[0] % heads != 0 ||
	    t->t.dim[0] / heads % 2 != 0))
		return sq_fail(err, "tensor '%s': rows that are no pairs of "
		    "heads", info->name);
	*f = (struct from){ info, heads, info->offset, info->length / slices };
	if (expert >= 0)
		f->at += (uint64_t)expert * f->length;
	t->offset[0] = f->at;
	t->from = f;
	t->make = heads == 0 && t->t.grid == SQ_DENSE ? NULL : make;
	s->n++;
	s->files.h.bytes += t->t.length;
	return 0;
}

static int
order_by_name(const void *a, const void *b)
{
	const struct sq_gguf_info *x = *(const struct sq_gguf_info *const *)a;
	const struct sq_gguf_info *y = *(const struct sq_gguf_info *const *)b;

	return strcmp(x->name, y->name);
}

/* The tensors of the file by their names. */
static const struct sq_gguf_info **
sorted(const struct sq_gguf *g)
{
	const struct sq_gguf_info **list = calloc(g->n + 1, sizeof(*list));
	size_t i;

	for (i = 0; list != NULL && i < g->n; i++)
		list[i] = &g->tensor[i];
	if (list != NULL)
		qsort(list, g->n, sizeof(*list), order_by_name);
	return list;
}

static const struct sq_gguf_info **
find(const struct sq_gguf *g, const struct sq_gguf_info **list,
    const char *name)
{
	struct sq_gguf_info want;
	const struct sq_gguf_info *p = &want;

	memcpy(want.name, name, strlen(name) + 1);
	return bsearch(&p, list, g->n, sizeof(*list), order_by_name);
}

/* Those of the architecture in the order of a forward pass, then the others
 * by name; each one leaves the list when it is taken. */
static int
list_tensors(struct sq_source *s, struct sq_inventory *v,
    const struct sq_gguf_info **list, unsigned char *taken, char *err)
{
	const struct sq_gguf *g = s->gguf;
	const struct sq_gguf_info **t;
	const struct sq_slot *slot;
	char name[SQ_GGUF_NAME];
	size_t i;

	for (i = 0; v != NULL && i < v->n; i++) {
		sq_gguf_slot_name(&v->slot[i], name);
		if ((t = find(g, list, name)) == NULL)
			continue;
		taken[t - list] = 1;
		if (add(s, *t, v->slot[i].name, sq_gguf_permuted(&v->config,
		    &v->slot[i]), v->slot[i].expert, err) < 0 ||
		    sq_inventory_add(v,
		    &s->tensor[s->n - 1].t, &slot, err) < 0)
			return -1;
	}
	if (v != NULL && sq_inventory_complete(v, err) < 0)
		return -1;
	for (i = 0; i < g->n; i++)
		if (!taken[i] && (v == NULL ||
		    strcmp(list[i]->name, SQ_GGUF_ROPE) != 0) &&
		    add(s, list[i], list[i]->name, 0, -1, err) < 0)
			return -1;
	s->files.h.tensors = s->n;
	return 0;
}

/* For n tensors, before the first. */
static int
room(struct sq_source *s, size_t n)
{
	free(s->tensor);
	free(s->from);
	s->tensor = calloc(n + 1, sizeof(*s->tensor));
	s->from = calloc(n + 1, sizeof(struct from));
	return s->tensor == NULL || s->from == NULL ? -1 : 0;
}

/* Of what the file has, in the order of the stream. */
static int
digest(struct sq_source *s, const void *config, size_t size, char *err)
{
	struct sq_model_digest d;
	const struct from *f;
	const uint8_t *p;
	size_t i, n;

	if (sq_model_digest_init(&d, config, size) < 0)
		return sq_fail(err, "out of memory");
	for (i = 0; i < s->n; i++) {
		f = (const struct from *)s->from + i;
		p = s->gguf->map + f->at;
		n = f->length < SQ_DIGEST_SAMPLE ? (size_t)f->length :
		    SQ_DIGEST_SAMPLE;
		sq_model_digest_add(&d, f->info->name, f->info->kind->name,
		    f->info->ndim, f->info->dim, p, p + f->length - n, n);
	}
	sq_model_digest_end(&d, s->files.h.model);
	return 0;
}

static int
read_all(struct sq_source *s, char *err)
{
	const struct sq_gguf_info **list = sorted(s->gguf);
	unsigned char *taken = calloc(s->gguf->n + 1, 1);
	const unsigned char *config;
	struct sq_inventory v;
	size_t size;
	int r = -1;

	if (list == NULL || taken == NULL || room(s, s->gguf->n) < 0) {
		sq_fail(err, "out of memory");
		goto done;
	}
	if (make_files(s, err) < 0) {
		/* an architecture that we do not run can still be listed */
		if (s->any && s->files.h.nblobs == 0)
			r = list_tensors(s, NULL, list, taken, err);
		goto done;
	}
	config = sq_files_find(&s->files, "config.json", &size);
	if (sq_inventory_init(&v, (const char *)config, size, err) < 0)
		goto done;
	s->config = v.config;
	if (room(s, v.n + s->gguf->n) < 0) {
		sq_inventory_release(&v);
		sq_fail(err, "out of memory");
		goto done;
	}
	r = list_tensors(s, &v, list, taken, err);
	sq_inventory_release(&v);
	if (r == 0)
		r = digest(s, config, size, err);
done:
	free(list);
	free(taken);
	return r;
}

int
sq_source_gguf(struct sq_source *s, const char *path, char *err)
{
	char why[SQ_ERR];

	s->kind = "gguf";
	if ((s->gguf = sq_gguf_open(path, err)) == NULL)
		return -1;
	if ((s->fd = fcntl(s->gguf->fd, F_DUPFD_CLOEXEC, 0)) < 0)
		return sq_fail_errno(err, "'%s'", path);
	if (read_all(s, why) < 0)
		return sq_fail(err, "'%s': %s", path, why);
	return 0;
}
