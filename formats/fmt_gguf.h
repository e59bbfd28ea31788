/*
 * GGUF, versions 2 and 3: the file of llama.cpp.  Keys and values, the list of
 * the tensors, then their data one after the other, each at a multiple of the
 * alignment.  All numbers are little-endian.
 *
 *	"GGUF"  version  tensors  keys      u32 u64 u64 after the letters
 *	key  type  value                    for each key
 *	name  ndim  ne[ndim]  type  offset  for each tensor, ne[0] fastest
 *	padding, data
 *
 * The reader trusts nothing: every length is held against what is left of the
 * file before it is used.
 */
#ifndef SQ_FMT_GGUF_H
#define SQ_FMT_GGUF_H

#include "formats/fmt_gguf_blocks.h"

#define SQ_GGUF_NAME	64		/* bytes of a tensor's name, with 0 */
#define SQ_GGUF_ALIGN	32

/* Types of values. */
enum sq_gguf_value {
	SQ_GGUF_U8, SQ_GGUF_I8, SQ_GGUF_U16, SQ_GGUF_I16, SQ_GGUF_U32,
	SQ_GGUF_I32, SQ_GGUF_FLOAT, SQ_GGUF_BOOL, SQ_GGUF_STRING,
	SQ_GGUF_ARRAY, SQ_GGUF_U64, SQ_GGUF_I64, SQ_GGUF_DOUBLE
};

/* A string in the file: not terminated. */
struct sq_gguf_str {
	const char *p;
	size_t n;
};

struct sq_gguf_kv {
	struct sq_gguf_str key;
	uint32_t type;			/* of the value, or of its elements */
	int is_array;
	uint64_t n;			/* elements; 1 */
	const uint8_t *p;		/* the first */
};

struct sq_gguf_info {
	char name[SQ_GGUF_NAME];
	const struct sq_gguf_kind *kind;
	int ndim;
	uint64_t dim[4];		/* outermost first, as everywhere here */
	uint64_t offset, length;	/* in the file, bytes */
};

struct sq_gguf {
	int fd;
	struct sq_gguf_kv *kv;
	size_t nkv;
	struct sq_gguf_info *tensor;
	size_t n;
	/* private */
	uint8_t *map;			/* what the values point into */
	uint64_t size;
};

/* NULL with the reason in err. */
struct sq_gguf *sq_gguf_open(const char *path, char *err);
void	 sq_gguf_close(struct sq_gguf *);

/* The value of that key, or NULL. */
const struct sq_gguf_kv *sq_gguf_find(const struct sq_gguf *,
	    const char *key);

/* A whole number of any type: 0, or -1 when there is none, or a negative one. */
int	 sq_gguf_uint(const struct sq_gguf *, const char *key, uint64_t *value);
int	 sq_gguf_real(const struct sq_gguf *, const char *key, double *value);
int	 sq_gguf_bool(const struct sq_gguf *, const char *key, int *value);
int	 sq_gguf_string(const struct sq_gguf *, const char *key,
	    struct sq_gguf_str *value);

/* Arrays: of strings, which are walked one after the other from *at (NULL:
 * from the first); of 4-byte numbers, element i. */
struct sq_gguf_str sq_gguf_next(const struct sq_gguf_kv *,
	    const uint8_t **at);
int32_t	 sq_gguf_i32(const struct sq_gguf_kv *, uint64_t i);
float	 sq_gguf_f32(const struct sq_gguf_kv *, uint64_t i);

/* ---- the writer ---- */

/*
 * Keys first, then tensors, all of them before any data; data in the same
 * order.  The beginning of the file is put together in memory; it has its place
 * once the tensors are named, and can be written last.
 */
struct sq_gguf_out {
	uint8_t *head;
	size_t n, room;
	uint64_t nkv, tensors;
	uint64_t data;			/* bytes of data, padded */
	int failed;			/* no memory */
};

void	 sq_gguf_put_string(struct sq_gguf_out *, const char *key,
	    const char *value, size_t n);
void	 sq_gguf_put_u32(struct sq_gguf_out *, const char *key, uint32_t);
void	 sq_gguf_put_f32(struct sq_gguf_out *, const char *key, float);
void	 sq_gguf_put_bool(struct sq_gguf_out *, const char *key, int);

/* An array of n elements, which must follow. */
void	 sq_gguf_put_array(struct sq_gguf_out *, const char *key,
	    enum sq_gguf_value type, uint64_t n);
void	 sq_gguf_put_element(struct sq_gguf_out *, const char *s, size_t n);
void	 sq_gguf_put_number(struct sq_gguf_out *, const void *four_bytes);

/* A tensor: where its data begin, from the start of all data. */
uint64_t sq_gguf_put_tensor(struct sq_gguf_out *, const char *name, int ndim,
	    const uint64_t *dim, const struct sq_gguf_kind *);

/* Bytes of the beginning, up to the data: the same before and after
 * sq_gguf_finish, which fills in the counts and the padding.  -1: no memory. */
uint64_t sq_gguf_head_bytes(const struct sq_gguf_out *);
int	 sq_gguf_finish(struct sq_gguf_out *);
void	 sq_gguf_out_release(struct sq_gguf_out *);

#endif
