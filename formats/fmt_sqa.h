/*
 * The .sqa archive, member by member: sqa(5).  What the members mean is not
 * known here, only that they are plain, hashed, and aligned where asked.
 */
#ifndef SQ_FMT_SQA_H
#define SQ_FMT_SQA_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SQ_SQA_ALIGN	4096

struct sq_sqa_out;

/* Writes to fd, which stays the caller's and need not be seekable. */
struct sq_sqa_out *sq_sqa_create(int fd, char *err);
void	 sq_sqa_out_free(struct sq_sqa_out *);

/* One member: begin, then exactly size bytes, end. */
int	 sq_sqa_begin(struct sq_sqa_out *, const char *name, uint64_t size,
	    int aligned, char *err);
int	 sq_sqa_write(struct sq_sqa_out *, const void *buf, size_t n,
	    char *err);
int	 sq_sqa_end(struct sq_sqa_out *, char *err);

/* The three at once. */
int	 sq_sqa_add(struct sq_sqa_out *, const char *name, const void *buf,
	    size_t n, char *err);

/* MANIFEST and the end of the archive. */
int	 sq_sqa_finish(struct sq_sqa_out *, char *err);

struct sq_sqa_member {
	char *name;
	uint64_t offset, size;		/* of the data, in the file */
};

struct sq_sqa {
	int fd;
	const unsigned char *map;	/* the whole file, read-only */
	uint64_t size;
	struct sq_sqa_member *member;	/* in the order of the file */
	size_t n;
	struct sq_sqa_member **sorted;	/* by name */
};

/* 1 when the first n bytes of a file (512 are enough) look like an .sqa or
 * a Zstandard-compressed one. */
int	 sq_sqa_probe(const void *head, size_t n);

/* Opens and checks the structure; NULL with the reason in err.  The file must
 * not be changed while it is open. */
struct sq_sqa *sq_sqa_open(const char *path, char *err);
void	 sq_sqa_close(struct sq_sqa *);

const struct sq_sqa_member *sq_sqa_find(const struct sq_sqa *,
	    const char *name);

/* Checks every member against MANIFEST: 0, or -1 with the first that fails. */
int	 sq_sqa_verify(const struct sq_sqa *, char *err);

#endif
