/* GGUF files; see fmt_gguf.h. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/io.h"
#include "formats/fmt_gguf.h"

#define START		24		/* bytes before the first key */
#define MAX_KEYS	65536
#define MAX_TENSORS	1000000
#define LEAST_KV	13		/* bytes: key length, type, a value */
#define LEAST_INFO	32		/* name length, ndim, ne, type, offset */
#define MAX_ALIGN	((uint64_t)1 << 20)
#define MAX_DIM		((uint64_t)1 << 32)

/* ---- bytes of an untrusted file ---- */

struct bytes {
	const uint8_t *start, *p, *end;
};

static uint64_t
left(const struct bytes *b)
{
	return (uint64_t)(b->end - b->p);
}

static uint64_t
number(const uint8_t *p, int n)
{
	uint64_t v = 0;

	while (n-- > 0)
		v = v << 8 | p[n];
	return v;
}

static int
take(struct bytes *b, int n, uint64_t *v)
{
	if (left(b) < (uint64_t)n)
		return -1;
	*v = number(b->p, n);
	b->p += n;
	return 0;
}

static int
take_string(struct bytes *b, struct sq_gguf_str *s)
{
	uint64_t n;

	if (take(b, 8, &n) < 0 || n > left(b))
		return -1;
	s->p = (const char *)b->p;
	s->n = (size_t)n;
	b->p += n;
	return 0;
}

/* Bytes of a value; 0 for those that have no fixed size. */
static size_t
value_size(uint64_t type)
{
	static const uint8_t sizes[] = {
		[SQ_GGUF_U8] = 1, [SQ_GGUF_I8] = 1, [SQ_GGUF_U16] = 2,
		[SQ_GGUF_I16] = 2, [SQ_GGUF_U32] = 4, [SQ_GGUF_I32] = 4,
		[SQ_GGUF_FLOAT] = 4, [SQ_GGUF_BOOL] = 1, [SQ_GGUF_U64] = 8,
		[SQ_GGUF_I64] = 8, [SQ_GGUF_DOUBLE] = 8
	};

	return type < sizeof(sizes) ? sizes[type] : 0;
}

static int
take_values(struct bytes *b, struct sq_gguf_kv *kv)
{
	size_t size = value_size(kv->type);
	struct sq_gguf_str s;
	uint64_t i;

	kv->p = b->p;
	if (size > 0) {
		if (kv->n > left(b) / size)
			return -1;
		b->p += kv->n * size;
		return 0;
	}
	if (kv->type != SQ_GGUF_STRING || kv->n > left(b) / 8)
		return -1;
	for (i = 0; i < kv->n; i++)
		if (take_string(b, &s) < 0)
			return -1;
	return 0;
}

static int
key_ok(const struct sq_gguf_str *s)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (s->p[i] <= ' ' || s->p[i] > '~')
			return 0;
	return s->n >= 1 && s->n < 65536;
}

static int
take_kv(struct bytes *b, struct sq_gguf_kv *kv, char *err)
{
	uint64_t type;

	if (take_string(b, &kv->key) < 0 || !key_ok(&kv->key))
		return sq_fail(err, "byte %zu: not a key",
		    (size_t)(b->p - b->start));
	kv->n = 1;
	if (take(b, 4, &type) < 0)
		goto bad;
	if (type == SQ_GGUF_ARRAY) {
		kv->is_array = 1;
		if (take(b, 4, &type) < 0 || take(b, 8, &kv->n) < 0)
			goto bad;
	}
	kv->type = (uint32_t)type;
	if (take_values(b, kv) == 0)
		return 0;
bad:
	return sq_fail(err, "key '%.*s': a value of an unknown type, or "
	    "beyond the end of the file", (int)(kv->key.n < 128 ? kv->key.n :
	    128), kv->key.p);
}

static int
is_key(const struct sq_gguf_kv *kv, const char *key)
{
	return kv->key.n == strlen(key) &&
	    memcmp(kv->key.p, key, kv->key.n) == 0;
}

