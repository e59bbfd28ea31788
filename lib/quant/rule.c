/* How a tensor is to be quantized; see rule.h. */
#include <stdlib.h>

#include "quant/rule.h"

struct sq_qrule
sq_rule(const struct sq_rules *s, const char *name, int linear)
{
	const struct sq_profile_rule *r;
	struct sq_qrule q = s->usual;

	if (s->profile == NULL)
		return q;
	r = sq_profile_find(s->profile, name, linear, NULL);
	if (r == NULL)			/* but the flags want it */
		r = &s->profile->rule;
	if (r->format == SQ_WF_NONE)
		return q;
	if (!(s->given & SQ_GIVEN_GRID))
		q.grid = sq_profile_grid(r);
	if (!(s->given & SQ_GIVEN_ZEROS))
		q.symmetric = r->symmetric;
	if (!(s->given & SQ_GIVEN_SCALE) && r->scale != SQ_SCALE_TOOL)
		q.scale = r->scale == SQ_SCALE_WEIGHTED ? SQ_WEIGHTED :
		    r->scale == SQ_SCALE_MSE ? SQ_MSE : SQ_ABSMAX;
	if (!(s->given & SQ_GIVEN_GROUP)) {
		q.group_rows = (size_t)r->group_rows;
		q.group_cols = (size_t)r->group_cols;
	}
	return q;
}

int
sq_rule_provenance(const struct sq_rules *s, json_t *options)
{
	static const char *const keys[] = { "grid", "group", "asym",
	    "scale" };			/* by the bits of given */
	char *text;
	int i, r;

	if (s->profile == NULL)
		return 0;
	for (i = 0; i < 4; i++)
		if (!(s->given >> i & 1))
			json_object_del(options, keys[i]);
	if ((text = sq_profile_text(s->profile)) == NULL)
		return -1;
	r = json_object_set_new(options, "profile", json_string(text));
	free(text);
	return r;
}

struct sq_act
sq_rule_act(const struct sq_profile *p)
{
	struct sq_act a = { .kind = SQ_ACT_NONE };

	if (p->activation_bits != 8)
		return a;
	a.kind = p->activation.format == SQ_WF_FP8_E4M3 ? SQ_ACT_FP8 :
	    SQ_ACT_INT8;
	a.scale = p->activation.dynamic ? 0 : -1;
	return a;
}
