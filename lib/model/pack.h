/*
 * The end of a pipeline: a stream becomes an artifact (sqa(5)) or a directory
 * that another program loads.  One pass, in pieces; nothing is committed here:
 * the caller gives the output its name when this has returned 0.
 */
#ifndef SQ_MODEL_PACK_H
#define SQ_MODEL_PACK_H

#include "base/progress.h"
#include "formats/fmt_stream.h"
#include "kernels/kern.h"
#include "model/mask_seen.h"
#include "model/profile_made.h"
#include "schema/lint.h"

/* What the inputs of a quantized layer are to be quantized to where the stream
 * does not say it. */
enum sq_pack_act { SQ_PACK_ACT_NONE, SQ_PACK_ACT_INT8, SQ_PACK_ACT_FP8 };

struct sq_gguf_kind;

struct sq_pack {
	struct sq_progress *progress;
	/* directories */
	struct sq_ctx *ctx;		/* dequantizes */
	uint64_t shard;			/* bytes of a file at most */
	const char *const *dense;	/* globs: written with their values */
	size_t ndense;
	enum sq_pack_act act;
	int kv;				/* scales for a cache of 8 bits */
	int old;			/* compressed-tensors: packed as in
					   old files */
	int scales;			/* a dtype that they are rounded to,
					   or -1: as they are */
	/* gguf */
	const struct sq_gguf_kind *gguf;	/* of matrices, or NULL */
	const char *gguf_pre;		/* name of the regular expression */
	/* all */
	uint64_t memory;		/* bytes, the process's all; 0: enough */
	const char *tool, *version;	/* for the provenance */
	const struct sq_profile *profile;	/* what the stream is to be; or
						   NULL */
	const struct sq_engine *engine;	/* that will have to take it; or NULL */
	unsigned ranks;			/* of the engine, at least 1 */
	/* results */
	uint64_t tensors, quantized;
	uint64_t stored;		/* sqa: in a sparse layout */
	uint64_t before, after;		/* bytes of the tensors */
	uint64_t dropped;		/* records with no place in the output */
	uint64_t lost_acts;		/* layers that have their inputs no
					   longer quantized */
	uint64_t reused;		/* bytes that an earlier run has left */
	uint64_t finished;		/* files of tensors that are whole: also
					   after a failure */
};

/* in is open and nothing has been read; fd: an open file. */
int	 sq_pack_sqa(struct sq_pack *, struct sq_in *in, int fd, char *err);

/* dirfd: an open directory, empty or with what an earlier run has left. */
int	 sq_pack_hf(struct sq_pack *, struct sq_in *in, int dirfd, char *err);
int	 sq_pack_compressed_tensors(struct sq_pack *, struct sq_in *in,
	    int dirfd, char *err);
int	 sq_pack_gptq(struct sq_pack *, struct sq_in *in, int dirfd, char *err);
int	 sq_pack_gptq_v2(struct sq_pack *, struct sq_in *in, int dirfd,
	    char *err);
int	 sq_pack_awq(struct sq_pack *, struct sq_in *in, int dirfd, char *err);
int	 sq_pack_ascend(struct sq_pack *, struct sq_in *in, int dirfd,
	    char *err);

/* fd: an open file, where it can seek. */
int	 sq_pack_gguf(struct sq_pack *, struct sq_in *in, int fd, char *err);

/* Whether sq_pack_gguf can be asked for that type. */
int	 sq_pack_gguf_rounds(const struct sq_gguf_kind *);

/* For packers: what profile and engine say about the model, before its weights
 * come, and about a tensor.  -1 with the reason. */
int	 sq_pack_check_model(const struct sq_pack *, const struct sq_config *,
	    char *err);
int	 sq_pack_check_tensor(const struct sq_pack *,
	    const struct sq_tensor *, const struct sq_slot *slot, char *err);

/* The profile of what was packed: the one that was asked for, or that the last
 * tool had and that still holds; else what the weights tell.  *out is the
 * caller's to release.  -1 with the reason. */
int	 sq_pack_profile(const struct sq_pack *, struct sq_profile *out,
	    const struct sq_profile_made *, const struct sq_mask_seen *,
	    const json_t *provenance,
	    uint64_t context, char *err);

/* The archive member that holds a part of a tensor: sqa(5), Members. */
void	 sq_pack_member_name(char name[2 * SQ_NAME], const char *part,
	    const char *tensor);

#endif
