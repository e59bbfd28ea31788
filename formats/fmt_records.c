/* HEADER with its files, and PROVENANCE; see fmt_records.h. */
#include <stdlib.h>
#include <string.h>

#include "formats/fmt_json.h"
#include "formats/fmt_records.h"

const unsigned char *
sq_files_find(const struct sq_files *f, const char *name, size_t *size)
{
	const struct sq_blob *b = sq_header_blob(&f->h, name);

	if (b == NULL)
		return NULL;
	*size = (size_t)b->length;
	return f->data[b - f->h.blob];
}

int
sq_files_add(struct sq_files *f, const char *name, const void *data,
    size_t size, char *err)
{
	if (sq_header_add(&f->h, name, size, err) < 0)
		return -1;
	f->data[f->h.nblobs - 1] = data;
	return 0;
}

int
sq_files_read(struct sq_files *f, struct sq_in *in)
{
	char why[SQ_ERR];
	int i;

	memset(f, 0, sizeof(*f));
	if (in->type != SQ_HEADER)
		return sq_fail(in->err, "the stream does not begin with a "
		    "HEADER");
	if (sq_header_parse(&f->h, in->desc, in->length, why) < 0)
		return sq_fail(in->err, "HEADER: %s", why);
	if ((f->payload = sq_in_payload(in, SQ_MAX_HEADER)) == NULL)
		return -1;
	if (sq_header_check_data(&f->h, f->payload, why) < 0) {
		sq_files_release(f);
		return sq_fail(in->err, "HEADER: %s", why);
	}
	for (i = 0; i < f->h.nblobs; i++)
		f->data[i] = f->payload + f->h.blob[i].offset;
	return 0;
}

void
sq_files_release(struct sq_files *f)
{
	free(f->payload);
	memset(f, 0, sizeof(*f));
}

int
sq_files_write(const struct sq_files *f, struct sq_out *out)
{
	json_t *o = sq_header_describe(&f->h);
	char *json = o == NULL ? NULL : sq_json_text(o);
	uint64_t at = 0;
	int i, r = -1;

	json_decref(o);
	if (json == NULL)
		return sq_fail(out->err, "out of memory");
	if (sq_out_begin(out, SQ_HEADER, json, strlen(json),
	    f->h.length) < 0)
		goto done;
	for (i = 0; i < f->h.nblobs; i++) {
		if (sq_out_gap(out, at, f->h.blob[i].offset) < 0 ||
		    sq_out_write(out, f->data[i],
		    (size_t)f->h.blob[i].length) < 0)
			goto done;
		at = f->h.blob[i].offset + f->h.blob[i].length;
	}
	r = sq_out_end(out);
done:
	free(json);
	return r;
}

int
sq_files_write_config(const struct sq_files *old, const char *config,
    size_t size, struct sq_out *out)
{
	struct sq_files new = { .payload = NULL };
	const struct sq_header *h = &old->h;
	int i, is, r = 0;

	memcpy(new.h.model, h->model, sizeof(h->model));
	new.h.tensors = h->tensors;
	new.h.bytes = h->bytes;
	for (i = 0; r == 0 && i < h->nblobs; i++) {
		is = strcmp(h->blob[i].name, "config.json") == 0;
		r = sq_files_add(&new, h->blob[i].name,
		    is ? (const void *)config : old->data[i],
		    is ? size : (size_t)h->blob[i].length, out->err);
	}
	return r < 0 ? -1 : sq_files_write(&new, out);
}

int
sq_out_provenance(struct sq_out *out, const char *tool, const char *version,
    json_t *options, const char *kernel, const char *input)
{
	json_t *o = json_pack("{s:s,s:s,s:o}", "tool", tool, "version",
	    version, "options", options);
	int r;

	if (o == NULL)
		return sq_fail(out->err, "out of memory");
	if (kernel != NULL)
		json_object_set_new(o, "kernel", json_string(kernel));
	json_object_set_new(o, "input", json_string(input));
	r = sq_out_record(out, SQ_PROVENANCE, o, NULL, 0);
	json_decref(o);
	return r;
}
