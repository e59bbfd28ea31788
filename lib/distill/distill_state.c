/* A distillation's checkpoint; see distill_state.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/outfile.h"
#include "distill/distill_state.h"

#define MAGIC	"sqdist4"

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

/* All arrays are read, or written; h runs over them. */
struct walk {
	int fd, set;
	XXH3_state_t *h;
};

static int
piece(void *arg, void *p, size_t n)
{
	const struct walk *w = arg;

	if (w->set ? sq_read_full(w->fd, p, n) != (ssize_t)n :
	    sq_write_full(w->fd, p, n) < 0)
		return -1;
	XXH3_128bits_update(w->h, p, n);
	return 0;
}

static int
floats(void *arg, float *p, size_t n)
{
	return piece(arg, p, n * sizeof(*p));
}

static int
each(const struct sq_distill *d, struct walk *w)
{
	const struct sq_param *p;
	size_t i;
	int k;

	for (i = 0; i < d->params.n; i++) {
		p = &d->params.param[i];
		for (k = 0; k < 3; k++)
			if (floats(w, array(p, k), p->n) < 0)
				return -1;
	}
	if (d->own != NULL && piece(w, d->own, d->config->own * d->length *
	    sizeof(*d->own)) < 0)
		return -1;
	for (i = 0; i < d->codes.n; i++)
		if (sq_tune_weight_state(&d->codes.entry[i].weight, w->set,
		    floats, w) < 0)
			return -1;
	return 0;
}

static int
load(struct sq_distill *d, int fd, XXH3_state_t *x, char *err)
{
	const char *path = d->state_path;
	struct walk w = { fd, 1, x };
	XXH128_hash_t hash;
	struct head h;

	if (sq_read_full(fd, &h, sizeof(h)) != (ssize_t)sizeof(h) ||
	    memcmp(h.magic, MAGIC, sizeof(h.magic)) != 0)
		return sq_fail(err, "%s: not a file of --state", path);
	if (!XXH128_isEqual(h.key, d->key) || h.params != d->params.n ||
	    h.codes != d->codes.n)
		return sq_fail(err, "%s: is of another teacher, student, text "
		    "or configuration", path);
	XXH3_128bits_update(x, &h, sizeof(h));
	if (each(d, &w) < 0 ||
	    sq_read_full(fd, &hash, sizeof(hash)) != (ssize_t)sizeof(hash) ||
	    !XXH128_isEqual(hash, XXH3_128bits_digest(x)))
		return sq_fail(err, "%s: is damaged", path);
	d->step = h.step;
	d->first = h.first;
	return sq_codes_apply(&d->codes, err);
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
	struct walk w = { fd, 0, x };
	XXH128_hash_t hash;

	if (piece(&w, &h, sizeof(h)) < 0 || each(d, &w) < 0)
		return -1;
	hash = XXH3_128bits_digest(x);
	return sq_write_full(fd, &hash, sizeof(hash));
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
	} else if ((r = sq_tune_file_check(&d->codes.file, err)) < 0) {
		sq_outfile_abort(&o);
	} else if ((r = sq_outfile_commit(&o)) < 0)
		sq_fail(err, "%s", o.err);
	XXH3_freeState(x);
	return r;
}
