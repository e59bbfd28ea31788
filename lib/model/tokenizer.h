/*
 * Text to token ids and back, as a Hugging Face tokenizer.json describes it.
 *
 * The file is the specification: ids agree with the "tokenizers" library for
 * BPE models, byte-level (GPT-2, Llama-3, Qwen) and SentencePiece-like
 * (Llama-2, Mistral, Gemma).  A part of the file that is not understood is
 * refused when the file is loaded, never passed over.  Understood are:
 *
 *	normalizer	Sequence Prepend Replace NFC NFD NFKC NFKD
 *	pre_tokenizer	Sequence Split ByteLevel (last) Metaspace Digits
 *			Punctuation Whitespace WhitespaceSplit
 *	model		BPE without dropout, affixes
 *	post_processor	Sequence TemplateProcessing ByteLevel
 *	decoder		Sequence ByteLevel Metaspace Replace Strip
 *			ByteFallback Fuse
 *
 * Algorithms: Sennrich, Haddow, Birch, "Neural machine translation of rare
 * words with subword units", 2016 (BPE); Unicode Standard Annex 15 (NFC).
 */
#ifndef SQ_MODEL_TOKENIZER_H
#define SQ_MODEL_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SQ_TOK_FILE_MAX	(512u << 20)	/* bytes of a tokenizer.json */
#define SQ_TOK_TEXT_MAX	(1u << 30)	/* bytes of a text to be encoded */
#define SQ_TOK_ID_MAX	(1u << 24)	/* every id is below this */
#define SQ_TOK_NONE	UINT32_MAX	/* no such token */

struct sq_tokenizer;

/* A growing array of token ids; all zero is an empty one. */
struct sq_ids {
	uint32_t *id;
	size_t n, cap;
};

/* Appends: 0, or -1 when there is no memory. */
int	 sq_ids_add(struct sq_ids *, const uint32_t *id, size_t n);
void	 sq_ids_release(struct sq_ids *);

/*
 * A tokenizer from the len bytes of a tokenizer.json, which need not outlive
 * the call.  The caller's, to be freed; NULL with the reason in err.  It is
 * constant from here on: any number of threads may use one.
 */
struct sq_tokenizer	*sq_tokenizer_new(const void *json, size_t len,
			    char *err);
void			 sq_tokenizer_free(struct sq_tokenizer *);

/*
 * Flags.  SPECIAL: special tokens written in the text stand for themselves (as
 * tokenizers does by default); without it they are plain text, which is what
 * text of others should be.  Added tokens that are not special always count.
 * POST: what the post-processor adds, such as BOS, is added.
 */
#define SQ_TOK_SPECIAL	1u
#define SQ_TOK_POST	2u

/*
 * Appends the ids of a text to *out: 0, or -1 with the reason in err and *out
 * as it was.  Bytes that are not UTF-8 count as U+FFFD, one for each maximal
 * part of a sequence (as Python's errors="replace").  The time is
 * O(len log len) for any text; a regular expression of the file that takes far
 * longer than is usual is given up with an error.
 */
int	 sq_tokenizer_encode(const struct sq_tokenizer *, const char *text,
	    size_t len, unsigned flags, struct sq_ids *out, char *err);

/* The largest id and one; there may be ids in between without a token. */
size_t	 sq_tokenizer_vocab_size(const struct sq_tokenizer *);

/* The id of the token that is spelled so in the file, or -1. */
long	 sq_tokenizer_find(const struct sq_tokenizer *, const char *token);

/* How the file spells a token (zero-terminated, the tokenizer's), or NULL. */
const char	*sq_tokenizer_token(const struct sq_tokenizer *, uint32_t id,
		    size_t *len);

/* 1 when the id is a special token, else 0. */
int	 sq_tokenizer_is_special(const struct sq_tokenizer *, uint32_t id);

/*
 * Ids to text, one at a time.  What comes out is always whole UTF-8 sequences:
 * the bytes of a character that several tokens share are held back until it is
 * complete, and bytes that can never become one come out as U+FFFD.
 */
struct sq_detok {
	const struct sq_tokenizer *t;
	unsigned flags;
	struct sq_detok_text {
		char *s;
		size_t n, cap, max;	/* max 0: 4 GiB */
	} raw, out, tmp;	/* held back; given out; a token at work */
	size_t ntok;		/* tokens so far */
	size_t strip;		/* characters cut at the start so far */
	char err[SQ_ERR];
};

#define SQ_DETOK_SKIP_SPECIAL	1u	/* special tokens give no text */

void	 sq_detok_init(struct sq_detok *, const struct sq_tokenizer *,
	    unsigned flags);
void	 sq_detok_release(struct sq_detok *);

/*
 * The text that this id completes, *len bytes (zero-terminated; may be none),
 * valid until the next call.  An id without a token gives none.  NULL with the
 * reason in d->err when there is no memory.
 */
const char	*sq_detok_put(struct sq_detok *d, uint32_t id, size_t *len);

/* What was held back, at the end; the object can then be used anew. */
const char	*sq_detok_flush(struct sq_detok *d, size_t *len);

#endif
