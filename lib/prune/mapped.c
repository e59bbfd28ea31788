/* Space in a file; see mapped.h. */
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"
#include "prune/mapped.h"

#define PAGE	((size_t)65536)		/* where parts begin: any page's */

int
sq_mapped_open(struct sq_mapped *f, char *err)
{
	return (f->fd = sq_temp_file()) >= 0 ? 0 :
	    sq_fail_errno(err, "temporary file");
}

size_t
sq_mapped_room(struct sq_mapped *f, size_t n)
{
	size_t at = f->size;

	f->size += (n + PAGE - 1) / PAGE * PAGE;
	return at;
}

int
sq_mapped_map(struct sq_mapped *f, char *err)
{
	void *p;

	if (f->size == 0)
		return 0;
	if (ftruncate(f->fd, (off_t)f->size) < 0)
		return sq_fail_errno(err, "temporary file");
	p = mmap(NULL, f->size, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
	if (p == MAP_FAILED)
		return sq_fail_errno(err, "temporary file");
	f->map = p;
	return 0;
}

void
sq_mapped_leave(const struct sq_mapped *f, size_t at, size_t n)
{
	madvise(f->map + at, n, MADV_DONTNEED);
}

void
sq_mapped_release(struct sq_mapped *f)
{
	if (f->map != NULL)
		munmap(f->map, f->size);
	if (f->fd >= 0)
		close(f->fd);
	*f = (struct sq_mapped){ .fd = -1 };
}