static int
by_key(const void *a, const void *b)
{
	const struct sq_gguf_kv *x = *(const struct sq_gguf_kv *const *)a;
	const struct sq_gguf_kv *y = *(const struct sq_gguf_kv *const *)b;
	size_t n = x->key.n < y->key.n ? x->key.n : y->key.n;
	int r = memcmp(x->key.p, y->key.p, n);

	return r != 0 ? r : x->key.n < y->key.n ? -1 : x->key.n > y->key.n;
}

static int
by_name(const void *a, const void *b)
{
	const struct sq_gguf_info *x = *(const struct sq_gguf_info *const *)a;
	const struct sq_gguf_info *y = *(const struct sq_gguf_info *const *)b;

	return strcmp(x->name, y->name);
}

/* Whether two of n elements are the same by that order; -1: no memory. */
static int
any_twice(const void *list, size_t n, size_t size,
    int (*order)(const void *, const void *))
{
	const void **at = malloc((n + 1) * sizeof(*at));
	size_t i;
	int twice = 0;

	if (at == NULL)
		return -1;
	for (i = 0; i < n; i++)
		at[i] = (const char *)list + i * size;
	qsort(at, n, sizeof(*at), order);
	for (i = 1; i < n && !twice; i++)
		twice = order(&at[i - 1], &at[i]) == 0;
	free(at);
	return twice;
}

static int
take_keys(struct sq_gguf *g, struct bytes *b, char *err)
{
	size_t i;

	g->kv = calloc(g->nkv + 1, sizeof(*g->kv));
	if (g->kv == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < g->nkv; i++)
		if (take_kv(b, &g->kv[i], err) < 0)
			return -1;
	switch (any_twice(g->kv, g->nkv, sizeof(*g->kv), by_key)) {
	case 0:
		return 0;
	case 1:
		return sq_fail(err, "a key is there twice");
	default:
		return sq_fail(err, "out of memory");
	}
}

static int
take_shape(struct bytes *b, struct sq_gguf_info *t, char *err)
{
	uint64_t n, v, count = 1;
	int i;

	if (take(b, 4, &n) < 0 || n < 1 || n > 4)
		return sq_fail(err, "tensor '%s': its dimensions are out of "
		    "bounds", t->name);
	t->ndim = (int)n;
	for (i = t->ndim - 1; i >= 0; i--) {
		if (take(b, 8, &v) < 0 || v < 1 || v > MAX_DIM ||
		    v > ((uint64_t)1 << 44) / count)
			return sq_fail(err, "tensor '%s': its dimensions are "
			    "out of bounds", t->name);
		t->dim[i] = v;
		count *= v;
	}
	return 0;
}

/* offset: in the data; it becomes one in the file later. */
static int
take_info(struct bytes *b, struct sq_gguf_info *t, char *err)
{
	struct sq_gguf_str name;
	uint64_t type, row;
	int i;

	if (take_string(b, &name) < 0 || name.n >= sizeof(t->name))
		return sq_fail(err, "byte %zu: not the name of a tensor",
		    (size_t)(b->p - b->start));
	memcpy(t->name, name.p, name.n);
	if (strlen(t->name) != name.n || !sq_name_ok(t->name))
		return sq_fail(err, "'%s': not a name for a tensor", t->name);
	if (take_shape(b, t, err) < 0)
		return -1;
	if (take(b, 4, &type) < 0 || take(b, 8, &t->offset) < 0)
		return sq_fail(err, "tensor '%s': cut off", t->name);
	if ((t->kind = sq_gguf_kind((uint32_t)type)) == NULL)
		return sq_fail(err, "tensor '%s': type %ju is not one of %s",
		    t->name, (uintmax_t)type, sq_gguf_kind_names());
	row = sq_gguf_row_bytes(t->kind, t->dim[t->ndim - 1]);
	if (row == 0)
		return sq_fail(err, "tensor '%s': rows of %ju are no whole "
		    "blocks of %s", t->name,
		    (uintmax_t)t->dim[t->ndim - 1], t->kind->name);
	for (t->length = row, i = 0; i < t->ndim - 1; i++)
		t->length *= t->dim[i];
	return 0;
}

