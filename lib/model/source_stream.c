/*
 * A stream in a file as a source; see source.h.  The stream is read once from
 * end to end, which verifies it; the places of the payloads are noted.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/source_kinds.h"

static int
add(struct sq_source *s, struct sq_in *in, struct sq_inventory *v, char *err)
{
	struct sq_source_tensor *t;
	const struct sq_slot *slot;
	int i;

	if ((s->n & (s->n - 1)) == 0) {		/* full at powers of two */
		t = realloc(s->tensor, (s->n == 0 ? 1 : 2 * s->n) *
		    sizeof(*t));
		if (t == NULL)
			return sq_fail(err, "out of memory");
		s->tensor = t;
	}
	t = &s->tensor[s->n++];
	memset(t, 0, sizeof(*t));
	if (sq_tensor_parse(&t->t, in->desc, in->length, err) < 0)
		return -1;
	if (!sq_in_is_plain(in))
		return sq_fail(err, "compressed: sq-import expands it");
	for (i = 0; i < t->t.nparts; i++)
		t->offset[i] = in->pos + t->t.part[i].offset;
	return sq_inventory_add(v, &t->t, &slot, err);
}

static int
take_record(struct sq_source *s, struct sq_in *in, struct sq_inventory *v,
    char *err)
{
	const unsigned char *config;
	size_t size;

	switch (in->type) {
	case SQ_HEADER:
		if (sq_files_read(&s->files, in) < 0)
			return sq_fail(err, "%s", in->err);
		config = sq_files_find(&s->files, "config.json", &size);
		return sq_inventory_init(v, (const char *)config, size, err);
	case SQ_TENSOR:
		return add(s, in, v, err);
	case SQ_PROVENANCE:
		json_array_append(s->provenance, in->desc);
		return 0;
	default:
		return 0;
	}
}

int
sq_source_stream(struct sq_source *s, const char *path, char *err)
{
	struct sq_inventory v = { .n = 0 };
	char why[SQ_ERR];
	struct sq_in in;
	int got = -1, r = -1;

	s->kind = "stream";
	s->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (s->fd < 0)
		return sq_fail_errno(err, "'%s'", path);
	if (sq_in_open(&in, s->fd) < 0)
		return sq_fail(err, "%s", in.err);
	while ((got = sq_in_next(&in)) > 0)
		if (take_record(s, &in, &v, why) < 0)
			goto done;
	if (got < 0)
		sq_fail(why, "%s", in.err);
	else if (sq_inventory_complete(&v, why) == 0)
		r = 0;
	s->config = v.config;
done:
	sq_inventory_release(&v);
	sq_in_release(&in);
	return r == 0 ? 0 : sq_fail(err, "'%s': %s", path, why);
}
