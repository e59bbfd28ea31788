/* The inputs of a layer, kept; see inputs.h. */
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/io.h"
#include "quant/inputs.h"

#define MOST	((uint64_t)4 << 30)	/* of the file */

/* Half of what the disk has left, since others write there too. */
static uint64_t
room_of(int fd)
{
	struct statvfs s;
	uint64_t free;

	if (fd < 0 || fstatvfs(fd, &s) < 0)
		return 0;
	free = (uint64_t)s.f_bavail * s.f_frsize / 2;
	return free < MOST ? free : MOST;
}

void
sq_inputs_open(struct sq_inputs *s, size_t length)
{
	*s = (struct sq_inputs){ .length = length, .fd = sq_temp_file(),
	    .full = 1 };
}

void
sq_inputs_release(struct sq_inputs *s)
{
	if (s->fd >= 0)
		close(s->fd);
	*s = (struct sq_inputs){ .fd = -1 };
}

void
sq_inputs_clear(struct sq_inputs *s, size_t channels)
{
	/* late: other files of the run have their size by now */
	if (channels > 0 && s->room == 0)
		s->room = room_of(s->fd);
	s->samples = 0;
	s->channels = channels;
	s->full = channels == 0 || s->fd < 0;
}

/* Where a token lies. */
static uint64_t
offset(const struct sq_inputs *s, size_t sample, size_t at)
{
	return ((uint64_t)sample * s->length + at) * s->channels *
	    sizeof(float);
}

void
sq_inputs_put(struct sq_inputs *s, size_t sample, size_t at,
    const struct sq_mat *x)
{
	size_t n = x->rows * s->channels * sizeof(float);

	if (s->full)
		return;
	if (x->stride != s->channels || offset(s, sample + 1, 0) > s->room ||
	    sq_pwrite_full(s->fd, x->p, n, (off_t)offset(s, sample, at)) < 0) {
		s->full = 1;
		(void)!ftruncate(s->fd, 0);	/* the disk is for others */
	}
}

void
sq_inputs_kept(struct sq_inputs *s, size_t sample)
{
	s->samples = s->full ? 0 : sample + 1;
}

int
sq_inputs_get(const struct sq_inputs *s, size_t sample, size_t at, size_t n,
    struct sq_mat *x, char *err)
{
	size_t bytes = n * s->channels * sizeof(float);

	if (sq_pread_full(s->fd, x->p, bytes, (off_t)offset(s, sample,
	    at)) != (ssize_t)bytes)
		return sq_fail_errno(err, "inputs of a layer: temporary file");
	*x = (struct sq_mat){ x->p, SQ_F32, n, s->channels, s->channels };
	return 0;
}
