/*
 * A model on disk, opened: a Hugging Face directory or safetensors file, an
 * artifact (sqa(5)) or a stream in a file (sq-stream(5)).  What differs between
 * them ends here: above, a model is its small files, its tensors in the order
 * of a forward pass, and what made it.
 */
#ifndef SQ_MODEL_SOURCE_H
#define SQ_MODEL_SOURCE_H

#include "formats/fmt_records.h"
#include "kernels/kern.h"
#include "model/inventory.h"

struct sq_st;
struct sq_st_tensor;
struct sq_sqa;
struct sq_gguf;

struct sq_source;

struct sq_source_tensor {
	struct sq_tensor t;
	const struct sq_st_tensor *st;		/* safetensors */
	uint64_t offset[SQ_PARTS];		/* else: parts in the file */
	/*
	 * Else, where the file has them in another form: makes one whole part,
	 * t.part[part].length bytes at buf.  from is what it makes it of.
	 */
	int (*make)(const struct sq_source *, const struct sq_source_tensor *,
	    int part, void *buf, char *err);
	const void *from;
	void *made[SQ_PARTS];			/* those that were mapped */
	struct sq_weight stored;		/* layout not SQ_ROWS: mapped, and
						   multiplied as it is */
};

struct sq_source {
	const char *kind;		/* "safetensors", "sqa", "stream", "gguf" */
	struct sq_config config;
	struct sq_files files;		/* with the model digest and hints */
	struct sq_source_tensor *tensor;
	size_t n;
	json_t *provenance;		/* an array: descriptions */
	/* private */
	int any;			/* opened for looking only */
	struct sq_st *st;
	struct sq_sqa *sqa;
	struct sq_gguf *gguf;
	int fd;
	unsigned char *map;
	uint64_t size;
	char *blobs[SQ_MAX_BLOBS];	/* safetensors: the files */
	struct sq_made *last;		/* the part that was made last */
	void *from;			/* what `from' points into */
};

/*
 * Recognized by content, not by name.  Everything is checked but the values of
 * the weights: shapes against config.json, nothing missing.  NULL with the
 * reason in err.
 */
struct sq_source *sq_source_open(const char *path, char *err);

/* The same for looking only: a safetensors file need not be a whole model; then
 * config.arch is NULL and the tensors come in the order of their names. */
struct sq_source *sq_source_open_any(const char *path, char *err);
void	 sq_source_close(struct sq_source *);

/*
 * What is to be read from end to end: the descriptor, the caller's, of a stream
 * in a file, of a pipe, or of standard input when path is "-".  -1 without a
 * reason when path is none of these: sq_source_open() will say what it is.
 */
int	 sq_stream_fd(const char *path);

/* What tells it from others: a digest of the model that it comes from and of all
 * that was done to it. */
void	 sq_source_identity(const struct sq_source *, char text[SQ_DIGEST]);

/* Bytes of all tensors, as they are stored. */
uint64_t sq_source_bytes(const struct sq_source *);

/* The tensor of that name, or NULL. */
const struct sq_source_tensor *sq_source_find(const struct sq_source *,
	    const char *name);

/* n bytes of part i of a tensor, from byte `at' of it. */
int	 sq_source_read(const struct sq_source *,
	    const struct sq_source_tensor *, int part, uint64_t at, void *buf,
	    size_t n, char *err);

/* Part i of a tensor, mapped read-only until the source is closed. */
const void *sq_source_map(struct sq_source *, const struct sq_source_tensor *,
	    int part, char *err);

#endif
