/* sq-bench: how fast, beside what the machine can do. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/pool.h"
#include "base/tool.h"
#include "eval/bench_kernels.h"
#include "formats/fmt_csv.h"

static const char usage[] =
    "[-j N] [-k LEVEL] [--csv] [--op NAME] [--seconds S] kernels";

enum { OPT_CSV = SQ_OPT(0), OPT_OP, OPT_SECONDS };

static const struct option longopts[] = {
	SQ_LONG,
	{ "csv", no_argument, NULL, OPT_CSV },
	{ "op", required_argument, NULL, OPT_OP },
	{ "seconds", required_argument, NULL, OPT_SECONDS },
	{ NULL, 0, NULL, 0 }
};

static int csv;

static void
print_limit(void *arg, const char *level, double f32, double bf16, double read)
{
	(void)arg;
	if (csv)
		return;
	printf("%s: limits measured now: %.0f GFLOP/s in f32, %.0f in bf16, "
	    "%.1f GB/s read\n", level, f32 / 1e9, bf16 / 1e9, read / 1e9);
}

static void
print_row(void *arg, const struct sq_bench_row *r)
{
	char text[3][32];
	int i;

	(void)arg;
	snprintf(text[0], sizeof(text[0]), "%.6f", r->seconds * 1e3);
	snprintf(text[1], sizeof(text[1]), "%.2f", r->rate / 1e9);
	snprintf(text[2], sizeof(text[2]), "%.3f", r->fraction);
	if (!csv) {
		printf("  %-11s %-38s %10.3f ms %9.2f %s", r->op, r->shape,
		    r->seconds * 1e3, r->rate / 1e9,
		    r->is_flops ? "GFLOP/s" : "GB/s");
		if (!isnan(r->fraction))
			printf("%*s %5.0f %%", r->is_flops ? 0 : 3, "",
			    100 * r->fraction);
		putchar('\n');
		fflush(stdout);
		return;
	}
	sq_csv_field(stdout, 1, r->op);
	sq_csv_field(stdout, 0, r->level);
	sq_csv_field(stdout, 0, r->shape);
	for (i = 0; i < 2; i++)
		sq_csv_field(stdout, 0, text[i]);
	sq_csv_field(stdout, 0, r->is_flops ? "GFLOP/s" : "GB/s");
	sq_csv_field(stdout, 0, isnan(r->fraction) ? "" : text[2]);
	putchar('\n');
}

static int
known_op(const char *name)
{
	int op;

	for (op = 0; op < SQ_OPS; op++)
		if (strcmp(sq_op_name((enum sq_op)op), name) == 0)
			return 1;
	return 0;
}

int
main(int argc, char *argv[])
{
	struct sq_bench_kernels b = { .seconds = .3, .row = print_row,
	    .limit = print_limit };
	const struct sq_kern *kern;
	char err[SQ_ERR];
	int c;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT, longopts, NULL)) != -1)
		switch (c) {
		case OPT_CSV:
			csv = 1;
			break;
		case OPT_OP:
			b.op = optarg;
			break;
		case OPT_SECONDS:
			b.seconds = sq_arg_real("--seconds", optarg, 0, 3600);
			break;
		default:
			sq_tool_option(c);
		}
	if (b.op != NULL && !known_op(b.op))
		sq_die(SQ_EUSAGE, "--op '%s': no such operation", b.op);
	if (optind != argc - 1 || strcmp(argv[optind], "kernels") != 0)
		sq_usage();
	if (strcmp(sq_tool.kernel, "auto") != 0) {
		if ((kern = sq_kern_find(sq_tool.kernel, err)) == NULL)
			sq_die(SQ_EUSAGE, "%s", err);
		b.level = kern->name;
	}
	if ((b.pool = sq_pool_new(sq_tool.threads)) == NULL)
		sq_die(SQ_EDATA, "out of memory");
	if (csv)
		printf("op,level,shape,milliseconds,rate,unit,fraction\n");
	if (sq_bench_kernels(&b, err) < 0)
		sq_die(SQ_EDATA, "%s", err);
	sq_flush();
	return SQ_OK;
}
