/*
 * Safetensors; see fmt_safetensors.h.
 *
 * Headers are untrusted and may be 100 MB: the outer objects are walked here,
 * and jansson gets one bounded value at a time, so that what a header costs in
 * memory is a few times its size whatever is in it.
 */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/utf8.h"
#include "formats/fmt_json.h"
#include "formats/fmt_safetensors.h"

#define MAX_INDEX	((size_t)100000000)
#define MAX_VALUE	((size_t)1 << 16)	/* a key, or what is said of one
						 * tensor; as text */
#define MAX_META	((size_t)1 << 24)	/* one string of the metadata */
#define MAX_OTHER	((size_t)1 << 20)	/* what else is in an index */
#define SHOWN		"%.128s"		/* of a name, in a reason */
#define ALIGN		64
#define METADATA	"__metadata__"
#define SUFFIX		".safetensors"
#define INDEX_SUFFIX	".safetensors.index.json"

/* ---- JSON, one value at a time ---- */

struct text {
	const char *start, *p, *end;
};

/* The next byte that is not blank, or -1. */
static int
peek(struct text *t)
{
	for (; t->p < t->end; t->p++)
		if (*t->p != ' ' && *t->p != '\n' && *t->p != '\r' &&
		    *t->p != '\t')
			return (unsigned char)*t->p;
	return -1;
}

static int
expect(struct text *t, int c, char *err)
{
	if (peek(t) != c)
		return sq_fail(err, "byte %zu: '%c' expected",
		    (size_t)(t->p - t->start), c);
	t->p++;
	return 0;
}

static int
expect_end(struct text *t, char *err)
{
	if (peek(t) != -1)
		return sq_fail(err, "byte %zu: more after the end",
		    (size_t)(t->p - t->start));
	return 0;
}

/* The next value, of at most max bytes of text: a new reference. */
static json_t *
value(struct text *t, size_t max, char *err)
{
	size_t n = (size_t)(t->end - t->p), at = (size_t)(t->p - t->start);
	json_error_t e;
	json_t *v;

	v = json_loadb(t->p, n < max ? n : max, JSON_DECODE_ANY |
	    JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES, &e);
	if (v != NULL) {
		t->p += e.position;
		return v;
	}
	if (n > max &&
	    json_error_code(&e) == json_error_premature_end_of_input)
		sq_fail(err, "byte %zu: a value of more than %zu bytes", at,
		    max);
	else
		sq_fail(err, "byte %zu: %s", at + (size_t)e.position,
		    e.text[0] == '\0' ? "out of memory" : e.text);
	return NULL;
}

static json_t *
string_value(struct text *t, size_t max, char *err)
{
	json_t *v = value(t, max, err);

	if (v == NULL || json_is_string(v))
		return v;
	json_decref(v);
	sq_fail(err, "byte %zu: not a string", (size_t)(t->p - t->start));
	return NULL;
}

/* In an object whose brace has been read: 1 and the next key (a new reference),
 * 0 at its end, or -1. */
static int
next_key(struct text *t, int first, json_t **key, char *err)
{
	if (peek(t) == '}') {
		t->p++;
		return 0;
	}
	if (!first && expect(t, ',', err) < 0)
		return -1;
	if ((*key = string_value(t, MAX_VALUE, err)) == NULL)
		return -1;
	if (expect(t, ':', err) < 0) {
		json_decref(*key);
		return -1;
	}
	return 1;
}

/* Room for one more in an array of n: the array, or NULL with the old one as it
 * was.  Grows by doubling, from 16. */
static void *
room_for_one(void *array, size_t n, size_t size)
{
	if (n != 0 && (n < 16 || (n & (n - 1)) != 0))
		return array;
	return reallocarray(array, n < 16 ? 16 : 2 * n, size);
}

/* ---- one file ---- */

static int
parse_shape(struct sq_st_tensor *t, const json_t *shape, char *err)
{
	const json_t *v;
	size_t i;

	if (!json_is_array(shape))
		return sq_fail(err, "'shape' is missing or not an array");
	if (json_array_size(shape) > SQ_NDIM)
		return sq_fail(err, "%zu dimensions: at most %d are supported",
		    json_array_size(shape), SQ_NDIM);
	t->ndim = (int)json_array_size(shape);
	t->length = sq_dtype_size(t->type);
	json_array_foreach(shape, i, v) {
		if (!json_is_integer(v) || json_integer_value(v) < 0)
			return sq_fail(err, "'shape' holds something else than "
			    "whole numbers");
		t->dim[i] = (uint64_t)json_integer_value(v);
		if (t->dim[i] == 0)
			return sq_fail(err, "a dimension of zero: there is "
			    "nothing in it that can be used");
		if (__builtin_mul_overflow(t->length, t->dim[i], &t->length))
			return sq_fail(err, "a shape out of bounds");
	}
	return 0;
}

