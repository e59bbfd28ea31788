/* Checkpoints that are quantized already; see source_quantized.h. */
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/floats.h"
#include "base/io.h"
#include "formats/fmt_json.h"
#include "formats/fmt_safetensors.h"
#include "model/config_text.h"
#include "model/source_quantized.h"

#define MAX_CONFIG	((size_t)64 << 20)

/* ---- which kind ---- */

static json_t *
read_json(int dirfd, const char *name, char *err)
{
	char why[SQ_ERR], *text;
	json_t *o;
	size_t n;

	text = sq_read_file(dirfd, name, MAX_CONFIG, &n, why);
	o = text == NULL ? NULL : sq_json_object(text, n, why);
	free(text);
	if (o == NULL)
		sq_fail(err, "%s: %s", name, why);
	return o;
}

static int
exists(int dirfd, const char *name)
{
	return faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int
named_kind(struct sq_quantized *q, const char *method, char *err)
{
	static const struct sq_quantized_kind *const kinds[] = {
		&sq_quantized_ct, &sq_quantized_gptq, &sq_quantized_awq,
	};
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(method, kinds[i]->name) == 0) {
			q->kind = kinds[i];
			return 0;
		}
	return sq_fail(err, "quantization_config: 'quant_method' is '%s', "
	    "which is not known", method);
}

/* The type that the values had: torch_dtype, or its newer name. */
static enum sq_dtype
model_type(const json_t *config)
{
	const char *s = json_string_value(json_object_get(config,
	    "torch_dtype"));

	if (s == NULL)
		s = json_string_value(json_object_get(config, "dtype"));
	if (s != NULL && strcmp(s, "float16") == 0)
		return SQ_F16;
	return s != NULL && strcmp(s, "float32") == 0 ? SQ_F32 : SQ_BF16;
}

static int
find_kind(struct sq_quantized *q, int dirfd, json_t *config, char *err)
{
	const char *method;

	q->config = json_incref(json_object_get(config,
	    "quantization_config"));
	if (json_is_object(q->config))
		return sq_json_string(q->config, "quant_method", &method,
		    err) < 0 ? -1 : named_kind(q, method, err);
	if (q->config != NULL && !json_is_null(q->config))
		return sq_fail(err, "'quantization_config' is not an object");
	json_decref(q->config);
	q->config = NULL;
	if (exists(dirfd, "quant_model_description.json")) {
		q->kind = &sq_quantized_ascend;
		q->config = read_json(dirfd, "quant_model_description.json",
		    err);
		return q->config == NULL ? -1 : 0;
	}
	if (exists(dirfd, "quantize_config.json")) {	/* early GPTQ */
		q->kind = &sq_quantized_gptq;
		q->config = read_json(dirfd, "quantize_config.json", err);
		return q->config == NULL ? -1 : 0;
	}
	return 0;
}

int
sq_quantized_init(struct sq_quantized *q, int dirfd, char **config, size_t *n,
    char *err)
{
	char *text;
	json_t *o;
	char why[SQ_ERR];
	int r;

	memset(q, 0, sizeof(*q));
	if ((o = sq_json_object(*config, *n, why)) == NULL)
		return sq_fail(err, "config.json: %s", why);
	q->type = model_type(o);
	r = find_kind(q, dirfd, o, err);
	if (r == 0 && json_object_get(o, "quantization_config") != NULL) {
		text = sq_config_text_without(*config, *n,
		    "quantization_config", n);
		if (text == NULL)
			r = sq_fail(err, "out of memory");
		else {
			free(*config);
			*config = text;
		}
	}
	json_decref(o);
	return r;
}

void
sq_quantized_release(struct sq_quantized *q)
{
	json_decref(q->config);
	free(q->used);
	q->config = NULL;
	q->used = NULL;
}

/* ---- what it is made of ---- */

const struct sq_st_tensor *
sq_stored_find(const struct sq_source *s, const char *module,
    const char *suffix)
{
	char name[2 * SQ_NAME];

	snprintf(name, sizeof(name), "%s.%s", module, suffix);
	return sq_st_find(s->st, name);
}

int
sq_stored_is(const struct sq_st_tensor *st, enum sq_dtype type, uint64_t rows,
    uint64_t cols)
{
	return st != NULL && st->type == type && st->ndim == 2 &&
	    st->dim[0] == rows && st->dim[1] == cols;
}

const void *
sq_stored_map(const struct sq_source *s, const struct sq_st_tensor *st,
    char *err)
{
	return sq_st_map(s->st, st, err);
}

/* A part is made of the tensor that has its values; one that does not lie at a
 * multiple of 4 is copied. */
