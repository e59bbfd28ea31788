/* Output that appears whole or not at all; see outfile.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/outfile.h"

static void
release(struct sq_outfile *o)
{
	if (o->fd >= 0)
		close(o->fd);
	free(o->path);
	free(o->part);
	o->fd = -1;
	o->path = o->part = NULL;
	o->named = 0;
}

/* The directory that path lies in, opened: for fsync and O_TMPFILE. */
static int
open_parent(const char *path, int flags)
{
	char *copy = strdup(path);
	int fd = -1;

	if (copy != NULL)
		fd = open(dirname(copy), flags | O_CLOEXEC, 0666);
	free(copy);
	return fd;
}

static int
init(struct sq_outfile *o, const char *path)
{
	size_t n = strlen(path);

	memset(o, 0, sizeof(*o));
	o->fd = -1;
	while (n > 1 && path[n - 1] == '/')
		n--;
	o->path = strndup(path, n);
	if (n == 0 || o->path == NULL ||
	    asprintf(&o->part, "%s.part", o->path) < 0) {
		o->part = NULL;
		sq_fail(o->err, "'%s': cannot be an output", path);
		release(o);
		return -1;
	}
	return 0;
}

int
sq_outfile_open(struct sq_outfile *o, const char *path)
{
	struct stat st;

	if (init(o, path) < 0)
		return -1;
	if (stat(o->path, &st) == 0 && !S_ISREG(st.st_mode)) {
		sq_fail(o->err, "'%s': exists and is not a regular file",
		    path);
		goto err;
	}
	if (access("/proc/self/fd", X_OK) == 0) {	/* the way to a name */
		o->fd = open_parent(o->path, O_TMPFILE | O_RDWR);
		if (o->fd >= 0)
			return 0;
		if (errno != EOPNOTSUPP && errno != EISDIR &&
		    errno != ENOENT) {
			sq_fail_errno(o->err, "'%s'", path);
			goto err;
		}
	}
	o->fd = open(o->part, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW |
	    O_CLOEXEC, 0666);
	if (o->fd < 0) {
		sq_fail_errno(o->err, "'%s'", path);
		goto err;
	}
	o->named = 1;
	return 0;
err:
	release(o);
	return -1;
}

/* A symbolic link is not followed: its target is somebody else's. */
static DIR *
open_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (d == NULL && fd >= 0)
		close(fd);
	return d;
}

static int
is_tmp(const char *name)
{
	size_t n = strlen(name);

	return n > 4 && strcmp(name + n - 4, ".tmp") == 0;
}

enum { ALL, TMP, NOT_TMP };

/* Removes plain files of a directory; sq makes no deeper ones. */
static void
remove_files(const char *path, int which)
{
	DIR *d = open_dir(path);
	struct dirent *e;

	if (d == NULL)
		return;
	while ((e = readdir(d)) != NULL)
		if (strcmp(e->d_name, ".") != 0 &&
		    strcmp(e->d_name, "..") != 0 &&
		    (which == ALL || is_tmp(e->d_name) == (which == TMP)))
			unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
}

static void
remove_dir(const char *path)
{
	remove_files(path, ALL);
	rmdir(path);
}

/* Is it a directory of plain files, and `mark' (NULL: any) one of them, or an
 * empty one? */
static int
replaceable(const char *path, const char *mark)
{
	DIR *d = open_dir(path);
	struct dirent *e;
	struct stat st;
	int files = 0, marked = 0, others = d == NULL;

	while (d != NULL && (e = readdir(d)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (fstatat(dirfd(d), e->d_name, &st,
		    AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
			others++;
		marked |= mark == NULL || strcmp(e->d_name, mark) == 0;
		files++;
	}
	if (d != NULL)
		closedir(d);
	return others == 0 && (marked || files == 0);
}

int
sq_outdir_open(struct sq_outfile *o, const char *path, const char *mark)
{
	struct stat st;

	if (init(o, path) < 0)
		return -1;
	o->is_dir = 1;
	if (lstat(o->path, &st) == 0 && (!S_ISDIR(st.st_mode) ||
	    !replaceable(o->path, mark))) {
		sq_fail(o->err, "'%s': exists and is not an earlier output",
		    path);
		goto err;
	}
	remove_files(o->part, NOT_TMP);	/* what a killed run left */
	rmdir(o->part);			/* when that was all */
	if (mkdir(o->part, 0777) < 0 && (errno != EEXIST ||
	    !replaceable(o->part, NULL))) {
		sq_fail_errno(o->err, "'%s'", o->part);
		goto err;
	}
	o->named = 1;
	o->fd = open(o->part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (o->fd < 0) {
		sq_fail_errno(o->err, "'%s'", o->part);
		sq_outfile_abort(o);
		return -1;
	}
	return 0;
err:
	release(o);
	return -1;
}

/* An O_TMPFILE gets its name: at once when that is free, else by way of
 * OUT.part, since linkat() does not replace. */
static int
give_name(struct sq_outfile *o)
{
	char proc[64];

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", o->fd);
	if (linkat(AT_FDCWD, proc, AT_FDCWD, o->path, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	if (errno != EEXIST)
		return -1;
	unlink(o->part);
	if (linkat(AT_FDCWD, proc, AT_FDCWD, o->part, AT_SYMLINK_FOLLOW) < 0)
		return -1;
	o->named = 1;
	return rename(o->part, o->path);
}

/* A directory takes the place of an earlier one in one step. */
static int
swap_dir(struct sq_outfile *o)
{
	remove_files(o->part, TMP);
	if (rename(o->part, o->path) == 0)
		return 0;
	if (errno != EEXIST && errno != ENOTEMPTY)
		return -1;
	if (renameat2(AT_FDCWD, o->part, AT_FDCWD, o->path,
	    RENAME_EXCHANGE) < 0)
		return -1;
	remove_dir(o->part);
	return 0;
}

int
sq_outfile_commit(struct sq_outfile *o)
{
	int r, parent;

	if (fsync(o->fd) < 0) {
		sq_fail_errno(o->err, "'%s'", o->path);
		goto err;
	}
	if (o->is_dir)
		r = swap_dir(o);
	else if (o->named)
		r = rename(o->part, o->path);
	else
		r = give_name(o);
	if (r < 0) {
		sq_fail_errno(o->err, "'%s'", o->path);
		goto err;
	}
	parent = open_parent(o->path, O_RDONLY | O_DIRECTORY);
	if (parent >= 0) {
		(void)fsync(parent);	/* not every file system has it */
		close(parent);
	}
	release(o);
	return 0;
err:
	sq_outfile_abort(o);
	return -1;
}

void
sq_outfile_abort(struct sq_outfile *o)
{
	if (o->path == NULL)
		return;
	if (o->named && o->is_dir)
		remove_dir(o->part);
	else if (o->named)
		unlink(o->part);
	release(o);
}

void
sq_outfile_leave(struct sq_outfile *o)
{
	if (o->path != NULL)
		release(o);
}

int
sq_outfile_put(const char *path, const void *data, size_t len, char *err)
{
	struct sq_outfile out;
	int c;

	if (sq_outfile_open(&out, path) < 0)
		return sq_fail(err, "%s", out.err);
	if (sq_write_full(out.fd, data, len) < 0) {
		c = errno;
		sq_outfile_abort(&out);
		return sq_fail(err, "'%s': %s", path, strerror(c));
	}
	return sq_outfile_commit(&out) < 0 ? sq_fail(err, "%s", out.err) : 0;
}
