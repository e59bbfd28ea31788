/*
 * A pool of threads that runs numbered tasks.  Which thread runs a task is
 * left open, so a result must not depend on it: split work over outputs, never
 * over a sum, and it is the same for any number of threads.
 */
#ifndef SQ_BASE_POOL_H
#define SQ_BASE_POOL_H

#include <stddef.h>

struct sq_pool;

/* n threads in all, the caller's included; n < 1 means one for each processor
 * that this process may use.  NULL when threads cannot be had. */
struct sq_pool	*sq_pool_new(int n);
void		 sq_pool_free(struct sq_pool *);
int		 sq_pool_threads(const struct sq_pool *);

/*
 * Runs fn(arg, task, thread) for task = 0 .. ntasks-1 and returns when all are
 * done; thread is 0 .. threads-1 and names the workspace that the call may
 * use.  Tasks are started in order.  fn must not call sq_pool_run.  pool may
 * be NULL: everything runs in the caller, as thread 0.
 */
void	 sq_pool_run(struct sq_pool *pool,
	    void (*fn)(void *arg, long task, int thread), void *arg,
	    long ntasks);

/* memcpy(), by all of them. */
void	 sq_pool_copy(struct sq_pool *, void *to, const void *from, size_t n);

#endif
