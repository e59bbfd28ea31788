/* Which precision fits; see kvpick.h. */
#include <stdio.h>

#include "kv/kvpick.h"

/* In falling precision. */
static const char *const levels[] = { "bf16", "int8", "fp8_e4m3", "int4" };

#define LEVELS	(sizeof(levels) / sizeof(levels[0]))

void
sq_kv_pick(struct sq_kv_policy *p, const struct sq_kv_need *n, char *why,
    size_t size)
{
	char err[SQ_ERR];
	double token, memory, slack;
	size_t i, at = 0;
	int fits, arrives;

	for (i = 0; i < LEVELS; i++) {
		if (sq_kv_policy_parse(p, levels[i], err) < 0)
			continue;
		token = sq_kv_policy_bytes(p, n->layers, n->heads, n->dim);
		memory = token * (double)n->tokens;
		fits = n->memory == 0 || memory <= (double)n->memory;
		slack = n->prefill > 0 ? n->link / n->prefill : 0;
		arrives = n->link == 0 || token <= slack;
		at += (size_t)snprintf(why + at, size - at, "%s%s: %.0f bytes "
		    "a token, %.1f MB for %zu tokens", i == 0 ? "" : "\n",
		    levels[i], token, memory / 1e6, n->tokens);
		if (n->memory > 0 && at < size)
			at += (size_t)snprintf(why + at, size - at, "%s of "
			    "%.1f MB", fits ? ", within the memory" :
			    ", beyond the memory", (double)n->memory / 1e6);
		if (n->link > 0 && at < size)
			at += (size_t)snprintf(why + at, size - at, "; the "
			    "link carries %.0f bytes in the time of a token, "
			    "%s", slack, arrives ? "enough" : "too few");
		if (at >= size)
			at = size - 1;
		if (fits && arrives)
			return;
	}
	snprintf(why + at, size - at, "\n%s is the least there is%s",
	    levels[LEVELS - 1], n->link > 0 ?
	    "; computing the prompt again may be faster than sending it" : "");
}