/* size: of the data area. */
static int
parse_offsets(struct sq_st_tensor *t, const json_t *pair, uint64_t size,
    char *err)
{
	const json_t *begin = json_array_get(pair, 0);
	const json_t *end = json_array_get(pair, 1);
	json_int_t b, e;

	if (json_array_size(pair) != 2 || !json_is_integer(begin) ||
	    !json_is_integer(end))
		return sq_fail(err, "'data_offsets' is not two whole numbers");
	b = json_integer_value(begin);
	e = json_integer_value(end);
	if (b < 0 || e < b)
		return sq_fail(err, "'data_offsets' out of order");
	if ((uint64_t)e > size)
		return sq_fail(err, "ends at byte %ju of the data, and the "
		    "file has %ju", (uintmax_t)e, (uintmax_t)size);
	if ((uint64_t)(e - b) != t->length)
		return sq_fail(err, "%ju bytes of data for a shape of %ju",
		    (uintmax_t)(e - b), (uintmax_t)t->length);
	t->offset = (uint64_t)b;
	return 0;
}

static int
parse_entry(struct sq_st_tensor *t, const json_t *v, uint64_t size, char *err)
{
	const char *dtype;
	int type;

	if (!json_is_object(v))
		return sq_fail(err, "not an object");
	if (sq_json_string(v, "dtype", &dtype, err) < 0)
		return -1;
	type = sq_dtype_find(dtype);
	if (type < 0 || sq_dtype_size((enum sq_dtype)type) == 0)
		return sq_fail(err, "dtype '%.32s' is not supported", dtype);
	t->type = (enum sq_dtype)type;
	if (parse_shape(t, json_object_get(v, "shape"), err) < 0)
		return -1;
	return parse_offsets(t, json_object_get(v, "data_offsets"), size, err);
}

/* The value of one key of a header, as a tensor of the last shard. */
static int
add_tensor(struct sq_st *st, const char *name, struct text *text,
    uint64_t size, char *err)
{
	struct sq_st_tensor *t;
	json_t *v;
	int r;

	if (strlen(name) > SQ_ST_NAME)
		return sq_fail(err, "a name of %zu bytes", strlen(name));
	t = room_for_one(st->tensor, st->ntensors, sizeof(*t));
	if (t == NULL)
		return sq_fail(err, "out of memory");
	st->tensor = t;
	t += st->ntensors;
	memset(t, 0, sizeof(*t));
	t->shard = st->nshards - 1;
	if ((v = value(text, MAX_VALUE, err)) == NULL)
		return -1;
	r = parse_entry(t, v, size, err);
	json_decref(v);
	if (r < 0)
		return sq_fail(err, "tensor '" SHOWN "': %s", name, err);
	if ((t->name = strdup(name)) == NULL)
		return sq_fail(err, "out of memory");
	st->ntensors++;
	return 0;
}

/* Names and strings, which nothing here needs. */
static int
skip_metadata(struct text *t, char *err)
{
	json_t *key, *v;
	int r, first;

	if (expect(t, '{', err) < 0)
		return -1;
	for (first = 1; (r = next_key(t, first, &key, err)) > 0; first = 0) {
		json_decref(key);
		if ((v = string_value(t, MAX_META, err)) == NULL)
			return -1;
		json_decref(v);
	}
	return r;
}

static int
parse_header(struct sq_st *st, struct text *t, uint64_t size, char *err)
{
	json_t *key;
	int r, r2, first, metadata = 0;

	if (t->p == t->end || *t->p != '{')
		return sq_fail(err, "a header that does not begin with '{'");
	t->p++;
	for (first = 1; (r = next_key(t, first, &key, err)) > 0; first = 0) {
		if (strcmp(json_string_value(key), METADATA) != 0)
			r2 = add_tensor(st, json_string_value(key), t, size,
			    err);
		else if (metadata++)
			r2 = sq_fail(err, "'" METADATA "' is there twice");
		else
			r2 = skip_metadata(t, err);
		json_decref(key);
		if (r2 < 0)
			return -1;
	}
	return r < 0 ? -1 : expect_end(t, err);
}

static int
by_offset(const void *a, const void *b)
{
	uint64_t x = ((const struct sq_st_tensor *)a)->offset;
	uint64_t y = ((const struct sq_st_tensor *)b)->offset;

	return (x > y) - (x < y);
}

/* Sorts the tensors of a file, which are those from `first' on, by place: they
 * must tile its data, `size' bytes from byte `start' on. */
static int
check_tiling(struct sq_st *st, size_t first, uint64_t start, uint64_t size,
    char *err)
{
	struct sq_st_tensor *t;
	uint64_t end = 0;
	size_t i;

	if (st->ntensors > first)
		qsort(&st->tensor[first], st->ntensors - first, sizeof(*t),
		    by_offset);
	for (i = first; i < st->ntensors; i++) {
		t = &st->tensor[i];
		if (t->offset < end)
			return sq_fail(err, "tensors '" SHOWN "' and '" SHOWN
			    "' overlap", t[-1].name, t->name);
		if (t->offset > end)
			return sq_fail(err, "%ju bytes before tensor '" SHOWN
			    "' belong to none", (uintmax_t)(t->offset - end),
			    t->name);
		end += t->length;
		t->offset += start;
	}
	if (end != size)
		return sq_fail(err, "%ju bytes at the end belong to no tensor",
		    (uintmax_t)(size - end));
	return 0;
}

