/* Streams side by side, record by record; see merge.h. */
#include <stdlib.h>
#include <string.h>

#include "model/merge.h"

#define MAX_TOOLS	4096		/* provenance records, in all */

struct merge {
	struct sq_in *in;
	const char *const *name;
	size_t n;
	struct sq_out *out;
	char *tool[MAX_TOOLS];		/* provenance that was written */
	size_t ntools;
	char *err;
};

static int
bad(struct merge *m, size_t i)
{
	return sq_fail(m->err, "%s: %s", m->name[i], m->in[i].err);
}

/* Input i goes on to its next record that is no statistics: 1, 0 at its end. */
static int
next(struct merge *m, size_t i)
{
	int r;

	do {
		r = sq_in_next(&m->in[i]);
	} while (r > 0 && m->in[i].type == SQ_STATS);
	return r < 0 ? bad(m, i) : r;
}

/* The tensor of input i: 1 when it is quantized. */
static int
quantized(struct merge *m, size_t i, struct sq_tensor *t)
{
	if (sq_tensor_parse(t, m->in[i].desc, m->in[i].length, m->err) < 0)
		return sq_fail(m->err, "%s: %s", m->name[i], m->err);
	return t->grid != SQ_DENSE;
}

/* Which input's record is taken, when the record is a tensor. */
static int
choose(struct merge *m, size_t *which)
{
	struct sq_tensor first, t;
	int found, q;
	size_t i;

	*which = 0;
	if ((found = quantized(m, 0, &first)) < 0)
		return -1;
	for (i = 1; i < m->n; i++) {
		if ((q = quantized(m, i, &t)) < 0)
			return -1;
		if (strcmp(t.name, first.name) != 0)
			return sq_fail(m->err, "%s: tensor '%s' where %s has "
			    "'%s'", m->name[i], t.name, m->name[0],
			    first.name);
		if (q && found)
			return sq_fail(m->err, "tensor '%s' is quantized in "
			    "%s and in %s", t.name, m->name[*which],
			    m->name[i]);
		if (q)
			*which = i;
		found |= q;
	}
	return 0;
}

/* The same record of all inputs. */
static int
one_record(struct merge *m)
{
	size_t i, which = 0;

	for (i = 1; i < m->n; i++)
		if (m->in[i].type != m->in[0].type)
			return sq_fail(m->err, "%s: %s where %s has %s",
			    m->name[i], sq_rtype_name(m->in[i].type),
			    m->name[0], sq_rtype_name(m->in[0].type));
		else if (m->in[0].type != SQ_TENSOR &&
		    (m->in[i].length != m->in[0].length ||
		    m->in[i].json_len != m->in[0].json_len ||
		    memcmp(m->in[i].json, m->in[0].json,
		    m->in[0].json_len) != 0))
			return sq_fail(m->err, "%s: another %s than that of "
			    "%s: not the same model", m->name[i],
			    sq_rtype_name(m->in[i].type), m->name[0]);
	if (m->in[0].type == SQ_TENSOR && choose(m, &which) < 0)
		return -1;
	return sq_out_copy(m->out, &m->in[which]) < 0 ? sq_fail(m->err, "%s",
	    m->out->err[0] != '\0' ? m->out->err : m->in[which].err) : 0;
}

/* The provenance of input i, and its end. */
static int
tools(struct merge *m, size_t i)
{
	struct sq_in *in = &m->in[i];
	size_t k;
	int r;

	for (r = 1; r > 0 && in->type == SQ_PROVENANCE; r = next(m, i)) {
		for (k = 0; k < m->ntools && strcmp(m->tool[k], in->json) != 0;
		    k++)
			;
		if (k < m->ntools)
			continue;
		if (k == MAX_TOOLS || (m->tool[m->ntools++] = strndup(in->json,
		    in->json_len)) == NULL)
			return sq_fail(m->err, "out of memory");
		if (sq_out_copy(m->out, in) < 0)
			return sq_fail(m->err, "%s", m->out->err);
	}
	while (r > 0)
		r = next(m, i);
	return r;
}

int
sq_merge(struct sq_in *in, const char *const *name, size_t n,
    struct sq_out *out, struct sq_progress *progress, char *err)
{
	struct merge m = { .in = in, .name = name, .n = n, .out = out,
	    .err = err };
	size_t i;
	int r = 0;

	for (;;) {
		for (i = 0; r >= 0 && i < n; i++)
			if ((r = next(&m, i)) == 0)
				r = sq_fail(err, "%s: no provenance",
				    name[i]);
		if (r < 0 || in[0].type >= SQ_PROVENANCE)
			break;
		if (in[0].type == SQ_TENSOR)
			sq_progress_add(progress, in[0].length);
		r = one_record(&m);
		if (r < 0)
			break;
	}
	for (i = 0; r >= 0 && i < n; i++)
		r = in[i].type < SQ_PROVENANCE ? sq_fail(err, "%s: more "
		    "tensors than %s", name[i], name[0]) : tools(&m, i);
	for (i = 0; i < m.ntools; i++)
		free(m.tool[i]);
	return r;
}
