/*
 * Thread pool; see pool.h.  Workers sleep on a condition variable between
 * runs, after a short spin: a decode step starts hundreds of runs one after
 * the other, and a sleep costs more than the run.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"

#define SPIN	20000
#define PIECE	((size_t)1 << 18)	/* bytes of a task of copying */

struct worker {
	struct sq_pool *pool;
	pthread_t thread;
	int id;
};

struct sq_pool {
	int n;				/* threads, the caller included */
	struct worker *worker;		/* n - 1 */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	atomic_uint run;		/* counts runs; workers wait for it */
	atomic_int open;		/* workers may join the run */
	atomic_int busy;		/* workers that look at it */
	atomic_long next;		/* the first task not yet taken */
	long ntasks;
	void (*fn)(void *, long, int);
	void *arg;
	atomic_int quit;
};

static void
relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

static void
work(struct sq_pool *p, int id)
{
	long t;

	while ((t = atomic_fetch_add(&p->next, 1)) < p->ntasks)
		p->fn(p->arg, t, id);
}

static void *
worker_main(void *arg)
{
	struct worker *w = arg;
	struct sq_pool *p = w->pool;
	unsigned seen = 0;
	int i;

	for (;;) {
		for (i = 0; i < SPIN && atomic_load(&p->run) == seen; i++)
			relax();
		if (atomic_load(&p->run) == seen) {
			pthread_mutex_lock(&p->lock);
			while (atomic_load(&p->run) == seen)
				pthread_cond_wait(&p->wake, &p->lock);
			pthread_mutex_unlock(&p->lock);
		}
		seen = atomic_load(&p->run);
		if (atomic_load(&p->quit))
			return NULL;
		atomic_fetch_add(&p->busy, 1);
		if (atomic_load(&p->open))
			work(p, w->id);
		atomic_fetch_sub(&p->busy, 1);
	}
}

static void
start_run(struct sq_pool *p)
{
	pthread_mutex_lock(&p->lock);
	atomic_fetch_add(&p->run, 1);
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

void
sq_pool_run(struct sq_pool *p, void (*fn)(void *, long, int), void *arg,
    long ntasks)
{
	long t;
	int i;

	if (p == NULL || p->n == 1 || ntasks <= 1) {
		for (t = 0; t < ntasks; t++)
			fn(arg, t, 0);
		return;
	}
	p->fn = fn;
	p->arg = arg;
	p->ntasks = ntasks;
	atomic_store(&p->next, 0);
	atomic_store(&p->open, 1);
	start_run(p);
	work(p, 0);
	/* a worker that wakes from here on has nothing to do, and is not
	 * waited for: only those that are in it already */
	atomic_store(&p->open, 0);
	for (i = 0; atomic_load(&p->busy) > 0; i++)
		if (i < SPIN)
			relax();
		else
			sched_yield();
}

struct sq_pool *
sq_pool_new(int n)
{
	struct sq_pool *p;
	cpu_set_t set;
	int i;

	if (n < 1)
		n = sched_getaffinity(0, sizeof(set), &set) == 0 ?
		    CPU_COUNT(&set) : 1;
	if ((p = calloc(1, sizeof(*p))) == NULL)
		return NULL;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	p->n = 1;
	if (n == 1)
		return p;
	if ((p->worker = calloc((size_t)n - 1, sizeof(*p->worker))) == NULL)
		goto err;
	for (i = 0; i < n - 1; i++, p->n++) {
		p->worker[i].pool = p;
		p->worker[i].id = i + 1;
		if (pthread_create(&p->worker[i].thread, NULL, worker_main,
		    &p->worker[i]) != 0)
			goto err;
	}
	return p;
err:
	sq_pool_free(p);
	return NULL;
}

void
sq_pool_free(struct sq_pool *p)
{
	int i;

	if (p == NULL)
		return;
	atomic_store(&p->quit, 1);
	start_run(p);
	for (i = 0; i < p->n - 1; i++)
		pthread_join(p->worker[i].thread, NULL);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p->worker);
	free(p);
}

int
sq_pool_threads(const struct sq_pool *p)
{
	return p == NULL ? 1 : p->n;
}

struct copy {
	char *to;
	const char *from;
	size_t n;
};

static void
do_copy(void *arg, long task, int thread)
{
	const struct copy *c = arg;
	size_t at = (size_t)task * PIECE;

	(void)thread;
	memcpy(c->to + at, c->from + at, c->n - at < PIECE ? c->n - at : PIECE);
}

void
sq_pool_copy(struct sq_pool *p, void *to, const void *from, size_t n)
{
	struct copy c = { to, from, n };

	sq_pool_run(p, do_copy, &c, (long)((n + PIECE - 1) / PIECE));
}
