/* sq-rtn: round to nearest; see lib/quant/rtn.h. */
#include "base/pool.h"
#include "base/tool.h"
#include "quant/filter.h"
#include "quant/rtn.h"

static const char usage[] =
    "[-qvz] [-b BITS] [-g SIZE] [-j N] [-k LEVEL] [-M SIZE] [-m MODEL] "
    "[-p PROFILE] [--asym] [--except GLOB]... [--grid int|fp8_e4m3] [--only GLOB]... "
    "[--scale absmax|mse]";

enum { OPT_ASYM = SQ_OPT(0), OPT_GRID, OPT_SCALE };

static const struct option longopts[] = {
	SQ_LONG,
	SQ_FILTER_LONG,
	{ "asym", no_argument, NULL, OPT_ASYM },
	{ "bits", required_argument, NULL, 'b' },
	{ "grid", required_argument, NULL, OPT_GRID },
	{ "group", required_argument, NULL, 'g' },
	{ "scale", required_argument, NULL, OPT_SCALE },
	{ NULL, 0, NULL, 0 }
};

static const char *const scales[] = { "absmax", "mse", NULL };
static const char *const grids[] = { "int", "fp8_e4m3", NULL };

struct filter {
	struct sq_filter f;		/* first: it is cast back */
	struct sq_rtn rtn;
	struct sq_twin *head;		/* quantized copy of the embedding */
	int bits;
};

static void
say_made(const struct filter *f)
{
	const struct sq_tensor *t = &f->rtn.chunks.made;

	sq_note("%s: %s, groups of %ju x %ju, relative error %.3e", t->name,
	    sq_grid_name(t->grid), (uintmax_t)t->group_rows,
	    (uintmax_t)t->group_cols, f->rtn.error);
}

/* The copy of the embedding stands where a head would. */
static int
put_head(struct sq_filter *s)
{
	struct filter *f = (struct filter *)s;
	struct sq_tensor t = { .name = "lm_head.weight", .ndim = 2 };

	if (f->head == NULL)
		return 0;
	(void)sq_select(&s->select, &t, NULL);	/* the glob has matched */
	if (sq_twin_put(f->head, &s->out, s->err) < 0)
		return -1;
	sq_twin_free(f->head);
	f->head = NULL;
	return 0;
}

/* 1 when the head is wanted that the model has only as its embedding. */
static int
wants_twin(const struct filter *f, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	return slot != NULL && slot->role == SQ_EMBED &&
	    t->grid == SQ_DENSE && f->f.inv.config.tied &&
	    sq_select_named(&f->f.select, "lm_head.weight");
}

/* What a profile may ask for, but not of this tool. */
static int
can_do(struct filter *f, const char *name)
{
	const struct sq_qrule *r = &f->rtn.chunks.rule;

	if (!sq_grid_is_int(r->grid) && r->grid != SQ_FP8_E4M3)
		return sq_fail(f->f.err, "tensor '%s': sq-rtn does not round "
		    "to %s; sq-gptq may", name, sq_grid_name(r->grid));
	if (r->scale == SQ_WEIGHTED)
		return sq_fail(f->f.err, "tensor '%s': weighted scales are "
		    "those of sq-gptq", name);
	return 0;
}

static int
tensor(struct sq_filter *s, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	struct filter *f = (struct filter *)s;
	int r;

	if (slot == NULL && put_head(s) < 0)
		return -1;	/* what has no place comes after it */
	f->rtn.chunks.rule = sq_filter_rule(s, t, slot);
	if (slot != NULL && slot->role == SQ_HEAD) {
		sq_twin_free(f->head);	/* the model has a head of its own */
		f->head = NULL;
	}
	if (wants_twin(f, t, slot)) {
		f->rtn.chunks.rule = sq_rule(&s->rules, "lm_head.weight", 0);
		if (can_do(f, "lm_head.weight") < 0)
			return -1;
		f->head = sq_rtn_twin(&f->rtn, t, "lm_head.weight", &s->in,
		    &s->out, s->err);
		r = f->head == NULL ? -1 : 1;
	} else if ((r = sq_filter_wants(s, t, slot)) > 0 &&
	    (can_do(f, t->name) < 0 ||
	    sq_rtn_tensor(&f->rtn, t, &s->in, &s->out, s->err) < 0))
		r = -1;
	if (r > 0)
		say_made(f);
	if (r != 0)
		return r < 0 ? -1 : 0;
	if (sq_filter_copy(s) < 0)
		return -1;
	sq_progress_add(s->progress, s->in.length);
	return 0;
}

