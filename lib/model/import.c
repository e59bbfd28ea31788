/* A model becomes a stream; see import.h. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "model/import.h"

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

static int
put_end(const struct sq_source *s, struct sq_out *out, const char *version,
    char *err)
{
	size_t i;

	for (i = 0; i < json_array_size(s->provenance); i++)
		if (sq_out_record(out, SQ_PROVENANCE,
		    json_array_get(s->provenance, i), NULL, 0) < 0)
			return sq_fail(err, "%s", out->err);
	if (sq_out_provenance(out, "sq-import", version, json_object(), NULL,
	    s->files.h.model) < 0 || sq_out_finish(out) < 0)
		return sq_fail(err, "%s", out->err);
	return 0;
}

int
sq_import(const struct sq_source *s, struct sq_out *out, const char *version,
    struct sq_progress *p, char *err)
{
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
	for (i = 0; i < s->n; i++)
		if (put_tensor(s, &s->tensor[i], out, piece, p, err) < 0)
			goto done;
	r = put_end(s, out, version, err);
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
	    sq_import(s, &out, version, &silent, err) == 0)
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
