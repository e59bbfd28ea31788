/* Which tensors a filter works on; see select.h. */
#include <fnmatch.h>

#include "quant/select.h"

int
sq_select_only(struct sq_select *s, const char *glob)
{
	if (s->nonly == SQ_GLOBS)
		return -1;
	s->only[s->nonly++] = glob;
	return 0;
}

int
sq_select_except(struct sq_select *s, const char *glob)
{
	if (s->nexcept == SQ_GLOBS)
		return -1;
	s->except[s->nexcept++] = glob;
	return 0;
}

static int
excepted(const struct sq_select *s, const char *name)
{
	int i;

	for (i = 0; i < s->nexcept; i++)
		if (fnmatch(s->except[i], name, 0) == 0)
			return 1;
	return 0;
}

int
sq_select_named(const struct sq_select *s, const char *name)
{
	int i;

	for (i = 0; i < s->nonly; i++)
		if (fnmatch(s->only[i], name, 0) == 0)
			return !excepted(s, name);
	return s->nonly == 0 && s->profile != NULL &&
	    sq_profile_find(s->profile, name, 0, NULL) != NULL &&
	    !excepted(s, name);
}

int
sq_select(struct sq_select *s, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	int i, hit = 0, linear = slot != NULL && slot->linear;

	if (t->ndim != 2)
		return 0;
	for (i = 0; i < s->nonly; i++)
		if (fnmatch(s->only[i], t->name, 0) == 0)
			hit = s->matched[i] = 1;
	if (s->nonly == 0)
		hit = s->profile == NULL ? linear :
		    sq_profile_find(s->profile, t->name, linear, NULL) != NULL;
	return hit && !excepted(s, t->name);
}

const char *
sq_select_unused(const struct sq_select *s)
{
	int i;

	for (i = 0; i < s->nonly; i++)
		if (!s->matched[i])
			return s->only[i];
	return NULL;
}
