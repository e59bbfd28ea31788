/*
 * In what precision a cache keeps keys and values: what sq-kv(5) calls a
 * policy, read from `--kv SPEC' and written in one way only, so that its text
 * can go into the hashes of blocks.
 */
#ifndef SQ_KV_KVPOLICY_H
#define SQ_KV_KVPOLICY_H

#include "base/err.h"
#include "kernels/kvpage.h"

#define SQ_KV_RULES	32		/* ranges of layers, at most */
#define SQ_KV_TEXT	2048		/* bytes of a policy's text */

/* The names of the formats: f32 f16 bf16 fp8_e4m3 fp8_e5m2 int8 int4 int2. */
struct sq_kv_form {
	enum sq_page_grid grid;
	enum sq_dtype type;		/* of plain ones */
};

struct sq_kv_rule {
	size_t first, last;		/* layers */
	struct sq_kv_form k, v;
};

struct sq_kv_policy {
	struct sq_kv_form k, v;
	enum sq_dtype near;		/* of sink and window */
	size_t sink, window;		/* where codes are */
	int hadamard;			/* of coded keys, and queries */
	int by_channel;			/* int4 and int2 keys */
	struct sq_kv_rule rule[SQ_KV_RULES];
	size_t nrules;
};

/* 0, or -1 with the reason. */
int	 sq_kv_policy_parse(struct sq_kv_policy *, const char *spec,
	    char *err);

/* Plain values of a type. */
void	 sq_kv_policy_plain(struct sq_kv_policy *, enum sq_dtype);

/* The same policy always gives the same text, which can be parsed again. */
void	 sq_kv_policy_text(const struct sq_kv_policy *, char text[SQ_KV_TEXT]);

/* The cache of a layer: heads, dim and page are set already. */
void	 sq_kv_policy_layer(const struct sq_kv_policy *, size_t layer,
	    struct sq_kv *);

/* -1 when a model of that shape cannot have it. */
int	 sq_kv_policy_check(const struct sq_kv_policy *, size_t layers,
	    size_t dim, size_t page, char *err);

/* Bytes of a token in all layers of that shape, scales included. */
double	 sq_kv_policy_bytes(const struct sq_kv_policy *, size_t layers,
	    size_t heads, size_t dim);

const char *sq_kv_format_name(const struct sq_kv_form *);
int	 sq_kv_format_find(struct sq_kv_form *, const char *name, size_t len);

#endif
