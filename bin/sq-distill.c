/* sq-distill: a student learns from its teacher; lib/distill/distill.h. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "distill/distill_run.h"
#include "quant/stage.h"

#define MAX_TEXT	((size_t)1 << 30)

static const char usage[] =
    "[-qvz] [-j N] [-k LEVEL] [-M SIZE] [-m STUDENT] [-t TEXT] "
    "[--batch N] [--config FILE] [--f32] [--preset response|layer|self] "
    "[--state FILE] [--steps N] [--train dense|codes] --teacher MODEL";

enum { OPT_BATCH = SQ_OPT(0), OPT_CONFIG, OPT_F32, OPT_PRESET, OPT_STATE,
	OPT_STEPS, OPT_TEACHER, OPT_TRAIN };

static const struct option longopts[] = {
	SQ_LONG,
	{ "batch", required_argument, NULL, OPT_BATCH },
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "f32", no_argument, NULL, OPT_F32 },
	{ "model", required_argument, NULL, 'm' },
	{ "preset", required_argument, NULL, OPT_PRESET },
	{ "state", required_argument, NULL, OPT_STATE },
	{ "steps", required_argument, NULL, OPT_STEPS },
	{ "student", required_argument, NULL, 'm' },
	{ "teacher", required_argument, NULL, OPT_TEACHER },
	{ "train", required_argument, NULL, OPT_TRAIN },
	{ "text", required_argument, NULL, 't' },
	{ "zstd", no_argument, NULL, 'z' },
	{ NULL, 0, NULL, 0 }
};

struct args {
	struct sq_filter f;		/* first: it is cast back */
	struct sq_distill_run run;
	struct sq_distill_config config;
	const char *file, *text, *teacher;
	int preset, train;		/* -1: the file's */
	uint64_t steps, batch;		/* 0: the file's */
};

static int
record(struct sq_filter *f)
{
	return sq_distill_run_record(&((struct args *)f)->run);
}

static int
tensor(struct sq_filter *f, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	return sq_distill_run_tensor(&((struct args *)f)->run, t, slot);
}

static int
end(struct sq_filter *f)
{
	return sq_distill_run_end(&((struct args *)f)->run);
}

static void
say(void *arg, const struct sq_distill *d)
{
	(void)arg;
	sq_note("step %ju of %ju: divergence %.6f, loss %.5f on samples that "
	    "are not learned from", (uintmax_t)d->step,
	    (uintmax_t)d->config->steps, d->kl, d->nll);
	if (d->wrote > 0 && d->learned == 0)
		sq_note("%.0f tokens a second written",
		    (double)d->wrote / d->writing);
	if (d->learned > 0)
		sq_note("%.0f tokens a second learned, products at %.0f "
		    "GFLOP/s", (double)d->learned / d->learning, 1e-9 *
		    sq_distill_work_of(d) * (double)d->learned / d->learning);
}

static void
read_config(struct args *a)
{
	struct sq_distill_config *c = &a->config;
	char err[SQ_ERR], *text;
	size_t len;

	sq_distill_defaults(c);
	if (a->file != NULL) {
		text = sq_read_file(AT_FDCWD, a->file, 1 << 20, &len, err);
		if (text == NULL)
			sq_die(SQ_EDATA, "%s", err);
		if (sq_distill_parse(c, text, len, err) < 0)
			sq_die(SQ_EDATA, "%s: %s", a->file, err);
		free(text);
	}
	if (a->preset >= 0)
		c->preset = (enum sq_distill_preset)a->preset;
	if (a->train >= 0)
		c->train = (enum sq_distill_train)a->train;
	if (a->steps > 0)
		c->steps = a->steps;
	if (a->batch > 0)
		c->batch = a->batch;
	sq_distill_settle(c);
	if (a->text == NULL)
		a->text = c->text;
	if (a->text != NULL) {
		a->run.text = sq_read_file(AT_FDCWD, a->text, MAX_TEXT,
		    &a->run.text_len, err);
		if (a->run.text == NULL)
			sq_die(SQ_EDATA, "%s", err);
	}
}