/* The header (malloc'd) and its length. */
static char *
read_header(const struct sq_st_shard *s, uint64_t *length, char *err)
{
	uint64_t n;
	char *header;

	if (sq_pread_full(s->fd, &n, sizeof(n), 0) != (ssize_t)sizeof(n)) {
		sq_fail(err, "too short for safetensors");
		return NULL;
	}
	n = le64toh(n);
	if (n < 2 || n > SQ_ST_HEADER || n > s->size - sizeof(n)) {
		sq_fail(err, "a header of %ju bytes: %s", (uintmax_t)n,
		    n < 2 ? "less than '{}'" : n > s->size - sizeof(n) ?
		    "more than the file has" : "more than is allowed");
		return NULL;
	}
	if ((header = malloc((size_t)n)) == NULL) {
		sq_fail(err, "out of memory");
		return NULL;
	}
	if (sq_pread_full(s->fd, header, (size_t)n, sizeof(n)) != (ssize_t)n) {
		sq_fail(err, "the header cannot be read");
		free(header);
		return NULL;
	}
	*length = n;
	return header;
}

static int
load_shard(struct sq_st *st, const struct sq_st_shard *s, char *err)
{
	size_t first = st->ntensors;
	uint64_t n = 0, size;
	struct text t;
	char *header;
	int r;

	if ((header = read_header(s, &n, err)) == NULL)
		return -1;
	size = s->size - sizeof(n) - n;
	t.start = t.p = header;
	t.end = header + n;
	r = parse_header(st, &t, size, err);
	free(header);
	if (r < 0)
		return -1;
	return check_tiling(st, first, sizeof(n) + n, size, err);
}

/* Takes fd in any case. */
static int
add_shard(struct sq_st *st, const char *name, int fd, char *err)
{
	struct sq_st_shard *s;
	struct stat sb;

	s = room_for_one(st->shard, st->nshards, sizeof(*s));
	if (s == NULL) {
		close(fd);
		return sq_fail(err, "out of memory");
	}
	st->shard = s;
	s += st->nshards++;
	s->fd = fd;
	s->map = NULL;
	if ((s->name = strdup(name)) == NULL)
		return sq_fail(err, "out of memory");
	if (fstat(fd, &sb) < 0 || !S_ISREG(sb.st_mode))
		return sq_fail(err, "'%s': not a regular file", name);
	s->size = (uint64_t)sb.st_size;
	if (load_shard(st, s, err) < 0)
		return sq_fail(err, "'%.200s': %s", name, err);
	return 0;
}

static int
open_shard(struct sq_st *st, int dirfd, const char *name, char *err)
{
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return sq_fail_errno(err, "'%s'", name);
	return add_shard(st, name, fd, err);
}

/* ---- the index of shards ---- */

struct entry {
	char *name, *file;
};

struct index {
	struct entry *entry;
	size_t n;
};

static void
free_index(struct index *x)
{
	size_t i;

	for (i = 0; i < x->n; i++) {
		free(x->entry[i].name);
		free(x->entry[i].file);
	}
	free(x->entry);
}

static int
add_entry(struct index *x, const char *name, const char *file, char *err)
{
	struct entry *e;

	if (strlen(name) > SQ_ST_NAME)
		return sq_fail(err, "a name of %zu bytes", strlen(name));
	if (!sq_blob_name_ok(file))
		return sq_fail(err, "tensor '" SHOWN "': '" SHOWN "' is not a "
		    "plain file name", name, file);
	e = room_for_one(x->entry, x->n, sizeof(*e));
	if (e == NULL)
		return sq_fail(err, "out of memory");
	x->entry = e;
	e += x->n++;
	e->name = strdup(name);
	e->file = strdup(file);
	if (e->name == NULL || e->file == NULL)
		return sq_fail(err, "out of memory");
	return 0;
}

static int
parse_weight_map(struct index *x, struct text *t, char *err)
{
	json_t *key, *file;
	int r, r2, first;

	if (expect(t, '{', err) < 0)
		return -1;
	for (first = 1; (r = next_key(t, first, &key, err)) > 0; first = 0) {
		file = string_value(t, MAX_VALUE, err);
		r2 = file == NULL ? -1 : add_entry(x, json_string_value(key),
		    json_string_value(file), err);
		json_decref(key);
		json_decref(file);
		if (r2 < 0)
			return -1;
	}
	return r;
}

static int
parse_index(struct index *x, struct text *t, char *err)
{
	json_t *key, *v;
	int r, is_map, first, map = 0;

	if (expect(t, '{', err) < 0)
		return -1;
	for (first = 1; (r = next_key(t, first, &key, err)) > 0; first = 0) {
		is_map = strcmp(json_string_value(key), "weight_map") == 0;
		json_decref(key);
		if (!is_map) {
			if ((v = value(t, MAX_OTHER, err)) == NULL)
				return -1;
			json_decref(v);
		} else if (map++)
			return sq_fail(err, "'weight_map' is there twice");
		else if (parse_weight_map(x, t, err) < 0)
			return -1;
	}
	if (r < 0 || expect_end(t, err) < 0)
		return -1;
	if (x->n == 0)
		return sq_fail(err, "'weight_map' is missing or empty");
	return 0;
}

