/* What the teacher makes of samples; see recall.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/half.h"
#include "base/io.h"
#include "base/pool.h"
#include "distill/recall.h"

#define PIECE	((size_t)1 << 16)	/* values of a task */

int
sq_recall_init(struct sq_recall *r, struct sq_pool *pool, size_t samples,
    size_t values, char *err)
{
	*r = (struct sq_recall){ .values = values, .pool = pool };
	r->one = malloc(values * sizeof(*r->one));
	r->known = calloc(samples, 1);
	if (r->one == NULL || r->known == NULL)
		return sq_fail(err, "out of memory");
	if ((r->fd = sq_temp_file()) < 0)
		return sq_fail(err, "TMPDIR: %s", strerror(errno));
	return 0;
}

void
sq_recall_release(struct sq_recall *r)
{
	if (r->known != NULL && r->fd >= 0)
		close(r->fd);
	free(r->one);
	free(r->known);
	memset(r, 0, sizeof(*r));
}

int
sq_recall_knows(const struct sq_recall *r, size_t sample)
{
	return r->known != NULL && r->known[sample];
}

struct job {
	uint16_t *h;
	float *x;
	size_t n;
	int put;
};

static void
do_piece(void *arg, long task, int thread)
{
	const struct job *j = arg;
	size_t i = (size_t)task * PIECE;
	size_t end = j->n - i < PIECE ? j->n : i + PIECE;

	(void)thread;
	for (; i < end; i++) {
		if (j->put)
			j->h[i] = sq_f32_to_bf16(j->x[i]);
		j->x[i] = sq_bf16_to_f32(j->h[i]);
	}
}

static void
convert(const struct sq_recall *r, float *x, int put)
{
	struct job j = { r->one, x, r->values, put };

	sq_pool_run(r->pool, do_piece, &j,
	    (long)((j.n + PIECE - 1) / PIECE));
}

void
sq_recall_put(struct sq_recall *r, size_t sample, float *x)
{
	size_t bytes = r->values * sizeof(*r->one);
	ssize_t n;

	if (r->known == NULL)
		return;
	convert(r, x, 1);
	n = pwrite(r->fd, r->one, bytes, (off_t)(sample * bytes));
	r->known[sample] = n == (ssize_t)bytes;
}

int
sq_recall_get(struct sq_recall *r, size_t sample, float *x, char *err)
{
	size_t bytes = r->values * sizeof(*r->one);
	ssize_t n = pread(r->fd, r->one, bytes, (off_t)(sample * bytes));

	if (n != (ssize_t)bytes)
		return sq_fail(err, "TMPDIR: %s", n < 0 ? strerror(errno) :
		    "a file is not what it was");
	convert(r, x, 0);
	return 0;
}
