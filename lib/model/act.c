/* Quantized activations of a model; see act.h. */
#include <string.h>

#include "model/act.h"

int
sq_model_set_act(struct sq_model *m, enum sq_act_kind kind, int is_static,
    char *err)
{
	struct sq_linear *l;
	size_t i;

	for (i = 0; i < m->nslots; i++) {
		if (!m->slot[i].linear ||
		    (l = sq_model_slot(m, &m->slot[i])) == NULL)
			continue;
		if (is_static && (l->act.kind != kind || l->act.scale == 0))
			return sq_fail(err, "'%s': no static %s scale",
			    m->slot[i].name, sq_act_name(kind));
		l->act.kind = kind;
		if (!is_static)
			l->act.scale = 0;
	}
	return 0;
}

int
sq_act_choose(struct sq_act_choice *c, const char *text)
{
	c->given = 1;
	c->is_static = 0;
	c->kind = SQ_ACT_NONE;
	if (strcmp(text, "none") == 0)
		return 0;
	return sq_act_parse(text, &c->kind, &c->is_static);
}

int
sq_model_choose_act(struct sq_model *m, const struct sq_act_choice *c,
    char *err)
{
	return c->given ? sq_model_set_act(m, c->kind, c->is_static, err) : 0;
}