static int
entry_by_file(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->file,
	    ((const struct entry *)b)->file);
}

static int
entry_by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name,
	    ((const struct entry *)b)->name);
}

static int
open_indexed(struct sq_st *st, int dirfd, struct index *x, char *err)
{
	size_t i;

	qsort(x->entry, x->n, sizeof(*x->entry), entry_by_file);
	for (i = 0; i < x->n; i++)
		if ((i == 0 || entry_by_file(&x->entry[i - 1],
		    &x->entry[i]) != 0) &&
		    open_shard(st, dirfd, x->entry[i].file, err) < 0)
			return -1;
	return 0;
}

/* ---- all tensors ---- */

static int
by_name(const void *a, const void *b)
{
	return strcmp((*(struct sq_st_tensor *const *)a)->name,
	    (*(struct sq_st_tensor *const *)b)->name);
}

static int
sort_names(struct sq_st *st, char *err)
{
	const struct sq_st_tensor *t, *u;
	size_t i;

	st->byname = malloc((st->ntensors + 1) * sizeof(*st->byname));
	if (st->byname == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < st->ntensors; i++)
		st->byname[i] = &st->tensor[i];
	qsort(st->byname, st->ntensors, sizeof(*st->byname), by_name);
	for (i = 1; i < st->ntensors; i++) {
		t = st->byname[i - 1];
		u = st->byname[i];
		if (strcmp(t->name, u->name) != 0)
			continue;
		if (t->shard == u->shard)
			return sq_fail(err, "'%s': tensor '" SHOWN "' is there "
			    "twice", st->shard[t->shard].name, t->name);
		return sq_fail(err, "tensor '" SHOWN "' is in '%.100s' and in "
		    "'%.100s'", t->name, st->shard[t->shard].name,
		    st->shard[u->shard].name);
	}
	return 0;
}

/* Both sides are sorted by name: they must say the same. */
static int
match_index(const struct sq_st *st, struct index *x, char *err)
{
	const struct sq_st_tensor *t;
	const struct entry *e;
	size_t i;
	int c;

	qsort(x->entry, x->n, sizeof(*x->entry), entry_by_name);
	for (i = 1; i < x->n; i++)
		if (entry_by_name(&x->entry[i - 1], &x->entry[i]) == 0)
			return sq_fail(err, "tensor '" SHOWN "' is there twice",
			    x->entry[i].name);
	for (i = 0; i < x->n || i < st->ntensors; i++) {
		t = i < st->ntensors ? st->byname[i] : NULL;
		e = i < x->n ? &x->entry[i] : NULL;
		c = t == NULL ? 1 : e == NULL ? -1 : strcmp(t->name, e->name);
		if (c < 0)
			return sq_fail(err, "tensor '" SHOWN "' of '%s' is "
			    "missing", t->name, st->shard[t->shard].name);
		if (c > 0)
			return sq_fail(err, "tensor '" SHOWN "' is not in '%s'",
			    e->name, e->file);
		if (strcmp(st->shard[t->shard].name, e->file) != 0)
			return sq_fail(err, "tensor '" SHOWN "' is not in "
			    "'%.100s' but in '%.100s'", e->name, e->file,
			    st->shard[t->shard].name);
	}
	return 0;
}

static int
load_index(struct sq_st *st, int dirfd, const char *name, char *err)
{
	struct index x = { 0 };
	struct text t;
	char *text;
	size_t n;
	int r = -1;

	if ((text = sq_read_file(dirfd, name, MAX_INDEX, &n, err)) == NULL)
		return -1;
	t.start = t.p = text;
	t.end = text + n;
	if (parse_index(&x, &t, err) < 0) {
		sq_fail(err, "'%s': %s", name, err);
		goto done;
	}
	if (open_indexed(st, dirfd, &x, err) < 0 || sort_names(st, err) < 0)
		goto done;
	r = match_index(st, &x, err);
	if (r < 0)
		sq_fail(err, "'%s': %s", name, err);
done:
	free_index(&x);
	free(text);
	return r;
}

/* ---- a directory ---- */

/* Names of one kind: model's own, else the last one seen, and how many. */
struct found {
	char name[256];
	int model, others;
};

static int
note(struct found *f, const char *name, const char *suffix)
{
	size_t n = strlen(name), m = strlen(suffix);

	if (n <= m || strcmp(name + n - m, suffix) != 0)
		return 0;
	if (n == m + 5 && strncmp(name, "model", 5) == 0)
		f->model = 1;
	else
		f->others++;
	if (!f->model || n == m + 5)
		snprintf(f->name, sizeof(f->name), "%s", name);
	return 1;
}

