/* STATS and TOKENS; see fmt_stats.h. */
#include <stdlib.h>
#include <string.h>

#include "formats/fmt_json.h"
#include "formats/fmt_stats.h"

#define ALIGN		64
#define MAX_CHANNELS	((uint64_t)1 << 22)

/* The parts of a record in order, as the two kinds have them. */
struct item {
	const char *name;
	enum sq_dtype type;
	uint64_t count;
	void **data;			/* the array in the sq_stats */
};

#define MAX_ITEMS	8

/* All that a record of this kind may have. */
static int
items(struct sq_stats *s, struct item it[MAX_ITEMS])
{
	uint64_t c = s->channels, nd = s->heads * s->dim;
	int n = 0;

	if (s->is_kv) {
		it[n++] = (struct item){ "kmin", SQ_F32, nd,
		    (void **)&s->kmin };
		it[n++] = (struct item){ "kmax", SQ_F32, nd,
		    (void **)&s->kmax };
		it[n++] = (struct item){ "vmin", SQ_F32, nd,
		    (void **)&s->vmin };
		it[n++] = (struct item){ "vmax", SQ_F32, nd,
		    (void **)&s->vmax };
		return n;
	}
	it[n++] = (struct item){ "min", SQ_F32, c, (void **)&s->min };
	it[n++] = (struct item){ "max", SQ_F32, c, (void **)&s->max };
	it[n++] = (struct item){ "mean", SQ_F32, c, (void **)&s->mean };
	it[n++] = (struct item){ "absmean", SQ_F32, c,
	    (void **)&s->absmean };
	it[n++] = (struct item){ "hist", SQ_U64, SQ_HIST,
	    (void **)&s->hist };
	it[n++] = (struct item){ "h", SQ_F32, sq_triangle(c),
	    (void **)&s->h };
	it[n++] = (struct item){ "hdiag", SQ_F32, c, (void **)&s->hdiag };
	return n;
}

static int
is_there(const json_t *parts, const char *name)
{
	const json_t *o;
	size_t i;

	json_array_foreach(parts, i, o) {
		const char *s = json_string_value(json_object_get(o, "part"));

		if (s != NULL && strcmp(s, name) == 0)
			return 1;
	}
	return 0;
}

/* Of n items, those that are in parts, or (NULL) have an array. */
static int
keep(struct item *it, int n, const json_t *parts)
{
	int i, k = 0;

	for (i = 0; i < n; i++)
		if (parts == NULL ? *it[i].data != NULL :
		    is_there(parts, it[i].name))
			it[k++] = it[i];
	return k;
}

/* Those of a record that is to be written: the diagonal is for want of h. */
static int
made_items(const struct sq_stats *s, struct item it[MAX_ITEMS])
{
	int n = keep(it, items((struct sq_stats *)(uintptr_t)s, it), NULL);

	return s->h != NULL && s->hdiag != NULL ? n - 1 : n;
}

