/* What this machine can do at most; see limits.h. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/pool.h"
#include "kernels/limits.h"
#if defined(__x86_64__)
#include "kernels/x86/peak.h"
#endif

#define READ_SIZE	((size_t)512 << 20)	/* beyond all caches */
#define READ_TASK	((size_t)2 << 20)
#define READ_PASSES	8
#define STREAMS		8
#define SHIFT		1088			/* bytes: 17 lines */
#define AHEAD		1024
#define RUNS		9
#define RUN_SECONDS	0.02
#define LOADED_ROUNDS	10000

struct reading {
	const uint64_t *p;
	uint64_t *sums;			/* one for each task */
};

/* Instructions of a level: rounds of them, and the operations of a round. */
struct peak {
	const char *level;
	enum sq_limit kind;
	void (*run)(long rounds);
	double flops;
};

static const struct peak peaks[] = {
#if defined(__x86_64__)
	{ "avx2", SQ_LIMIT_F32, sq_peak_avx2, SQ_PEAK_AVX2 },
	{ "avx512", SQ_LIMIT_F32, sq_peak_avx512, SQ_PEAK_AVX512 },
	{ "avx512bf16", SQ_LIMIT_BF16, sq_peak_avx512bf16,
	    SQ_PEAK_AVX512BF16 },
	{ "amx", SQ_LIMIT_BF16, sq_peak_amx, SQ_PEAK_AMX },
	{ "avx2", SQ_LIMIT_INT16, sq_peak_int16_avx2, SQ_PEAK_INT16_AVX2 },
	{ "avx2", SQ_LIMIT_INT8, sq_peak_int8_avx2, SQ_PEAK_INT8_AVX2 },
	{ "avx512", SQ_LIMIT_INT16, sq_peak_int16_avx512,
	    SQ_PEAK_INT16_AVX512 },
	{ "avx512", SQ_LIMIT_INT8, sq_peak_int8_avx512, SQ_PEAK_INT8_AVX512 },
	{ "avx512vnni", SQ_LIMIT_INT16, sq_peak_int16_avx512vnni,
	    SQ_PEAK_INT16_AVX512 },
	{ "avx512vnni", SQ_LIMIT_INT8, sq_peak_int8_avx512vnni,
	    SQ_PEAK_INT8_AVX512 },
	{ "amx", SQ_LIMIT_INT8, sq_peak_int8_amx, SQ_PEAK_INT8_AMX },
#endif
	{ NULL, SQ_LIMIT_F32, NULL, 0 }
};

/* The same where operands are loaded. */
static const struct peak loaded[] = {
#if defined(__x86_64__)
	{ "amx", SQ_LIMIT_BF16, sq_peak_loaded_amx, SQ_PEAK_LOADED },
	{ "amx", SQ_LIMIT_INT8, sq_peak_int8_loaded_amx,
	    SQ_PEAK_INT8_LOADED },
#endif
	{ NULL, SQ_LIMIT_F32, NULL, 0 }
};

struct spinning {
	const struct peak *peak;
	long rounds;
};

/*
 * A task in STREAMS that are read side by side, which some processors need to
 * be fast; they start at different places of their parts, so as not to meet in
 * the caches.  Two sums for each of the wide loads that any compiler makes of
 * this.
 */
static void
do_read(void *arg, long task, int thread)
{
	const struct reading *r = arg;
	const uint64_t *p = r->p + (size_t)task * (READ_TASK / sizeof(*p));
	const size_t part = READ_TASK / sizeof(*p) / STREAMS;
	uint64_t s[8] = { 0 };
	const uint64_t *at;
	size_t i, j;
	int k;

	(void)thread;
	for (i = 0; i < part; i += 8)
		for (j = 0; j < STREAMS; j++) {
			at = p + j * part + (i + j * (SHIFT / sizeof(*p))) %
			    part;
			__builtin_prefetch(at + AHEAD / sizeof(*p));
			for (k = 0; k < 8; k++)
				s[k] += at[k];
		}
	for (k = 1; k < 8; k++)
		s[0] += s[k];
	r->sums[task] = s[0];
}

int
sq_limit_read(struct sq_pool *pool, double *rate)
{
	long tasks = READ_SIZE / READ_TASK;
	struct reading r;
	uint64_t *p, *sums;
	double t;
	int i;

	p = aligned_alloc(READ_TASK, READ_SIZE);
	sums = calloc((size_t)tasks, sizeof(*sums));
	*rate = 0;
	if (p != NULL && sums != NULL) {
		(void)madvise(p, READ_SIZE, MADV_HUGEPAGE);
		memset(p, 1, READ_SIZE);
		r = (struct reading){ p, sums };
		for (i = 0; i < READ_PASSES; i++) {
			t = sq_now();
			sq_pool_run(pool, do_read, &r, tasks);
			t = READ_SIZE / (sq_now() - t);
			if (t > *rate)
				*rate = t;
		}
	}
	free(p);
	free(sums);
	return *rate > 0 ? 0 : -1;
}

static void
do_spin(void *arg, long task, int thread)
{
	const struct spinning *s = arg;

	(void)task;
	(void)thread;
	s->peak->run(s->rounds);
}

static int
ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
measure(struct sq_pool *pool, const struct peak *peak)
{
	struct spinning s = { peak, 1000 };
	double rate[RUNS], t = 0;
	int threads = sq_pool_threads(pool), i;

	while (t < RUN_SECONDS) {	/* how many rounds are long enough */
		s.rounds *= 2;
		t = sq_now();
		sq_pool_run(pool, do_spin, &s, threads);
		t = sq_now() - t;
	}
	for (i = 0; i < RUNS; i++) {
		t = sq_now();
		sq_pool_run(pool, do_spin, &s, threads);
		rate[i] = (double)s.rounds * peak->flops * threads /
		    (sq_now() - t);
	}
	qsort(rate, RUNS, sizeof(rate[0]), ascending);
	return rate[RUNS / 2];
}

int
sq_limit_ops(struct sq_pool *pool, const char *level, enum sq_limit kind,
    double *rate)
{
	const struct sq_kern *k;
	const struct peak *p;
	char err[SQ_ERR];
	double f;

	*rate = 0;
	for (k = sq_kern_find(level, err); k != NULL; k = k->lower)
		for (p = peaks; p->level != NULL; p++)
			if (strcmp(p->level, k->name) == 0 && p->kind <= kind &&
			    (f = measure(pool, p)) > *rate)
				*rate = f;
	return *rate > 0 ? 0 : -1;
}

int
sq_limit_flops(struct sq_pool *pool, const char *level, enum sq_prec prec,
    double *rate)
{
	return sq_limit_ops(pool, level, prec == SQ_PREC_F32 ?
	    SQ_LIMIT_F32 : SQ_LIMIT_BF16, rate);
}

int
sq_limit_loaded(struct sq_pool *pool, const char *level, enum sq_limit kind,
    double *rate)
{
	struct spinning s = { loaded, LOADED_ROUNDS };
	int threads = sq_pool_threads(pool);
	char err[SQ_ERR];
	double t;

	while (s.peak->level != NULL && (s.peak->kind != kind ||
	    strcmp(s.peak->level, level) != 0))
		s.peak++;
	if (s.peak->level == NULL || sq_kern_find(level, err) == NULL)
		return -1;
	t = sq_now();
	sq_pool_run(pool, do_spin, &s, threads);
	*rate = (double)s.rounds * s.peak->flops * threads / (sq_now() - t);
	return 0;
}
