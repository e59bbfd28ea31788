/* A stream becomes a directory for other programs; see pack_dir.h. */
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/floats.h"
#include "base/io.h"
#include "formats/fmt_json.h"
#include "formats/fmt_stats.h"
#include "model/config_text.h"
#include "model/pack_dir.h"
#include "model/weight.h"

#define PIECE	((size_t)1 << 20)
#define SHARD	((uint64_t)5 << 30)
#define FIXED	((uint64_t)24 << 20)	/* besides a tensor: libraries, files */

int
sq_dir_file(struct sq_packdir *k, const char *name, const void *data, size_t n,
    char *err)
{
	int fd = openat(k->dirfd, name, O_WRONLY | O_CREAT | O_TRUNC |
	    O_NOFOLLOW | O_CLOEXEC, 0666);
	int r = 0;

	if (fd < 0 || sq_write_full(fd, data, n) < 0 || fsync(fd) < 0)
		r = sq_fail_errno(err, "'%s'", name);
	if (fd >= 0)
		close(fd);
	return r;
}

int
sq_dir_json(struct sq_packdir *k, const char *name, json_t *v, char *err)
{
	char *text = v == NULL ? NULL : sq_json_pretty(v);
	int r;

	json_decref(v);
	if (text == NULL)
		return sq_fail(err, "out of memory");
	r = sq_dir_file(k, name, text, strlen(text), err);
	free(text);
	return r;
}

int
sq_dir_config(struct sq_packdir *k, json_t *quantization, char *err)
{
	const unsigned char *config;
	char *text, *with = NULL;
	size_t n;
	int r;

	config = sq_files_find(&k->files, "config.json", &n);
	if (k->head && k->inv.config.tied)
		text = sq_config_text_set((const char *)config, n,
		    "tie_word_embeddings", json_false(), &n);
	else if ((text = malloc(n)) != NULL)
		memcpy(text, config, n);
	if (text != NULL && quantization != NULL)
		with = sq_config_text_set(text, n, "quantization_config",
		    quantization, &n);
	if (text == NULL || (quantization != NULL && with == NULL))
		r = sq_fail(err, "out of memory");
	else
		r = sq_dir_file(k, "config.json", with == NULL ? text : with,
		    n, err);
	free(text);
	free(with);
	return r;
}

int
sq_dir_extra(struct sq_packdir *k, const char *name, enum sq_dtype type,
    uint64_t n, const void *data, char *err)
{
	size_t size = (size_t)n * sq_dtype_size(type), i = k->nextras;
	struct sq_extra *e;

	e = realloc(k->extra, (i + 1) * sizeof(*e));
	if (e == NULL)
		return sq_fail(err, "out of memory");
	k->extra = e;
	while (i > 0 && strcmp(e[i - 1].name, name) > 0) {
		e[i] = e[i - 1];
		i--;
	}
	memset(&e[i], 0, sizeof(e[i]));
	k->nextras++;
	snprintf(e[i].name, sizeof(e[i].name), "%s", name);
	e[i].type = type;
	e[i].n = n;
	if ((e[i].data = malloc(size)) == NULL)
		return sq_fail(err, "out of memory");
	memcpy(e[i].data, data, size);
	return 0;
}

static int
ends_with(const char *s, const char *tail)
{
	size_t n = strlen(s), m = strlen(tail);

	return n > m && strcmp(s + n - m, tail) == 0;
}

static void
note_name(struct sq_packdir *k, const char *name)
{
	json_object_set_new(k->names, name, json_null());
	if (k->kind->kv != NULL && ends_with(name, k->kind->kv_suffix))
		k->kv_layers++;
}

static int
put_tensor(struct sq_packdir *k, const char *name, enum sq_dtype type,
    int ndim, const uint64_t *dim, const void *data, char *err)
{
	uint64_t n = sq_dtype_size(type);
	int i;

	note_name(k, name);
	if (sq_st_out_tensor(&k->out, name, type, ndim, dim, data) < 0)
		return sq_fail(err, "%s", k->out.err);
	for (i = 0; i < ndim; i++)
		n *= dim[i];
	k->p->after += n;
	return 0;
}

