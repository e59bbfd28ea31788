/*
 * Whole records that are not tensors, as sq-stream(5) defines them: HEADER with
 * the data of its files, and PROVENANCE.
 */
#ifndef SQ_FMT_RECORDS_H
#define SQ_FMT_RECORDS_H

#include "formats/fmt_stream.h"

/* A HEADER and the small files that it carries: config.json, tokenizer.json
 * and others. */
struct sq_files {
	struct sq_header h;
	const unsigned char *data[SQ_MAX_BLOBS];	/* of h.blob[i] */
	unsigned char *payload;		/* what they point into, or NULL */
};

/* The HEADER that in has just read; -1 with the reason in in->err. */
int	 sq_files_read(struct sq_files *, struct sq_in *in);
void	 sq_files_release(struct sq_files *);

/* One more file; the data stay the caller's. */
int	 sq_files_add(struct sq_files *, const char *name, const void *data,
	    size_t size, char *err);

/* The data of a file, or NULL. */
const unsigned char *sq_files_find(const struct sq_files *, const char *name,
	    size_t *size);

/* Writes the record; with another text in the place of config.json. */
int	 sq_files_write(const struct sq_files *, struct sq_out *out);
int	 sq_files_write_config(const struct sq_files *, const char *config,
	    size_t size, struct sq_out *out);

/*
 * The PROVENANCE record of one tool.  options: an object of the options that
 * change the result (taken); kernel: NULL when none computed it; input: the
 * digest of what was read.
 */
int	 sq_out_provenance(struct sq_out *, const char *tool,
	    const char *version, json_t *options, const char *kernel,
	    const char *input);

#endif
