/*
 * A Hugging Face directory as a source; see source.h.  The tensors that the
 * architecture names come in the order of a forward pass, whatever the files'
 * order is; the rest follow by name.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "formats/fmt_safetensors.h"
#include "model/model_digest.h"
#include "model/source_kinds.h"
#include "model/source_quantized.h"

/* The small files that go with a model; config.json must be there. */
static const char *const files[] = {
	"config.json", "generation_config.json", "tokenizer.json",
	"tokenizer_config.json", "special_tokens_map.json",
	"added_tokens.json", "chat_template.jinja", "chat_template.json",
	"tokenizer.model", "vocab.json", "merges.txt",
};

static int
read_files(struct sq_source *s, const char *path, int is_dir,
    struct sq_quantized *q, char *err)
{
	char *copy = strdup(path), why[SQ_ERR];
	size_t i, n, size;
	int dir, r = -1;

	dir = copy == NULL ? -1 : open(is_dir ? copy : dirname(copy),
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		sq_fail_errno(err, "'%s'", path);
		goto done;
	}
	for (i = n = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		if ((i > 0 || s->any) &&
		    faccessat(dir, files[i], F_OK, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		s->blobs[n] = sq_read_file(dir, files[i], (size_t)256 << 20,
		    &size, why);
		if (s->blobs[n] == NULL || (i == 0 && sq_quantized_init(q,
		    dir, &s->blobs[n], &size, why) < 0) || sq_files_add(
		    &s->files, files[i], s->blobs[n], size, why) < 0) {
			sq_fail(err, "'%s': %s", path, why);
			goto done;
		}
		n++;
	}
	r = 0;
done:
	if (dir >= 0)
		close(dir);
	free(copy);
	return r;
}

static int
add(struct sq_source *s, const struct sq_st_tensor *st, int may_be_scalar,
    char *err)
{
	struct sq_source_tensor *t = &s->tensor[s->n];

	memset(t, 0, sizeof(*t));
	if (!sq_name_ok(st->name))
		return sq_fail(err, "'%s': not a name for a tensor", st->name);
	if (st->ndim == 0 && !may_be_scalar)
		return sq_fail(err, "'%s': a scalar", st->name);
	memcpy(t->t.name, st->name, strlen(st->name) + 1);
	t->t.type = st->type;
	t->t.ndim = st->ndim == 0 ? 1 : st->ndim;
	memcpy(t->t.dim, st->dim, sizeof(t->t.dim));
	if (st->ndim == 0)
		t->t.dim[0] = 1;
	t->t.grid = SQ_DENSE;
	sq_tensor_layout(&t->t, SQ_F16, 0);
	t->st = st;
	s->n++;
	s->files.h.bytes += t->t.length;
	return sq_tensor_check(&t->t, err);
}

static int
by_name(const void *a, const void *b)
{
	const struct sq_source_tensor *x = a, *y = b;

	return strcmp(x->t.name, y->t.name);
}

/* Rotary tables that old checkpoints carry: computed, not weights. */
static int
is_computed(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot != NULL && strcmp(dot, ".inv_freq") == 0;
}

/* A tensor that the architecture names, quantized or not: 1; 0; -1. */
static int
add_slot(struct sq_source *s, struct sq_quantized *q,
    const struct sq_slot *slot, char *err)
{
	struct sq_source_tensor *t = &s->tensor[s->n];
	const struct sq_st_tensor *st;
	int r = sq_quantized_find(q, s, slot, t, err);

	if (r > 0) {
		s->n++;
		s->files.h.bytes += t->t.length;
	}
	if (r != 0)
		return r;
	if ((st = sq_st_find(s->st, slot->name)) == NULL)
		return 0;
	return add(s, st, 0, err) < 0 ? -1 : 1;
}

static int
list_tensors(struct sq_source *s, struct sq_quantized *q,
    struct sq_inventory *v, char *err)
{
	const struct sq_st_tensor *st;
	const struct sq_slot *slot;
	size_t i, named;
	int r;

	s->tensor = calloc(s->st->ntensors + 1, sizeof(*s->tensor));
	if (s->tensor == NULL)
		return sq_fail(err, "out of memory");
	if (q->kind != NULL && sq_quantized_begin(q, s, s->st->ntensors,
	    err) < 0)
		return -1;
	for (i = 0; i < v->n; i++) {
		if ((r = add_slot(s, q, &v->slot[i], err)) < 0 || (r > 0 &&
		    sq_inventory_add(v, &s->tensor[s->n - 1].t, &slot,
		    err) < 0))
			return -1;
	}
	if (sq_inventory_complete(v, err) < 0)
		return -1;
	named = s->n;
	for (i = 0; i < s->st->ntensors; i++) {
		st = &s->st->tensor[i];
		if (sq_slot_find(v->slot, v->n, st->name) == NULL &&
		    !sq_quantized_used(q, i) && !is_computed(st->name) &&
		    add(s, st, q->kind != NULL, err) < 0)
			return -1;
	}
	qsort(s->tensor + named, s->n - named, sizeof(*s->tensor), by_name);
	s->files.h.tensors = s->n;
	return 0;
}

static int
hash_tensor(const struct sq_st *st, const struct sq_st_tensor *t,
    struct sq_model_digest *d, char *err)
{
	unsigned char first[SQ_DIGEST_SAMPLE], last[SQ_DIGEST_SAMPLE];
	size_t n = t->length < sizeof(first) ? (size_t)t->length :
	    sizeof(first);

	if (sq_st_read(st, t, 0, first, n, err) < 0 ||
	    sq_st_read(st, t, t->length - n, last, n, err) < 0)
		return -1;
	sq_model_digest_add(d, t->name, sq_dtype_name(t->type), t->ndim,
	    t->dim, first, last, n);
	return 0;
}

/* What a weight that is quantized already was made of. */
static int
hash_stored(const struct sq_source *s, const struct sq_stored *m,
    struct sq_model_digest *x, char *err)
{
	if (hash_tensor(s->st, m->w, x, err) < 0 ||
	    hash_tensor(s->st, m->scale, x, err) < 0)
		return -1;
	return m->zero == NULL ? 0 : hash_tensor(s->st, m->zero, x, err);
}

/* The model digest: sq-stream(5), Digests. */
static int
model_digest(struct sq_source *s, char *err)
{
	struct sq_model_digest d;
	const unsigned char *config;
	size_t i, size;
	int r = 0;

	config = sq_files_find(&s->files, "config.json", &size);
	if (sq_model_digest_init(&d, config, size) < 0)
		return sq_fail(err, "out of memory");
	for (i = 0; i < s->n && r == 0; i++)
		r = s->tensor[i].from != NULL ?
		    hash_stored(s, s->tensor[i].from, &d, err) :
		    hash_tensor(s->st, s->tensor[i].st, &d, err);
	sq_model_digest_end(&d, s->files.h.model);
	return r;
}

/* Not a model: everything that is there. */
static int
list_any(struct sq_source *s, char *err)
{
	size_t i;

	s->tensor = calloc(s->st->ntensors + 1, sizeof(*s->tensor));
	if (s->tensor == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < s->st->ntensors; i++)
		if (add(s, &s->st->tensor[i], 0, err) < 0)
			return -1;
	qsort(s->tensor, s->n, sizeof(*s->tensor), by_name);
	return 0;
}

static int
list(struct sq_source *s, const char *path, struct sq_quantized *q, char *err)
{
	const unsigned char *config;
	struct sq_inventory v;
	char why[SQ_ERR];
	size_t size;
	int r;

	config = sq_files_find(&s->files, "config.json", &size);
	if (config == NULL) {
		if ((s->st = sq_st_open(path, err)) == NULL)
			return -1;
		return list_any(s, err);
	}
	if (sq_inventory_init(&v, (const char *)config, size, why) < 0)
		return sq_fail(err, "'%s': %s", path, why);
	s->config = v.config;
	if ((s->st = sq_st_open(path, err)) == NULL) {
		sq_inventory_release(&v);
		return -1;
	}
	r = list_tensors(s, q, &v, why);
	sq_inventory_release(&v);
	if (r < 0 || model_digest(s, why) < 0)
		return sq_fail(err, "'%s': %s", path, why);
	return 0;
}

int
sq_source_safetensors(struct sq_source *s, const char *path, int is_dir,
    char *err)
{
	struct sq_quantized q = { .kind = NULL };
	int r;

	r = read_files(s, path, is_dir, &q, err);
	s->kind = q.kind != NULL ? q.kind->name : "safetensors";
	if (r == 0)
		r = list(s, path, &q, err);
	sq_quantized_release(&q);
	return r;
}