static int
scan(int dirfd, struct found *file, struct found *index, char *err)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (d == NULL) {
		if (fd >= 0)
			close(fd);
		return sq_fail_errno(err, "cannot be listed");
	}
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.' && !note(file, e->d_name, SUFFIX))
			note(index, e->d_name, INDEX_SUFFIX);
	closedir(d);
	return 0;
}

static int
load_dir(struct sq_st *st, const char *path, int dirfd, char *err)
{
	struct found file = { 0 }, index = { 0 };

	if (scan(dirfd, &file, &index, err) < 0)
		return sq_fail(err, "'%s': %s", path, err);
	if (!file.model && (index.model || index.others == 1))
		return load_index(st, dirfd, index.name, err);
	if (!file.model && index.others > 1)
		return sq_fail(err, "'%s': several indexes", path);
	if (!file.model && file.others == 0)
		return sq_fail(err, "'%s': no *" SUFFIX " in it", path);
	if (!file.model && file.others > 1)
		return sq_fail(err, "'%s': several *" SUFFIX " and no index",
		    path);
	if (open_shard(st, dirfd, file.name, err) < 0)
		return -1;
	return sort_names(st, err);
}

struct sq_st *
sq_st_open(const char *path, char *err)
{
	struct sq_st *st = calloc(1, sizeof(*st));
	struct stat sb;
	int fd = -1, r;

	if (st == NULL) {
		sq_fail(err, "out of memory");
		return NULL;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &sb) < 0) {
		r = sq_fail_errno(err, "'%s'", path);
		if (fd >= 0)
			close(fd);
	} else if (S_ISDIR(sb.st_mode)) {
		r = load_dir(st, path, fd, err);
		close(fd);
	} else {
		r = add_shard(st, path, fd, err);
		if (r == 0)
			r = sort_names(st, err);
	}
	if (r < 0) {
		sq_st_close(st);
		return NULL;
	}
	return st;
}

void
sq_st_close(struct sq_st *st)
{
	size_t i;

	if (st == NULL)
		return;
	for (i = 0; i < st->ntensors; i++)
		free((char *)st->tensor[i].name);
	for (i = 0; i < st->nshards; i++) {
		if (st->shard[i].map != NULL)
			munmap(st->shard[i].map, (size_t)st->shard[i].size);
		close(st->shard[i].fd);
		free(st->shard[i].name);
	}
	free(st->tensor);
	free(st->shard);
	free(st->byname);
	free(st);
}

const struct sq_st_tensor *
sq_st_find(const struct sq_st *st, const char *name)
{
	struct sq_st_tensor key = { .name = name }, *k = &key, **t;

	t = bsearch(&k, st->byname, st->ntensors, sizeof(*t), by_name);
	return t == NULL ? NULL : *t;
}

int
sq_st_read(const struct sq_st *st, const struct sq_st_tensor *t,
    uint64_t offset, void *buf, size_t n, char *err)
{
	const struct sq_st_shard *s = &st->shard[t->shard];
	ssize_t r;

	if (offset > t->length || n > t->length - offset)
		return sq_fail(err, "tensor '" SHOWN "': no %zu bytes at %ju",
		    t->name, n, (uintmax_t)offset);
	r = sq_pread_full(s->fd, buf, n, (off_t)(t->offset + offset));
	if (r < 0)
		return sq_fail_errno(err, "'%s'", s->name);
	if ((size_t)r != n)
		return sq_fail(err, "'%s': has become shorter", s->name);
	return 0;
}

const void *
sq_st_map(struct sq_st *st, const struct sq_st_tensor *t, char *err)
{
	struct sq_st_shard *s = &st->shard[t->shard];
	void *p;

	if (s->map == NULL) {
		if ((p = sq_map_file(s->fd, (size_t)s->size)) == NULL) {
			sq_fail_errno(err, "'%s': cannot be mapped", s->name);
			return NULL;
		}
		s->map = p;
	}
	return (const char *)s->map + t->offset;
}

/* ---- writing ---- */

enum { CLOSED, READY, TENSOR, DONE, BROKEN };

#define MAX_SHARDS	99999
#define MAX_DATA	((uint64_t)1 << 60)	/* bytes of one file */
#define MOVE		((size_t)1 << 20)	/* moved at a time */
#define DEFAULT_ROOM	((uint64_t)64 << 10)	/* for a header, no hint */
#define MAX_ROOM	((uint64_t)32 << 20)	/* whatever the hint */
#define ENTRY		120	/* bytes of header per tensor, without its name:
				 * enough for shards of up to 10 TB */
#define TMP_NAME	"%s-%05zu.tmp"

static uint64_t
align(uint64_t n)
{
	return (n + ALIGN - 1) / ALIGN * ALIGN;
}

/* Where data begin behind a header for what the hint says is to come. */
static uint64_t
room_for_header(const struct sq_st_hint *h)
{
	uint64_t n = DEFAULT_ROOM;

	if (h->tensors > MAX_ROOM || h->name_bytes > MAX_ROOM)
		n = MAX_ROOM;
	else if (h->tensors > 0)
		n = ENTRY * (1 + (uint64_t)h->tensors) + h->name_bytes;
	if (n > MAX_ROOM)
		n = MAX_ROOM;
	return align(n);
}

