/* What the tools around a filter share; see stage.h. */
#include "base/pool.h"
#include "quant/stage.h"

static struct sq_progress progress;

/* By enum sq_scale_rule. */
static const char *const scales[] = { "absmax", "mse", "weighted", NULL };
static const char *const two_scales[] = { "absmax", "mse", NULL };

void
sq_stage_option(struct sq_filter *f, int c)
{
	int r = sq_filter_option(f, c, optarg);

	if (r < 0)
		sq_usage();
	if (r == 0)
		sq_tool_option(c);
}

static void
set_bits(struct sq_rules *rules)
{
	int g = sq_grid_of_bits((int)sq_arg_long("-b", optarg, 2, 8));

	if (g < 0)
		sq_die(SQ_EUSAGE, "-b %s: not 2, 3, 4, 5, 6 or 8", optarg);
	rules->usual.grid = (enum sq_grid)g;
	rules->given |= SQ_GIVEN_GRID;
}

int
sq_rules_option(struct sq_rules *rules, int c, int weighted)
{
	switch (c) {
	case 'b':
		set_bits(rules);
		return 1;
	case 'g':
		rules->usual.group_cols = (size_t)sq_arg_long("-g", optarg, 0,
		    1 << 30);
		rules->given |= SQ_GIVEN_GROUP;
		return 1;
	case SQ_RULES_ASYM:
		rules->usual.symmetric = 0;
		rules->given |= SQ_GIVEN_ZEROS;
		return 1;
	case SQ_RULES_SCALE:
		rules->usual.scale = (enum sq_scale_rule)sq_arg_choice(
		    "--scale", optarg, weighted ? scales : two_scales);
		rules->given |= SQ_GIVEN_SCALE;
		return 1;
	}
	return 0;
}

void
sq_rules_describe(const struct sq_rules *rules, json_t *options)
{
	const struct sq_qrule *r = &rules->usual;

	json_object_set_new(options, "asym", json_boolean(!r->symmetric));
	json_object_set_new(options, "grid",
	    json_string(sq_grid_name(r->grid)));
	json_object_set_new(options, "group",
	    json_integer((json_int_t)r->group_cols));
	json_object_set_new(options, "scale", json_string(scales[r->scale]));
}

void
sq_stage_kernels(struct sq_ctx *ctx)
{
	const struct sq_kern *kern;
	char err[SQ_ERR];

	if ((kern = sq_kern_find(sq_tool.kernel, err)) == NULL)
		sq_die(SQ_EUSAGE, "%s", err);
	if (sq_ctx_init(ctx, kern, sq_pool_new(sq_tool.threads)) < 0)
		sq_die(SQ_EDATA, "out of memory");
	ctx->fell = sq_tool_fell;
}

void
sq_stage_open(struct sq_filter *f, struct sq_ctx *ctx)
{
	const struct sq_kern *kern = NULL;
	char err[SQ_ERR];

	sq_need_pipe();
	if (ctx != NULL &&
	    (kern = sq_kern_find(sq_tool.kernel, err)) == NULL)
		sq_die(SQ_EUSAGE, "%s", err);
	if (sq_filter_open(f, SQ_VERSION) < 0)
		sq_die(SQ_EDATA, "%s", f->err);
	if (ctx != NULL) {
		if (sq_ctx_init(ctx, kern, sq_pool_new(sq_tool.threads)) < 0)
			sq_die(SQ_EDATA, "out of memory");
		ctx->fell = sq_tool_fell;
	}
	f->progress = &progress;
	sq_tool_progress(&progress);
}

void
sq_stage_run(struct sq_filter *f, const char *tool, json_t *options,
    const struct sq_ctx *ctx)
{
	if (sq_filter_run(f) < 0 || sq_filter_finish(f, tool, SQ_VERSION,
	    options, ctx == NULL ? NULL : ctx->kern->name) < 0)
		sq_die(SQ_EDATA, "%s", f->err);
	sq_progress_end(&progress);
}
