/*
 * The order of records and the names seen; see fmt_order.h.
 *
 * Of a name only its hash is kept: the table of the largest stream takes 64
 * MiB.  Two names with one hash would be refused; with four million of them,
 * the chance is 5e-7.  The hash has a seed that nobody can guess, so that no
 * stream can be made whose names all fall on one slot.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#include "formats/fmt_order.h"
#include "formats/fmt_stream.h"

/* A stream goes through these and never back. */
enum { EMPTY, HEADER, TOKENS, MODEL, PROVENANCE, END };

static const int stages[] = {
	[SQ_HEADER] = HEADER, [SQ_TOKENS] = TOKENS, [SQ_TENSOR] = MODEL,
	[SQ_STATS] = MODEL, [SQ_PROVENANCE] = PROVENANCE, [SQ_END] = END,
};

void
sq_order_release(struct sq_order *o)
{
	free(o->slots);
	memset(o, 0, sizeof(*o));
}

int
sq_order_next(struct sq_order *o, unsigned type, char *err)
{
	int known = type >= SQ_HEADER && type <= SQ_END;
	int stage = known ? stages[type] : o->stage;

	if (o->stage == EMPTY && stage != HEADER)
		return sq_fail(err, "a stream begins with HEADER, not %s",
		    sq_rtype_name(type));
	if (o->stage == END)
		return sq_fail(err, "%s after END", sq_rtype_name(type));
	if (stage == o->stage && (type == SQ_HEADER || type == SQ_TOKENS))
		return sq_fail(err, "a second %s", sq_rtype_name(type));
	if (stage < o->stage)
		return sq_fail(err, "%s comes too late", sq_rtype_name(type));
	o->stage = stage;
	return 0;
}

/* Puts a hash into the table: 1 when it was there. */
static int
insert(uint64_t *slots, size_t n, uint64_t h)
{
	size_t i = (size_t)h & (n - 1);

	for (; slots[i] != 0; i = (i + 1) & (n - 1))
		if (slots[i] == h)
			return 1;
	slots[i] = h;
	return 0;
}

static int
grow(struct sq_order *o, char *err)
{
	size_t i, n = o->nslots == 0 ? 256 : 2 * o->nslots;
	uint64_t *slots;

	if (o->nslots == 0 &&
	    getrandom(&o->seed, sizeof(o->seed), 0) != sizeof(o->seed))
		return sq_fail(err, "no random numbers");
	if ((slots = calloc(n, sizeof(*slots))) == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < o->nslots; i++)
		if (o->slots[i] != 0)
			insert(slots, n, o->slots[i]);
	free(o->slots);
	o->slots = slots;
	o->nslots = n;
	return 0;
}

int
sq_order_name(struct sq_order *o, const char *name, char *err)
{
	uint64_t h;

	if (!sq_name_ok(name))
		return sq_fail(err, "'%s': not a name for a tensor", name);
	if (o->count == SQ_MAX_TENSORS)
		return sq_fail(err, "more than %zu tensors", SQ_MAX_TENSORS);
	if (2 * (o->count + 1) > o->nslots && grow(o, err) < 0)
		return -1;
	h = XXH3_64bits_withSeed(name, strlen(name), o->seed);
	if (insert(o->slots, o->nslots, h != 0 ? h : 1))
		return sq_fail(err, "a second tensor '%s'", name);
	o->count++;
	return 0;
}
