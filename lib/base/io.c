/* Whole reads and writes; see io.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/io.h"

#define PIPE_SIZE	(1 << 20)
#define HUGE_PAGE	((size_t)2 << 20)

ssize_t
sq_read_full(int fd, void *buf, size_t n)
{
	size_t done = 0;
	ssize_t r;

	while (done < n) {
		r = read(fd, (char *)buf + done, n - done);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -1;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

ssize_t
sq_pread_full(int fd, void *buf, size_t n, off_t offset)
{
	size_t done = 0;
	ssize_t r;

	while (done < n) {
		r = pread(fd, (char *)buf + done, n - done,
		    offset + (off_t)done);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -1;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

int
sq_write_full(int fd, const void *buf, size_t n)
{
	size_t done = 0;
	ssize_t r;

	while (done < n) {
		r = write(fd, (const char *)buf + done, n - done);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -1;
		done += (size_t)r;
	}
	return 0;
}

int
sq_pwrite_full(int fd, const void *buf, size_t n, off_t offset)
{
	size_t done = 0;
	ssize_t r;

	while (done < n) {
		r = pwrite(fd, (const char *)buf + done, n - done,
		    offset + (off_t)done);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -1;
		done += (size_t)r;
	}
	return 0;
}

void
sq_widen_pipe(int fd)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode))
		(void)fcntl(fd, F_SETPIPE_SZ, PIPE_SIZE);
}

int
sq_temp_file(void)
{
	const char *dir = getenv("TMPDIR");
	char *name;
	int fd;

	if (dir == NULL || *dir == '\0')
		dir = "/tmp";
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR) ||
	    asprintf(&name, "%s/sq-XXXXXX", dir) < 0)
		return fd;
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		unlink(name);
	free(name);
	return fd;
}

void *
sq_map_file(int fd, size_t n)
{
	size_t all = n + HUGE_PAGE, before, page = (size_t)getpagesize(), end;
	char *room, *p;

	room = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
	    MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED)
		return NULL;
	before = -(uintptr_t)room % HUGE_PAGE;
	p = mmap(room + before, n, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
	if (p == MAP_FAILED) {
		munmap(room, all);
		return NULL;
	}
	if (before > 0)
		munmap(room, before);
	end = (before + n + page - 1) / page * page;
	if (end < all)
		munmap(room + end, all - end);
	(void)madvise(p, n, MADV_HUGEPAGE);
	return p;
}

char *
sq_read_file(int dirfd, const char *path, size_t max, size_t *len, char *err)
{
	struct stat st;
	char *buf = NULL;
	ssize_t r;
	int fd;

	fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0) {
		sq_fail_errno(err, "'%s'", path);
		goto done;
	}
	if (!S_ISREG(st.st_mode)) {
		sq_fail(err, "'%s': not a regular file", path);
		goto done;
	}
	if ((size_t)st.st_size > max) {
		sq_fail(err, "'%s': larger than %zu bytes", path, max);
		goto done;
	}
	if ((buf = malloc((size_t)st.st_size + 1)) == NULL) {
		sq_fail(err, "'%s': out of memory", path);
		goto done;
	}
	r = sq_read_full(fd, buf, (size_t)st.st_size);
	if (r != st.st_size) {
		sq_fail(err, "'%s': cannot be read whole", path);
		free(buf);
		buf = NULL;
		goto done;
	}
	buf[r] = '\0';
	*len = (size_t)r;
done:
	if (fd >= 0)
		close(fd);
	return buf;
}