static int
make(const struct sq_source *s, const struct sq_source_tensor *t, int part,
    void *buf, char *err)
{
	const struct sq_stored *m = t->from;
	const char *name = t->t.part[part].name;
	const struct sq_st_tensor *st = strcmp(name, "codes") == 0 ? m->w :
	    strcmp(name, "zeros") == 0 ? m->zero : m->scale;
	const void *p = sq_stored_map(s, st, err);
	void *copy = NULL;
	int r;

	if (p == NULL)
		return -1;
	if ((uintptr_t)p % 4 != 0) {
		if ((copy = malloc((size_t)st->length)) == NULL)
			return sq_fail(err, "out of memory");
		p = memcpy(copy, p, (size_t)st->length);
	}
	r = m->kind->unpack(&t->t, m, st, p, buf, err);
	free(copy);
	return r;
}

int
sq_stored_act(struct sq_tensor *t, const struct sq_source *s,
    const char *module, enum sq_act_kind kind, int is_static, char *err)
{
	const struct sq_st_tensor *st;
	unsigned char v[4];

	t->act.kind = kind;
	if (kind == SQ_ACT_NONE || !is_static)
		return 0;
	st = sq_stored_find(s, module, "input_scale");
	if (st == NULL || !sq_dtype_is_float(st->type) ||
	    st->length != sq_dtype_size(st->type))
		return sq_fail(err, "'%s': its input_scale is missing, or not "
		    "one number", t->name);
	if (sq_st_read(s->st, st, 0, v, (size_t)st->length, err) < 0)
		return -1;
	t->act.scale = sq_float_get(v, st->type, 0);
	return t->act.scale > 0 && isfinite(t->act.scale) ? 0 : sq_fail(err,
	    "'%s': an input_scale that is not a positive number", t->name);
}

static uint64_t
blocks(uint64_t n)
{
	return (n + 127) / 128;
}

int
sq_stored_groups(struct sq_tensor *t, const struct sq_st_tensor *scale,
    int turned, char *err)
{
	uint64_t rows = 1, n = 1;

	if (scale == NULL)
		return sq_fail(err, "'%s': its scales are missing", t->name);
	if (scale->ndim > 2)
		return sq_fail(err, "'%s': scales of a shape that is not known",
		    t->name);
	if (scale->ndim > 0)
		rows = scale->dim[0];
	if (scale->ndim == 2)
		n = scale->dim[1];
	if (turned) {
		uint64_t x = rows;

		rows = n;
		n = x;
	}
	if (rows == t->dim[0] && n <= t->dim[1] && t->dim[1] % n == 0) {
		t->group_rows = 1;
		t->group_cols = t->dim[1] / n;
	} else if (rows == 1 && n == 1) {
		t->group_rows = t->dim[0];
		t->group_cols = t->dim[1];
	} else if (rows == blocks(t->dim[0]) && n == blocks(t->dim[1])) {
		t->group_rows = t->dim[0] < 128 ? t->dim[0] : 128;
		t->group_cols = t->dim[1] < 128 ? t->dim[1] : 128;
	} else
		return sq_fail(err, "'%s': %ju x %ju scales do not fit its "
		    "shape", t->name, (uintmax_t)rows, (uintmax_t)n);
	return 0;
}

int
sq_quantized_begin(struct sq_quantized *q, struct sq_source *s, size_t n,
    char *err)
{
	q->nstored = 0;
	s->from = q->stored = calloc(n + 1, sizeof(*q->stored));
	q->used = calloc(s->st->ntensors + 1, 1);
	if (q->stored == NULL || q->used == NULL)
		return sq_fail(err, "out of memory");
	return 0;
}

static void
mark(struct sq_quantized *q, const struct sq_source *s,
    const struct sq_st_tensor *st)
{
	if (st != NULL)
		q->used[st - s->st->tensor] = 1;
}

int
sq_quantized_find(struct sq_quantized *q, const struct sq_source *s,
    const struct sq_slot *slot, struct sq_source_tensor *t, char *err)
{
	struct sq_stored *stored;
	char module[SQ_NAME];
	size_t i;
	int r;

	if (q->kind == NULL || slot->ndim != 2)
		return 0;
	memset(t, 0, sizeof(*t));
	memcpy(t->t.name, slot->name, sizeof(t->t.name));
	t->t.type = q->type;
	t->t.ndim = 2;
	memcpy(t->t.dim, slot->dim, sizeof(slot->dim));
	snprintf(module, sizeof(module), "%.*s",
	    (int)(strlen(slot->name) - strlen(".weight")), slot->name);
	stored = &q->stored[q->nstored];
	memset(stored, 0, sizeof(*stored));
	stored->kind = q->kind;
	if ((r = q->kind->find(q, s, module, t, stored, err)) <= 0)
		return r;
	t->make = make;
	for (i = 0; q->kind->suffixes[i] != NULL; i++)
		mark(q, s, sq_stored_find(s, module, q->kind->suffixes[i]));
	sq_tensor_layout(&t->t, stored->scale->type == SQ_U8 ? SQ_F8_E8M0 :
	    stored->scale->type, 0);
	t->from = stored;
	q->nstored++;
	return sq_tensor_check(&t->t, err) < 0 ? -1 : 1;
}

int
sq_quantized_used(const struct sq_quantized *q, size_t i)
{
	return q->used != NULL && q->used[i];
}
