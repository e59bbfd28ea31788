/* An artifact as a source; see source.h and sqa(5). */
#include <stdlib.h>
#include <string.h>

#include "formats/fmt_json.h"
#include "formats/fmt_sqa.h"
#include "model/pack.h"
#include "model/source_kinds.h"
#include "model/stored.h"
#include "model/weight.h"

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

/* The member that holds a part, which nobody else has claimed; NULL with the
 * reason. */
static const struct sq_sqa_member *
claim(const struct sq_source *s, const char *part, const struct sq_tensor *t,
    unsigned char *used, char *err)
{
	const struct sq_sqa_member *m;
	char name[2 * SQ_NAME];

	sq_pack_member_name(name, part, t->name);
	if ((m = sq_sqa_find(s->sqa, name)) == NULL) {
		sq_fail(err, "member '%s': missing", name);
	} else if (used[m - s->sqa->member]++) {
		sq_fail(err, "tensor '%s' comes twice", t->name);
		m = NULL;
	}
	return m;
}

/* A part of a stored tensor: made of the layout, or as it is. */
static int
make(const struct sq_source *s, const struct sq_source_tensor *t, int part,
    void *buf, char *err)
{
	const struct sq_part *p = &t->t.part[part];
	char why[SQ_ERR];

	if (t->offset[part] != 0 && strcmp(p->name, "data") != 0 &&
	    strcmp(p->name, "codes") != 0) {
		memcpy(buf, s->sqa->map + t->offset[part], p->length);
		return 0;
	}
	if (sq_stored_part(&t->stored, &t->t, part, buf, why) < 0)
		return sq_fail(err, "tensor '%s': %s", t->t.name, why);
	return 0;
}

/* Values and index in the place of values and mask. */
static int
add_stored(struct sq_source *s, struct sq_source_tensor *t,
    const json_t *stored, unsigned char *used, uint64_t *length, char *err)
{
	const struct sq_sqa_member *m, *values = NULL, *index;
	const void *part[SQ_PARTS] = { NULL };
	char why[SQ_ERR];
	int i;

	for (i = 0; i < t->t.nparts; i++) {
		if (strcmp(t->t.part[i].name, "mask") == 0)
			continue;
		if ((m = claim(s, t->t.part[i].name, &t->t, used, err)) == NULL)
			return -1;
		t->offset[i] = m->offset;
		part[i] = s->sqa->map + m->offset;
		*length += m->size;
		if (i == 0)
			values = m;
		else if (m->size != t->t.part[i].length)
			return sq_fail(err, "member '%s': of a wrong size",
			    m->name);
	}
	if ((index = claim(s, "index", &t->t, used, err)) == NULL)
		return -1;
	*length += index->size;
	if (sq_weight_init_parts(&t->stored, &t->t, part, err) < 0)
		return -1;
	t->stored.index = s->sqa->map + index->offset;
	if (sq_tensor_part(&t->t, "mask") == NULL)
		return sq_fail(err, "tensor '%s': sparse, but without a mask",
		    t->t.name);
	if (sq_stored_parse(&t->stored, stored, why) < 0 ||
	    sq_sparse_check(&t->stored, values->size, index->size, why) < 0)
		return sq_fail(err, "tensor '%s': %s", t->t.name, why);
	t->make = make;
	return 0;
}

/* used: members that tensors have claimed, each of them once. */
static int
add(struct sq_source *s, const json_t *desc, struct sq_inventory *v,
    unsigned char *used, char *err)
{
	struct sq_source_tensor *t = &s->tensor[s->n++];
	const json_t *stored = json_object_get(desc, "stored");
	const struct sq_sqa_member *m;
	const struct sq_slot *slot;
	uint64_t length = 0;
	int i;

	if (sq_tensor_parse(&t->t, desc, payload_length(desc), err) < 0)
		return -1;
	if (stored != NULL &&
	    add_stored(s, t, stored, used, &length, err) < 0)
		return -1;
	for (i = 0; i < t->t.nparts && stored == NULL; i++) {
		m = claim(s, t->t.part[i].name, &t->t, used, err);
		if (m == NULL)
			return -1;
		if (m->size != t->t.part[i].length)
			return sq_fail(err, "member '%s': of a wrong size",
			    m->name);
		t->offset[i] = m->offset;
		length += m->size;
	}
	s->files.h.bytes += length;
	if (sq_inventory_add(v, &t->t, &slot, err) < 0)
		return -1;
	if (stored != NULL && (slot == NULL || !slot->linear))
		return sq_fail(err, "tensor '%s': a sparse layout where there "
		    "may be none", t->t.name);
	return 0;
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
