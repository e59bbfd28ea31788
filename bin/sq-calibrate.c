/* sq-calibrate: a text runs through a model, and leaves statistics. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/outfile.h"
#include "base/pool.h"
#include "calib/calibrate.h"
#include "calib/report.h"
#include "formats/fmt_records.h"
#include "model/import.h"
#include "quant/stage.h"
#include "schema/profile.h"

static const char usage[] =
    "[-qvz] [-j N] [-k LEVEL] [-M SIZE] [-m MODEL] [-p PROFILE] [--f32] "
    "[--length N] [--max-duplicates N] [--max-idle N] [--min-tokens N] "
    "[--report FILE] [--samples N] [--save-tokens FILE] [--skip N] "
    "[--stats full|diag] [--tokens-only] -t TEXT";

enum { OPT_F32 = SQ_OPT(0), OPT_LENGTH, OPT_DUPLICATES, OPT_IDLE,
	OPT_TOKENS, OPT_REPORT, OPT_SAMPLES, OPT_SAVE, OPT_SKIP, OPT_STATS,
	OPT_TOKENS_ONLY };

static const struct option longopts[] = {
	SQ_LONG,
	{ "f32", no_argument, NULL, OPT_F32 },
	{ "length", required_argument, NULL, OPT_LENGTH },
	{ "max-duplicates", required_argument, NULL, OPT_DUPLICATES },
	{ "max-idle", required_argument, NULL, OPT_IDLE },
	{ "min-tokens", required_argument, NULL, OPT_TOKENS },
	{ "model", required_argument, NULL, 'm' },
	{ "profile", required_argument, NULL, 'p' },
	{ "report", required_argument, NULL, OPT_REPORT },
	{ "samples", required_argument, NULL, OPT_SAMPLES },
	{ "save-tokens", required_argument, NULL, OPT_SAVE },
	{ "skip", required_argument, NULL, OPT_SKIP },
	{ "stats", required_argument, NULL, OPT_STATS },
	{ "text", required_argument, NULL, 't' },
	{ "tokens-only", no_argument, NULL, OPT_TOKENS_ONLY },
	{ "zstd", no_argument, NULL, 'z' },
	{ NULL, 0, NULL, 0 }
};

static const char *const stats[] = { "full", "diag", NULL };

#define MAX_TEXT	((size_t)1 << 30)

struct run {
	struct sq_calibrate o;		/* first: it is cast back */
	struct sq_calib_report report;
	const char *path, *model, *profile, *report_path, *tokens_path;
	uint64_t min_tokens;
	long max_duplicates, max_idle;	/* -1: any */
	int samples, length;		/* are flags */
	int compress;
};

static void
provenance(const struct sq_calibrate *o, struct sq_out *out,
    const struct sq_in *in)
{
	static const char *const modes[] = { "full", "diag", "tokens-only" };
	json_t *j = json_pack("{s:b,s:I,s:I,s:I,s:s}",
	    "f32", o->prec == SQ_PREC_F32, "length", (json_int_t)o->length,
	    "samples", (json_int_t)o->samples, "skip", (json_int_t)o->skip,
	    "stats", modes[o->mode]);

	if (sq_out_provenance(out, "sq-calibrate", SQ_VERSION, j,
	    o->ctx->kern->name, in->digest) < 0 || sq_out_finish(out) < 0)
		sq_die(SQ_EDATA, "stdout: %s", out->err);
}

static void
say_speed(const struct sq_calibrate *o)
{
	if (o->got < o->samples)
		sq_warn("the text has %zu samples of %zu tokens, not %zu",
		    o->got, o->sample_length, o->samples);
	if (o->mode == SQ_CALIB_TOKENS)
		return;
	sq_note("%zu samples of %zu tokens, hidden states in %s", o->got,
	    o->sample_length, o->spilled ? "a file" : "memory");
	sq_note("%.1f s in the blocks, %.0f tokens/s through all of them, "
	    "%.0f GFLOP/s", o->seconds,
	    (double)(o->got * o->sample_length) / o->seconds,
	    (double)o->flops / o->seconds / 1e9);
}

