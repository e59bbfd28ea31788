/*
 * sq-pack: the end of a pipeline; a stream becomes an artifact, or a directory
 * for another engine.
 */
#include <unistd.h>

#include "base/outfile.h"
#include "base/pool.h"
#include "formats/fmt_gguf_blocks.h"
#include "model/import.h"
#include "model/pack.h"
#include "quant/stage.h"

static const char usage[] =
    "[-qv] [-f FORMAT] [-j N] [-k LEVEL] [-M SIZE] [-m MODEL] "
    "[-p PROFILE] [--act none|int8|fp8] [--dense GLOB]... [--engine NAME] "
    "[--gguf-pre NAME] [--gguf-type TYPE] [--kv] [--old-packing] "
    "[--scales f16|bf16|f32] [--shard-size SIZE] [--tp N] -o OUT";

enum { OPT_ACT = SQ_OPT(0), OPT_DENSE, OPT_ENGINE, OPT_GGUF_PRE,
	OPT_GGUF_TYPE, OPT_KV, OPT_OLD, OPT_SCALES, OPT_SHARD, OPT_TP };

static const struct option longopts[] = {
	SQ_LONG,
	{ "act", required_argument, NULL, OPT_ACT },
	{ "dense", required_argument, NULL, OPT_DENSE },
	{ "engine", required_argument, NULL, OPT_ENGINE },
	{ "format", required_argument, NULL, 'f' },
	{ "gguf-pre", required_argument, NULL, OPT_GGUF_PRE },
	{ "gguf-type", required_argument, NULL, OPT_GGUF_TYPE },
	{ "kv", no_argument, NULL, OPT_KV },
	{ "model", required_argument, NULL, 'm' },
	{ "old-packing", no_argument, NULL, OPT_OLD },
	{ "output", required_argument, NULL, 'o' },
	{ "profile", required_argument, NULL, 'p' },
	{ "scales", required_argument, NULL, OPT_SCALES },
	{ "shard-size", required_argument, NULL, OPT_SHARD },
	{ "tp", required_argument, NULL, OPT_TP },
	{ NULL, 0, NULL, 0 }
};

static const char *const formats[] = { "sqa", "hf", "compressed-tensors",
	"gptq", "gptq-v2", "awq", "ascend", "gguf", NULL };

static int (*const pack_to[])(struct sq_pack *, struct sq_in *, int, char *) =
{
	sq_pack_sqa, sq_pack_hf, sq_pack_compressed_tensors, sq_pack_gptq,
	sq_pack_gptq_v2, sq_pack_awq, sq_pack_ascend, sq_pack_gguf
};

enum { SQA, HF, COMPRESSED_TENSORS, GPTQ, GPTQ_V2, AWQ, ASCEND,
	GGUF };

static const char *const acts[] = { "none", "int8", "fp8", NULL };
static const char *const scales[] = { "f16", "bf16", "f32", NULL };
static const enum sq_dtype scale_types[] = { SQ_F16, SQ_BF16, SQ_F32 };

#define GLOBS	64

static const char *dense[GLOBS];

static int
is_file(int format)
{
	return format == SQA || format == GGUF;
}

/* What the options ask of a format that does not have it. */
static void
check_options(const struct sq_pack *p, int format)
{
	int quantized = format > HF && format != GGUF;

	if ((p->shard != 0 && is_file(format)) ||
	    (!quantized && (p->ndense > 0 || p->scales >= 0)))
		sq_usage();
	if (p->kv && format != COMPRESSED_TENSORS && format != ASCEND)
		sq_die(SQ_EUSAGE, "--kv: -f %s has no scales for the cache",
		    formats[format]);
	if (p->act != SQ_PACK_ACT_NONE && format != COMPRESSED_TENSORS &&
	    format != ASCEND)
		sq_die(SQ_EUSAGE, "--act: -f %s has no quantized activations",
		    formats[format]);
	if (((p->gguf != NULL || p->gguf_pre != NULL) && format != GGUF) ||
	    (p->old && format != COMPRESSED_TENSORS))
		sq_usage();
	if (p->gguf != NULL && !sq_pack_gguf_rounds(p->gguf))
		sq_die(SQ_EUSAGE, "--gguf-type %s: not by rounding alone: "
		    "another tool brings a model to that grid",
		    p->gguf->name);
}

static struct sq_profile profile;
static struct sq_engine engine;

static void
load_profile(struct sq_pack *p, const char *name)
{
	char err[SQ_ERR];

	if (sq_profile_load(&profile, name, err) < 0)
		sq_die(SQ_EDATA, "%s", err);
	p->profile = &profile;
}

static void
load_engine(struct sq_pack *p, const char *name)
{
	char err[SQ_ERR];

	if (sq_engine_load(&engine, name, err) < 0)
		sq_die(SQ_EUSAGE, "--engine %s", err);
	p->engine = &engine;
}