int
sq_dir_put(struct sq_packdir *k, const struct sq_module *m, const char *suffix,
    enum sq_dtype type, int ndim, const uint64_t *dim, const void *data,
    char *err)
{
	char name[SQ_NAME + 32];

	snprintf(name, sizeof(name), "%s.%s", m->name, suffix);
	return put_tensor(k, name, type, ndim, dim, data, err);
}

/* Those whose names come before `name'; all of them for NULL. */
static int
put_extras(struct sq_packdir *k, const char *name, char *err)
{
	struct sq_extra *e = k->extra;
	size_t i, n;

	for (n = 0; n < k->nextras; n++) {
		if (name != NULL && strcmp(e[n].name, name) > 0)
			break;
		if (put_tensor(k, e[n].name, e[n].type, 1, &e[n].n,
		    e[n].data, err) < 0)
			return -1;
		free(e[n].data);
		e[n].data = NULL;
	}
	for (i = n; n > 0 && i < k->nextras; i++)
		e[i - n] = e[i];
	k->nextras -= n;
	return 0;
}

const void *
sq_dir_part(const struct sq_tensor *t, const unsigned char *payload,
    const char *name)
{
	const struct sq_part *p = sq_tensor_part(t, name);

	return p == NULL ? NULL : payload + p->offset;
}

void *
sq_dir_scales(struct sq_packdir *k, const struct sq_tensor *t,
    const unsigned char *payload, enum sq_dtype type, char *err)
{
	const struct sq_part *p = sq_tensor_part(t, "scales");
	size_t n = (size_t)sq_dir_groups(t), other;
	void *to = malloc(n * sq_dtype_size(type));

	if (to == NULL) {
		sq_fail(err, "out of memory");
		return NULL;
	}
	other = sq_floats_convert(to, type, payload + p->offset, p->type, n);
	if (other == 0 || k->p->scales == (int)type)
		return to;
	free(to);
	sq_fail(err, "tensor '%s': %zu of its scales are not numbers of type "
	    "%s, which the format has: --scales rounds them", t->name, other,
	    sq_dtype_name(type));
	return NULL;
}

static int
pack_header(struct sq_packdir *k, char *err)
{
	const unsigned char *config;
	struct sq_st_hint hint;
	size_t size;
	int i;

	if (sq_files_read(&k->files, k->in) < 0)
		return sq_fail(err, "%s", k->in->err);
	config = sq_files_find(&k->files, "config.json", &size);
	k->p->progress->tensors = k->files.h.tensors;
	if (sq_inventory_init(&k->inv, (const char *)config, size, err) < 0 ||
	    sq_pack_check_model(k->p, &k->inv.config, err) < 0)
		return -1;
	k->module = calloc(k->inv.n, sizeof(*k->module));
	if (k->module == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < k->files.h.nblobs; i++)
		if (strcmp(k->files.h.blob[i].name, "config.json") != 0 &&
		    sq_dir_file(k, k->files.h.blob[i].name, k->files.data[i],
		    (size_t)k->files.h.blob[i].length, err) < 0)
			return -1;
	/* from the architecture alone: the same room in front of the data for
	 * the same model, whatever it went through */
	hint.tensors = k->inv.n * (size_t)k->kind->tensors;
	hint.name_bytes = hint.tensors * 48;
	if (sq_st_out_open_dir(&k->out, k->dirfd, k->kind->stem,
	    k->p->shard == 0 ? SHARD : k->p->shard, &hint) < 0)
		return sq_fail(err, "%s", k->out.err);
	return 0;
}

static int
pack_dense(struct sq_packdir *k, const struct sq_tensor *t, char *err)
{
	uint64_t left = t->part[0].length;
	size_t n;

	for (; left > 0; left -= n) {
		n = left < PIECE ? (size_t)left : PIECE;
		if (sq_in_read(k->in, k->piece, n) < 0)
			return sq_fail(err, "%s", k->in->err);
		if (sq_st_out_write(&k->out, k->piece, n) < 0)
			return sq_fail(err, "%s", k->out.err);
		sq_progress_add(k->p->progress, n);
	}
	return 0;
}