/* A file that appears whole or not at all. */
static void
write_file(const char *path, const void *arg,
    void (*write)(const void *, FILE *))
{
	struct sq_outfile file;
	FILE *f;

	if (sq_outfile_open(&file, path) < 0)
		sq_die(SQ_EDATA, "%s", file.err);
	if ((f = fdopen(dup(file.fd), "w")) == NULL)
		sq_die(SQ_EDATA, "'%s': %s", path, strerror(errno));
	write(arg, f);
	if (fflush(f) != 0 || ferror(f)) {
		sq_outfile_abort(&file);
		sq_die(SQ_EDATA, "'%s': %s", path, strerror(errno));
	}
	fclose(f);
	if (sq_outfile_commit(&file) < 0)
		sq_die(SQ_EDATA, "%s", file.err);
}

static void
put_tokens(const void *arg, FILE *f)
{
	sq_calib_tokens_write(arg, f);
}

static void
put_report(const void *arg, FILE *f)
{
	sq_calib_report_write(arg, f);
}

/* The text is known, and nothing has been computed. */
static int
begun(struct sq_calibrate *o, const struct sq_tokens *t, char *err)
{
	struct run *r = (struct run *)o;
	const struct sq_text_report *text = &r->report.text;

	r->report.taken = t->count;
	r->report.length = t->length;
	sq_note("%zu documents, %zu of them for the second time; %zu tokens, "
	    "%zu of them BOS", text->corpus.n, text->corpus.duplicates,
	    text->total, text->bos);
	if (t->count < r->min_tokens)
		return sq_fail(err, "%ju tokens, less than --min-tokens %ju",
		    (uintmax_t)t->count, (uintmax_t)r->min_tokens);
	if (r->max_duplicates >= 0 &&
	    text->corpus.duplicates > (size_t)r->max_duplicates)
		return sq_fail(err, "%zu documents are there more than once, "
		    "more than --max-duplicates %ld", text->corpus.duplicates,
		    r->max_duplicates);
	if (r->tokens_path != NULL)
		write_file(r->tokens_path, t, put_tokens);
	return 0;
}

static void
seen(struct sq_calibrate *o, const struct sq_stats *s)
{
	sq_calib_report_add(&((struct run *)o)->report, s);
}

/* The report, and whether there are too many channels that never were active:
 * then the stream gets no end. */
static void
conclude(struct run *r)
{
	uint64_t idle = sq_calib_report_idle(&r->report);

	if (r->report.failed)
		sq_die(SQ_EDATA, "out of memory");
	if (r->report_path != NULL)
		write_file(r->report_path, &r->report, put_report);
	if (idle > 0)
		sq_note("up to %ju channels of an input were never active",
		    (uintmax_t)idle);
	if (r->max_idle >= 0 && idle > (uint64_t)r->max_idle)
		sq_die(SQ_EDATA, "%ju channels of an input were never active, "
		    "more than --max-idle %ld", (uintmax_t)idle, r->max_idle);
}

static void
run(struct run *r, int fd)
{
	struct sq_calibrate *o = &r->o;
	struct sq_out out;
	struct sq_in in;
	char err[SQ_ERR];

	if (sq_in_open(&in, fd) < 0)
		sq_die(SQ_EDATA, "stdin: %s", in.err);
	if (sq_out_open(&out, STDOUT_FILENO, r->compress) < 0)
		sq_die(SQ_EDATA, "stdout: %s", out.err);
	if (sq_calibrate(o, &in, &out, err) < 0) {
		sq_progress_end(o->progress);
		sq_die(SQ_EDATA, "%s", err);
	}
	sq_progress_end(o->progress);
	say_speed(o);
	conclude(r);
	provenance(o, &out, &in);
	sq_in_release(&in);
	sq_out_release(&out);
	sq_calib_report_release(&r->report);
}

