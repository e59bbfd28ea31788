/*
 * The tokenizer's inside, for lib/model/tok*.c only.
 *
 *	text -> tok_added (added tokens) -> tok_norm (normalizer)
 *	     -> tok_added again -> tok_split (words) -> tok_bpe (ids)
 *	ids  -> tok_decode -> text
 *
 * Each stage hands its pieces on by a call as soon as it has them: nothing of
 * the size of the text is held but the text and the ids.
 */
#ifndef SQ_MODEL_TOK_H
#define SQ_MODEL_TOK_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "formats/fmt_json.h"
#include "model/tokenizer.h"

/* tok_text.c: bytes that grow, UTF-8, the byte-level alphabet */
#define sq_tok_buf sq_detok_text

int	 sq_tok_add(struct sq_tok_buf *, const char *s, size_t n, char *err);
void	 sq_tok_buf_release(struct sq_tok_buf *);

/*
 * Appends the n bytes to out with U+FFFD for what is not UTF-8.  Unless they
 * are the last, the beginning of a character at their end is left: *used says
 * how many were taken.
 */
int	 sq_tok_utf8(struct sq_tok_buf *out, const char *s, size_t n, int last,
	    size_t *used, char *err);

/* The length of the character at s, which is known to be valid. */
static inline size_t
sq_tok_charlen(const char *s)
{
	unsigned char c = (unsigned char)*s;

	return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* GPT-2's printable character for a byte, as UTF-8 of 1 or 2 bytes. */
size_t	 sq_tok_byte_char(unsigned char b, char s[2]);

/* The byte that the character at s stands for, or -1. */
int	 sq_tok_char_byte(const char *s, size_t len);

/* tok_vocab.c: strings by id, ids by string, merges by pair */
struct sq_tok_entry {
	uint32_t off, len;		/* in text */
	uint8_t flags;
};

#define TOK_USED	1	/* the id has a token */
#define TOK_MODEL	2	/* it is in the model's vocabulary */
#define TOK_ADDED	4
#define TOK_SPECIAL	8

struct sq_tok_vocab {
	struct sq_tok_buf text;		/* each string ends with a zero */
	struct sq_tok_entry *entry;	/* by id */
	size_t n;			/* largest id + 1 */
	uint32_t *slot;			/* open addressing: id + 1, or 0 */
	size_t mask, longest;
	uint64_t seed;
};

/* Room for ids below n, of which at most count are in use. */
int	 sq_tok_vocab_init(struct sq_tok_vocab *, size_t n, size_t count,
	    char *err);
void	 sq_tok_vocab_release(struct sq_tok_vocab *);

/* Gives id its string, or adds flags to it when it has this very string. */
int	 sq_tok_vocab_add(struct sq_tok_vocab *, uint32_t id, const char *s,
	    size_t n, uint8_t flags, char *err);

/* The id of a string, or SQ_TOK_NONE; _model: of the model's own only. */
uint32_t sq_tok_find(const struct sq_tok_vocab *, const char *s, size_t n);
uint32_t sq_tok_find_model(const struct sq_tok_vocab *, const char *s,
	    size_t n);

struct sq_tok_merges {
	struct sq_tok_merge {
		uint64_t pair;		/* left << 32 | right */
		uint32_t rank;		/* SQ_TOK_NONE: the slot is empty */
	} *slot;
	uint32_t *made;			/* by rank: the token that it gives */
	size_t mask, n;
	uint64_t seed;
};

int	 sq_tok_merges_init(struct sq_tok_merges *, size_t n, char *err);
void	 sq_tok_merges_release(struct sq_tok_merges *);

/* The next rank's merge; of the same pair the last one counts. */
void	 sq_tok_merges_add(struct sq_tok_merges *, uint32_t left,
	    uint32_t right, uint32_t made);

static inline size_t
sq_tok_merge_hash(const struct sq_tok_merges *m, uint64_t pair)
{
	uint64_t h = (pair ^ m->seed) * 0x9e3779b97f4a7c15u;

	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93u;
	return (size_t)(h >> 32);
}

/* The rank of a pair, or SQ_TOK_NONE. */
static inline uint32_t
sq_tok_rank(const struct sq_tok_merges *m, uint32_t left, uint32_t right)
{
	uint64_t pair = (uint64_t)left << 32 | right;
	size_t i = sq_tok_merge_hash(m, pair) & m->mask;

	while (m->slot[i].pair != pair && m->slot[i].rank != SQ_TOK_NONE)
		i = (i + 1) & m->mask;
	return m->slot[i].rank;
}

/* tok_onig.c: a regular expression of Oniguruma's kind in PCRE2's words */
int	 sq_tok_onig(const char *re, size_t n, struct sq_tok_buf *out,
	    char *err);

/* tok_regex.c: what is looked for, a regular expression or plain bytes */
struct sq_tok_pat {
	pcre2_code *re;			/* NULL: plain */
	char *plain;
	size_t n;
};

int	 sq_tok_pat_regex(struct sq_tok_pat *, const char *re, size_t n,
	    char *err);
int	 sq_tok_pat_plain(struct sq_tok_pat *, const char *s, size_t n,
	    char *err);
void	 sq_tok_pat_release(struct sq_tok_pat *);

/* What one thread needs to match, and the time that it may take. */
struct sq_tok_matcher {
	pcre2_match_context *mc;
	pcre2_match_data *md;
	pcre2_jit_stack *stack;
	double deadline;		/* seconds of this thread */
	unsigned calls;
};

/* text: bytes of the text in hand, which the time allowed depends on. */
int	 sq_tok_matcher_init(struct sq_tok_matcher *, size_t text, char *err);
void	 sq_tok_matcher_release(struct sq_tok_matcher *);

/* The matches in a subject from left to right. */
struct sq_tok_scan {
	const char *s;
	size_t n, from;			/* where the search goes on */
	size_t last;			/* end of the last match + 1, or 0 */
};

/* The next match, *start to *end: 1, 0 when there is none, -1 with err. */
int	 sq_tok_next(const struct sq_tok_pat *, struct sq_tok_matcher *,
	    struct sq_tok_scan *, size_t *start, size_t *end, char *err);

/* the steps of the file */
#define SQ_TOK_STEPS	32

struct sq_tok_norm {
	enum { NORM_PREPEND, NORM_REPLACE, NORM_FORM } kind;
	struct sq_tok_pat pat;
	const struct unicode_normalization_form *form;
	char *text;			/* what is put in */
	size_t n;
};

struct sq_tok_split {
	enum { SPLIT_PATTERN, SPLIT_PREFIX, SPLIT_META } kind;
	struct sq_tok_pat pat;		/* of META: the replacement */
	enum { SPLIT_ISOLATED, SPLIT_REMOVED, SPLIT_CONTIGUOUS,
	    SPLIT_PREVIOUS, SPLIT_NEXT } behavior;
	enum { META_ALWAYS, META_FIRST, META_NEVER } scheme;
	int invert, split;
};

struct sq_tok_dec {
	enum { DEC_REPLACE, DEC_STRIP, DEC_META, DEC_BYTES, DEC_BYTELEVEL,
	    DEC_FUSE } kind;
	struct sq_tok_pat pat;
	char *text;			/* REPLACE: new; STRIP, META: a char */
	size_t n, start, stop;
	int first;			/* META: the first token has no space */
};

/* tok_added.c: tokens that are found in the text before all else */
struct sq_tok_added {
	struct sq_tok_word {
		char *s;
		size_t n;
		uint32_t id;
		uint8_t single, lstrip, rstrip, special;
	} *word;			/* sorted by bytes */
	size_t n;
	uint32_t first[257];		/* words of a first byte: first[b]... */
};

struct sq_tokenizer {
	struct sq_tok_vocab vocab;
	struct sq_tok_merges merges;
	struct sq_tok_added raw, normal;	/* before, after normalizing */
	struct sq_tok_norm norm[SQ_TOK_STEPS];
	struct sq_tok_split split[SQ_TOK_STEPS];
	struct sq_tok_dec dec[SQ_TOK_STEPS];
	size_t nnorm, nsplit, ndec;
	struct sq_ids before, after;	/* what the post-processor adds */
	int bytelevel, byte_fallback, ignore_merges, fuse_unk;
	int cut;			/* words may be cut before U+2581 */
	int fused_strip;		/* the last of dec cuts the text */
	uint32_t unk;
	char *unk_name;			/* NULL: none */
	uint32_t byte_id[256];		/* of the byte's first symbol */
	uint32_t fallback[256];		/* of <0x00> ... <0xFF> */
};

/* One call of encode: everything that is not constant. */
struct sq_tok_run {
	const struct sq_tokenizer *t;
	struct sq_ids *out;
	char *err;
	unsigned flags;
	struct sq_tok_matcher match;
	struct sq_tok_bpe *bpe;
};

/* Sorts the words and drops those that are spelled like another. */
void	 sq_tok_added_sort(struct sq_tok_added *);
void	 sq_tok_added_release(struct sq_tok_added *);

/*
 * Finds the set's tokens in s: their ids go out, the text in between to fn;
 * start is where it begins in s.
 */
int	 sq_tok_added_run(struct sq_tok_run *, const struct sq_tok_added *,
	    const char *s, size_t n, int (*fn)(struct sq_tok_run *, void *arg,
	    const char *s, size_t n, size_t start), void *arg);

/* tok_norm.c: *s, *n become the normalized text, which is in a or b if not
 * what they were. */
int	 sq_tok_normalize(const struct sq_tokenizer *, struct sq_tok_matcher *,
	    struct sq_tok_buf *a, struct sq_tok_buf *b, const char **s,
	    size_t *n, char *err);

/* Appends s to out with the pattern replaced by text. */
int	 sq_tok_replace(const struct sq_tok_pat *, struct sq_tok_matcher *,
	    const char *text, size_t len, const char *s, size_t n,
	    struct sq_tok_buf *out, char *err);

/* tok_split.c: the words of a text go to BPE; first: it begins the input. */
int	 sq_tok_split_run(struct sq_tok_run *, const char *s, size_t n,
	    int first);

/* tok_bpe.c */
struct sq_tok_bpe	*sq_tok_bpe_new(size_t text);
void			 sq_tok_bpe_free(struct sq_tok_bpe *);
int			 sq_tok_bpe_run(struct sq_tok_run *, const char *s,
			    size_t n);

/* tok_steps.c: the parts of the file around the model */
int	 sq_tok_load_norm(struct sq_tokenizer *, const json_t *, char *err);
int	 sq_tok_load_split(struct sq_tokenizer *, const json_t *, char *err);
int	 sq_tok_load_post(struct sq_tokenizer *, const json_t *, char *err);
int	 sq_tok_load_dec(struct sq_tokenizer *, const json_t *, char *err);

/* tok_model.c: vocabulary, merges and added tokens */
int	 sq_tok_load_model(struct sq_tokenizer *, const json_t *file,
	    char *err);
int	 sq_tok_load_added(struct sq_tokenizer *, const json_t *, char *err);

#endif
