/* The progress line; see progress.h. */
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/progress.h"

static void
show(struct sq_progress *p, double t)
{
	double rate = (double)p->done / (t - p->start + 1e-9);
	char left[32] = "", total[32] = "";
	double seconds;
	unsigned s;

	if (p->bytes > p->done) {
		seconds = (double)(p->bytes - p->done) / (rate + 1) + .5;
		s = seconds < 360000 ? (unsigned)seconds : 359999;
		snprintf(left, sizeof(left), ", %u:%02u left", s / 60, s % 60);
	}
	if (p->unit != NULL) {
		dprintf(p->fd, "\r%s: %ju of %ju %s, %.0f/s%s\033[K", p->tool,
		    (uintmax_t)p->done, (uintmax_t)p->bytes, p->unit, rate,
		    left);
		return;
	}
	if (p->tensors > 0)
		snprintf(total, sizeof(total), " of %ju",
		    (uintmax_t)p->tensors);
	dprintf(p->fd, "\r%s: tensor %ju%s, %.1f MB, %.0f MB/s%s\033[K",
	    p->tool, (uintmax_t)p->tensor, total, (double)p->done / 1e6,
	    rate / 1e6, left);
}

void
sq_progress_start(struct sq_progress *p, int fd, const char *tool)
{
	*p = (struct sq_progress){ .fd = -1, .tool = tool };
	if (fd >= 0 && isatty(fd))
		p->fd = fd;
	p->start = p->last = sq_now();
}

void
sq_progress_tensor(struct sq_progress *p)
{
	p->tensor++;
}

void
sq_progress_add(struct sq_progress *p, uint64_t bytes)
{
	double t;

	p->done += bytes;
	if (p->fd < 0 || (t = sq_now()) - p->last < .1)
		return;
	p->last = t;
	show(p, t);
}

void
sq_progress_end(struct sq_progress *p)
{
	if (p->fd >= 0)
		dprintf(p->fd, "\r\033[K");
}
