/* lib/base/pool: every task once, all done on return, run after run. */
#include <check.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/pool.h"

#define TASKS	1000

struct job {
	atomic_int ran[TASKS];
	atomic_int bad;			/* a thread number out of range */
	atomic_int active[8];		/* calls under way of each thread */
	int threads;
};

static void
task(void *arg, long t, int thread)
{
	struct job *j = arg;

	if (thread < 0 || thread >= j->threads ||
	    atomic_fetch_add(&j->active[thread], 1) != 0)
		atomic_store(&j->bad, 1);
	atomic_fetch_add(&j->ran[t], 1);
	atomic_fetch_sub(&j->active[thread], 1);
}

static void
run(struct sq_pool *p, long n)
{
	static struct job zero;
	struct job *j = malloc(sizeof(*j));
	long t;

	ck_assert_ptr_nonnull(j);
	*j = zero;
	j->threads = sq_pool_threads(p);
	sq_pool_run(p, task, j, n);
	for (t = 0; t < TASKS; t++)
		ck_assert_int_eq(atomic_load(&j->ran[t]), t < n);
	ck_assert_int_eq(atomic_load(&j->bad), 0);
	free(j);
}

START_TEST(every_task_once)
{
	static const long n[] = { 0, 1, 2, 3, 7, 100, TASKS };
	struct sq_pool *p = sq_pool_new(_i);
	size_t i;
	int k;

	ck_assert_ptr_nonnull(p);
	ck_assert_int_eq(sq_pool_threads(p), _i);
	for (k = 0; k < 20; k++)
		for (i = 0; i < sizeof(n) / sizeof(n[0]); i++)
			run(p, n[i]);
	sq_pool_free(p);
}
END_TEST

START_TEST(no_pool)
{
	ck_assert_int_eq(sq_pool_threads(NULL), 1);
	run(NULL, TASKS);
	sq_pool_free(NULL);
}
END_TEST

START_TEST(one_for_each_processor)
{
	struct sq_pool *p = sq_pool_new(0);

	ck_assert_ptr_nonnull(p);
	ck_assert_int_ge(sq_pool_threads(p), 1);
	run(p, 5);
	sq_pool_free(p);
}
END_TEST

/* What tasks wrote without atomics is there after the run. */
static void
square(void *arg, long t, int thread)
{
	long *v = arg;

	(void)thread;
	v[t] += t * t;
}

START_TEST(many_runs)
{
	struct sq_pool *p = sq_pool_new(3);
	long v[16] = { 0 }, k, t;

	for (k = 1; k <= 2000; k++) {
		sq_pool_run(p, square, v, 16);
		if (k % 100 == 0)
			for (t = 0; t < 16; t++)
				ck_assert_int_eq(v[t], k * t * t);
	}
	sq_pool_free(p);
}
END_TEST

START_TEST(unused)
{
	int k;

	for (k = 0; k < 50; k++)
		sq_pool_free(sq_pool_new(4));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("pool");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, every_task_once, 1, 5);
	tcase_add_test(tc, no_pool);
	tcase_add_test(tc, one_for_each_processor);
	tcase_add_test(tc, many_runs);
	tcase_add_test(tc, unused);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