static uint64_t
round_up(uint64_t n, uint64_t align)
{
	return (n + align - 1) / align * align;
}

static int
alignment(const struct sq_gguf *g, uint64_t *align, char *err)
{
	*align = SQ_GGUF_ALIGN;
	if (sq_gguf_find(g, "general.alignment") == NULL)
		return 0;
	if (sq_gguf_uint(g, "general.alignment", align) < 0 || *align < 1 ||
	    *align > MAX_ALIGN || (*align & (*align - 1)) != 0)
		return sq_fail(err, "'general.alignment' is not a power of "
		    "two, or out of bounds");
	return 0;
}

/* Every tensor follows the one before at the next multiple of the alignment,
 * and ends within the file. */
static int
place(struct sq_gguf *g, uint64_t head, char *err)
{
	uint64_t align, data, next = 0;
	struct sq_gguf_info *t;
	size_t i;

	if (alignment(g, &align, err) < 0)
		return -1;
	data = round_up(head, align);
	for (i = 0; i < g->n; i++) {
		t = &g->tensor[i];
		if (t->offset != next)
			return sq_fail(err, "tensor '%s': not where the one "
			    "before ends", t->name);
		if (data > g->size || t->length > g->size - data ||
		    next > g->size - data - t->length)
			return sq_fail(err, "tensor '%s': beyond the end of "
			    "the file", t->name);
		next = round_up(next + t->length, align);
		t->offset += data;
	}
	return 0;
}

static int
parse(struct sq_gguf *g, char *err)
{
	struct bytes b = { g->map, g->map + START, g->map + g->size };
	uint64_t version = number(g->map + 4, 4);
	uint64_t tensors = number(g->map + 8, 8), keys = number(g->map + 16, 8);
	size_t i;

	if (version != 2 && version != 3)
		return sq_fail(err, "version %ju is not one of those known, 2 "
		    "and 3", (uintmax_t)version);
	if (keys > MAX_KEYS || keys > left(&b) / LEAST_KV ||
	    tensors > MAX_TENSORS || tensors > left(&b) / LEAST_INFO)
		return sq_fail(err, "more keys or tensors than the file can "
		    "hold");
	g->nkv = (size_t)keys;
	g->n = (size_t)tensors;
	if (take_keys(g, &b, err) < 0)
		return -1;
	if ((g->tensor = calloc(g->n + 1, sizeof(*g->tensor))) == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < g->n; i++)
		if (take_info(&b, &g->tensor[i], err) < 0)
			return -1;
	if (any_twice(g->tensor, g->n, sizeof(*g->tensor), by_name) != 0)
		return sq_fail(err, "a tensor is there twice");
	return place(g, (uint64_t)(b.p - b.start), err);
}

static int
map(struct sq_gguf *g, const char *path, char *err)
{
	struct stat st;
	void *p;

	if ((g->fd = open(path, O_RDONLY | O_CLOEXEC)) < 0 ||
	    fstat(g->fd, &st) < 0)
		return sq_fail_errno(err, "'%s'", path);
	if (!S_ISREG(st.st_mode) || st.st_size < START)
		return sq_fail(err, "'%s': not a GGUF file", path);
	g->size = (uint64_t)st.st_size;
	if ((p = sq_map_file(g->fd, (size_t)g->size)) == NULL)
		return sq_fail_errno(err, "'%s': cannot map", path);
	g->map = p;
	return memcmp(g->map, "GGUF", 4) == 0 ? 0 :
	    sq_fail(err, "'%s': not a GGUF file", path);
}

