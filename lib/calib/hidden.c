/* The hidden states of all samples; see hidden.h. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "calib/hidden.h"

static size_t
sample_bytes(const struct sq_hidden *h)
{
	return h->length * h->dim * sizeof(float);
}

int
sq_hidden_spills(uint64_t bytes, uint64_t beside, uint64_t ceiling)
{
	return ceiling == 0 ? bytes > SQ_HIDDEN_CALM :
	    beside + bytes > ceiling;
}

int
sq_hidden_init(struct sq_hidden *h, size_t samples, size_t length, size_t dim,
    int spill, char *err)
{
	*h = (struct sq_hidden){ samples, length, dim, NULL, NULL, -1, NULL };
	if (!spill) {
		h->mem = malloc(samples * sample_bytes(h));
		return h->mem != NULL ? 0 : sq_fail(err, "hidden states: out "
		    "of memory");
	}
	h->one = malloc(sample_bytes(h));
	h->fd = sq_temp_file();
	if (h->one == NULL || h->fd < 0 ||
	    ftruncate(h->fd, (off_t)(samples * sample_bytes(h))) < 0) {
		sq_fail_errno(err, "hidden states: temporary file");
		sq_hidden_release(h);
		return -1;
	}
	return 0;
}

int
sq_hidden_init_far(struct sq_hidden *h, size_t samples, size_t length,
    size_t dim, const struct sq_mem *mem)
{
	*h = (struct sq_hidden){ samples, length, dim, NULL, mem, -1, NULL };
	h->mem = mem->alloc(samples * sample_bytes(h));
	return h->mem != NULL ? 0 : -1;
}

void
sq_hidden_release(struct sq_hidden *h)
{
	if (h->far != NULL)
		h->far->free(h->mem);
	else
		free(h->mem);
	free(h->one);
	if (h->fd >= 0)
		close(h->fd);
	*h = (struct sq_hidden){ .fd = -1 };
}

int
sq_hidden_share(struct sq_hidden *h, const struct sq_hidden *of, char *err)
{
	*h = *of;
	if (of->mem == NULL && (h->one = malloc(sample_bytes(h))) == NULL)
		return sq_fail(err, "hidden states: out of memory");
	return 0;
}

void
sq_hidden_unshare(struct sq_hidden *h)
{
	free(h->one);
	*h = (struct sq_hidden){ .fd = -1 };
}

float *
sq_hidden_get(struct sq_hidden *h, size_t i, char *err)
{
	if (h->mem != NULL)
		return h->mem + i * h->length * h->dim;
	if (sq_pread_full(h->fd, h->one, sample_bytes(h),
	    (off_t)(i * sample_bytes(h))) != (ssize_t)sample_bytes(h)) {
		sq_fail_errno(err, "hidden states: temporary file");
		return NULL;
	}
	return h->one;
}

int
sq_hidden_put(struct sq_hidden *h, size_t i, char *err)
{
	if (h->mem != NULL)
		return 0;
	if (sq_pwrite_full(h->fd, h->one, sample_bytes(h),
	    (off_t)(i * sample_bytes(h))) < 0)
		return sq_fail_errno(err, "hidden states: temporary file");
	return 0;
}
