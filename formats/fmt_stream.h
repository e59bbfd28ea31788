/*
 * The record stream, reader and writer: sq-stream(5) is the format.
 *
 * A filter:
 *
 *	while ((r = sq_in_next(&in)) > 0)
 *		if (in.type is what this filter is for)
 *			read the payload, write another record
 *		else
 *			sq_out_copy(&out, &in);
 *	provenance; sq_out_finish(&out);
 *
 * Payloads pass in pieces of any size.  The reader verifies every hash, the
 * sequence, the order of the types, the names of tensors and the end: a record
 * is good only when sq_in_next() has returned for the one after it.  After a
 * failure every call fails, and err keeps the first reason.
 */
#ifndef SQ_FMT_STREAM_H
#define SQ_FMT_STREAM_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <xxhash.h>

#include "base/err.h"
#include "base/tensor.h"
#include "formats/fmt_order.h"

#define SQ_STREAM_VERSION	1
#define SQ_MAX_JSON		((uint32_t)1 << 20)
#define SQ_MAX_PAYLOAD		((uint64_t)1 << 48)
#define SQ_DIGEST		33	/* 32 digits and a zero */

enum sq_rtype {
	SQ_HEADER = 1, SQ_TOKENS, SQ_TENSOR, SQ_STATS, SQ_PROVENANCE, SQ_END
};

/* "HEADER" ...; "private" or "reserved" for what has no name. */
const char *sq_rtype_name(unsigned type);

struct sq_zin;
struct sq_zout;

struct sq_in {
	char err[SQ_ERR];
	/* the current record */
	unsigned type;
	json_t *desc;			/* until the next call */
	char *json;			/* the same, as text */
	uint32_t json_len;
	uint64_t length;		/* of the payload, expanded */
	uint64_t left;			/* of it, not yet read */
	/* the stream */
	uint64_t records;		/* read so far, this one included */
	uint64_t pos;			/* bytes read so far */
	char digest[SQ_DIGEST];		/* set when END has been seen */
	/* private */
	int fd, state;
	unsigned flags;
	unsigned char versions[4];	/* as in the record's header */
	unsigned char desc_hash[8];
	unsigned char *buf;
	size_t have, used;
	XXH3_state_t *hash, *running;
	struct sq_order order;
	struct sq_zin *z;
};

/* Reads from fd, which stays the caller's. */
int	 sq_in_open(struct sq_in *, int fd);
void	 sq_in_release(struct sq_in *);

/* 1: a record; 0: the stream has ended as it should; -1. */
int	 sq_in_next(struct sq_in *);

/* 1 when the payload lies in the input as it is, from in->pos on. */
static inline int
sq_in_is_plain(const struct sq_in *in)
{
	return in->flags == 0;
}

/* The next n bytes of the payload: 0; or -1, also when there are fewer. */
int	 sq_in_read(struct sq_in *, void *buf, size_t n);

/* The bytes between the part that ends at payload offset `at' and the one that
 * begins at `next', less than 64 on: they must be zero. */
int	 sq_in_gap(struct sq_in *, uint64_t at, uint64_t next);

/* XXH3 of what has been read of the payload. */
uint64_t sq_in_hash(const struct sq_in *);

/* The whole payload in memory of its own (malloc, the caller's), or NULL.  One
 * of more than max bytes is refused unread, and can be read in pieces still. */
void	*sq_in_payload(struct sq_in *, uint64_t max);

struct sq_out {
	char err[SQ_ERR];
	uint64_t records, pos;		/* records begun, bytes written */
	char digest[SQ_DIGEST];		/* set by sq_out_finish() */
	/* private */
	int fd, compress, state;
	uint64_t left;
	unsigned char *buf;
	size_t have;
	unsigned char desc_hash[8];
	unsigned type;
	uint64_t length;
	XXH3_state_t *hash, *running;
	struct sq_order order;
	struct sq_zout *z;
};

/* Writes to fd, which stays the caller's; compress: Zstandard for payloads. */
int	 sq_out_open(struct sq_out *, int fd, int compress);
void	 sq_out_release(struct sq_out *);

/*
 * One record: begin, then exactly length bytes by any number of writes, end.
 * The order of the types is checked; after a failure every call fails, and err
 * keeps the first reason.
 */
int	 sq_out_begin(struct sq_out *, unsigned type, const char *json,
	    size_t json_len, uint64_t length);
int	 sq_out_write(struct sq_out *, const void *buf, size_t n);
int	 sq_out_end(struct sq_out *);

/* The three at once, with the description as an object (borrowed). */
int	 sq_out_record(struct sq_out *, unsigned type, const json_t *desc,
	    const void *payload, uint64_t length);

/* The current record of in, unread so far: as it is, its version included, but
 * compressed or not as out is. */
int	 sq_out_copy(struct sq_out *, struct sq_in *in);

/* What is left of its payload, within a record that has begun. */
int	 sq_out_pass(struct sq_out *, struct sq_in *in);

/* Its begin alone: for who looks at the payload that he passes on. */
int	 sq_out_begin_copy(struct sq_out *, const struct sq_in *in);

/* END, and all bytes on their way. */
int	 sq_out_finish(struct sq_out *);

/*
 * Tensors as descriptions.  sq_tensor_parse checks everything but the payload;
 * length is the record's.  sq_tensor_describe gives a new object, or NULL: no
 * memory, or a grid that is not known.
 */
int	 sq_tensor_parse(struct sq_tensor *, const json_t *desc,
	    uint64_t length, char *err);
json_t	*sq_tensor_describe(const struct sq_tensor *);

/* begin for a tensor whose parts are laid out; it is checked first. */
int	 sq_out_tensor(struct sq_out *, const struct sq_tensor *);

/* Zero bytes between the part that ends at payload offset `at' and `next'. */
int	 sq_out_gap(struct sq_out *, uint64_t at, uint64_t next);

/*
 * The files in a HEADER.  sq_header_parse checks everything but the payload;
 * length is the record's.  To make one: all zeros, then sq_header_add for each
 * file (which says where it goes), the other members, sq_header_describe.
 */
#define SQ_MAX_BLOBS	64
#define SQ_MAX_HEADER	((uint64_t)512 << 20)	/* bytes of the payload */

struct sq_blob {
	char name[SQ_NAME];
	uint64_t offset, length;	/* in the payload, bytes */
};

struct sq_header {
	int nblobs;
	struct sq_blob blob[SQ_MAX_BLOBS];
	uint64_t length;		/* of the payload */
	char model[SQ_DIGEST];
	uint64_t tensors, bytes;	/* hints: see the page */
};

int	 sq_header_parse(struct sq_header *, const json_t *desc,
	    uint64_t length, char *err);
int	 sq_header_add(struct sq_header *, const char *name, uint64_t length,
	    char *err);
json_t	*sq_header_describe(const struct sq_header *);

/* The file of that name, or NULL. */
const struct sq_blob *sq_header_blob(const struct sq_header *,
	    const char *name);

/* Are the gaps of a payload (of h->length bytes) zero?  0, or -1. */
int	 sq_header_check_data(const struct sq_header *, const void *payload,
	    char *err);

/* 1 when s is 32 hexadecimal digits in lower case. */
int	 sq_digest_ok(const char *s);

/* 32 hexadecimal digits of an XXH128. */
void	 sq_digest_text(char text[SQ_DIGEST], XXH128_hash_t);

#endif
