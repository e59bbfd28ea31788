/* What sq-smooth and sq-awq share; see smooth_stage.h. */
#include "quant/smooth_stage.h"

static const char *const types[] = { "f32", "keep", NULL };

void
sq_smooth_option(struct sq_smooth *k, int c)
{
	switch (c) {
	case SQ_SMOOTH_ROWS:
		k->scaling.rows = (size_t)sq_arg_long("--rows", optarg, 0,
		    1 << 30);
		break;
	case SQ_SMOOTH_TYPE:
		k->keep = sq_arg_choice("--type", optarg, types);
		break;
	default:
		if (!sq_rules_option(&k->f.rules, c, 0))
			sq_stage_option(&k->f, c);
	}
}

static void
say(const struct sq_smooth *k, const char *tensor)
{
	const struct sq_scaling *s = &k->scaling;
	double norm = s->norm > 0 ? s->norm : 1;

	sq_note("%s: alpha %.2f, beta %.2f, relative output error %.3e, "
	    "unscaled %.3e", tensor, s->alpha, s->beta, s->after / norm,
	    s->before / norm);
}

void
sq_smooth_stage(struct sq_smooth *k, const char *tool, json_t *o)
{
	struct sq_ctx ctx;

	json_object_set_new(o, "rows",
	    json_integer((json_int_t)k->scaling.rows));
	json_object_set_new(o, "type", json_string(types[k->keep]));
	sq_rules_describe(&k->f.rules, o);
	sq_stage_open(&k->f, &ctx);
	k->scaling.ctx = &ctx;
	k->memory = sq_tool.memory;
	k->said = say;
	sq_note("kernels: level %s", ctx.kern->name);
	sq_smooth_init(k);
	sq_stage_run(&k->f, tool, o, &ctx);
	sq_smooth_release(k);
}
