/* The files that a HEADER carries, to and from JSON; see fmt_stream.h. */
#include <stdio.h>
#include <string.h>

#include "formats/fmt_json.h"
#include "formats/fmt_stream.h"

#define ALIGN	64

static uint64_t
align(uint64_t n)
{
	return (n + ALIGN - 1) / ALIGN * ALIGN;
}

int
sq_digest_ok(const char *s)
{
	return strlen(s) == SQ_DIGEST - 1 &&
	    strspn(s, "0123456789abcdef") == SQ_DIGEST - 1;
}

const struct sq_blob *
sq_header_blob(const struct sq_header *h, const char *name)
{
	int i;

	for (i = 0; i < h->nblobs; i++)
		if (strcmp(h->blob[i].name, name) == 0)
			return &h->blob[i];
	return NULL;
}

int
sq_header_add(struct sq_header *h, const char *name, uint64_t length,
    char *err)
{
	struct sq_blob *b = &h->blob[h->nblobs];

	if (!sq_blob_name_ok(name))
		return sq_fail(err, "'%s': not a name for a file", name);
	if (sq_header_blob(h, name) != NULL)
		return sq_fail(err, "'%s': twice", name);
	if (h->nblobs == SQ_MAX_BLOBS)
		return sq_fail(err, "'%s': more than %d files", name,
		    SQ_MAX_BLOBS);
	if (length > SQ_MAX_HEADER - align(h->length))
		return sq_fail(err, "'%s': more than %ju bytes of files", name,
		    (uintmax_t)SQ_MAX_HEADER);
	snprintf(b->name, sizeof(b->name), "%s", name);
	b->offset = align(h->length);
	b->length = length;
	h->length = b->offset + length;
	h->nblobs++;
	return 0;
}

static int
parse_blob(struct sq_header *h, const json_t *o, char *err)
{
	const char *name;
	uint64_t offset, length;

	if (sq_json_string(o, "name", &name, err) < 0 ||
	    sq_json_uint(o, "offset", &offset, err) < 0 ||
	    sq_json_uint(o, "length", &length, err) < 0)
		return -1;
	if (offset != align(h->length))
		return sq_fail(err, "'%s': out of place", name);
	return sq_header_add(h, name, length, err);
}

int
sq_header_parse(struct sq_header *h, const json_t *desc, uint64_t length,
    char *err)
{
	const json_t *a = json_object_get(desc, "blobs");
	const char *s;
	size_t i;

	memset(h, 0, sizeof(*h));
	if (sq_json_string(desc, "stream", &s, err) < 0)
		return -1;
	if (strcmp(s, "sq") != 0)
		return sq_fail(err, "a stream of '%s', not of 'sq'", s);
	if (sq_json_string(desc, "model", &s, err) < 0)
		return -1;
	if (!sq_digest_ok(s))
		return sq_fail(err, "'model' is not a digest");
	memcpy(h->model, s, SQ_DIGEST);
	if (sq_json_opt_uint(desc, "tensors", &h->tensors, err) < 0 ||
	    sq_json_opt_uint(desc, "bytes", &h->bytes, err) < 0)
		return -1;
	if (!json_is_array(a))
		return sq_fail(err, "'blobs' is not an array");
	for (i = 0; i < json_array_size(a); i++)
		if (parse_blob(h, json_array_get(a, i), err) < 0)
			return -1;
	if (sq_header_blob(h, "config.json") == NULL)
		return sq_fail(err, "no 'config.json'");
	if (h->length != length)
		return sq_fail(err, "files of %ju bytes in a payload of %ju",
		    (uintmax_t)h->length, (uintmax_t)length);
	return 0;
}

json_t *
sq_header_describe(const struct sq_header *h)
{
	json_t *blobs = json_array();
	const struct sq_blob *b;
	int i, bad = 0;

	for (i = 0; i < h->nblobs; i++) {
		b = &h->blob[i];
		bad |= json_array_append_new(blobs, json_pack("{s:s,s:I,s:I}",
		    "name", b->name, "offset", (json_int_t)b->offset,
		    "length", (json_int_t)b->length));
	}
	if (bad != 0) {
		json_decref(blobs);
		return NULL;
	}
	return json_pack("{s:s,s:s,s:I,s:I,s:o}", "stream", "sq",
	    "model", h->model, "tensors", (json_int_t)h->tensors,
	    "bytes", (json_int_t)h->bytes, "blobs", blobs);
}

int
sq_header_check_data(const struct sq_header *h, const void *payload, char *err)
{
	const unsigned char *p = payload;
	uint64_t at = 0;
	int i;

	for (i = 0; i < h->nblobs; i++) {
		for (; at < h->blob[i].offset; at++)
			if (p[at] != 0)
				return sq_fail(err, "a gap that is not zero "
				    "before '%s'", h->blob[i].name);
		at += h->blob[i].length;
	}
	return 0;
}