/* The codes in memory, the values in pieces of whole rows. */
static int
pack_values(struct sq_packdir *k, const struct sq_tensor *t,
    const unsigned char *payload, char *err)
{
	size_t row_bytes = t->dim[1] * sq_dtype_size(t->type), row;
	size_t rows = PIECE / row_bytes + 1;
	struct sq_weight w;
	struct sq_mat m;
	unsigned char *values;
	int r = -1;

	if ((values = malloc(rows * row_bytes)) == NULL)
		return sq_fail(err, "out of memory");
	if (sq_weight_init(&w, t, payload, err) < 0)
		goto done;
	for (row = 0; row < t->dim[0]; row += m.rows) {
		m = (struct sq_mat){ values, t->type, t->dim[0] - row < rows ?
		    t->dim[0] - row : rows, t->dim[1], t->dim[1] };
		if (sq_dequantize(k->p->ctx, &w, row, &m) != 0) {
			sq_fail(err, "tensor '%s': no kernel for its grid",
			    t->name);
			goto done;
		}
		if (sq_st_out_write(&k->out, values, m.rows * row_bytes) < 0) {
			sq_fail(err, "%s", k->out.err);
			goto done;
		}
	}
	r = 0;
done:
	free(values);
	return r;
}

static int
named_dense(const struct sq_pack *p, const char *name)
{
	size_t i;

	for (i = 0; i < p->ndense; i++)
		if (fnmatch(p->dense[i], name, 0) == 0)
			return 1;
	return 0;
}

/* Does the format have the tensor in quantized form? */
static int
wants_codes(struct sq_packdir *k, const struct sq_tensor *t,
    const struct sq_slot *slot, char *err)
{
	if (k->kind->put == NULL || named_dense(k->p, t->name))
		return 0;
	if (slot == NULL || slot->role == SQ_EMBED)
		return sq_fail(err, "tensor '%s': %s is not quantized in this "
		    "format: --dense '%s' writes its values", t->name,
		    slot == NULL ? "what the architecture does not name" :
		    "the embedding", t->name);
	return 1;
}

static void
note_module(struct sq_packdir *k, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	struct sq_module *m = &k->module[k->nmodules];

	k->head |= slot->role == SQ_HEAD && !slot->bias;
	if (slot->ndim != 2)
		return;
	m->slot = slot;
	m->t = *t;
	snprintf(m->name, sizeof(m->name), "%.*s",
	    (int)(strlen(t->name) - strlen(".weight")), t->name);
	k->nmodules++;
}

static int
begin_values(struct sq_packdir *k, const struct sq_tensor *t, char *err)
{
	note_name(k, t->name);
	k->p->lost_acts += t->act.kind != SQ_ACT_NONE;
	if (sq_st_out_begin(&k->out, t->name, t->type, t->ndim, t->dim) < 0)
		return sq_fail(err, "%s", k->out.err);
	k->p->after += sq_tensor_count(t) * sq_dtype_size(t->type);
	return 0;
}

static int
end_values(struct sq_packdir *k, const struct sq_slot *slot, char *err)
{
	if (sq_st_out_end(&k->out) < 0)
		return sq_fail(err, "%s", k->out.err);
	if (slot != NULL && slot->ndim == 2)
		k->module[k->nmodules - 1].t.grid = SQ_DENSE;
	return 0;
}

static int
pack_quantized(struct sq_packdir *k, const struct sq_tensor *t,
    const struct sq_slot *slot, char *err)
{
	uint64_t need = FIXED + 2 * t->length + PIECE;
	int codes = wants_codes(k, t, slot, err), r = -1;
	unsigned char *payload;

	if (codes < 0)
		return -1;
	if (k->p->memory != 0 && k->p->memory < need)
		return sq_fail(err, "tensor '%s': -M: needs at least %juM",
		    t->name, (uintmax_t)(need + 0xfffff) >> 20);
	payload = sq_in_payload(k->in, k->in->length);
	if (payload == NULL)
		return sq_fail(err, "%s", k->in->err);
	if (sq_tensor_check_data(t, payload, err) < 0)
		goto done;
	if (codes)
		r = k->kind->put(k, &k->module[k->nmodules - 1], payload, err);
	else if (begin_values(k, t, err) == 0 &&
	    pack_values(k, t, payload, err) == 0)
		r = end_values(k, slot, err);
	sq_progress_add(k->p->progress, k->in->length);
done:
	free(payload);
	return r;
}

/* The architecture's tensors have come; harmless when called again. */
static int
end_slots(struct sq_packdir *k, char *err)
{
	return k->kind->end == NULL ? 0 : k->kind->end(k, err);
}

