/* A packer's profile and engine, held against what comes; see pack.h. */
#include "model/pack.h"

/* The first problem as the reason. */
static int
verdict(struct sq_lint *l, int r, char *err)
{
	if (r < 0)
		sq_fail(err, "out of memory");
	else if (l->found == 1)
		r = sq_fail(err, "%s", l->problem[0]);
	else if (l->found > 1)
		r = sq_fail(err, "%s (the first of %zu problems)",
		    l->problem[0], l->found);
	sq_lint_release(l);
	return r;
}

int
sq_pack_check_model(const struct sq_pack *p, const struct sq_config *c,
    char *err)
{
	struct sq_lint l = { .engine = p->engine, .ranks = p->ranks };
	int r;

	if (p->engine == NULL || p->profile == NULL)
		return 0;
	r = sq_lint_profile(&l, p->profile);
	if (r == 0)
		r = sq_lint_model(&l, p->profile, c);
	return verdict(&l, r, err);
}

/* What the stream says of a layer's inputs, else what the packer is told. */
static enum sq_input_kind
input_of(const struct sq_pack *p, const struct sq_tensor *t)
{
	static const enum sq_input_kind told[] = { SQ_INPUT_NONE,
	    SQ_INPUT_INT8_TOKEN, SQ_INPUT_FP8_TOKEN };

	switch (t->act.kind) {
	case SQ_ACT_INT8:
		return t->act.scale > 0 ? SQ_INPUT_INT8_STATIC :
		    SQ_INPUT_INT8_TOKEN;
	case SQ_ACT_FP8:
		return t->act.scale > 0 ? SQ_INPUT_FP8_STATIC :
		    SQ_INPUT_FP8_TOKEN;
	default:
		return told[p->act];
	}
}

int
sq_pack_check_tensor(const struct sq_pack *p, const struct sq_tensor *t,
    const struct sq_slot *slot, char *err)
{
	struct sq_lint l = { .engine = p->engine, .ranks = p->ranks };
	struct sq_profile_rule rule;

	if (p->profile != NULL)
		return sq_profile_holds(p->profile, t, slot, err);
	if (p->engine == NULL || slot == NULL || t->grid == SQ_DENSE ||
	    t->ndim != 2)
		return 0;
	sq_profile_rule_of(t, &rule);
	return verdict(&l, sq_lint_tensor(&l, slot, &rule, input_of(p, t)),
	    err);
}