static uint64_t
round_up(uint64_t n)
{
	return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static json_t *
describe_parts(const struct item *it, int n, uint64_t *length)
{
	json_t *parts = json_array();
	uint64_t bytes;
	int i;

	*length = 0;
	for (i = 0; i < n; i++) {
		bytes = it[i].count * sq_dtype_size(it[i].type);
		*length = round_up(*length);
		json_array_append_new(parts, json_pack("{s:s,s:s,s:I,s:I}",
		    "part", it[i].name, "dtype", sq_dtype_name(it[i].type),
		    "offset", (json_int_t)*length,
		    "length", (json_int_t)bytes));
		*length += bytes;
	}
	return parts;
}

uint64_t
sq_stats_bytes(const struct sq_stats *s)
{
	struct item it[MAX_ITEMS];
	uint64_t length = 0;
	int i, n = made_items(s, it);

	for (i = 0; i < n; i++)
		length = round_up(length) +
		    it[i].count * sq_dtype_size(it[i].type);
	return length;
}

static json_t *
describe(const struct sq_stats *s, const struct item *it, int n,
    uint64_t *length)
{
	json_t *names = json_array(), *o;
	size_t i;

	for (i = 0; i < s->ntensors; i++)
		json_array_append_new(names, json_string(s->tensor[i]));
	o = json_pack("{s:s,s:o,s:I}", "kind", s->is_kv ? "kv" : "linear",
	    "tensors", names, "tokens", (json_int_t)s->tokens);
	if (s->model[0] != '\0')
		json_object_set_new(o, "model", json_string(s->model));
	if (s->source[0] != '\0')
		json_object_set_new(o, "source", json_string(s->source));
	if (s->is_kv) {
		json_object_set_new(o, "heads",
		    json_integer((json_int_t)s->heads));
		json_object_set_new(o, "dim",
		    json_integer((json_int_t)s->dim));
	} else {
		json_object_set_new(o, "channels",
		    json_integer((json_int_t)s->channels));
		if (s->rescaled)
			json_object_set_new(o, "rescaled", json_true());
	}
	json_object_set_new(o, "parts", describe_parts(it, n, length));
	return o;
}

int
sq_stats_write(const struct sq_stats *s, struct sq_out *out)
{
	struct item it[MAX_ITEMS];
	int i, r = -1, n = made_items(s, it);
	uint64_t length, at = 0, bytes;
	json_t *o = describe(s, it, n, &length);
	char *json = o == NULL ? NULL : sq_json_text(o);

	json_decref(o);
	if (json == NULL)
		return sq_fail(out->err, "out of memory");
	if (sq_out_begin(out, SQ_STATS, json, strlen(json), length) < 0)
		goto done;
	for (i = 0; i < n; i++) {
		bytes = it[i].count * sq_dtype_size(it[i].type);
		if (sq_out_gap(out, at, round_up(at)) < 0 ||
		    sq_out_write(out, *it[i].data, (size_t)bytes) < 0)
			goto done;
		at = round_up(at) + bytes;
	}
	r = sq_out_end(out);
done:
	free(json);
	return r;
}

void
sq_stats_release(struct sq_stats *s)
{
	free(s->min);
	free(s->max);
	free(s->mean);
	free(s->absmean);
	free(s->hist);
	free(s->h);
	free(s->hdiag);
	free(s->kmin);
	free(s->kmax);
	free(s->vmin);
	free(s->vmax);
	memset(s, 0, sizeof(*s));
}

static int
parse(struct sq_stats *s, const json_t *o, char *err)
{
	const json_t *names = json_object_get(o, "tensors"), *v;
	const char *kind, *name;
	size_t i;

	if (sq_json_string(o, "kind", &kind, err) < 0)
		return -1;
	s->is_kv = strcmp(kind, "kv") == 0;
	if (!s->is_kv && strcmp(kind, "linear") != 0)
		return sq_fail(err, "'kind' is '%s'", kind);
	s->ntensors = json_array_size(names);
	if (s->ntensors < 1 || s->ntensors > SQ_STATS_TENSORS)
		return sq_fail(err, "'tensors' is not an array of 1 to %d",
		    SQ_STATS_TENSORS);
	for (i = 0; i < s->ntensors; i++) {
		name = json_string_value(json_array_get(names, i));
		if (name == NULL || !sq_name_ok(name))
			return sq_fail(err, "'tensors' holds other than "
			    "names");
		memcpy(s->tensor[i], name, strlen(name) + 1);
	}
	v = json_object_get(o, "model");
	if (json_is_string(v) && sq_digest_ok(json_string_value(v)))
		memcpy(s->model, json_string_value(v), SQ_DIGEST);
	v = json_object_get(o, "source");
	if (json_is_string(v) && sq_digest_ok(json_string_value(v)))
		memcpy(s->source, json_string_value(v), SQ_DIGEST);
	if (sq_json_uint(o, "tokens", &s->tokens, err) < 0 ||
	    sq_json_opt_bool(o, "rescaled", &s->rescaled, err) < 0)
		return -1;
	if (!s->is_kv)
		return sq_json_uint(o, "channels", &s->channels, err);
	if (sq_json_uint(o, "heads", &s->heads, err) < 0)
		return -1;
	return sq_json_uint(o, "dim", &s->dim, err);
}

/* The parts that a record has, all in their places; of linear layers, one of h
 * and hdiag is the last. */
static int
match_parts(struct sq_stats *s, const json_t *o, struct item it[MAX_ITEMS],
    uint64_t length, char *err)
{
	const json_t *parts = json_object_get(o, "parts");
	json_t *want;
	uint64_t need;
	int n = keep(it, items(s, it), parts), same;

	want = describe_parts(it, n, &need);
	same = n > 0 && json_equal(want, parts) && need == length;
	json_decref(want);
	if (same && !s->is_kv)
		same = it[n - 1].name[0] == 'h' &&
		    is_there(parts, "h") != is_there(parts, "hdiag");
	return same ? n : sq_fail(err, "parts that do not fit their kind");
}

/* out: what is read goes there, too; or NULL. */
static int
read_parts(const struct item *it, int n, struct sq_in *in, struct sq_out *out)
{
	uint64_t at = 0, bytes;
	int i;

	for (i = 0; i < n; i++) {
		bytes = it[i].count * sq_dtype_size(it[i].type);
		if (sq_in_gap(in, at, round_up(at)) < 0)
			return -1;
		if ((*it[i].data = malloc((size_t)bytes)) == NULL)
			return sq_fail(in->err, "STATS: out of memory");
		if (sq_in_read(in, *it[i].data, (size_t)bytes) < 0)
			return -1;
		if (out != NULL && (sq_out_gap(out, at, round_up(at)) < 0 ||
		    sq_out_write(out, *it[i].data, (size_t)bytes) < 0))
			return sq_fail(in->err, "%s", out->err);
		at = round_up(at) + bytes;
	}
	return 0;
}

/* Everything but the payload: the number of items, or -1. */
static int
read_description(struct sq_stats *s, const struct sq_in *in,
    struct item it[MAX_ITEMS], char *err)
{
	char why[SQ_ERR];
	int n;

	memset(s, 0, sizeof(*s));
	if (parse(s, in->desc, why) < 0)
		return sq_fail(err, "STATS: %s", why);
	if (s->channels > MAX_CHANNELS || s->heads > MAX_CHANNELS ||
	    s->dim > MAX_CHANNELS || (s->is_kv ? s->heads * s->dim :
	    s->channels) == 0)
		return sq_fail(err, "STATS: sizes out of bounds");
	if ((n = match_parts(s, in->desc, it, in->length, why)) < 0)
		return sq_fail(err, "STATS: %s", why);
	return n;
}

int
sq_stats_parse(struct sq_stats *s, const struct sq_in *in, int *full,
    char *err)
{
	struct item it[MAX_ITEMS];
	int n = read_description(s, in, it, err);

	if (n < 0)
		return -1;
	*full = strcmp(it[n - 1].name, "h") == 0;
	return 0;
}

int
sq_stats_read(struct sq_stats *s, struct sq_in *in, uint64_t max)
{
	struct item it[MAX_ITEMS];
	int n = read_description(s, in, it, in->err);

	if (n < 0)
		return -1;
	if (in->length > max)
		return sq_fail(in->err, "STATS of '%s': %ju bytes do not fit "
		    "into the %ju that there are", s->tensor[0],
		    (uintmax_t)in->length, (uintmax_t)max);
	if (read_parts(it, n, in, NULL) < 0) {
		sq_stats_release(s);
		return -1;
	}
	return 0;
}

int
sq_stats_pass(struct sq_stats *s, struct sq_in *in, struct sq_out *out)
{
	struct item it[MAX_ITEMS];
	int n = read_description(s, in, it, in->err);

	if (n < 0)
		return -1;
	if (sq_out_begin_copy(out, in) < 0)
		return sq_fail(in->err, "%s", out->err);
	if (strcmp(it[n - 1].name, "h") == 0)
		n--;
	if (read_parts(it, n, in, out) == 0) {
		if (sq_out_pass(out, in) == 0 && sq_out_end(out) == 0)
			return 0;
		sq_fail(in->err, "%s", out->err);
	}
	sq_stats_release(s);
	return -1;
}

int
sq_tokens_read(struct sq_tokens *t, struct sq_in *in)
{
	const char *source, *tokenizer;
	char why[SQ_ERR];

	memset(t, 0, sizeof(*t));
	if (sq_json_uint(in->desc, "tokens", &t->count, why) < 0 ||
	    sq_json_uint(in->desc, "length", &t->length, why) < 0 ||
	    sq_json_opt_uint(in->desc, "skip", &t->skip, why) < 0 ||
	    sq_json_string(in->desc, "source", &source, why) < 0 ||
	    sq_json_string(in->desc, "tokenizer", &tokenizer, why) < 0)
		return sq_fail(in->err, "TOKENS: %s", why);
	if (t->length < 1 || t->count % t->length != 0 ||
	    t->count > SQ_MAX_PAYLOAD / 4 || in->length != 4 * t->count ||
	    !sq_digest_ok(source) || !sq_digest_ok(tokenizer))
		return sq_fail(in->err, "TOKENS: a description that does not "
		    "fit");
	memcpy(t->source, source, SQ_DIGEST);
	memcpy(t->tokenizer, tokenizer, SQ_DIGEST);
	t->id = sq_in_payload(in, (uint64_t)4 << 30);
	return t->id == NULL ? -1 : 0;
}

void
sq_tokens_release(struct sq_tokens *t)
{
	free(t->id);
	memset(t, 0, sizeof(*t));
}

int
sq_tokens_write(const struct sq_tokens *t, struct sq_out *out)
{
	json_t *o = json_pack("{s:I,s:I,s:I,s:s,s:s}",
	    "tokens", (json_int_t)t->count, "length", (json_int_t)t->length,
	    "skip", (json_int_t)t->skip, "source", t->source,
	    "tokenizer", t->tokenizer);
	int r;

	if (o == NULL)
		return sq_fail(out->err, "out of memory");
	r = sq_out_record(out, SQ_TOKENS, o, t->id, 4 * t->count);
	json_decref(o);
	return r;
}
