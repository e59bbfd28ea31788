/*
 * Calibration text in the forms that it comes in, as documents: plain text,
 * JSON lines with a text or a conversation each, or tokens.
 */
#ifndef SQ_CALIB_CORPUS_H
#define SQ_CALIB_CORPUS_H

#include "formats/fmt_records.h"
#include "formats/fmt_stream.h"

enum sq_corpus_kind { SQ_CORPUS_TEXT, SQ_CORPUS_LINES, SQ_CORPUS_CHAT,
	SQ_CORPUS_TOKENS };

struct sq_corpus {
	enum sq_corpus_kind kind;
	/* one after the other, as they are tokenized: [n] ends of documents */
	char *text;
	size_t *end, n;
	size_t duplicates;		/* documents that came before */
	/* SQ_CORPUS_TOKENS: instead of a text; end counts them */
	uint32_t *id;
	char source[SQ_DIGEST], tokenizer[SQ_DIGEST];	/* or empty */
};

/*
 * The kind is told by the contents.  files: the model's, whose chat template
 * says how conversations are written.  0, or -1 with the reason, of the form
 * "line N: WHAT" where it is one of a line.
 */
int	 sq_corpus_read(struct sq_corpus *, const struct sq_files *,
	    const char *text, size_t len, char *err);
void	 sq_corpus_release(struct sq_corpus *);

/* The length of the text, or the number of tokens. */
size_t	 sq_corpus_length(const struct sq_corpus *);

#endif
