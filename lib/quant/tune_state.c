/* The finished parts of a run; see tune_state.h. */
#include <sys/stat.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "quant/tune_state.h"

#define MAGIC	"sqtune1"

/* Before the payload; the machine's own byte order, as the file stays on it. */
struct head {
	char magic[8];
	uint64_t block, size;
	XXH128_hash_t key, hash;	/* hash: of the payload */
};

struct sq_tune_done {
	struct head head;
	uint64_t at;			/* of the payload */
};

static int
note(struct sq_tune_state *s, const struct head *h)
{
	struct sq_tune_done *d = realloc(s->done, (s->n + 1) * sizeof(*d));

	if (d == NULL)
		return -1;
	s->done = d;
	d[s->n++] = (struct sq_tune_done){ *h, s->end + sizeof(*h) };
	s->end += sizeof(*h) + h->size;
	return 0;
}

/* All whole records; what follows them is overwritten by the next one. */
static int
scan(struct sq_tune_state *s, const char *path, char *err)
{
	struct stat st;
	struct head h;

	if (fstat(s->fd, &st) < 0 || !S_ISREG(st.st_mode))
		return sq_fail(err, "%s: not a regular file", path);
	while (sq_pread_full(s->fd, &h, sizeof(h), (off_t)s->end) ==
	    sizeof(h)) {
		if (memcmp(h.magic, MAGIC, sizeof(h.magic)) != 0)
			return sq_fail(err, "%s: not a file of --state",
			    path);
		if (h.size > (uint64_t)st.st_size - s->end - sizeof(h))
			break;
		if (note(s, &h) < 0)
			return sq_fail(err, "out of memory");
	}
	if (s->n == 0 && st.st_size >= (off_t)sizeof(h.magic) &&
	    (sq_pread_full(s->fd, &h, sizeof(h.magic), 0) !=
	    sizeof(h.magic) ||
	    memcmp(h.magic, MAGIC, sizeof(h.magic)) != 0))
		return sq_fail(err, "%s: not a file of --state", path);
	return 0;
}

int
sq_tune_state_open(struct sq_tune_state *s, const char *path, char *err)
{
	*s = (struct sq_tune_state){ .fd = -1 };
	if (path == NULL)
		return 0;
	s->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (s->fd < 0)
		return sq_fail_errno(err, "%s", path);
	return scan(s, path, err);
}

void
sq_tune_state_release(struct sq_tune_state *s)
{
	if (s->fd >= 0)
		close(s->fd);
	free(s->done);
	*s = (struct sq_tune_state){ .fd = -1 };
}

/* The part with that number, or NULL. */
static const struct sq_tune_done *
find(const struct sq_tune_state *s, uint64_t block)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (s->done[i].head.block == block)
			return &s->done[i];
	return NULL;
}

int
sq_tune_state_has(const struct sq_tune_state *s, uint64_t block)
{
	return find(s, block) != NULL;
}

int
sq_tune_state_get(struct sq_tune_state *s, uint64_t block, XXH128_hash_t key,
    void *buf, size_t size, char *err)
{
	const struct sq_tune_done *d = find(s, block);

	if (d == NULL)
		return 0;
	if (!XXH128_isEqual(d->head.key, key) || d->head.size != size)
		return sq_fail(err, "--state: part %ju was finished for "
		    "another model, text or options", (uintmax_t)block);
	if (sq_pread_full(s->fd, buf, size, (off_t)d->at) != (ssize_t)size ||
	    !XXH128_isEqual(XXH3_128bits(buf, size), d->head.hash))
		return sq_fail(err, "--state: part %ju is damaged",
		    (uintmax_t)block);
	return 1;
}

int
sq_tune_state_put(struct sq_tune_state *s, uint64_t block, XXH128_hash_t key,
    const void *buf, size_t size, char *err)
{
	struct head h = { .magic = MAGIC, .block = block, .size = size,
	    .key = key, .hash = XXH3_128bits(buf, size) };

	if (s->fd < 0)
		return 0;
	/* the head goes last: without it nothing is there */
	if (ftruncate(s->fd, (off_t)s->end) < 0 ||
	    sq_pwrite_full(s->fd, buf, size, (off_t)(s->end +
	    sizeof(h))) < 0 || fdatasync(s->fd) < 0 ||
	    sq_pwrite_full(s->fd, &h, sizeof(h), (off_t)s->end) < 0 ||
	    fdatasync(s->fd) < 0)
		return sq_fail_errno(err, "--state");
	return note(s, &h) < 0 ? sq_fail(err, "out of memory") : 0;
}