struct sq_gguf *
sq_gguf_open(const char *path, char *err)
{
	struct sq_gguf *g = calloc(1, sizeof(*g));
	char why[SQ_ERR];

	if (g == NULL) {
		sq_fail(err, "out of memory");
		return NULL;
	}
	g->fd = -1;
	if (map(g, path, err) == 0) {
		if (parse(g, why) == 0)
			return g;
		sq_fail(err, "'%s': %s", path, why);
	}
	sq_gguf_close(g);
	return NULL;
}

void
sq_gguf_close(struct sq_gguf *g)
{
	if (g == NULL)
		return;
	if (g->map != NULL)
		munmap(g->map, g->size);
	if (g->fd >= 0)
		close(g->fd);
	free(g->kv);
	free(g->tensor);
	free(g);
}

/* ---- values ---- */

const struct sq_gguf_kv *
sq_gguf_find(const struct sq_gguf *g, const char *key)
{
	size_t i;

	for (i = 0; i < g->nkv; i++)
		if (is_key(&g->kv[i], key))
			return &g->kv[i];
	return NULL;
}

int
sq_gguf_uint(const struct sq_gguf *g, const char *key, uint64_t *value)
{
	const struct sq_gguf_kv *kv = sq_gguf_find(g, key);
	size_t size = kv == NULL ? 0 : value_size(kv->type);
	uint64_t v;

	if (size == 0 || kv->is_array || kv->type == SQ_GGUF_FLOAT ||
	    kv->type == SQ_GGUF_DOUBLE || kv->type == SQ_GGUF_BOOL)
		return -1;
	v = number(kv->p, (int)size);
	if ((kv->type == SQ_GGUF_I8 || kv->type == SQ_GGUF_I16 ||
	    kv->type == SQ_GGUF_I32 || kv->type == SQ_GGUF_I64) &&
	    v >> (8 * size - 1) != 0)
		return -1;
	*value = v;
	return 0;
}

int
sq_gguf_real(const struct sq_gguf *g, const char *key, double *value)
{
	const struct sq_gguf_kv *kv = sq_gguf_find(g, key);

	if (kv == NULL || kv->is_array)
		return -1;
	if (kv->type == SQ_GGUF_FLOAT)
		*value = sq_gguf_f32(kv, 0);
	else if (kv->type == SQ_GGUF_DOUBLE)
		memcpy(value, kv->p, sizeof(*value));
	else
		return -1;
	return 0;
}

int
sq_gguf_bool(const struct sq_gguf *g, const char *key, int *value)
{
	const struct sq_gguf_kv *kv = sq_gguf_find(g, key);

	if (kv == NULL || kv->is_array || kv->type != SQ_GGUF_BOOL)
		return -1;
	*value = kv->p[0] != 0;
	return 0;
}

int
sq_gguf_string(const struct sq_gguf *g, const char *key,
    struct sq_gguf_str *value)
{
	const struct sq_gguf_kv *kv = sq_gguf_find(g, key);
	const uint8_t *at = NULL;

	if (kv == NULL || kv->is_array || kv->type != SQ_GGUF_STRING)
		return -1;
	*value = sq_gguf_next(kv, &at);
	return 0;
}

struct sq_gguf_str
sq_gguf_next(const struct sq_gguf_kv *kv, const uint8_t **at)
{
	const uint8_t *p = *at == NULL ? kv->p : *at;
	struct sq_gguf_str s = { (const char *)p + 8, (size_t)number(p, 8) };

	*at = p + 8 + s.n;
	return s;
}

int32_t
sq_gguf_i32(const struct sq_gguf_kv *kv, uint64_t i)
{
	return (int32_t)number(kv->p + 4 * i, 4);
}

