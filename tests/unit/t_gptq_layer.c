/* lib/quant/gptq_layer: which statistics go with which tensor. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "formats/fmt_records.h"
#include "quant/gptq_layer.h"

#define N	48		/* channels */
#define ROWS	20

static char err[SQ_ERR];
static struct sq_ctx ctx;
static const struct sq_lapack *la;

static const char model[] = "0123456789abcdef0123456789abcdef";
static const char other[] = "fedcba9876543210fedcba9876543210";

/* What is put into the stream, besides what is always the same. */
struct stage {
	const char *digest;		/* of the statistics' model */
	const char *concerned;		/* the tensor that they name */
	size_t channels;
	int full;
	float first;			/* of H */
};

static void
put_stats(struct sq_out *out, const struct stage *st)
{
	size_t c = st->channels, i;
	float *zero = calloc(c, sizeof(*zero));
	float *h = calloc(sq_triangle(c), sizeof(*h));
	uint64_t *hist = calloc(SQ_HIST, sizeof(*hist));
	struct sq_stats s = { .ntensors = 1, .tokens = 100, .channels = c,
	    .min = zero, .max = zero, .mean = zero, .absmean = zero,
	    .hist = hist, .h = st->full ? h : NULL, .hdiag = zero };

	for (i = 0; i < c; i++)
		h[sq_triangle_at(c, i, i)] = 2;
	h[0] = st->first;
	strcpy(s.tensor[0], st->concerned);
	strcpy(s.model, st->digest);
	strcpy(s.source, other);
	ck_assert_msg(sq_stats_write(&s, out) == 0, "%s", out->err);
	free(zero);
	free(h);
	free(hist);
}

static int
make_stream(const struct stage *st)
{
	struct sq_tensor t = { .name = "a.weight", .type = SQ_F32, .ndim = 2,
	    .dim = { ROWS, N }, .grid = SQ_DENSE };
	static float w[ROWS * N];
	struct sq_files files;
	struct sq_out out;
	int fd = sq_temp_file();
	size_t i;

	ck_assert_int_ge(fd, 0);
	memset(&files, 0, sizeof(files));
	ck_assert_int_eq(sq_files_add(&files, "config.json", "{}", 2, err),
	    0);
	strcpy(files.h.model, model);
	for (i = 0; i < ROWS * N; i++)
		w[i] = (float)((i * 7919) % 101) - 50;
	sq_tensor_layout(&t, SQ_F16, 0);
	ck_assert_int_eq(sq_out_open(&out, fd, 0), 0);
	ck_assert_int_eq(sq_files_write(&files, &out), 0);
	put_stats(&out, st);
	ck_assert_int_eq(sq_out_tensor(&out, &t), 0);
	ck_assert_int_eq(sq_out_write(&out, w, sizeof(w)), 0);
	ck_assert_int_eq(sq_out_end(&out), 0);
	ck_assert_int_eq(sq_out_finish(&out), 0);
	sq_out_release(&out);
	sq_files_release(&files);
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static int
one_record(struct sq_gptq_layer *l, struct sq_in *in, struct sq_out *out)
{
	struct sq_tensor t;

	if (in->type == SQ_STATS)
		return sq_gptq_stats(l, in, out, err);
	if (in->type != SQ_TENSOR)
		return sq_out_copy(out, in);
	ck_assert_int_eq(sq_tensor_parse(&t, in->desc, in->length, err), 0);
	return sq_gptq_tensor(l, &t, in, out, err);
}

/* The stream as a filter would take it: 0, or -1 with err. */
static int
filter(const struct stage *st, uint64_t memory, struct sq_gptq_layer *l)
{
	struct sq_progress progress = { .fd = -1 };
	int fd = make_stream(st), to = sq_temp_file(), r, failed = 0;
	struct sq_out out;
	struct sq_in in;

	*l = (struct sq_gptq_layer){ .ctx = &ctx, .lapack = la,
	    .rule = { .grid = SQ_INT4, .scale = SQ_MSE, .symmetric = 1,
	    .group_cols = 16 }, .order = SQ_ACT, .damp = .01,
	    .want_error = 1, .memory = memory, .progress = &progress };
	strcpy(l->model, model);
	ck_assert_int_eq(sq_in_open(&in, fd), 0);
	ck_assert_int_eq(sq_out_open(&out, to, 0), 0);
	while ((r = sq_in_next(&in)) > 0 && !failed)
		failed = one_record(l, &in, &out) < 0;
	sq_in_release(&in);
	sq_out_release(&out);
	sq_gptq_forget(l);
	close(fd);
	close(to);
	return failed ? -1 : r;
}

START_TEST(accepted)
{
	struct stage st = { model, "a.weight", N, 1, 2 };
	struct sq_gptq_layer l;

	ck_assert_msg(filter(&st, 0, &l) == 0, "%s", err);
	ck_assert_int_eq((int)l.chunks.made.group_cols, 16);
	ck_assert_double_eq(l.gptq.norm > 0, 1);
	ck_assert_msg(filter(&st, sq_gptq_memory(&l, ROWS, N, 4, 1), &l) == 0,
	    "%s", err);
}
END_TEST

static const struct {
	struct stage st;
	uint64_t memory;
	const char *says;
} refused[] = {
	{ { other, "a.weight", N, 1, 2 }, 0,
	    "another model: fedcba9876543210fedcba9876543210, not 01234567" },
	{ { "", "a.weight", N, 1, 2 }, 0, "another model: , not 01234567" },
	{ { model, "b.weight", N, 1, 2 }, 0, "'a.weight': no statistics" },
	{ { model, "a.weight", N + 1, 1, 2 }, 0,
	    "48 columns, but statistics of 49 channels" },
	{ { model, "a.weight", N, 0, 2 }, 0, "diagonal of H alone" },
	{ { model, "a.weight", N, 1, -1 }, 0, "H has -1 on its diagonal" },
	{ { model, "a.weight", N, 1, 2 }, 40 << 20,
	    "'a.weight': -M: needs at least" },
};

START_TEST(refusals)
{
	struct sq_gptq_layer l;

	err[0] = '\0';
	ck_assert_int_eq(filter(&refused[_i].st, refused[_i].memory, &l), -1);
	ck_assert_msg(strstr(err, refused[_i].says) != NULL, "'%s'", err);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("gptq_layer");
	TCase *t = tcase_create("all");
	const struct sq_kern *kern = sq_kern_find("auto", err);
	SRunner *sr;
	int failed;

	if (kern == NULL || (la = sq_lapack_open(kern->name, err)) == NULL ||
	    sq_ctx_init(&ctx, kern, NULL) < 0) {
		fprintf(stderr, "t_gptq_layer: %s\n", err);
		return 1;
	}
	tcase_add_test(t, accepted);
	tcase_add_loop_test(t, refusals, 0,
	    sizeof(refused) / sizeof(refused[0]));
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
