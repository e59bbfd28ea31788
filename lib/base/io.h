/*
 * Whole reads and writes on file descriptors: interrupted and short calls are
 * continued.
 */
#ifndef SQ_BASE_IO_H
#define SQ_BASE_IO_H

#include <stddef.h>
#include <sys/types.h>

/* Reads until n bytes are there or the input ends: the count, or -1. */
ssize_t	 sq_read_full(int fd, void *buf, size_t n);
ssize_t	 sq_pread_full(int fd, void *buf, size_t n, off_t offset);

/* Writes all n bytes: 0, or -1 with errno. */
int	 sq_write_full(int fd, const void *buf, size_t n);
int	 sq_pwrite_full(int fd, const void *buf, size_t n, off_t offset);

/* Asks for a pipe of 1 MiB (the default of 64 KiB costs three quarters of the
 * speed); what is not a pipe is left alone. */
void	 sq_widen_pipe(int fd);

/* A file without a name in TMPDIR, for reading and writing; -1 with errno. */
int	 sq_temp_file(void);

/*
 * n > 0 bytes of a file, to be read, until munmap(p, n); NULL with errno.  Huge
 * pages are asked for, and the address suits them: memory is read up to half as
 * fast again through these.  Where the file is in memory in small pages
 * already, it stays so.
 */
void	*sq_map_file(int fd, size_t n);

/* A whole small file: malloc'd, the caller's, with a zero after the end; NULL
 * with the reason in err, also when it is larger than max. */
char	*sq_read_file(int dirfd, const char *path, size_t max, size_t *len,
	    char *err);

#endif