float
sq_gguf_f32(const struct sq_gguf_kv *kv, uint64_t i)
{
	uint32_t bits = (uint32_t)number(kv->p + 4 * i, 4);
	float f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

/* ---- the writer ---- */

static void
put(struct sq_gguf_out *o, const void *p, size_t n)
{
	size_t room = o->room == 0 ? 65536 : o->room;
	uint8_t *head;

	while (room - o->n < n)
		room *= 2;
	if (!o->failed && room != o->room) {
		head = realloc(o->head, room);
		o->failed = head == NULL;
		o->head = head == NULL ? o->head : head;
		o->room = head == NULL ? o->room : room;
	}
	if (o->failed)
		return;
	memcpy(o->head + o->n, p, n);
	o->n += n;
}

static void
put_uint(struct sq_gguf_out *o, uint64_t v, int n)
{
	uint8_t b[8];
	int i;

	for (i = 0; i < n; i++)
		b[i] = (uint8_t)(v >> 8 * i);
	put(o, b, (size_t)n);
}

void
sq_gguf_put_element(struct sq_gguf_out *o, const char *s, size_t n)
{
	put_uint(o, n, 8);
	put(o, s, n);
}

static void
put_key(struct sq_gguf_out *o, const char *key, enum sq_gguf_value type)
{
	if (o->n == 0)
		put(o, "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", START);
	sq_gguf_put_element(o, key, strlen(key));
	put_uint(o, type, 4);
	o->nkv++;
}

void
sq_gguf_put_string(struct sq_gguf_out *o, const char *key, const char *value,
    size_t n)
{
	put_key(o, key, SQ_GGUF_STRING);
	sq_gguf_put_element(o, value, n);
}

void
sq_gguf_put_u32(struct sq_gguf_out *o, const char *key, uint32_t v)
{
	put_key(o, key, SQ_GGUF_U32);
	put_uint(o, v, 4);
}

void
sq_gguf_put_f32(struct sq_gguf_out *o, const char *key, float v)
{
	put_key(o, key, SQ_GGUF_FLOAT);
	sq_gguf_put_number(o, &v);
}

void
sq_gguf_put_bool(struct sq_gguf_out *o, const char *key, int v)
{
	put_key(o, key, SQ_GGUF_BOOL);
	put_uint(o, v != 0, 1);
}

void
sq_gguf_put_array(struct sq_gguf_out *o, const char *key,
    enum sq_gguf_value type, uint64_t n)
{
	put_key(o, key, SQ_GGUF_ARRAY);
	put_uint(o, type, 4);
	put_uint(o, n, 8);
}

void
sq_gguf_put_number(struct sq_gguf_out *o, const void *four_bytes)
{
	uint32_t v;

	memcpy(&v, four_bytes, 4);
	put_uint(o, v, 4);
}

uint64_t
sq_gguf_put_tensor(struct sq_gguf_out *o, const char *name, int ndim,
    const uint64_t *dim, const struct sq_gguf_kind *k)
{
	uint64_t at = o->data, n = sq_gguf_row_bytes(k, dim[ndim - 1]);
	int i;

	sq_gguf_put_element(o, name, strlen(name));
	put_uint(o, (uint64_t)ndim, 4);
	for (i = ndim - 1; i >= 0; i--)
		put_uint(o, dim[i], 8);
	put_uint(o, (uint64_t)k->type, 4);
	put_uint(o, at, 8);
	for (i = 0; i < ndim - 1; i++)
		n *= dim[i];
	o->data = round_up(at + n, SQ_GGUF_ALIGN);
	o->tensors++;
	return at;
}

uint64_t
sq_gguf_head_bytes(const struct sq_gguf_out *o)
{
	return round_up(o->n, SQ_GGUF_ALIGN);
}

int
sq_gguf_finish(struct sq_gguf_out *o)
{
	int i;

	while (o->n % SQ_GGUF_ALIGN != 0 && !o->failed)
		put(o, "", 1);
	if (o->failed)
		return -1;
	for (i = 0; i < 8; i++) {
		o->head[8 + i] = (uint8_t)(o->tensors >> 8 * i);
		o->head[16 + i] = (uint8_t)(o->nkv >> 8 * i);
	}
	return 0;
}

void
sq_gguf_out_release(struct sq_gguf_out *o)
{
	free(o->head);
	memset(o, 0, sizeof(*o));
}