/* What the hint says of all, less one tensor. */
static void
lower_hint(struct sq_st_hint *h, size_t name_bytes)
{
	if (h->tensors > 0)
		h->tensors--;
	h->name_bytes -= h->name_bytes < name_bytes ? h->name_bytes :
	    name_bytes;
}

static void
close_shard(struct sq_st_out *o)
{
	if (o->head != NULL)
		fclose(o->head);
	free(o->text);
	o->head = NULL;
	o->text = NULL;
	if (o->dirfd >= 0 && o->fd >= 0) {
		close(o->fd);
		o->fd = -1;
	}
}

void
sq_st_out_release(struct sq_st_out *o)
{
	if (o->state == CLOSED)
		return;
	close_shard(o);
	free(o->stem);
	json_decref(o->names);
	o->stem = NULL;
	o->names = NULL;
	o->state = CLOSED;
}

static int
init(struct sq_st_out *o, const struct sq_st_hint *hint)
{
	memset(o, 0, sizeof(*o));
	o->dirfd = o->fd = -1;
	if (hint != NULL)
		o->hint = *hint;
	if ((o->names = json_object()) == NULL)
		return sq_fail(o->err, "out of memory");
	o->state = READY;
	return 0;
}

int
sq_st_out_open_dir(struct sq_st_out *o, int dirfd, const char *stem,
    uint64_t limit, const struct sq_st_hint *hint)
{
	if (init(o, hint) < 0)
		return -1;
	o->dirfd = dirfd;
	o->limit = limit;
	o->stem = strdup(stem);
	if (o->stem != NULL && sq_blob_name_ok(stem) &&
	    strlen(stem) + sizeof("-00001-of-00002" INDEX_SUFFIX) <= SQ_NAME)
		return 0;
	sq_st_out_release(o);
	return sq_fail(o->err, "'%s': cannot name output files", stem);
}

