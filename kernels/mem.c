/* The memory of the host's backends; see sq_mem in kern.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/kern.h"

#define HUGE_PAGE	((size_t)2 << 20)

/* Much memory is walked in strides of many pages: it has huge ones. */
static void *
host_alloc(size_t n)
{
	void *p;

	n = (n + 63) / 64 * 64;
	if (n < 2 * HUGE_PAGE)
		return aligned_alloc(64, n);
	if (posix_memalign(&p, HUGE_PAGE, n) != 0)
		return NULL;
	(void)madvise(p, n / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
	return p;
}

static int
host_copy(void *to, const void *from, size_t n)
{
	memmove(to, from, n);
	return 0;
}

static int
host_sync(void)
{
	return 0;
}

static int
host_probe(char *name, size_t *total, size_t *unused)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	snprintf(name, SQ_ERR, "host");
	*total = page * (size_t)sysconf(_SC_PHYS_PAGES);
	*unused = page * (size_t)sysconf(_SC_AVPHYS_PAGES);
	return 0;
}

static const char *
host_error(void)
{
	return "no kernel for this case";
}

const struct sq_mem sq_mem_host = {
	.alloc = host_alloc, .free = free, .put = host_copy, .get = host_copy,
	.sync = host_sync, .probe = host_probe, .error = host_error
};
