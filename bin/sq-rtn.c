/* sq-rtn: round to nearest; see lib/quant/rtn.h. */
#include "quant/fused.h"
#include "quant/stage.h"

static const char usage[] =
    "[-qvz] [-b BITS] [-g SIZE] [-j N] [-k LEVEL] [-M SIZE] [-m MODEL] "
    "[-p PROFILE] [--asym] [--except GLOB]... [--grid int|fp8_e4m3] [--only GLOB]... "
    "[--scale absmax|mse]";

enum { OPT_GRID = SQ_OPT(0) };

static const struct option longopts[] = {
	SQ_STAGE_LONG,
	SQ_RULES_LONG,
	{ "grid", required_argument, NULL, OPT_GRID },
	{ NULL, 0, NULL, 0 }
};

static const char *const grids[] = { "int", "fp8_e4m3", NULL };

struct filter {
	struct sq_filter f;		/* first: it is cast back */
	struct sq_rtn rtn;
	struct sq_fused fused;
	struct sq_twin *head;		/* quantized copy of the embedding */
};

static void
say_made(void *arg, const struct sq_tensor *t)
{
	const struct filter *f = arg;

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

static int
put_waiting(struct sq_filter *s)
{
	return sq_fused_put(&((struct filter *)s)->fused, &s->out, s->err);
}

static int
end(struct sq_filter *s)
{
	return put_waiting(s) < 0 || put_head(s) < 0 ? -1 : 0;
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

/* 1 when the tensor is done with; 0: it is to be copied. */
static int
quantize(struct filter *f, const struct sq_tensor *t,
    const struct sq_slot *slot, int wanted)
{
	struct sq_filter *s = &f->f;
	int r;

	if (wanted && can_do(f, t->name) < 0)
		return -1;
	r = sq_fused_tensor(&f->fused, t, slot, wanted ?
	    &f->rtn.chunks.rule : NULL, &s->in, &s->out, s->err);
	if (r != 0 || !wanted)
		return r;
	if (sq_rtn_tensor(&f->rtn, t, &s->in, &s->out, s->err) < 0)
		return -1;
	say_made(f, &f->rtn.chunks.made);
	return 1;
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
		if ((r = f->head == NULL ? -1 : 1) > 0)
			say_made(f, &f->rtn.chunks.made);
	} else if ((r = sq_filter_wants(s, t, slot)) >= 0)
		r = quantize(f, t, slot, r);
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
	if (s->in.type >= SQ_STATS && put_waiting(s) < 0)
		return -1;
	if (s->in.type > SQ_STATS && put_head(s) < 0)
		return -1;
	return sq_filter_copy(s);
}

static void
run(struct filter *f)
{
	struct sq_filter *s = &f->f;
	json_t *o = json_object();

	sq_rules_describe(&s->rules, o);
	s->tensor = tensor;
	s->record = record;
	s->end = end;
	sq_stage_run(s, "sq-rtn", o, f->rtn.ctx);
}

/* --grid fp8_e4m3, whatever the order of options. */
static void
set_fp8(struct sq_rules *rules)
{
	struct sq_qrule *r = &rules->usual;

	if ((rules->given & SQ_GIVEN_GRID) && r->grid != SQ_INT8)
		sq_die(SQ_EUSAGE, "-b %d: fp8 has 8 bits",
		    sq_grid_bits(r->grid));
	if (!r->symmetric)
		sq_die(SQ_EUSAGE, "--asym: fp8 has no zero points");
	r->grid = SQ_FP8_E4M3;
	rules->given |= SQ_GIVEN_GRID;
}

int
main(int argc, char *argv[])
{
	struct filter f = { .f.rules.usual = { .grid = SQ_INT4,
	    .symmetric = 1, .group_rows = 1 } };
	struct sq_ctx ctx;
	int c, fp8 = 0;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_STAGE_SHORT SQ_RULES_SHORT,
	    longopts, NULL)) != -1)
		if (c == OPT_GRID)
			fp8 = sq_arg_choice("--grid", optarg, grids);
		else if (!sq_rules_option(&f.f.rules, c, 0))
			sq_stage_option(&f.f, c);
	if (optind != argc)
		sq_usage();
	if (fp8)
		set_fp8(&f.f.rules);
	sq_stage_open(&f.f, &ctx);
	f.rtn.chunks.progress = f.f.progress;
	f.rtn.ctx = &ctx;
	f.fused = (struct sq_fused){ .rtn = &f.rtn, .made = say_made,
	    .arg = &f };
	f.rtn.want_error = sq_tool.verbose;
	f.rtn.chunks.memory = sq_tool.memory;
	sq_note("kernels: quantize from level %s",
	    ctx.kern->from[SQ_OP_quantize]);
	run(&f);
	return SQ_OK;
}
