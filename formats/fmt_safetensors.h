/*
 * Safetensors, the checkpoints of Hugging Face: reader and writer.
 *
 * A file (https://github.com/huggingface/safetensors):
 *
 *	u64 N, little-endian | N bytes of JSON, padded with spaces | data
 *
 *	{"__metadata__":{"format":"pt"},
 *	 "NAME":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}, ...}
 *
 * Offsets count from the first byte of the data; the tensors tile the data,
 * without holes or overlap.  A model is a directory with model.safetensors, or
 * with several such files and model.safetensors.index.json:
 *
 *	{"metadata":{"total_size":BYTES},"weight_map":{"NAME":"FILE", ...}}
 */
#ifndef SQ_FMT_SAFETENSORS_H
#define SQ_FMT_SAFETENSORS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/dtype.h"
#include "base/err.h"
#include "base/tensor.h"

#define SQ_ST_HEADER	((uint64_t)100000000)	/* the most that N may be */
#define SQ_ST_NAME	4096	/* bytes of a tensor's name, without the zero */

/* ---- reading ---- */

struct sq_st_tensor {
	const char *name;	/* any valid UTF-8: sq_name_ok() is not asked */
	enum sq_dtype type;	/* never SQ_BITS */
	int ndim;		/* 0 (a scalar) to SQ_NDIM */
	uint64_t dim[SQ_NDIM];	/* outermost first, none is zero */
	size_t shard;
	uint64_t offset;	/* in the shard, from its first byte; any
				 * alignment */
	uint64_t length;	/* bytes */
};

struct sq_st_shard {
	char *name;		/* in the directory; of a file, its path */
	uint64_t size;
	int fd;			/* private, from here on */
	void *map;
};

struct sq_st {
	size_t ntensors, nshards;
	struct sq_st_tensor *tensor;	/* as they lie, shard after shard */
	struct sq_st_shard *shard;	/* by name */
	struct sq_st_tensor **byname;	/* private */
};

/*
 * Opens a directory or one file; only headers are read.  Of a directory:
 * model.safetensors, else the one *.safetensors.index.json (model's first) and
 * the shards that it names, else the one *.safetensors.  Everything is checked
 * here: what the handle lists is inside the files.  One descriptor per shard
 * stays open.  NULL with the reason in err.  The handle owns all that it points
 * to, and the mappings.
 */
struct sq_st *sq_st_open(const char *path, char *err);
void	 sq_st_close(struct sq_st *);		/* NULL is fine */

/* The tensor of that name, or NULL. */
const struct sq_st_tensor *sq_st_find(const struct sq_st *, const char *name);

/*
 * n bytes of a tensor from byte `offset' of it: 0, or -1 with the reason, also
 * when the file has become shorter since.  Threads may read at the same time.
 */
int	 sq_st_read(const struct sq_st *, const struct sq_st_tensor *,
	    uint64_t offset, void *buf, size_t n, char *err);

/*
 * The whole tensor, read-only, until sq_st_close(): the shard is mapped on its
 * first use (one thread at a time).  Nothing aligns the pointer.  A shard that
 * another process shortens kills by SIGBUS, as mappings do.  NULL with the
 * reason in err.
 */
const void *sq_st_map(struct sq_st *, const struct sq_st_tensor *, char *err);

/* ---- writing ---- */

/*
 * Tensors one after another, each of a size known when it begins; the header
 * comes out in the same order.  The bytes depend on nothing but the calls and
 * the hint.  Room for the header is left by the hint (at most 32 MiB); where
 * that is too small, the data of that file are moved when it is finished.  Data
 * begin at a multiple of 64, and have no gaps: a tensor of odd length makes
 * those after it unaligned, so write such tensors last.
 */
struct sq_st_hint {
	size_t tensors;		/* how many will come, 0: unknown */
	size_t name_bytes;	/* of all their names together */
};

struct sq_st_out {
	char err[SQ_ERR];	/* the first failure; it stays */
	uint64_t total;		/* bytes of tensors so far */
	uint64_t reused;	/* of them, those that an earlier run wrote */
	size_t finished;	/* shards that are whole */
	size_t tensors;		/* begun so far */
	/* private */
	int state;
	int dirfd, fd;
	char *stem;
	uint64_t limit;		/* bytes of data in one shard */
	struct sq_st_hint hint;	/* of what is still to come */
	size_t shards;		/* begun so far */
	uint64_t room;		/* where the data of this shard begin */
	uint64_t have;		/* bytes of data in it */
	uint64_t left;		/* of the current tensor */
	int looking;		/* all of the file so far was there before */
	FILE *head;		/* the header of this shard, growing */
	char *text;
	size_t text_len;
	json_t *names;		/* name: number of its shard */
};

/*
 * Into a directory (sq_outdir_open(): its fd, which stays the caller's):
 * STEM.safetensors when `limit' bytes of data (0: no limit) hold all, else
 * STEM-00001-of-0000N.safetensors ... and STEM.safetensors.index.json; a tensor
 * larger than the limit gets a shard of its own.  stem is "model" for
 * Transformers.  Shards are called STEM-00001.tmp ... until the end; where
 * there is such a file, what is right in it is not written again.  hint may be
 * NULL.  0, or -1 with the reason in o->err; in either case o is released by
 * sq_st_out_release().
 */
int	 sq_st_out_open_dir(struct sq_st_out *o, int dirfd, const char *stem,
	    uint64_t limit, const struct sq_st_hint *hint);

/* One file, into fd: a regular file open for reading and writing, which stays
 * the caller's; written from its first byte on. */
int	 sq_st_out_open_fd(struct sq_st_out *o, int fd,
	    const struct sq_st_hint *hint);

/* begin, then exactly as many bytes as the shape needs by any number of writes,
 * end.  dim is not read when ndim is 0. */
int	 sq_st_out_begin(struct sq_st_out *, const char *name, enum sq_dtype,
	    int ndim, const uint64_t *dim);
int	 sq_st_out_write(struct sq_st_out *, const void *buf, size_t n);
int	 sq_st_out_end(struct sq_st_out *);

/* The three at once. */
int	 sq_st_out_tensor(struct sq_st_out *, const char *name, enum sq_dtype,
	    int ndim, const uint64_t *dim, const void *data);

/* Headers, names and the index; every file is on the disk after it, the entries
 * of the directory are not yet (sq_outfile_commit() sees to that). */
int	 sq_st_out_finish(struct sq_st_out *);

/* Frees what o holds.  Files of an unfinished output stay where they are:
 * sq_outfile_abort() removes them. */
void	 sq_st_out_release(struct sq_st_out *);

#endif
