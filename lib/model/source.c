/* A model on disk; see source.h.  The three kinds are source_<kind>.c. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/io.h"
#include "formats/fmt_gguf.h"
#include "formats/fmt_json.h"
#include "formats/fmt_safetensors.h"
#include "formats/fmt_sqa.h"
#include "model/source.h"
#include "model/source_kinds.h"

/* The last part that was made, whole: it is read in pieces. */
struct sq_made {
	const struct sq_source_tensor *t;
	int part;
	void *data;
};

static int
is_stream(const void *head, size_t n)
{
	return n >= 4 && memcmp(head, "sqR\x1a", 4) == 0;
}

int
sq_stream_fd(const char *path)
{
	unsigned char head[4];
	struct stat st;
	ssize_t n;
	int fd;

	if (strcmp(path, "-") == 0)
		return STDIN_FILENO;
	if (stat(path, &st) < 0 ||
	    (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode)) ||
	    (fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		return -1;
	if (S_ISFIFO(st.st_mode))
		return fd;
	n = sq_pread_full(fd, head, sizeof(head), 0);
	if (n > 0 && is_stream(head, (size_t)n))
		return fd;
	close(fd);
	return -1;
}

/* The kind of a regular file, by its first bytes. */
static int
open_file(struct sq_source *s, const char *path, int fd, char *err)
{
	unsigned char head[512];
	ssize_t n = sq_pread_full(fd, head, sizeof(head), 0);

	if (n < 0)
		return sq_fail_errno(err, "'%s'", path);
	if (is_stream(head, (size_t)n))
		return sq_source_stream(s, path, err);
	if (sq_sqa_probe(head, (size_t)n))
		return sq_source_sqa(s, path, err);
	if (n >= 4 && memcmp(head, "GGUF", 4) == 0)
		return sq_source_gguf(s, path, err);
	if (n >= 9 && head[8] == '{')
		return sq_source_safetensors(s, path, 0, err);
	return sq_fail(err, "'%s': neither a safetensors file nor GGUF nor an "
	    "artifact nor a stream", path);
}

static int
open_kind(struct sq_source *s, const char *path, char *err)
{
	struct stat st;
	int fd, r;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0) {
		sq_fail_errno(err, "'%s'", path);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	if (S_ISDIR(st.st_mode))
		r = sq_source_safetensors(s, path, 1, err);
	else if (S_ISREG(st.st_mode))
		r = open_file(s, path, fd, err);
	else
		r = sq_fail(err, "'%s': neither a directory nor a regular "
		    "file", path);
	close(fd);
	return r;
}

static struct sq_source *
open_source(const char *path, int any, char *err)
{
	struct sq_source *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		sq_fail(err, "out of memory");
		return NULL;
	}
	s->fd = -1;
	s->any = any;
	s->provenance = json_array();
	if ((s->last = calloc(1, sizeof(*s->last))) == NULL)
		sq_fail(err, "out of memory");
	else if (open_kind(s, path, err) == 0)
		return s;
	sq_source_close(s);
	return NULL;
}

struct sq_source *
sq_source_open(const char *path, char *err)
{
	return open_source(path, 0, err);
}

struct sq_source *
sq_source_open_any(const char *path, char *err)
{
	return open_source(path, 1, err);
}

static void
free_made(struct sq_source *s)
{
	size_t i;
	int p;

	for (i = 0; i < s->n; i++)
		for (p = 0; p < SQ_PARTS; p++)
			free(s->tensor[i].made[p]);
	if (s->last != NULL)
		free(s->last->data);
	free(s->last);
	free(s->from);
}

void
sq_source_close(struct sq_source *s)
{
	size_t i;

	if (s == NULL)
		return;
	free_made(s);
	sq_files_release(&s->files);
	json_decref(s->provenance);
	sq_st_close(s->st);
	sq_sqa_close(s->sqa);
	sq_gguf_close(s->gguf);
	if (s->map != NULL)
		munmap(s->map, s->size);
	if (s->fd >= 0)
		close(s->fd);
	for (i = 0; i < SQ_MAX_BLOBS; i++)
		free(s->blobs[i]);
	free(s->tensor);
	free(s);
}

const struct sq_source_tensor *
sq_source_find(const struct sq_source *s, const char *name)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (strcmp(s->tensor[i].t.name, name) == 0)
			return &s->tensor[i];
	return NULL;
}

static void *
make(const struct sq_source *s, const struct sq_source_tensor *t, int part,
    char *err)
{
	void *p = calloc(1, (size_t)t->t.part[part].length);

	if (p == NULL) {
		sq_fail(err, "out of memory");
		return NULL;
	}
	if (t->make(s, t, part, p, err) == 0)
		return p;
	free(p);
	return NULL;
}

static int
read_made(const struct sq_source *s, const struct sq_source_tensor *t,
    int part, uint64_t at, void *buf, size_t n, char *err)
{
	struct sq_made *m = s->last;

	if (m->t != t || m->part != part) {
		free(m->data);
		m->t = NULL;
		if ((m->data = make(s, t, part, err)) == NULL)
			return -1;
		m->t = t;
		m->part = part;
	}
	memcpy(buf, (const char *)m->data + at, n);
	return 0;
}

int
sq_source_read(const struct sq_source *s, const struct sq_source_tensor *t,
    int part, uint64_t at, void *buf, size_t n, char *err)
{
	int fd = s->sqa != NULL ? s->sqa->fd : s->fd;
	ssize_t r;

	if (t->make != NULL)
		return read_made(s, t, part, at, buf, n, err);
	if (t->st != NULL)
		return sq_st_read(s->st, t->st, at, buf, n, err);
	r = sq_pread_full(fd, buf, n, (off_t)(t->offset[part] + at));
	if (r < 0)
		return sq_fail_errno(err, "'%s'", t->t.name);
	if ((size_t)r != n)
		return sq_fail(err, "'%s': the file has become shorter",
		    t->t.name);
	return 0;
}

const void *
sq_source_map(struct sq_source *s, const struct sq_source_tensor *t, int part,
    char *err)
{
	struct sq_source_tensor *mine = &s->tensor[t - s->tensor];
	struct stat st;
	void *p;

	if (t->make != NULL) {
		if (mine->made[part] == NULL)
			mine->made[part] = make(s, t, part, err);
		return mine->made[part];
	}
	if (t->st != NULL)
		return sq_st_map(s->st, t->st, err);
	if (s->sqa != NULL)
		return s->sqa->map + t->offset[part];
	if (s->map == NULL) {
		if (fstat(s->fd, &st) < 0 ||
		    (p = sq_map_file(s->fd, (size_t)st.st_size)) == NULL) {
			sq_fail_errno(err, "cannot map");
			return NULL;
		}
		s->map = p;
		s->size = (uint64_t)st.st_size;
	}
	return s->map + t->offset[part];
}

uint64_t
sq_source_bytes(const struct sq_source *s)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < s->n; i++)
		sum += s->tensor[i].t.length;
	return sum;
}

void
sq_source_identity(const struct sq_source *s, char text[SQ_DIGEST])
{
	char *done = s->provenance == NULL ? NULL :
	    sq_json_text(s->provenance);
	XXH3_state_t *h = XXH3_createState();

	text[0] = '\0';
	if (h != NULL) {
		XXH3_128bits_reset(h);
		XXH3_128bits_update(h, s->files.h.model, SQ_DIGEST - 1);
		if (done != NULL && json_array_size(s->provenance) > 1)
			XXH3_128bits_update(h, done, strlen(done));
		sq_digest_text(text, XXH3_128bits_digest(h));
	}
	XXH3_freeState(h);
	free(done);
}