static int
pack_tensor(struct sq_packdir *k, char *err)
{
	static const enum sq_act_kind acts[] = {
		[SQ_PACK_ACT_NONE] = SQ_ACT_NONE,
		[SQ_PACK_ACT_INT8] = SQ_ACT_INT8,
		[SQ_PACK_ACT_FP8] = SQ_ACT_FP8,
	};
	const struct sq_slot *slot;
	struct sq_tensor t;

	if (sq_tensor_parse(&t, k->in->desc, k->in->length, err) < 0 ||
	    sq_inventory_add(&k->inv, &t, &slot, err) < 0 ||
	    sq_pack_check_tensor(k->p, &t, slot, err) < 0)
		return -1;
	sq_progress_tensor(k->p->progress);
	if (t.grid != SQ_DENSE && t.act.kind == SQ_ACT_NONE)
		t.act.kind = acts[k->p->act];
	if (slot != NULL)
		note_module(k, &t, slot);
	else if (end_slots(k, err) < 0 || put_extras(k, t.name, err) < 0)
		return -1;
	k->p->tensors++;
	k->p->quantized += t.grid != SQ_DENSE;
	k->p->before += t.length;
	if (t.grid != SQ_DENSE)
		return pack_quantized(k, &t, slot, err);
	if (begin_values(k, &t, err) < 0 || pack_dense(k, &t, err) < 0)
		return -1;
	if (slot != NULL && slot->bias && k->kind->bias != NULL &&
	    t.part[0].length <= PIECE &&		/* all is there */
	    k->kind->bias(k, &t, slot, k->piece, err) < 0)
		return -1;
	return end_values(k, slot, err);
}

/* Ranges of keys and values are wanted, other statistics are not. */
static int
pack_stats(struct sq_packdir *k, char *err)
{
	struct sq_stats s;
	int full, r;

	k->p->dropped++;
	if (!k->p->kv || k->kind->kv == NULL)
		return 0;
	if (sq_stats_parse(&s, k->in, &full, err) < 0)
		return -1;
	if (!s.is_kv)
		return 0;
	if (sq_stats_read(&s, k->in, PIECE) < 0)
		return sq_fail(err, "%s", k->in->err);
	r = k->kind->kv(k, &s, err);
	sq_stats_release(&s);
	return r;
}

static int
pack_record(struct sq_packdir *k, char *err)
{
	switch (k->in->type) {
	case SQ_STATS:
		return pack_stats(k, err);
	case SQ_HEADER:
		return pack_header(k, err);
	case SQ_TENSOR:
		return pack_tensor(k, err);
	default:
		k->p->dropped++;
		return 0;
	}
}

static int
finish(struct sq_packdir *k, char *err)
{
	if (sq_inventory_complete(&k->inv, err) < 0 ||
	    end_slots(k, err) < 0 || put_extras(k, NULL, err) < 0)
		return -1;
	if (k->p->kv && k->kv_layers != k->inv.config.layers)
		return sq_fail(err, "--kv: there are no ranges of keys and "
		    "values for every layer: sq-calibrate takes them");
	if (sq_st_out_finish(&k->out) < 0)
		return sq_fail(err, "%s", k->out.err);
	return k->kind->finish(k, err);
}

int
sq_pack_dir(struct sq_pack *p, const struct sq_dir_kind *kind,
    struct sq_in *in, int dirfd, char *err)
{
	struct sq_packdir k = { .p = p, .kind = kind, .in = in,
	    .dirfd = dirfd };
	int r = -1, got;
	size_t i;

	if ((k.piece = malloc(PIECE)) == NULL ||
	    (k.names = json_object()) == NULL) {
		free(k.piece);
		return sq_fail(err, "out of memory");
	}
	while ((got = sq_in_next(in)) > 0)
		if (pack_record(&k, err) < 0)
			goto done;
	if (got < 0)
		sq_fail(err, "%s", in->err);
	else
		r = finish(&k, err);
done:
	p->reused = k.out.reused;
	p->finished = k.out.finished;
	sq_st_out_release(&k.out);
	sq_inventory_release(&k.inv);
	sq_files_release(&k.files);
	for (i = 0; i < k.nextras; i++)
		free(k.extra[i].data);
	free(k.extra);
	for (i = 0; i < k.nmodules; i++)
		free(k.module[i].deq);
	free(k.module);
	free(k.piece);
	json_decref(k.names);
	return r;
}
