/* An artifact as a source; see source.h and sqa(5). */
#include <stdlib.h>
#include <string.h>

#include "formats/fmt_json.h"
#include "formats/fmt_sqa.h"
#include "model/pack.h"
#include "model/source_kinds.h"

#define MAX_JSON	((uint64_t)256 << 20)

/* The JSON in a member: a new reference, or NULL with the reason. */
static json_t *
member_json(const struct sq_sqa *a, const char *name, char *err)
{
	const struct sq_sqa_member *m = sq_sqa_find(a, name);
	json_error_t e;
	json_t *v;

	if (m == NULL || m->size > MAX_JSON) {
		sq_fail(err, m == NULL ? "no member '%s'" : "member '%s': too "
		    "large", name);
		return NULL;
	}
	v = json_loadb((const char *)a->map + m->offset, m->size,
	    JSON_REJECT_DUPLICATES, &e);
	if (v == NULL)
		sq_fail(err, "member '%s': line %d: %s", name, e.line, e.text);
	return v;
}

/* Members without a directory that come before the first weights. */
static int
find_blobs(struct sq_source *s, char *err)
{
	const struct sq_sqa *a = s->sqa;
	const struct sq_sqa_member *m;
	size_t i;

	for (i = 0; i < a->n && strchr(a->member[i].name, '/') == NULL; i++) {
		m = &a->member[i];
		if (sq_files_add(&s->files, m->name, a->map + m->offset,
		    (size_t)m->size, err) < 0)
			return -1;
	}
	if (sq_header_blob(&s->files.h, "config.json") == NULL)
		return sq_fail(err, "no config.json");
	return 0;
}

/* Where the last part ends: what the record's length was. */
static uint64_t
payload_length(const json_t *desc)
{
	const json_t *parts = json_object_get(desc, "parts"), *last;
	size_t n = json_array_size(parts);

	last = json_array_get(parts, n == 0 ? 0 : n - 1);
	return (uint64_t)json_integer_value(json_object_get(last, "offset")) +
	    (uint64_t)json_integer_value(json_object_get(last, "length"));
}

/* used: members that tensors have claimed, each of them once. */
static int
add(struct sq_source *s, const json_t *desc, struct sq_inventory *v,
    unsigned char *used, char *err)
{
	struct sq_source_tensor *t = &s->tensor[s->n++];
	const struct sq_sqa_member *m;
	const struct sq_slot *slot;
	char name[2 * SQ_NAME];
	uint64_t length = 0;
	int i;

	if (sq_tensor_parse(&t->t, desc, payload_length(desc), err) < 0)
		return -1;
	for (i = 0; i < t->t.nparts; i++) {
		sq_pack_member_name(name, t->t.part[i].name, t->t.name);
		m = sq_sqa_find(s->sqa, name);
		if (m == NULL || m->size != t->t.part[i].length)
			return sq_fail(err, "member '%s': %s", name,
			    m == NULL ? "missing" : "of a wrong size");
		if (used[m - s->sqa->member]++)
			return sq_fail(err, "tensor '%s' comes twice",
			    t->t.name);
		t->offset[i] = m->offset;
		length += m->size;
	}
	s->files.h.bytes += length;
	return sq_inventory_add(v, &t->t, &slot, err);
}

static int
list_tensors(struct sq_source *s, struct sq_inventory *v, char *err)
{
	json_t *list = member_json(s->sqa, "tensors.json", err);
	size_t i, n = json_array_size(list);
	unsigned char *used = NULL;
	int r = -1;

	if (list == NULL)
		return -1;
	s->tensor = calloc(n + 1, sizeof(*s->tensor));
	used = calloc(s->sqa->n, 1);
	if (s->tensor == NULL || used == NULL) {
		sq_fail(err, "out of memory");
		goto done;
	}
	for (i = 0; i < n; i++)
		if (add(s, json_array_get(list, i), v, used, err) < 0)
			goto done;
	s->files.h.tensors = n;
	r = sq_inventory_complete(v, err);
done:
	json_decref(list);
	free(used);
	return r;
}

static int
read_history(struct sq_source *s, char *err)
{
	json_t *preset, *p = member_json(s->sqa, "provenance.json", err);
	const char *digest;
	int r = -1;

	if (!json_is_array(p)) {
		json_decref(p);
		return p == NULL ? -1 : sq_fail(err, "member "
		    "'provenance.json': not an array");
	}
	json_decref(s->provenance);
	s->provenance = p;
	if ((preset = member_json(s->sqa, "preset.json", err)) == NULL)
		return -1;
	digest = json_string_value(json_object_get(json_object_get(
	    json_array_get(json_object_get(preset, "engines"), 0),
	    "metadata"), "model_digest"));
	if (digest != NULL && sq_digest_ok(digest)) {
		memcpy(s->files.h.model, digest, SQ_DIGEST);
		r = 0;
	}
	json_decref(preset);
	return r < 0 ? sq_fail(err, "member 'preset.json': no model digest") :
	    0;
}

static int
read_all(struct sq_source *s, char *err)
{
	const unsigned char *config;
	struct sq_inventory v;
	size_t size;
	int r;

	if (find_blobs(s, err) < 0)
		return -1;
	config = sq_files_find(&s->files, "config.json", &size);
	if (sq_inventory_init(&v, (const char *)config, size, err) < 0)
		return -1;
	s->config = v.config;
	r = list_tensors(s, &v, err);
	sq_inventory_release(&v);
	return r < 0 ? -1 : read_history(s, err);
}

int
sq_source_sqa(struct sq_source *s, const char *path, char *err)
{
	char why[SQ_ERR];

	s->kind = "sqa";
	if ((s->sqa = sq_sqa_open(path, err)) == NULL)
		return -1;
	if (read_all(s, why) < 0)
		return sq_fail(err, "'%s': %s", path, why);
	return 0;
}
