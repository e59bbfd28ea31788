/* A distillation's checkpoint; see distill_state.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/outfile.h"
#include "distill/distill_state.h"

#define MAGIC	"sqdist3"

/* In the machine's own byte order; then for each parameter its values and
 * moments, the teacher's own text, for each weight of integers what it is
 * learned by, last the hash of everything before it. */
struct head {
	char magic[8];
	uint64_t step, params, codes;
	double first;
	XXH128_hash_t key;
};

/* The array that is written i-th of a parameter. */
static float *
array(const struct sq_param *p, int i)
{
	return i == 0 ? p->p : i == 1 ? p->m1 : p->m2;
}

/* All arrays by fn, which reads or writes them; h runs over them. */
static int
each(const struct sq_distill *d, int fd, XXH3_state_t *h,
    int (*fn)(int fd, void *p, size_t n))
{
	const struct sq_tune_weight *w;
	const struct sq_param *p;
	size_t i, n;
	int k;

	for (i = 0; i < d->params.n; i++) {
		p = &d->params.param[i];
		for (k = 0; k < 3; k++) {
			if (fn(fd, array(p, k), p->n * sizeof(float)) < 0)
				return -1;
			XXH3_128bits_update(h, array(p, k),
			    p->n * sizeof(float));
		}
	}
	if (d->own != NULL) {
		n = d->config->own * d->length * sizeof(*d->own);
		if (fn(fd, d->own, n) < 0)
			return -1;
		XXH3_128bits_update(h, d->own, n);
	}
	for (i = 0; i < d->codes.n; i++) {
		w = &d->codes.entry[i].weight;
		n = sq_tune_weight_state(w) * sizeof(float);
		if (fn(fd, w->u, n) < 0)
			return -1;
		XXH3_128bits_update(h, w->u, n);
	}
	return 0;
}

static int
take(int fd, void *p, size_t n)
{
	return sq_read_full(fd, p, n) == (ssize_t)n ? 0 : -1;
}

static int
give(int fd, void *p, size_t n)
{
	return sq_write_full(fd, p, n);
}

static int
load(struct sq_distill *d, int fd, XXH3_state_t *x, char *err)
{
	const char *path = d->state_path;
	XXH128_hash_t hash;
	struct head h;

	if (take(fd, &h, sizeof(h)) < 0 ||
	    memcmp(h.magic, MAGIC, sizeof(h.magic)) != 0)
		return sq_fail(err, "%s: not a file of --state", path);
	if (!XXH128_isEqual(h.key, d->key) || h.params != d->params.n ||
	    h.codes != d->codes.n)
		return sq_fail(err, "%s: is of another teacher, student, text "
		    "or configuration", path);
	XXH3_128bits_update(x, &h, sizeof(h));
	if (each(d, fd, x, take) < 0 || take(fd, &hash, sizeof(hash)) < 0 ||
	    !XXH128_isEqual(hash, XXH3_128bits_digest(x)))
		return sq_fail(err, "%s: is damaged", path);
	d->step = h.step;
	d->first = h.first;
	sq_codes_apply(&d->codes);
	return 0;
}

int
sq_distill_load(struct sq_distill *d, char *err)
{
	XXH3_state_t *x;
	int fd, r;

	if (d->state_path == NULL)
		return 0;
	fd = open(d->state_path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 :
		    sq_fail_errno(err, "%s", d->state_path);
	if ((x = XXH3_createState()) == NULL) {
		close(fd);
		return sq_fail(err, "out of memory");
	}
	XXH3_128bits_reset(x);
	r = load(d, fd, x, err);
	XXH3_freeState(x);
	close(fd);
	return r;
}

static int
save(const struct sq_distill *d, int fd, XXH3_state_t *x)
{
	struct head h = { .magic = MAGIC, .step = d->step,
	    .params = d->params.n, .codes = d->codes.n, .first = d->first,
	    .key = d->key };
	XXH128_hash_t hash;

	XXH3_128bits_update(x, &h, sizeof(h));
	if (give(fd, &h, sizeof(h)) < 0 || each(d, fd, x, give) < 0)
		return -1;
	hash = XXH3_128bits_digest(x);
	return give(fd, &hash, sizeof(hash));
}

int
sq_distill_save(const struct sq_distill *d, char *err)
{
	struct sq_outfile o;
	XXH3_state_t *x;
	int r;

	if (d->state_path == NULL)
		return 0;
	if ((x = XXH3_createState()) == NULL)
		return sq_fail(err, "out of memory");
	XXH3_128bits_reset(x);
	if ((r = sq_outfile_open(&o, d->state_path)) < 0)
		sq_fail(err, "%s", o.err);
	else if ((r = save(d, o.fd, x)) < 0) {
		sq_fail_errno(err, "%s", d->state_path);
		sq_outfile_abort(&o);
	} else if ((r = sq_outfile_commit(&o)) < 0)
		sq_fail(err, "%s", o.err);
	XXH3_freeState(x);
	return r;
}
