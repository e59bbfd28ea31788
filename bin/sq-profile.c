/* sq-profile: the profiles that there are, what is in one, and what an engine
 * would refuse of it; see lib/schema/profile.h and lint.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/tool.h"
#include "model/scale_range.h"
#include "model/source.h"
#include "schema/lint.h"

static const char usage[] =
    "list\n"
    "show -p PROFILE [KEY]\n"
    "validate [-m MODEL] [--engine NAME]... [--tp N] -p PROFILE";

enum { OPT_ENGINE = SQ_OPT(0), OPT_TP };

static const struct option longopts[] = {
	SQ_LONG,
	{ "engine", required_argument, NULL, OPT_ENGINE },
	{ "model", required_argument, NULL, 'm' },
	{ "profile", required_argument, NULL, 'p' },
	{ "tp", required_argument, NULL, OPT_TP },
	{ NULL, 0, NULL, 0 }
};

#define ENGINES	16

struct options {
	const char *profile, *model, *engine[ENGINES];
	int nengines;
	unsigned ranks;
};

static void
load(struct sq_profile *p, const char *name)
{
	char err[SQ_ERR];

	if (name == NULL)
		sq_usage();
	if (sq_profile_load(p, name, err) < 0)
		sq_die(SQ_EDATA, "%s", err);
}

static void
list(void)
{
	struct sq_profile p;
	const char *name;
	size_t i;

	for (i = 0; (name = sq_profile_preset(i)) != NULL; i++) {
		load(&p, name);
		printf("%-13s %s\n", name, p.description);
		sq_profile_release(&p);
	}
}

static void
show(const struct options *o, const char *key)
{
	struct sq_profile p;
	char *text;

	load(&p, o->profile);
	text = key == NULL ? sq_profile_text(&p) : sq_profile_value(&p, key);
	if (text == NULL && key != NULL)
		sq_die(SQ_EDATA, "'%s': no such key, or a map or list of "
		    "maps", key);
	if (text == NULL)
		sq_die(SQ_EDATA, "out of memory");
	printf("%s%s", text, key == NULL ? "" : "\n");
	free(text);
	sq_profile_release(&p);
}

/* Prints the problems, and forgets them: how many there were. */
static size_t
say(struct sq_lint *l)
{
	size_t i, found = l->found;

	for (i = 0; i < l->found; i++)
		printf("%s\n", l->problem[i]);
	sq_lint_release(l);
	return found;
}

/* A model that is quantized already may have scales that are of no use there. */
static size_t
check_scales(const struct sq_engine *e, const struct sq_source *model)
{
	uint64_t beyond;
	size_t i, found = 0;
	char err[SQ_ERR];

	for (i = 0; e->f16_scales && i < model->n; i++) {
		if (sq_scales_beyond_f16(model, &model->tensor[i], &beyond,
		    err) < 0)
			sq_die(SQ_EDATA, "%s", err);
		if (beyond == 0)
			continue;
		printf("%s computes with scales in F16, and %ju of '%s' are "
		    "beyond\n", e->name, (uintmax_t)beyond,
		    model->tensor[i].t.name);
		found++;
	}
	return found;
}

/* Prints what the engine would refuse: how much that is. */
static size_t
hold_against(const char *name, const struct sq_profile *p,
    const struct sq_source *model, unsigned ranks)
{
	struct sq_lint l = { .ranks = ranks };
	struct sq_engine e;
	char err[SQ_ERR];

	if (sq_engine_load(&e, name, err) < 0)
		sq_die(SQ_EUSAGE, "--engine %s", err);
	if (ranks > 1 && !e.tensor_parallel)
		sq_die(SQ_EUSAGE, "--tp %u: %s does not cut matrices", ranks,
		    e.name);
	l.engine = &e;
	if (sq_lint_profile(&l, p) < 0 || (model != NULL &&
	    sq_lint_model(&l, p, &model->config) < 0))
		sq_die(SQ_EDATA, "out of memory");
	return say(&l) + (model == NULL ? 0 : check_scales(&e, model));
}

/* The profile alone, on the hardware that it is meant for. */
static size_t
hold_alone(const struct sq_profile *p)
{
	struct sq_lint l;
	char err[SQ_ERR];

	if (sq_profile_validate(p, sq_profile_backends[p->kernel_backend], &l,
	    err) < 0)
		sq_die(SQ_EDATA, "%s", err);
	return say(&l);
}

static int
validate(const struct options *o)
{
	struct sq_source *model = NULL;
	struct sq_profile p;
	char err[SQ_ERR];
	size_t found = 0;
	int i;

	load(&p, o->profile);
	if (o->model != NULL &&
	    (model = sq_source_open(o->model, err)) == NULL)
		sq_die(SQ_EDATA, "%s", err);
	if (o->nengines == 0 && model == NULL && o->ranks == 1)
		found = hold_alone(&p);
	else if (o->nengines == 0)
		found = hold_against(sq_profile_backends[p.kernel_backend],
		    &p, model, o->ranks);
	for (i = 0; i < o->nengines; i++)
		found += hold_against(o->engine[i], &p, model, o->ranks);
	sq_source_close(model);
	sq_profile_release(&p);
	return found == 0 ? SQ_OK : SQ_EDATA;
}

static void
option(struct options *o, int c)
{
	switch (c) {
	case 'm':
		o->model = optarg;
		break;
	case 'p':
		o->profile = optarg;
		break;
	case OPT_ENGINE:
		if (o->nengines == ENGINES)
			sq_usage();
		o->engine[o->nengines++] = optarg;
		break;
	case OPT_TP:
		o->ranks = (unsigned)sq_arg_long("--tp", optarg, 1, 1024);
		break;
	default:
		sq_tool_option(c);
	}
}

int
main(int argc, char *argv[])
{
	struct options o = { .ranks = 1 };
	const char *verb;
	int c, r = SQ_OK;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT "m:p:", longopts,
	    NULL)) != -1)
		option(&o, c);
	if (optind == argc)
		sq_usage();
	verb = argv[optind++];
	if (strcmp(verb, "show") != 0 && optind != argc)
		sq_usage();
	if (strcmp(verb, "list") == 0 && o.profile == NULL)
		list();
	else if (strcmp(verb, "show") == 0 && argc - optind <= 1)
		show(&o, argv[optind]);
	else if (strcmp(verb, "validate") == 0)
		r = validate(&o);
	else
		sq_usage();
	sq_flush();
	return r;
}
