/* What rows are learned by; see tune_rows.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "quant/tune_rows.h"

void
sq_tune_file_release(struct sq_tune_file *f)
{
	if (f->space != NULL)
		close(f->fd);
	free(f->space);
	f->space = NULL;
}

int
sq_tune_file_check(const struct sq_tune_file *f, char *err)
{
	int bad = atomic_load(&f->bad);

	return bad == 0 ? 0 : sq_fail(err, "what is learned: temporary file: "
	    "%s", strerror(bad));
}

/* Room for some rows more. */
static int
extend(struct sq_tune_file *f, struct sq_pool *pool, size_t bytes, char *err)
{
	size_t threads = (size_t)sq_pool_threads(pool);

	if (f->space == NULL) {
		f->fd = sq_temp_file();
		if (f->fd < 0)
			return sq_fail_errno(err, "what is learned: temporary "
			    "file");
		f->space = malloc(threads * SQ_TUNE_SPACE * sizeof(float));
		if (f->space == NULL) {
			close(f->fd);
			return sq_fail(err, "out of memory");
		}
	}
	if (ftruncate(f->fd, (off_t)(f->size + bytes)) < 0)
		return sq_fail_errno(err, "what is learned: temporary file");
	f->size += bytes;
	return 0;
}

int
sq_tune_rows_init(struct sq_tune_rows *r, struct sq_tune_file *f,
    struct sq_pool *pool, size_t rows, size_t one, char *err)
{
	size_t bytes = rows * one * sizeof(float);

	*r = (struct sq_tune_rows){ .rows = rows, .one = one };
	r->some = one < SQ_TUNE_SPACE ? SQ_TUNE_SPACE / one : 1;
	if (f != NULL && one <= SQ_TUNE_SPACE && bytes > f->left) {
		r->file = f;
		r->at = f->size;
		return extend(f, pool, bytes, err);
	}
	if (f != NULL)
		f->left -= bytes < f->left ? bytes : f->left;
	r->mem = calloc(rows, one * sizeof(float));
	return r->mem != NULL ? 0 : sq_fail(err, "out of memory");
}

void
sq_tune_rows_release(struct sq_tune_rows *r)
{
	free(r->mem);
	memset(r, 0, sizeof(*r));
}

static off_t
offset(const struct sq_tune_rows *r, size_t row)
{
	return (off_t)(r->at + row * r->one * sizeof(float));
}

float *
sq_tune_rows_get(const struct sq_tune_rows *r, size_t row, size_t n,
    int thread)
{
	size_t bytes = n * r->one * sizeof(float);
	float *p;

	if (r->mem != NULL)
		return r->mem + row * r->one;
	p = r->file->space + (size_t)thread * SQ_TUNE_SPACE;
	errno = EIO;
	if (sq_pread_full(r->file->fd, p, bytes, offset(r, row)) !=
	    (ssize_t)bytes) {
		atomic_store(&r->file->bad, errno);
		memset(p, 0, bytes);
	}
	return p;
}

void
sq_tune_rows_put(const struct sq_tune_rows *r, size_t row, size_t n,
    int thread)
{
	if (r->mem == NULL && sq_pwrite_full(r->file->fd, r->file->space +
	    (size_t)thread * SQ_TUNE_SPACE, n * r->one * sizeof(float),
	    offset(r, row)) < 0)
		atomic_store(&r->file->bad, errno);
}
