/* Types of tokens in a GGUF file, and its names of regular expressions. */
#ifndef SQ_MODEL_GGUF_TOK_NAMES_H
#define SQ_MODEL_GGUF_TOK_NAMES_H

enum {
	SQ_GGUF_NORMAL = 1, SQ_GGUF_UNKNOWN, SQ_GGUF_CONTROL, SQ_GGUF_USER,
	SQ_GGUF_UNUSED, SQ_GGUF_BYTE
};

#define SQ_GGUF_GPT2	"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|"	\
			" ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

struct sq_gguf_pre {
	const char *name, *regex;
	int compose;			/* text to NFC first */
	int whole;			/* a word that is a token is not split */
	int bos;			/* added when the file does not say */
};

/* The end has no name.  The first with a regular expression is written. */
extern const struct sq_gguf_pre sq_gguf_pres[];

#endif