int
sq_st_out_open_fd(struct sq_st_out *o, int fd, const struct sq_st_hint *hint)
{
	struct stat sb;

	if (init(o, hint) < 0)
		return -1;
	o->fd = fd;
	if (fstat(fd, &sb) == 0 && S_ISREG(sb.st_mode) &&
	    (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR)
		return 0;
	sq_st_out_release(o);
	return sq_fail(o->err, "not a regular file open for both reading and "
	    "writing");
}

static int
start_shard(struct sq_st_out *o)
{
	char name[SQ_NAME];

	if (o->dirfd >= 0) {
		if (o->shards == MAX_SHARDS)
			return sq_fail(o->err, "more than %d shards",
			    MAX_SHARDS);
		snprintf(name, sizeof(name), TMP_NAME, o->stem, o->shards + 1);
		o->fd = openat(o->dirfd, name, O_RDWR | O_CREAT |
		    O_NOFOLLOW | O_CLOEXEC, 0666);
		if (o->fd < 0)
			return sq_fail_errno(o->err, "'%s'", name);
		o->looking = 1;
	}
	o->shards++;
	o->have = 0;
	o->room = room_for_header(&o->hint);
	if ((o->head = open_memstream(&o->text, &o->text_len)) == NULL)
		return sq_fail(o->err, "out of memory");
	fputs("{\"" METADATA "\":{\"format\":\"pt\"}", o->head);
	return 0;
}

static int
move_piece(struct sq_st_out *o, char *buf, uint64_t from, uint64_t to, size_t n)
{
	ssize_t r = sq_pread_full(o->fd, buf, n, (off_t)from);

	if (r >= 0 && (size_t)r < n)
		return sq_fail(o->err, "the output has become shorter");
	if (r < 0 || sq_pwrite_full(o->fd, buf, n, (off_t)to) < 0)
		return sq_fail_errno(o->err, "cannot move data");
	return 0;
}

/* Moves n bytes of the file from `from' up to `to', last ones first: a piece is
 * read before anything is written over it. */
static int
move_up(struct sq_st_out *o, uint64_t from, uint64_t to, uint64_t n)
{
	char *buf = malloc(MOVE);
	size_t m;
	int r = 0;

	if (buf == NULL)
		return sq_fail(o->err, "out of memory");
	while (n > 0 && r == 0) {
		m = n < MOVE ? (size_t)n : MOVE;
		n -= m;
		r = move_piece(o, buf, from + n, to + n, m);
	}
	free(buf);
	return r;
}

/* The header in front of the data, padded with spaces to them. */
static int
write_header(struct sq_st_out *o)
{
	uint64_t n = o->room - 8;
	char *buf = malloc((size_t)o->room);
	int r;

	if (buf == NULL)
		return sq_fail(o->err, "out of memory");
	n = htole64(n);
	memcpy(buf, &n, 8);
	memcpy(buf + 8, o->text, o->text_len);
	memset(buf + 8 + o->text_len, ' ',
	    (size_t)o->room - 8 - o->text_len);
	r = sq_pwrite_full(o->fd, buf, (size_t)o->room, 0);
	free(buf);
	return r < 0 ? sq_fail_errno(o->err, "cannot write") : 0;
}

static int
finish_shard(struct sq_st_out *o)
{
	uint64_t need;

	putc('}', o->head);
	if (fflush(o->head) != 0 || ferror(o->head))
		return sq_fail(o->err, "out of memory");
	need = align(8 + (uint64_t)o->text_len);
	if (need - 8 > SQ_ST_HEADER)
		return sq_fail(o->err, "a header of %zu bytes: the limit is "
		    "%ju", o->text_len, (uintmax_t)SQ_ST_HEADER);
	if (need > o->room) {
		if (move_up(o, o->room, need, o->have) < 0)
			return -1;
		o->room = need;
	}
	if (write_header(o) < 0)
		return -1;
	if (ftruncate(o->fd, (off_t)(o->room + o->have)) < 0 ||
	    fsync(o->fd) < 0)
		return sq_fail_errno(o->err, "cannot write");
	close_shard(o);
	o->finished++;
	return 0;
}

/* Are these the next n bytes of the file already, and all before them? */
static int
is_there(struct sq_st_out *o, const char *buf, size_t n)
{
	char old[16 << 10];
	size_t at, m;
	ssize_t r;

	for (at = 0; o->looking && at < n; at += m) {
		m = n - at < sizeof(old) ? n - at : sizeof(old);
		r = sq_pread_full(o->fd, old, m, (off_t)(o->room + o->have +
		    at));
		o->looking = r == (ssize_t)m && memcmp(old, buf + at, m) == 0;
	}
	return o->looking;
}

/* 1 when a tensor of that length must go into another shard. */
static int
is_full(const struct sq_st_out *o, uint64_t length)
{
	if (o->dirfd < 0 || o->have == 0)
		return 0;
	if ((uint64_t)ftello(o->head) > SQ_ST_HEADER / 2)
		return 1;
	return o->limit > 0 && (o->have >= o->limit ||
	    length > o->limit - o->have);
}

static int
length_of(struct sq_st_out *o, const char *name, enum sq_dtype type, int ndim,
    const uint64_t *dim, uint64_t *length)
{
	uint64_t n;
	int i;

	if ((unsigned)type >= SQ_DTYPES || sq_dtype_size(type) == 0)
		return sq_fail(o->err, "tensor '" SHOWN "': a type that "
		    "safetensors does not have", name);
	if (ndim < 0 || ndim > SQ_NDIM)
		return sq_fail(o->err, "tensor '" SHOWN "': %d dimensions",
		    name, ndim);
	n = sq_dtype_size(type);
	for (i = 0; i < ndim; i++)
		if (dim[i] == 0 || __builtin_mul_overflow(n, dim[i], &n) ||
		    n > MAX_DATA)
			return sq_fail(o->err, "tensor '" SHOWN "': a shape "
			    "out of bounds", name);
	*length = n;
	return 0;
}

static int
check_name(struct sq_st_out *o, const char *name)
{
	if (strlen(name) > SQ_ST_NAME ||
	    !sq_utf8_valid(name, strlen(name)) || strcmp(name, METADATA) == 0)
		return sq_fail(o->err, "'" SHOWN "': not a name for a tensor",
		    name);
	if (json_object_get(o->names, name) != NULL)
		return sq_fail(o->err, "tensor '" SHOWN "' is there already",
		    name);
	return 0;
}

/* A JSON string. */
static int
print_string(FILE *f, const char *s)
{
	json_t *v = json_string(s);
	char *t = v == NULL ? NULL : json_dumps(v, JSON_ENCODE_ANY);

	json_decref(v);
	if (t == NULL)
		return -1;
	fputs(t, f);
	free(t);
	return 0;
}

static int
print_entry(struct sq_st_out *o, const char *name, enum sq_dtype type,
    int ndim, const uint64_t *dim, uint64_t length)
{
	int i;

	putc(',', o->head);
	if (print_string(o->head, name) < 0)
		return sq_fail(o->err, "out of memory");
	fprintf(o->head, ":{\"dtype\":\"%s\",\"shape\":[", sq_dtype_name(type));
	for (i = 0; i < ndim; i++)
		fprintf(o->head, "%s%ju", i == 0 ? "" : ",",
		    (uintmax_t)dim[i]);
	fprintf(o->head, "],\"data_offsets\":[%ju,%ju]}", (uintmax_t)o->have,
	    (uintmax_t)(o->have + length));
	return 0;
}

static int
begin(struct sq_st_out *o, const char *name, enum sq_dtype type, int ndim,
    const uint64_t *dim)
{
	uint64_t n = 0;

	if (check_name(o, name) < 0 ||
	    length_of(o, name, type, ndim, dim, &n) < 0)
		return -1;
	if (o->head != NULL && is_full(o, n) && finish_shard(o) < 0)
		return -1;
	if (o->head == NULL && start_shard(o) < 0)
		return -1;
	if (o->total + n > MAX_DATA)
		return sq_fail(o->err, "tensor '" SHOWN "': too much data",
		    name);
	if (json_object_set_new(o->names, name,
	    json_integer((json_int_t)o->shards)) < 0)
		return sq_fail(o->err, "out of memory");
	if (print_entry(o, name, type, ndim, dim, n) < 0)
		return -1;
	lower_hint(&o->hint, strlen(name));
	o->tensors++;
	o->total += n;
	o->left = n;
	return 0;
}

/* The calls must come in order; after a failure nothing is done any more. */
static int
in_state(struct sq_st_out *o, int state)
{
	if (o->state == state)
		return 1;
	if (o->state != BROKEN)
		sq_fail(o->err, "a call out of order");
	o->state = BROKEN;
	return 0;
}

static int
enter(struct sq_st_out *o, int r, int state)
{
	o->state = r < 0 ? BROKEN : state;
	return r;
}

int
sq_st_out_begin(struct sq_st_out *o, const char *name, enum sq_dtype type,
    int ndim, const uint64_t *dim)
{
	if (!in_state(o, READY))
		return -1;
	return enter(o, begin(o, name, type, ndim, dim), TENSOR);
}

int
sq_st_out_write(struct sq_st_out *o, const void *buf, size_t n)
{
	if (!in_state(o, TENSOR))
		return -1;
	if (n > o->left)
		return enter(o, sq_fail(o->err, "more bytes than the tensor "
		    "has"), TENSOR);
	if (is_there(o, buf, n))
		o->reused += n;
	else if (sq_pwrite_full(o->fd, buf, n, (off_t)(o->room + o->have)) < 0)
		return enter(o, sq_fail_errno(o->err, "cannot write"), TENSOR);
	o->have += n;
	o->left -= n;
	return 0;
}

int
sq_st_out_end(struct sq_st_out *o)
{
	if (!in_state(o, TENSOR))
		return -1;
	if (o->left != 0)
		return enter(o, sq_fail(o->err, "fewer bytes than the tensor "
		    "has"), READY);
	return enter(o, 0, READY);
}

int
sq_st_out_tensor(struct sq_st_out *o, const char *name, enum sq_dtype type,
    int ndim, const uint64_t *dim, const void *data)
{
	if (sq_st_out_begin(o, name, type, ndim, dim) < 0 ||
	    sq_st_out_write(o, data, (size_t)o->left) < 0)
		return -1;
	return sq_st_out_end(o);
}

static void
shard_name(const struct sq_st_out *o, size_t k, char name[SQ_NAME])
{
	if (o->shards == 1)
		snprintf(name, SQ_NAME, "%s" SUFFIX, o->stem);
	else
		snprintf(name, SQ_NAME, "%s-%05zu-of-%05zu" SUFFIX, o->stem, k,
		    o->shards);
}

static int
print_index(struct sq_st_out *o, FILE *f)
{
	const char *key, *comma = "";
	char file[SQ_NAME];
	json_t *v;

	fprintf(f, "{\n  \"metadata\": {\n    \"total_size\": %ju\n  },\n"
	    "  \"weight_map\": {", (uintmax_t)o->total);
	json_object_foreach(o->names, key, v) {
		shard_name(o, (size_t)json_integer_value(v), file);
		fprintf(f, "%s\n    ", comma);
		if (print_string(f, key) < 0)
			return sq_fail(o->err, "out of memory");
		fprintf(f, ": \"%s\"", file);
		comma = ",";
	}
	fputs("\n  }\n}\n", f);
	if (fflush(f) != 0 || ferror(f) || fsync(fileno(f)) < 0)
		return sq_fail_errno(o->err, "cannot write");
	return 0;
}

static int
write_index(struct sq_st_out *o)
{
	char name[SQ_NAME];
	FILE *f;
	int fd, r;

	snprintf(name, sizeof(name), "%s" INDEX_SUFFIX, o->stem);
	fd = openat(o->dirfd, name, O_WRONLY | O_CREAT | O_TRUNC |
	    O_NOFOLLOW | O_CLOEXEC, 0666);
	if (fd < 0)
		return sq_fail_errno(o->err, "'%s'", name);
	if ((f = fdopen(fd, "w")) == NULL) {
		close(fd);
		return sq_fail(o->err, "out of memory");
	}
	r = print_index(o, f);
	fclose(f);
	return r;
}

static int
finish(struct sq_st_out *o)
{
	char from[SQ_NAME], to[SQ_NAME];
	size_t k;

	if (o->shards == 0 && start_shard(o) < 0)
		return -1;
	if (finish_shard(o) < 0)
		return -1;
	if (o->dirfd < 0)
		return 0;
	for (k = 1; k <= o->shards; k++) {
		snprintf(from, sizeof(from), TMP_NAME, o->stem, k);
		shard_name(o, k, to);
		if (renameat(o->dirfd, from, o->dirfd, to) < 0)
			return sq_fail_errno(o->err, "'%s'", to);
	}
	return o->shards > 1 ? write_index(o) : 0;
}

int
sq_st_out_finish(struct sq_st_out *o)
{
	if (!in_state(o, READY))
		return -1;
	return enter(o, finish(o), DONE);
}
