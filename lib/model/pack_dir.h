/*
 * What the directories for other programs have in common: the small files, the
 * shards, dense and dequantized tensors, and what is kept for the end.  A
 * format is a struct sq_dir_kind; pack_<format>.c are theirs.
 */
#ifndef SQ_MODEL_PACK_DIR_H
#define SQ_MODEL_PACK_DIR_H

#include "formats/fmt_records.h"
#include "formats/fmt_safetensors.h"
#include "model/inventory.h"
#include "model/pack.h"

/* A weight of the architecture's as it was written. */
struct sq_module {
	char name[SQ_NAME];		/* without ".weight" */
	const struct sq_slot *slot;
	struct sq_tensor t;		/* grid SQ_DENSE: with its values */
	float *deq;			/* AscendV1: see there; malloc'd */
};

/* A small tensor that goes behind all others. */
struct sq_extra {
	char name[SQ_NAME];
	enum sq_dtype type;
	uint64_t n;			/* values; a vector */
	void *data;
};

struct sq_packdir;
struct sq_stats;

struct sq_dir_kind {
	const char *stem;		/* of the shards */
	int tensors;			/* at most, for one weight */
	/*
	 * Writes a quantized tensor in the format's own form: 0, or -1 with the
	 * reason and what to do.  NULL: the format has no quantized tensors.
	 */
	int (*put)(struct sq_packdir *, struct sq_module *,
	    const unsigned char *payload, char *err);
	/* A bias of a module, as it was written; may be NULL. */
	int (*bias)(struct sq_packdir *, const struct sq_tensor *,
	    const struct sq_slot *, const void *data, char *err);
	/* Scales for the cache from a layer's ranges; NULL: it has none. */
	int (*kv)(struct sq_packdir *, const struct sq_stats *, char *err);
	const char *kv_suffix;		/* of the tensors that hold those of k */
	/* What is still to go to the end, when the architecture's tensors have
	 * come; may be called again; may be NULL. */
	int (*end)(struct sq_packdir *, char *err);
	/* The configuration files, when all tensors are there. */
	int (*finish)(struct sq_packdir *, char *err);
};

struct sq_packdir {
	struct sq_pack *p;
	const struct sq_dir_kind *kind;
	struct sq_in *in;
	struct sq_st_out out;
	struct sq_inventory inv;
	struct sq_files files;
	int dirfd;
	unsigned char *piece;
	struct sq_module *module;	/* the matrices, in their order */
	size_t nmodules;
	struct sq_extra *extra;		/* by name */
	size_t nextras;
	int head;			/* lm_head.weight is there */
	uint64_t kv_layers;		/* with scales for the cache */
	json_t *names;			/* of all tensors as written, in order;
					   the values are the format's */
};

/* The whole job: in is open and nothing has been read. */
int	 sq_pack_dir(struct sq_pack *, const struct sq_dir_kind *,
	    struct sq_in *, int dirfd, char *err);

/* For the kinds: a tensor called MODULE.SUFFIX, whole. */
int	 sq_dir_put(struct sq_packdir *, const struct sq_module *,
	    const char *suffix, enum sq_dtype, int ndim, const uint64_t *dim,
	    const void *data, char *err);

/* A file in the directory; a JSON one, which is taken. */
int	 sq_dir_file(struct sq_packdir *, const char *name, const void *data,
	    size_t n, char *err);
int	 sq_dir_json(struct sq_packdir *, const char *name, json_t *, char *err);

/* config.json, with quantization_config (taken) unless it is NULL. */
int	 sq_dir_config(struct sq_packdir *, json_t *quantization, char *err);

/* Small tensors for the end; data is copied. */
int	 sq_dir_extra(struct sq_packdir *, const char *name, enum sq_dtype,
	    uint64_t n, const void *data, char *err);

/*
 * The scales of a tensor in the type that the format has, malloc'd.  NULL with
 * the reason when they would not be the same numbers, unless that was asked
 * for.
 */
void	*sq_dir_scales(struct sq_packdir *, const struct sq_tensor *,
	    const unsigned char *payload, enum sq_dtype, char *err);

/* How many scales a tensor has. */
static inline uint64_t
sq_dir_groups(const struct sq_tensor *t)
{
	return sq_tensor_group_rows(t) * sq_tensor_group_cols(t);
}

/* Groups of one whole row. */
static inline int
sq_dir_by_row(const struct sq_tensor *t)
{
	return t->group_rows == 1 && t->group_cols == t->dim[1];
}

/* Part `name' of a payload, or NULL. */
const void *sq_dir_part(const struct sq_tensor *, const unsigned char *payload,
	    const char *name);

#endif