/* What the profile says of activations and cache, where flags do not. */
static void
follow_profile(struct sq_pack *p, int format)
{
	int ct = format == COMPRESSED_TENSORS;

	if (p->profile == NULL || (!ct && format != ASCEND))
		return;
	if (p->act == SQ_PACK_ACT_NONE)
		switch (sq_profile_input(p->profile)) {
		case SQ_INPUT_NONE:
			break;
		case SQ_INPUT_INT8_TOKEN:
			p->act = SQ_PACK_ACT_INT8;
			break;
		case SQ_INPUT_FP8_TOKEN:
			p->act = SQ_PACK_ACT_FP8;
			break;
		default:
			sq_die(SQ_EDATA, "-f %s: activations as in the "
			    "profile, %s, are not written; --act says what "
			    "else", formats[format],
			    sq_input_names[sq_profile_input(p->profile)]);
		}
	if (p->profile->kv.format == (ct ? SQ_KV_FP8_E4M3 : SQ_KV_INT8))
		p->kv = 1;
}

static void
pack(struct sq_pack *p, int format, int fd, const char *input,
    const char *path)
{
	struct sq_progress progress;
	struct sq_outfile file;
	struct sq_in in;
	char err[SQ_ERR];
	int r;

	if (sq_in_open(&in, fd) < 0)
		sq_die(SQ_EDATA, "%s: %s", input, in.err);
	r = is_file(format) ? sq_outfile_open(&file, path) :
	    sq_outdir_open(&file, path, "config.json");
	if (r < 0)
		sq_die(SQ_EDATA, "%s", file.err);
	sq_tool_progress(&progress);
	p->progress = &progress;
	r = pack_to[format](p, &in, file.fd, err);
	sq_progress_end(&progress);
	if (r < 0 && p->finished > 0) {
		sq_outfile_leave(&file);
		sq_die(SQ_EDATA, "'%s' not written: %s; '%s.part' has %ju "
		    "finished files for the next run", path, err, path,
		    (uintmax_t)p->finished);
	}
	if (r < 0) {
		sq_outfile_abort(&file);
		sq_die(SQ_EDATA, "'%s' not written: %s", path, err);
	}
	if (sq_outfile_commit(&file) < 0)
		sq_die(SQ_EDATA, "%s", file.err);
	sq_in_release(&in);
}

int
main(int argc, char *argv[])
{
	struct sq_pack p = { .version = SQ_VERSION, .scales = -1,
	    .dense = dense, .ranks = 1 };
	const char *path = NULL, *model = NULL;
	struct sq_ctx ctx;
	char err[SQ_ERR];
	int c, fd = STDIN_FILENO, format = SQA;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT "f:m:o:p:", longopts,
	    NULL)) != -1)
		switch (c) {
		case 'f':
			format = sq_arg_choice("-f", optarg, formats);
			break;
		case 'm':
			model = optarg;
			break;
		case 'o':
			path = optarg;
			break;
		case 'p':
			load_profile(&p, optarg);
			break;
		case OPT_ACT:
			p.act = (enum sq_pack_act)sq_arg_choice("--act",
			    optarg, acts);
			break;
		case OPT_DENSE:
			if (p.ndense == GLOBS)
				sq_die(SQ_EUSAGE, "--dense: more than %d",
				    GLOBS);
			dense[p.ndense++] = optarg;
			break;
		case OPT_ENGINE:
			load_engine(&p, optarg);
			break;
		case OPT_GGUF_PRE:
			p.gguf_pre = optarg;
			break;
		case OPT_GGUF_TYPE:
			if ((p.gguf = sq_gguf_kind_find(optarg)) == NULL)
				sq_die(SQ_EUSAGE, "--gguf-type: '%s' is not "
				    "one of %s", optarg,
				    sq_gguf_kind_names());
			break;
		case OPT_KV:
			p.kv = 1;
			break;
		case OPT_OLD:
			p.old = 1;
			break;
		case OPT_SCALES:
			p.scales = (int)scale_types[sq_arg_choice("--scales",
			    optarg, scales)];
			break;
		case OPT_SHARD:
			p.shard = sq_arg_bytes("--shard-size", optarg);
			break;
		case OPT_TP:
			p.ranks = (unsigned)sq_arg_long("--tp", optarg, 1,
			    1024);
			break;
		default:
			sq_tool_option(c);
		}
	if (optind != argc || path == NULL)
		sq_usage();
	check_options(&p, format);
	follow_profile(&p, format);
	if (model != NULL &&
	    (fd = sq_import_pipe(model, SQ_VERSION, err)) < 0)
		sq_die(SQ_EDATA, "%s", err);
	sq_stage_kernels(&ctx);
	p.tool = sq_tool.name;
	p.ctx = &ctx;
	p.memory = sq_tool.memory;
	pack(&p, format, fd, sq_input_name(model), path);
	if (p.stored > 0)
		sq_note("%s: %ju masked tensors without what their masks drop",
		    path, (uintmax_t)p.stored);
	sq_note("%s: %ju tensors, %ju of them quantized, %ju bytes of weights "
	    "instead of %ju; %ju other records left out", path,
	    (uintmax_t)p.tensors, (uintmax_t)p.quantized, (uintmax_t)p.after,
	    (uintmax_t)p.before, (uintmax_t)p.dropped);
	if (p.lost_acts > 0)
		sq_warn("warning: %s: the quantized inputs of %ju layers are "
		    "not in it: these take them as they come", path,
		    (uintmax_t)p.lost_acts);
	if (p.reused > 0)
		sq_note("%ju bytes were there from an earlier run",
		    (uintmax_t)p.reused);
	return SQ_OK;
}
