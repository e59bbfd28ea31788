/* sq-act: how the inputs of linear layers are quantized; see sq-act(1). */
#include <string.h>

#include "formats/fmt_stats.h"
#include "quant/act_scale.h"
#include "quant/stage.h"

static const char usage[] =
    "[-qvz] [-j N] [-k LEVEL] [-M SIZE] [-m MODEL] [-p PROFILE] "
    "[--except GLOB]... [--only GLOB]... [TYPE]";

static const struct option longopts[] = {
	SQ_STAGE_LONG,
	{ NULL, 0, NULL, 0 }
};

struct filter {
	struct sq_filter f;		/* first: it is cast back */
	enum sq_act_kind kind;
	int is_static;
	struct sq_stats stats;		/* the last ones */
};

/* Keeps what a static scale is made from. */
static int
record(struct sq_filter *s)
{
	struct filter *f = (struct filter *)s;

	if (s->in.type != SQ_STATS || !f->is_static)
		return sq_filter_copy(s);
	sq_stats_release(&f->stats);
	if (sq_stats_pass(&f->stats, &s->in, &s->out) < 0)
		return sq_fail(s->err, "%s: %s", s->name, s->in.err);
	return 0;
}

static int
set_scale(struct filter *f, struct sq_tensor *t)
{
	const struct sq_stats *st = &f->stats;
	size_t i;

	for (i = 0; i < st->ntensors && strcmp(st->tensor[i], t->name) != 0;
	    i++)
		;
	if (st->is_kv || i == st->ntensors)
		return sq_fail(f->f.err, "tensor '%s': no statistics before "
		    "it; sq-calibrate makes them", t->name);
	if (strcmp(st->model, f->f.digest) != 0)
		return sq_fail(f->f.err, "the statistics of '%s' are those of "
		    "another model: %s, not %s", t->name, st->model,
		    f->f.digest);
	t->act.scale = sq_act_static_scale(st, f->kind);
	if (t->act.scale > 0)
		return 0;
	return sq_fail(f->f.err, "tensor '%s': statistics without the range "
	    "of its channels, or of zeros alone", t->name);
}

static int
tensor(struct sq_filter *s, const struct sq_tensor *old,
    const struct sq_slot *slot)
{
	struct filter *f = (struct filter *)s;
	struct sq_tensor t = *old;

	sq_progress_add(s->progress, s->in.length);
	if (slot == NULL || !slot->linear || t.grid == SQ_GRIDS ||
	    !sq_select(&s->select, &t, slot))
		return sq_filter_copy(s);
	t.act = (struct sq_act){ .kind = f->kind };
	if (f->is_static && set_scale(f, &t) < 0)
		return -1;
	if (f->is_static)
		sq_note("%s: scale %g", t.name, (double)t.act.scale);
	if (sq_out_tensor(&s->out, &t) < 0 ||
	    sq_out_pass(&s->out, &s->in) < 0 || sq_out_end(&s->out) < 0)
		return sq_fail(s->err, "%s", s->out.err);
	return 0;
}

static void
from_profile(struct filter *f)
{
	struct sq_act a = sq_rule_act(&f->f.profile);

	f->kind = a.kind;
	f->is_static = a.scale != 0;
}

static void
run(struct filter *f)
{
	struct sq_filter *s = &f->f;
	char type[32];

	snprintf(type, sizeof(type), "%s%s", sq_act_name(f->kind),
	    f->is_static ? ":static" : "");

	s->tensor = tensor;
	s->record = record;
	sq_stage_run(s, "sq-act", json_pack("{s:s}", "type", type), NULL);
}

int
main(int argc, char *argv[])
{
	struct filter f = { .kind = SQ_ACT_NONE };
	int c;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_STAGE_SHORT, longopts,
	    NULL)) != -1)
		sq_stage_option(&f.f, c);
	if (optind != argc - (f.f.profile_name == NULL))
		sq_usage();
	if (optind < argc && strcmp(argv[optind], "none") != 0 &&
	    sq_act_parse(argv[optind], &f.kind, &f.is_static) < 0)
		sq_die(SQ_EUSAGE, "'%s': not none, int8, fp8, int8:static or "
		    "fp8:static", argv[optind]);
	sq_stage_open(&f.f, NULL);
	if (optind == argc)
		from_profile(&f);
	run(&f);
	return SQ_OK;
}
