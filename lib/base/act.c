/* Names of the types of activations; see act.h. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/act.h"

static const char *const names[SQ_ACTS] = { "none", "int8", "fp8" };

const char *
sq_act_name(enum sq_act_kind k)
{
	return names[k];
}

int
sq_act_find(const char *name)
{
	int i;

	for (i = 0; i < SQ_ACTS; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return -1;
}

float
sq_act_top(enum sq_act_kind k)
{
	return k == SQ_ACT_FP8 ? 448 : 127;
}

int
sq_act_parse(const char *text, enum sq_act_kind *kind, int *is_static)
{
	const char *colon = strchr(text, ':');
	size_t n = colon == NULL ? strlen(text) : (size_t)(colon - text);
	char name[8];
	int k;

	if (n >= sizeof(name) ||
	    (colon != NULL && strcmp(colon, ":static") != 0))
		return -1;
	snprintf(name, sizeof(name), "%.*s", (int)n, text);
	if ((k = sq_act_find(name)) <= SQ_ACT_NONE)
		return -1;
	*kind = (enum sq_act_kind)k;
	*is_static = colon != NULL;
	return 0;
}