static void
option(struct run *r, int c)
{
	struct sq_calibrate *o = &r->o;

	switch (c) {
	case 'm':
		r->model = optarg;
		break;
	case 'p':
		r->profile = optarg;
		break;
	case 't':
		r->path = optarg;
		break;
	case 'z':
		r->compress = 1;
		break;
	case OPT_F32:
		o->prec = SQ_PREC_F32;
		break;
	case OPT_LENGTH:
		o->length = (size_t)sq_arg_long("--length", optarg, 1,
		    1 << 24);
		r->length = 1;
		break;
	case OPT_DUPLICATES:
		r->max_duplicates = sq_arg_long("--max-duplicates", optarg,
		    0, 1 << 30);
		break;
	case OPT_IDLE:
		r->max_idle = sq_arg_long("--max-idle", optarg, 0, 1 << 30);
		break;
	case OPT_TOKENS:
		r->min_tokens = (uint64_t)sq_arg_long("--min-tokens", optarg,
		    0, LONG_MAX);
		break;
	case OPT_REPORT:
		r->report_path = optarg;
		break;
	case OPT_SAMPLES:
		o->samples = (size_t)sq_arg_long("--samples", optarg, 1,
		    1 << 24);
		r->samples = 1;
		break;
	case OPT_SAVE:
		r->tokens_path = optarg;
		break;
	case OPT_SKIP:
		o->skip = (size_t)sq_arg_long("--skip", optarg, 0, 1 << 24);
		break;
	case OPT_STATS:
		o->mode = sq_arg_choice("--stats", optarg, stats) ?
		    SQ_CALIB_DIAG : SQ_CALIB_FULL;
		break;
	case OPT_TOKENS_ONLY:
		o->mode = SQ_CALIB_TOKENS;
		break;
	default:
		sq_tool_option(c);
	}
}

/* What the profile says of the calibration, where flags do not. */
static void
follow_profile(struct run *r, struct sq_profile *p)
{
	char err[SQ_ERR];

	if (sq_profile_load(p, r->profile, err) < 0)
		sq_die(SQ_EDATA, "%s", err);
	if (!r->samples && p->calibration_samples > 0)
		r->o.samples = (size_t)p->calibration_samples;
	if (!r->length)
		r->o.length = (size_t)p->calibration_length;
	if (r->path == NULL && p->calibration_dataset != NULL &&
	    p->calibration_dataset[0] != '\0')
		r->path = p->calibration_dataset;
}

int
main(int argc, char *argv[])
{
	struct run r = { .o = { .prec = SQ_PREC_BF16, .samples = 128,
	    .length = 2048, .begun = begun, .seen = seen },
	    .max_duplicates = -1, .max_idle = -1 };
	struct sq_progress progress;
	struct sq_profile profile;
	struct sq_ctx ctx;
	char err[SQ_ERR];
	int c, fd = STDIN_FILENO;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT "m:p:t:z", longopts,
	    NULL)) != -1)
		option(&r, c);
	if (r.profile != NULL)
		follow_profile(&r, &profile);
	if (optind != argc || r.path == NULL)
		sq_usage();
	sq_need_pipe();
	r.o.text = sq_read_file(AT_FDCWD, r.path, MAX_TEXT, &r.o.text_len,
	    err);
	if (r.o.text == NULL)
		sq_die(SQ_EDATA, "%s", err);
	if (r.model != NULL &&
	    (fd = sq_import_pipe(r.model, SQ_VERSION, err)) < 0)
		sq_die(SQ_EDATA, "%s", err);
	sq_stage_kernels(&ctx);
	r.o.ctx = &ctx;
	r.o.memory = sq_tool.memory;
	if (sq_tool.verbose || r.report_path != NULL || r.max_duplicates >= 0)
		r.o.report = &r.report.text;
	sq_tool_progress(&progress);
	progress.unit = "tokens";
	r.o.progress = &progress;
	run(&r, fd);
	return SQ_OK;
}
