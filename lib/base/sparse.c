/* The patterns of masks and their texts; see sparse.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sparse.h"

/* A number from 1 to most at *s, which moves on; 0: there is none. */
static uint32_t
number(const char **s, uint32_t most)
{
	uint32_t v = 0;

	if (**s == '0')
		return 0;
	for (; **s >= '0' && **s <= '9'; (*s)++) {
		v = v * 10 + (uint32_t)(**s - '0');
		if (v > most)
			return 0;
	}
	return v;
}

int
sq_sparse_parse(struct sq_sparse *p, const char *s)
{
	int runs = strchr(s, ':') != NULL;
	uint32_t most = runs ? SQ_SPARSE_RUN : SQ_SPARSE_SIDE;

	*p = (struct sq_sparse){ .kind = SQ_MASK_ANY };
	if (strcmp(s, "unstructured") == 0)
		return 0;
	p->kind = runs ? SQ_MASK_RUNS : SQ_MASK_BLOCKS;
	p->n = number(&s, most);
	if (p->n == 0 || *s++ != (runs ? ':' : 'x'))
		return -1;
	p->m = number(&s, most);
	return p->m == 0 || *s != '\0' || (runs && p->n >= p->m) ? -1 : 0;
}

const char *
sq_sparse_text(const struct sq_sparse *p, char buf[SQ_SPARSE_TEXT])
{
	if (p->kind == SQ_MASK_RUNS || p->kind == SQ_MASK_BLOCKS)
		snprintf(buf, SQ_SPARSE_TEXT, "%u%c%u", p->n,
		    p->kind == SQ_MASK_RUNS ? ':' : 'x', p->m);
	else
		snprintf(buf, SQ_SPARSE_TEXT, "%s",
		    p->kind == SQ_MASK_ANY ? "unstructured" : "none");
	return buf;
}
