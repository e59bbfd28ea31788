/* A model becomes a stream; see import.h. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/floats.h"
#include "model/import.h"
#include "model/tensor_values.h"

#define PIECE	((size_t)256 << 10)	/* fits the cache between the copies */

static int
put_part(const struct sq_source *s, const struct sq_source_tensor *t, int part,
    struct sq_out *out, void *piece, struct sq_progress *p, char *err)
{
	uint64_t at, length = t->t.part[part].length;
	size_t n;

	for (at = 0; at < length; at += n) {
		n = length - at < PIECE ? (size_t)(length - at) : PIECE;
		if (sq_source_read(s, t, part, at, piece, n, err) < 0)
			return -1;
		if (sq_out_write(out, piece, n) < 0)
			return sq_fail(err, "%s", out->err);
		sq_progress_add(p, n);
	}
	return 0;
}

static int
put_tensor(const struct sq_source *s, const struct sq_source_tensor *t,
    struct sq_out *out, void *piece, struct sq_progress *p, char *err)
{
	uint64_t at = 0;
	int i;

	sq_progress_tensor(p);
	if (sq_out_tensor(out, &t->t) < 0)
		return sq_fail(err, "%s", out->err);
	for (i = 0; i < t->t.nparts; i++) {
		if (sq_out_gap(out, at, t->t.part[i].offset) < 0)
			return sq_fail(err, "%s", out->err);
		if (put_part(s, t, i, out, piece, p, err) < 0)
			return -1;
		at = t->t.part[i].offset + t->t.part[i].length;
	}
	return sq_out_end(out) < 0 ? sq_fail(err, "%s", out->err) : 0;
}

/* The rows of a quantized tensor, in the type that it had. */
static int
put_rows(struct sq_values *v, struct sq_out *out, float *x, void *y,
    struct sq_progress *p, char *err)
{
	enum sq_dtype type = v->t->t.type;
	size_t row, n, bytes;

	for (row = 0; row < v->rows; row += n) {
		n = v->rows - row < v->chunk ? v->rows - row : v->chunk;
		bytes = n * v->cols * sq_dtype_size(type);
		if (sq_values_read(v, row, n, x, err) < 0)
			return -1;
		sq_floats_convert(y, type, x, SQ_F32, n * v->cols);
		if (sq_out_write(out, y, bytes) < 0)
			return sq_fail(err, "%s", out->err);
		sq_progress_add(p, bytes);
	}
	return 0;
}

static int
put_dense(const struct sq_source *s, const struct sq_source_tensor *t,
    struct sq_out *out, struct sq_ctx *ctx, struct sq_progress *p, char *err)
{
	struct sq_tensor d = t->t;
	struct sq_values v;
	float *x = NULL;
	void *y = NULL;
	int r = -1;

	sq_progress_tensor(p);
	d.grid = SQ_DENSE;
	sq_tensor_layout(&d, SQ_F16, 0);
	if (sq_values_open(&v, ctx, s, t, err) < 0)
		return -1;
	x = malloc(v.chunk * v.cols * sizeof(*x));
	y = malloc(v.chunk * v.cols * sq_dtype_size(d.type));
	if (x == NULL || y == NULL)
		sq_fail(err, "out of memory");
	else if (sq_out_tensor(out, &d) < 0)
		sq_fail(err, "%s", out->err);
	else if (put_rows(&v, out, x, y, p, err) == 0)
		r = sq_out_end(out) == 0 ? 0 : sq_fail(err, "%s", out->err);
	free(x);
	free(y);
	sq_values_release(&v);
	return r;
}

static int
put_end(const struct sq_source *s, struct sq_out *out, int dense,
    const char *version, char *err)
{
	json_t *options = json_object();
	size_t i;

	for (i = 0; i < json_array_size(s->provenance); i++)
		if (sq_out_record(out, SQ_PROVENANCE,
		    json_array_get(s->provenance, i), NULL, 0) < 0) {
			json_decref(options);
			return sq_fail(err, "%s", out->err);
		}
	if (dense)
		json_object_set_new(options, "dense", json_true());
	if (sq_out_provenance(out, "sq-import", version, options, NULL,
	    s->files.h.model) < 0 || sq_out_finish(out) < 0)
		return sq_fail(err, "%s", out->err);
	return 0;
}

int
sq_import(const struct sq_source *s, struct sq_out *out, struct sq_ctx *dense,
    const char *version, struct sq_progress *p, char *err)
{
	const struct sq_source_tensor *t;
	void *piece = malloc(PIECE);
	size_t i;
	int r = -1;

	if (piece == NULL)
		return sq_fail(err, "out of memory");
	p->tensors = s->n;
	p->bytes = s->files.h.bytes;
	if (sq_files_write(&s->files, out) < 0) {
		sq_fail(err, "%s", out->err);
		goto done;
	}
	for (i = 0; i < s->n; i++) {
		t = &s->tensor[i];
		if ((dense != NULL && t->t.grid != SQ_DENSE ?
		    put_dense(s, t, out, dense, p, err) :
		    put_tensor(s, t, out, piece, p, err)) < 0)
			goto done;
	}
	r = put_end(s, out, dense != NULL, version, err);
done:
	free(piece);
	return r;
}

static int
feed(struct sq_source *s, int fd, const char *version)
{
	struct sq_progress silent;
	struct sq_out out;
	char err[SQ_ERR];

	sq_progress_start(&silent, -1, "");
	if (sq_out_open(&out, fd, 0) == 0 &&
	    sq_import(s, &out, NULL, version, &silent, err) == 0)
		return 0;
	return 1;
}

int
sq_import_pipe(const char *path, const char *version, char *err)
{
	struct sq_source *s;
	int fd[2];
	pid_t pid;

	if ((fd[0] = sq_stream_fd(path)) >= 0)
		return fd[0];
	if ((s = sq_source_open(path, err)) == NULL)
		return -1;
	if (pipe(fd) < 0 || (pid = fork()) < 0) {
		sq_fail_errno(err, "cannot start a reader of '%s'", path);
		sq_source_close(s);
		return -1;
	}
	if (pid == 0) {
		close(fd[0]);
		_exit(feed(s, fd[1], version));
	}
	close(fd[1]);
	sq_source_close(s);
	return fd[0];
}