static json_t *
options(const struct args *a)
{
	const struct sq_distill_config *c = &a->config;
	json_t *o = json_pack("{s:s,s:s,s:I,s:I,s:I,s:f,s:f,s:f,s:f,s:f,"
	    "s:f,s:f,s:f,s:f,s:I,s:I,s:b,s:s}",
	    "train", sq_distill_trains()[c->train],
	    "preset", sq_distill_presets()[c->preset],
	    "steps", (json_int_t)c->steps, "batch", (json_int_t)c->batch,
	    "warmup", (json_int_t)c->warmup, "lr", c->lr,
	    "weight_decay", c->weight_decay, "temperature", c->temperature,
	    "ce", c->ce, "hidden", c->hidden,
	    "place", c->place, "scale", c->scale, "norm", c->norm,
	    "redraw", c->redraw,
	    "own", (json_int_t)c->own,
	    "own_length", (json_int_t)c->own_length,
	    "f32", a->run.distill.prec == SQ_PREC_F32,
	    "teacher", a->run.distill.teacher->source->files.h.model);
	json_t *map = json_array();
	size_t i;

	for (i = 0; i < c->nlayers; i++)
		json_array_append_new(map, json_pack("[I,I]",
		    (json_int_t)c->layer[i].student,
		    (json_int_t)c->layer[i].teacher));
	json_object_set_new(o, "layers", map);
	return o;
}

static void
option(struct args *a, int c)
{
	switch (c) {
	case 'm':
		a->f.model = optarg;
		break;
	case 't':
		a->text = optarg;
		break;
	case 'z':
		a->f.compress = 1;
		break;
	case OPT_BATCH:
		a->batch = (uint64_t)sq_arg_long("--batch", optarg, 1,
		    1 << 16);
		break;
	case OPT_CONFIG:
		a->file = optarg;
		break;
	case OPT_F32:
		a->run.distill.prec = SQ_PREC_F32;
		break;
	case OPT_PRESET:
		a->preset = sq_arg_choice("--preset", optarg,
		    sq_distill_presets());
		break;
	case OPT_STATE:
		a->run.distill.state_path = optarg;
		break;
	case OPT_STEPS:
		a->steps = (uint64_t)sq_arg_long("--steps", optarg, 1,
		    1 << 30);
		break;
	case OPT_TEACHER:
		a->teacher = optarg;
		break;
	case OPT_TRAIN:
		a->train = sq_arg_choice("--train", optarg,
		    sq_distill_trains());
		break;
	default:
		sq_tool_option(c);
	}
}

int
main(int argc, char *argv[])
{
	struct args a = { .preset = -1, .train = -1,
	    .run.distill.prec = SQ_PREC_BF16 };
	struct sq_distill *d = &a.run.distill;
	struct sq_ctx ctx;
	char err[SQ_ERR];
	int c;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT "m:t:z", longopts,
	    NULL)) != -1)
		option(&a, c);
	if (optind != argc || a.teacher == NULL)
		sq_usage();
	read_config(&a);
	sq_stage_open(&a.f, &ctx);
	if ((d->teacher = sq_model_open(a.teacher, err)) == NULL)
		sq_die(SQ_EDATA, "%s", err);
	d->ctx = &ctx;
	d->config = &a.config;
	d->told = say;
	a.run.filter = &a.f;
	a.run.memory = sq_tool.memory;
	a.f.tensor = tensor;
	a.f.record = record;
	a.f.end = end;
	sq_stage_run(&a.f, "sq-distill", options(&a), &ctx);
	sq_distill_run_release(&a.run);
	sq_model_free(d->teacher);
	sq_distill_config_release(&a.config);
	free(a.run.text);
	return SQ_OK;
}