static int
record(struct sq_filter *s)
{
	if (s->in.type > SQ_STATS && put_head(s) < 0)
		return -1;
	return sq_filter_copy(s);
}

static void
run(struct filter *f)
{
	const struct sq_qrule *rule = &f->f.rules.usual;
	struct sq_filter *s = &f->f;
	json_t *o = json_pack("{s:b,s:s,s:I,s:s}",
	    "asym", !rule->symmetric, "grid", sq_grid_name(rule->grid),
	    "group", (json_int_t)rule->group_cols,
	    "scale", scales[rule->scale == SQ_MSE]);

	s->tensor = tensor;
	s->record = record;
	s->end = put_head;
	if (sq_filter_run(s) < 0 || sq_filter_finish(s, "sq-rtn", SQ_VERSION,
	    o, f->rtn.ctx->kern->name) < 0)
		sq_die(SQ_EDATA, "%s", s->err);
}

static void
set_rule(struct filter *f, int fp8)
{
	struct sq_qrule *r = &f->f.rules.usual;
	int g = fp8 ? (int)SQ_FP8_E4M3 : sq_grid_of_bits(f->bits == 0 ? 4 :
	    f->bits);

	if (fp8 && f->bits != 0 && f->bits != 8)
		sq_die(SQ_EUSAGE, "-b %d: fp8 has 8 bits", f->bits);
	if (g < 0)
		sq_die(SQ_EUSAGE, "-b %d: not 2, 3, 4, 5, 6 or 8", f->bits);
	if (fp8 && !r->symmetric)
		sq_die(SQ_EUSAGE, "--asym: fp8 has no zero points");
	r->grid = (enum sq_grid)g;
	r->group_rows = 1;
	if (fp8 || f->bits != 0)
		f->f.rules.given |= SQ_GIVEN_GRID;
}

static void
option(struct filter *f, int c, int *fp8)
{
	struct sq_rules *rules = &f->f.rules;
	int r;

	switch (c) {
	case 'b':
		f->bits = (int)sq_arg_long("-b", optarg, 2, 8);
		break;
	case 'g':
		rules->usual.group_cols = (size_t)sq_arg_long("-g", optarg, 0,
		    1 << 30);
		rules->given |= SQ_GIVEN_GROUP;
		break;
	case OPT_ASYM:
		rules->usual.symmetric = 0;
		rules->given |= SQ_GIVEN_ZEROS;
		break;
	case OPT_GRID:
		*fp8 = sq_arg_choice("--grid", optarg, grids);
		break;
	case OPT_SCALE:
		rules->usual.scale = sq_arg_choice("--scale", optarg,
		    scales) ? SQ_MSE : SQ_ABSMAX;
		rules->given |= SQ_GIVEN_SCALE;
		break;
	default:
		if ((r = sq_filter_option(&f->f, c, optarg)) < 0)
			sq_usage();
		if (r == 0)
			sq_tool_option(c);
	}
}

int
main(int argc, char *argv[])
{
	struct filter f = { .f.rules.usual.symmetric = 1 };
	struct sq_progress progress;
	const struct sq_kern *kern;
	struct sq_ctx ctx;
	char err[SQ_ERR];
	int c, fp8 = 0;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT SQ_FILTER_SHORT "b:g:",
	    longopts, NULL)) != -1)
		option(&f, c, &fp8);
	if (optind != argc)
		sq_usage();
	set_rule(&f, fp8);
	sq_need_pipe();
	if ((kern = sq_kern_find(sq_tool.kernel, err)) == NULL)
		sq_die(SQ_EUSAGE, "%s", err);
	if (sq_filter_open(&f.f, SQ_VERSION) < 0)
		sq_die(SQ_EDATA, "%s", f.f.err);
	if (sq_ctx_init(&ctx, kern, sq_pool_new(sq_tool.threads)) < 0)
		sq_die(SQ_EDATA, "out of memory");
	f.f.progress = f.rtn.chunks.progress = &progress;
	ctx.fell = sq_tool_fell;
	f.rtn.ctx = &ctx;
	f.rtn.want_error = sq_tool.verbose;
	f.rtn.chunks.memory = sq_tool.memory;
	sq_note("kernels: quantize from level %s", kern->from[SQ_OP_quantize]);
	sq_tool_progress(&progress);
	run(&f);
	sq_progress_end(&progress);
	return SQ_OK;
}
