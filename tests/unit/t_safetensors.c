/* Safetensors: what is read, what is refused and why, what is written. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/outfile.h"
#include "formats/fmt_safetensors.h"

#define VECTORS	"tests/formats/safetensors"
#define MANY	100000

static char err[SQ_ERR];
static char dir[64];		/* of this test, removed after it */

static void
setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/t_safetensors.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void
remove_tree(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	char sub[512];

	while (d != NULL && (e = readdir(d)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name);
		if (unlink(sub) < 0)
			remove_tree(sub);
	}
	if (d != NULL)
		closedir(d);
	rmdir(path);
}

static void
teardown(void)
{
	remove_tree(dir);
}

/* A path in the directory of this test, until the next call but three. */
static const char *
in_dir(const char *name)
{
	static char path[4][512];
	static int turn;

	turn = (turn + 1) % 4;
	snprintf(path[turn], sizeof(path[0]), "%s/%s", dir, name);
	return path[turn];
}

static struct sq_st *
must_open(const char *path)
{
	struct sq_st *st = sq_st_open(path, err);

	ck_assert_msg(st != NULL, "%s: %s", path, err);
	return st;
}

/* Opening fails, and the reason has `why' in it. */
static void
refused(const char *path, const char *why)
{
	struct sq_st *st;

	err[0] = '\0';
	st = sq_st_open(path, err);
	ck_assert_msg(st == NULL, "%s: was opened", path);
	ck_assert_msg(strstr(err, why) != NULL, "%s: '%s', and not '%s'", path,
	    err, why);
	ck_assert_ptr_null(strchr(err, '\n'));
}

/* A file of that header, `size' bytes long (sparse). */
static const char *
make_file(const char *name, const char *header, uint64_t n, off_t size)
{
	const char *path = in_dir(name);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(sq_pwrite_full(fd, &n, 8, 0), 0);
	ck_assert_int_eq(sq_pwrite_full(fd, header, strlen(header), 8), 0);
	ck_assert_int_eq(ftruncate(fd, size), 0);
	close(fd);
	return path;
}

static char *
slurp(const char *path, size_t *n)
{
	char *s = sq_read_file(AT_FDCWD, path, (size_t)1 << 30, n, err);

	ck_assert_msg(s != NULL, "%s", err);
	return s;
}

/* ---- the reader ---- */

/* Found by name, and the same bytes by reading and by mapping. */
static void
check_tensor(struct sq_st *st, const struct sq_st_tensor *t)
{
	unsigned char *buf = malloc(t->length);
	const unsigned char *map = sq_st_map(st, t, err);
	uint64_t half = t->length / 2;

	ck_assert_ptr_eq(sq_st_find(st, t->name), t);
	ck_assert_msg(map != NULL, "%s", err);
	ck_assert_int_eq(sq_st_read(st, t, 0, buf, half, err), 0);
	ck_assert_int_eq(sq_st_read(st, t, half, buf + half, t->length - half,
	    err), 0);
	ck_assert_int_eq(memcmp(buf, map, t->length), 0);
	ck_assert_int_eq(sq_st_read(st, t, t->length, buf, 0, err), 0);
	ck_assert_int_eq(sq_st_read(st, t, half, buf, t->length, err),
	    half == 0 ? 0 : -1);
	ck_assert_int_eq(sq_st_read(st, t, UINT64_MAX, buf, 1, err), -1);
	free(buf);
}

static void
check_good(const char *path)
{
	struct sq_st *st = must_open(path);
	size_t i;

	for (i = 0; i < st->ntensors; i++)
		check_tensor(st, &st->tensor[i]);
	ck_assert_ptr_null(sq_st_find(st, "no such tensor"));
	sq_st_close(st);
}

START_TEST(good_vectors)
{
	DIR *d = opendir(VECTORS "/good");
	struct dirent *e;
	char path[512];
	int n = 0;

	ck_assert_ptr_nonnull(d);
	while ((e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), VECTORS "/good/%s", e->d_name);
		check_good(path);
		n++;
	}
	closedir(d);
	ck_assert_int_ge(n, 16);
}
END_TEST

/* EXPECT has a line for each bad vector: its name, a tab, a part of why. */
START_TEST(bad_vectors)
{
	FILE *f = fopen(VECTORS "/bad/EXPECT", "r");
	DIR *d = opendir(VECTORS "/bad");
	struct dirent *e;
	char line[256], path[512], *why;
	int n = 0, files = 0;

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		why = strchr(line, '\t');
		ck_assert_ptr_nonnull(why);
		*why++ = '\0';
		snprintf(path, sizeof(path), VECTORS "/bad/%s", line);
		refused(path, why);
		n++;
	}
	fclose(f);
	while ((e = readdir(d)) != NULL)
		files += e->d_name[0] != '.';
	closedir(d);
	ck_assert_int_eq(n + 1, files);
	ck_assert_int_ge(n, 85);
}
END_TEST

START_TEST(listing)
{
	struct sq_st *st = must_open(VECTORS "/good/dir-shards");
	static const char *const names[] = { "a", "c", "b" };
	const struct sq_st_tensor *t = st->tensor;
	size_t i;

	ck_assert_uint_eq(st->ntensors, 3);
	ck_assert_uint_eq(st->nshards, 2);
	ck_assert_str_eq(st->shard[0].name, "model-00001-of-00002.safetensors");
	for (i = 0; i < 3; i++)
		ck_assert_str_eq(t[i].name, names[i]);
	ck_assert_int_eq(t[0].type, SQ_F32);
	ck_assert_int_eq(t[0].ndim, 2);
	ck_assert_uint_eq(t[0].dim[0], 2);
	ck_assert_uint_eq(t[0].dim[1], 3);
	ck_assert_uint_eq(t[0].shard, 0);
	ck_assert_uint_eq(t[0].length, 24);
	ck_assert_uint_eq(t[0].offset, st->shard[0].size - 24);
	ck_assert_uint_eq(t[2].shard, 1);
	ck_assert_uint_eq(t[2].offset, st->shard[1].size - 2);
	sq_st_close(st);
	st = must_open(VECTORS "/good/backwards.safetensors");
	ck_assert_str_eq(st->tensor[0].name, "x");
	ck_assert_str_eq(st->tensor[2].name, "z");
	sq_st_close(st);
	st = must_open(VECTORS "/good/utf8.safetensors");
	ck_assert_str_eq(st->tensor[0].name,
	    "\u00e9\u00e9\U0001f600\u6743");
	sq_st_close(st);
	st = must_open(VECTORS "/good/scalar.safetensors");
	ck_assert_int_eq(st->tensor[0].ndim, 0);
	sq_st_close(st);
}
END_TEST

START_TEST(no_files)
{
	char path[600];

	refused(in_dir("missing"), "No such file");
	refused("/dev/null", "not a regular file");
	ck_assert_int_eq(mkfifo(in_dir("pipe"), 0666), 0);
	refused(in_dir("pipe"), "not a regular file");
	ck_assert_int_eq(mkdir(in_dir("model.safetensors"), 0777), 0);
	refused(dir, "not a regular file");
	rmdir(in_dir("model.safetensors"));
	ck_assert_int_eq(symlink("nowhere", in_dir("model.safetensors")), 0);
	refused(dir, "'model.safetensors': No such file");
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	refused(path, "x");
	sq_st_close(NULL);
}
END_TEST

/* The caches of Hugging Face are made of links that lead elsewhere. */
START_TEST(links)
{
	char cwd[256], to[512];
	struct sq_st *st;

	ck_assert_ptr_nonnull(getcwd(cwd, sizeof(cwd)));
	snprintf(to, sizeof(to), "%s/" VECTORS "/good/one.safetensors", cwd);
	ck_assert_int_eq(symlink(to, in_dir("model.safetensors")), 0);
	st = must_open(dir);
	check_tensor(st, &st->tensor[0]);
	sq_st_close(st);
}
END_TEST

START_TEST(huge_and_sparse)
{
	const char *h = "{\"w\":{\"dtype\":\"F32\",\"shape\":[5,1073741824],"
	    "\"data_offsets\":[0,21474836480]}}";
	uint64_t n = strlen(h);
	struct sq_st *st;
	const float *w;
	float x = 1;

	st = must_open(make_file("huge", h, n, 21474836480 + 8 + (off_t)n));
	ck_assert_int_eq(sq_st_read(st, &st->tensor[0], 21474836476, &x, 4,
	    err), 0);
	ck_assert(x == 0);
	w = sq_st_map(st, &st->tensor[0], err);
	ck_assert_msg(w != NULL, "%s", err);
	ck_assert_int_eq(memcmp((const char *)w + 21474836476, &x, 4), 0);
	sq_st_close(st);
	refused(make_file("short", h, n, 21474836480 + 7 + (off_t)n), "ends");
	refused(make_file("limit", "{", SQ_ST_HEADER + 1, 200000000),
	    "more than is allowed");
	refused(make_file("at-limit", "{", SQ_ST_HEADER, 200000000), "byte ");
}
END_TEST

START_TEST(shrinks)
{
	const char *h = "{\"w\":{\"dtype\":\"U8\",\"shape\":[9999],"
	    "\"data_offsets\":[0,9999]}}";
	const char *path = make_file("file", h, strlen(h),
	    9999 + 8 + (off_t)strlen(h));
	struct sq_st *st = must_open(path);
	char buf[9999];

	ck_assert_int_eq(sq_st_read(st, st->tensor, 0, buf, 9999, err), 0);
	ck_assert_int_eq(truncate(path, 5000), 0);
	ck_assert_int_eq(sq_st_read(st, st->tensor, 0, buf, 9999, err), -1);
	ck_assert_ptr_nonnull(strstr(err, "has become shorter"));
	ck_assert_int_eq(sq_st_read(st, st->tensor, 0, buf, 1000, err), 0);
	sq_st_close(st);
}
END_TEST

/* {"NAME":OF_IT} with so many bytes x in the place of the %s in `fmt'. */
static const char *
make_long(const char *name, const char *before, size_t n, const char *after)
{
	size_t a = strlen(before), b = strlen(after);
	char *h = malloc(a + n + b + 1);
	const char *path;

	memcpy(h, before, a);
	memset(h + a, 'x', n);
	memcpy(h + a + n, after, b + 1);
	path = make_file(name, h, a + n + b, (off_t)(8 + a + n + b));
	free(h);
	return path;
}

START_TEST(long_values)
{
	check_good(make_long("metadata", "{\"__metadata__\":{\"m\":\"",
	    9 << 20, "\"}}"));
	refused(make_long("metadata", "{\"__metadata__\":{\"m\":\"", 17 << 20,
	    "\"}}"), "a value of more than 16777216 bytes");
	refused(make_long("key", "{\"", 70000, "\":1}"), "a value of more");
	refused(make_long("name", "{\"", 4097, "\":1}"), "a name of 4097");
	refused(make_long("name", "{\"", 4096, "\":1}"), "not an object");
	refused(make_long("entry", "{\"a\":{\"", 70000, "\":1}}"),
	    "a value of more than 65536 bytes");
}
END_TEST

/* A model that its family publishes; its index is read by others too. */
START_TEST(reference_model)
{
	const char *shared = getenv("SQ_SHARED");
	char path[512];

	snprintf(path, sizeof(path), "%s/models/sq-ref-7m",
	    shared == NULL ? "../shared" : shared);
	if (access(path, R_OK) < 0) {
		printf("t_safetensors: skipped: no '%s'\n", path);
		return;
	}
	check_good(path);
}
END_TEST

/* ---- the writer ---- */

static int
temp_fd(const char *name)
{
	int fd = open(in_dir(name), O_RDWR | O_CREAT | O_TRUNC, 0666);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static void
fill(unsigned char *p, size_t n, unsigned seed)
{
	size_t i;

	for (i = 0; i < n; i++) {
		seed = seed * 1664525 + 1013904223;
		p[i] = (unsigned char)(seed >> 24);
	}
}

/* n tensors of `size' bytes, written in three pieces. */
static void
put_tensors(struct sq_st_out *o, int n, uint64_t size)
{
	unsigned char *buf = malloc(size);
	char name[64];
	int i;

	for (i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "layers.%d.weight", i);
		fill(buf, size, (unsigned)i);
		ck_assert_msg(sq_st_out_begin(o, name, SQ_U8, 1, &size) == 0,
		    "%s", o->err);
		ck_assert_int_eq(sq_st_out_write(o, buf, 1), 0);
		ck_assert_int_eq(sq_st_out_write(o, buf + 1, 0), 0);
		ck_assert_int_eq(sq_st_out_write(o, buf + 1, size - 1), 0);
		ck_assert_int_eq(sq_st_out_end(o), 0);
	}
	free(buf);
}

static void
check_tensors(const char *path, int n, uint64_t size)
{
	unsigned char *buf = malloc(size);
	struct sq_st *st = must_open(path);
	const struct sq_st_tensor *t;
	char name[64];
	int i;

	ck_assert_uint_eq(st->ntensors, (size_t)n);
	for (i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "layers.%d.weight", i);
		ck_assert_ptr_nonnull(t = sq_st_find(st, name));
		ck_assert_ptr_eq(t, &st->tensor[i]);
		ck_assert_uint_eq(t->length, size);
		fill(buf, size, (unsigned)i);
		ck_assert_int_eq(memcmp(buf, sq_st_map(st, t, err), size), 0);
	}
	sq_st_close(st);
	free(buf);
}

/* Where the data begin. */
static uint64_t
data_start(const char *path)
{
	struct sq_st *st = must_open(path);
	uint64_t n = st->tensor[0].offset;

	sq_st_close(st);
	return n;
}

static void
write_file(const char *name, int n, uint64_t size, const struct sq_st_hint *h)
{
	struct sq_st_out o;
	int fd = temp_fd(name);

	ck_assert_int_eq(sq_st_out_open_fd(&o, fd, h), 0);
	put_tensors(&o, n, size);
	ck_assert_uint_eq(o.total, (uint64_t)n * size);
	ck_assert_msg(sq_st_out_finish(&o) == 0, "%s", o.err);
	sq_st_out_release(&o);
	close(fd);
}

START_TEST(exact_bytes)
{
	struct sq_st_hint hint = { 1, 1 };
	struct sq_st_out o;
	uint64_t dim[2] = { 2, 3 };
	char *s;
	size_t n;
	int fd = temp_fd("file");

	ck_assert_int_eq(sq_st_out_open_fd(&o, fd, &hint), 0);
	ck_assert_int_eq(sq_st_out_tensor(&o, "a", SQ_BF16, 2, dim,
	    "abcdefghijkl"), 0);
	ck_assert_int_eq(sq_st_out_tensor(&o, "\"\n\u00e9", SQ_F32, 0, NULL,
	    "wxyz"), 0);
	ck_assert_int_eq(sq_st_out_finish(&o), 0);
	sq_st_out_release(&o);
	close(fd);
	s = slurp(in_dir("file"), &n);
	ck_assert_uint_eq(n, 256 + 16);
	ck_assert_int_eq(memcmp(s, "\370\0\0\0\0\0\0\0", 8), 0);
	s[n] = '\0';
	ck_assert_str_eq(s + 8, "{\"__metadata__\":{\"format\":\"pt\"},\"a\":"
	    "{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[0,12]},"
	    "\"\\\"\\n\u00e9\":{\"dtype\":\"F32\",\"shape\":[],"
	    "\"data_offsets\":[12,16]}}"
	    "                                                            "
	    "                                        abcdefghijklwxyz");
	free(s);
}
END_TEST

START_TEST(nothing_in_it)
{
	struct sq_st_out o;
	struct sq_st *st;
	int fd = temp_fd("file");

	ck_assert_int_eq(sq_st_out_open_fd(&o, fd, NULL), 0);
	ck_assert_int_eq(sq_st_out_finish(&o), 0);
	sq_st_out_release(&o);
	sq_st_out_release(&o);
	close(fd);
	st = must_open(in_dir("file"));
	ck_assert_uint_eq(st->ntensors, 0);
	sq_st_close(st);
}
END_TEST

START_TEST(all_types)
{
	unsigned char buf[8 * 24] = { 1, 2, 3 };
	uint64_t dim[4] = { 2, 3, 1, 4 };
	struct sq_st_out o;
	struct sq_st *st;
	int fd = temp_fd("file"), i;

	ck_assert_int_eq(sq_st_out_open_fd(&o, fd, NULL), 0);
	for (i = 0; i < SQ_BITS; i++)
		ck_assert_int_eq(sq_st_out_tensor(&o,
		    sq_dtype_name((enum sq_dtype)i), (enum sq_dtype)i, i % 5,
		    dim, buf), 0);
	ck_assert_int_eq(sq_st_out_finish(&o), 0);
	sq_st_out_release(&o);
	close(fd);
	st = must_open(in_dir("file"));
	ck_assert_uint_eq(st->ntensors, SQ_BITS);
	for (i = 0; i < SQ_BITS; i++) {
		ck_assert_int_eq(st->tensor[i].type, i);
		ck_assert_int_eq(st->tensor[i].ndim, i % 5);
		ck_assert_int_eq(memcmp(st->tensor[i].dim, dim,
		    (size_t)(i % 5) * 8), 0);
		check_tensor(st, &st->tensor[i]);
	}
	sq_st_close(st);
}
END_TEST

/* A hint that is right, none, and hints so small that the data must move: by
 * less and by more than what is moved at a time, of sizes around that. */
START_TEST(header_room)
{
	static const struct {
		int n;
		uint64_t size;
		size_t tensors, name_bytes;
		int moves;
	} c[] = {
		{ 100, 1000, 100, 1700, 0 },
		{ 100, 1000, 0, 0, 0 },
		{ 100, 1000, 1, 10, 1 },
		{ 5, 1, 1, 0, 1 },
		{ 5, 1 << 20, 1, 0, 1 },
		{ 5, (1 << 20) + 1, 1, 0, 1 },
		{ 5, (1 << 20) - 3, 1, 0, 1 },
		{ 20000, 100, 1, 0, 1 },
		{ 20000, 100, 0, 0, 1 },
		{ 20000, 100, SIZE_MAX, SIZE_MAX, 0 },
	};
	struct sq_st_hint h;
	uint64_t start, room;
	size_t i;

	for (i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		h.tensors = c[i].tensors;
		h.name_bytes = c[i].name_bytes;
		write_file("file", c[i].n, c[i].size, &h);
		check_tensors(in_dir("file"), c[i].n, c[i].size);
		start = data_start(in_dir("file"));
		room = c[i].tensors == 0 ? 65536 : c[i].tensors > 1 << 25 ?
		    1 << 25 : (120 * (1 + c[i].tensors) +
		    c[i].name_bytes + 63) / 64 * 64;
		ck_assert_uint_eq(start % 64, 0);
		if (c[i].moves)
			ck_assert_uint_gt(start, room);
		else
			ck_assert_uint_eq(start, room);
	}
}
END_TEST

/* The room that the hint leaves is enough for any tensor of its names. */
START_TEST(hint_suffices)
{
	struct sq_st_hint h = { 1, 1 };
	uint64_t dim[SQ_NDIM] = { 1048576, 2 };
	char *buf = calloc(1, 2 << 20);
	struct sq_st_out o;
	int i, fd = temp_fd("file");

	for (i = 2; i < SQ_NDIM; i++)
		dim[i] = 1;
	ck_assert_int_eq(sq_st_out_open_fd(&o, fd, &h), 0);
	ck_assert_int_eq(sq_st_out_tensor(&o, "x", SQ_F8_E4M3, SQ_NDIM, dim,
	    buf), 0);
	ck_assert_int_eq(sq_st_out_finish(&o), 0);
	sq_st_out_release(&o);
	ck_assert_uint_eq(data_start(in_dir("file")), 256);
	free(buf);
	close(fd);
}
END_TEST

START_TEST(same_bytes)
{
	struct sq_st_hint h = { 50, 800 };
	char *a, *b;
	size_t n, m;

	write_file("a", 50, 777, &h);
	write_file("b", 10, 100000, &h);	/* longer: it is cut */
	write_file("b", 50, 777, &h);
	a = slurp(in_dir("a"), &n);
	b = slurp(in_dir("b"), &m);
	ck_assert_uint_eq(n, m);
	ck_assert_int_eq(memcmp(a, b, n), 0);
	free(a);
	free(b);
}
END_TEST

static void
write_dir(const char *name, const char *stem, int n, uint64_t size,
    uint64_t limit)
{
	struct sq_st_hint h = { (size_t)n, (size_t)n * 17 };
	struct sq_st_out o;
	struct sq_outfile f;

	ck_assert_int_eq(sq_outdir_open(&f, in_dir(name),
	    "model.safetensors"), 0);
	ck_assert_int_eq(sq_st_out_open_dir(&o, f.fd, stem, limit, &h), 0);
	put_tensors(&o, n, size);
	ck_assert_msg(sq_st_out_finish(&o) == 0, "%s", o.err);
	sq_st_out_release(&o);
	ck_assert_int_eq(sq_outfile_commit(&f), 0);
	check_tensors(in_dir(name), n, size);
}

static int
count_files(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	int n = 0;

	while ((e = readdir(d)) != NULL)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

START_TEST(shards)
{
	char *s;
	size_t n;

	write_dir("one", "model", 10, 100, 0);
	ck_assert_int_eq(count_files(in_dir("one")), 1);
	ck_assert_int_eq(access(in_dir("one/model.safetensors"), R_OK), 0);
	write_dir("one", "model", 10, 100, 1000);
	ck_assert_int_eq(count_files(in_dir("one")), 1);
	write_dir("two", "model", 10, 100, 999);
	ck_assert_int_eq(count_files(in_dir("two")), 3);
	ck_assert_int_eq(access(in_dir("two/model-00002-of-00002.safetensors"),
	    R_OK), 0);
	write_dir("small", "w.q", 10, 100, 99);
	ck_assert_int_eq(count_files(in_dir("small")), 11);
	ck_assert_int_eq(access(in_dir("small/w.q-00010-of-00010.safetensors"),
	    R_OK), 0);
	write_dir("index", "model", 3, 100, 200);
	s = slurp(in_dir("index/model.safetensors.index.json"), &n);
	ck_assert_str_eq(s, "{\n  \"metadata\": {\n    \"total_size\": 300\n"
	    "  },\n  \"weight_map\": {\n"
	    "    \"layers.0.weight\": \"model-00001-of-00002.safetensors\",\n"
	    "    \"layers.1.weight\": \"model-00001-of-00002.safetensors\",\n"
	    "    \"layers.2.weight\": \"model-00002-of-00002.safetensors\"\n"
	    "  }\n}\n");
	free(s);
}
END_TEST

/* 100,000 tensors: over shards, each found. */
START_TEST(many)
{
	write_dir("many", "model", MANY, 1, MANY / 3 + 1);
	ck_assert_int_eq(count_files(in_dir("many")), 4);
}
END_TEST

/* One wrong call; then nothing works and the reason stays. */
static void
wrong(struct sq_st_out *o, int r, const char *why)
{
	uint64_t one = 1;

	ck_assert_int_eq(r, -1);
	ck_assert_msg(strstr(o->err, why) != NULL, "'%s', and not '%s'", o->err,
	    why);
	ck_assert_int_eq(sq_st_out_begin(o, "z", SQ_U8, 1, &one), -1);
	ck_assert_int_eq(sq_st_out_write(o, "z", 1), -1);
	ck_assert_int_eq(sq_st_out_end(o), -1);
	ck_assert_int_eq(sq_st_out_finish(o), -1);
	ck_assert_ptr_nonnull(strstr(o->err, why));
	sq_st_out_release(o);
}

/* A file with a tensor "a" in it. */
static struct sq_st_out *
fresh(int fd)
{
	static struct sq_st_out o;
	uint64_t two = 2;

	ck_assert_int_eq(sq_st_out_open_fd(&o, fd, NULL), 0);
	ck_assert_int_eq(sq_st_out_tensor(&o, "a", SQ_U8, 1, &two, "xy"), 0);
	return &o;
}

START_TEST(wrong_tensors)
{
	static const uint64_t zero[] = { 3, 0 }, two[SQ_NDIM + 1] = { 2 };
	static const uint64_t big[] = { UINT64_MAX, 2 };
	static const uint64_t large[] = { (uint64_t)1 << 60, 1 };
	char name[SQ_ST_NAME + 2];
	struct sq_st_out *o;
	int fd = temp_fd("file");

	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	o = fresh(fd);
	wrong(o, sq_st_out_begin(o, "a", SQ_U8, 1, two), "there already");
	o = fresh(fd);
	wrong(o, sq_st_out_begin(o, name, SQ_U8, 1, two), "not a name");
	o = fresh(fd);
	wrong(o, sq_st_out_begin(o, "\xff", SQ_U8, 1, two), "not a name");
	o = fresh(fd);
	wrong(o, sq_st_out_begin(o, "__metadata__", SQ_U8, 1, two),
	    "not a name");
	o = fresh(fd);
	wrong(o, sq_st_out_begin(o, "b", SQ_BITS, 1, two), "a type that");
	o = fresh(fd);
	wrong(o, sq_st_out_begin(o, "b", SQ_U8, SQ_NDIM + 1, two),
	    "dimensions");
	o = fresh(fd);
	wrong(o, sq_st_out_begin(o, "b", SQ_U8, 2, zero), "out of bounds");
	o = fresh(fd);
	wrong(o, sq_st_out_begin(o, "b", SQ_U8, 2, big), "out of bounds");
	o = fresh(fd);
	wrong(o, sq_st_out_begin(o, "b", SQ_U8, 2, large), "too much data");
	close(fd);
}
END_TEST

START_TEST(wrong_calls)
{
	uint64_t two = 2;
	struct sq_st_out *o;
	int fd = temp_fd("file");

	o = fresh(fd);
	wrong(o, sq_st_out_write(o, "x", 1), "out of order");
	o = fresh(fd);
	wrong(o, sq_st_out_end(o), "out of order");
	o = fresh(fd);
	ck_assert_int_eq(sq_st_out_begin(o, "b", SQ_U8, 1, &two), 0);
	wrong(o, sq_st_out_begin(o, "c", SQ_U8, 1, &two), "out of order");
	o = fresh(fd);
	ck_assert_int_eq(sq_st_out_begin(o, "b", SQ_U8, 1, &two), 0);
	wrong(o, sq_st_out_finish(o), "out of order");
	o = fresh(fd);
	ck_assert_int_eq(sq_st_out_begin(o, "b", SQ_U8, 1, &two), 0);
	wrong(o, sq_st_out_write(o, "abc", 3), "more bytes");
	o = fresh(fd);
	ck_assert_int_eq(sq_st_out_begin(o, "b", SQ_U8, 1, &two), 0);
	ck_assert_int_eq(sq_st_out_write(o, "a", 1), 0);
	wrong(o, sq_st_out_end(o), "fewer bytes");
	o = fresh(fd);
	ck_assert_int_eq(sq_st_out_finish(o), 0);
	wrong(o, sq_st_out_finish(o), "out of order");
	close(fd);
}
END_TEST

START_TEST(wrong_outputs)
{
	struct sq_st_out o;
	int pipes[2], fd;

	close(temp_fd("file"));
	fd = open(in_dir("file"), O_WRONLY);
	ck_assert_int_eq(sq_st_out_open_fd(&o, fd, NULL), -1);
	ck_assert_ptr_nonnull(strstr(o.err, "both reading and writing"));
	close(fd);
	ck_assert_int_eq(pipe(pipes), 0);
	ck_assert_int_eq(sq_st_out_open_fd(&o, pipes[1], NULL), -1);
	sq_st_out_release(&o);
	close(pipes[0]);
	close(pipes[1]);
	fd = open(dir, O_RDONLY | O_DIRECTORY);
	ck_assert_int_eq(sq_st_out_open_dir(&o, fd, "../m", 0, NULL), -1);
	ck_assert_ptr_nonnull(strstr(o.err, "'../m'"));
	close(fd);
}
END_TEST

/* The disk is full: while writing, and while moving. */
START_TEST(no_space)
{
	struct rlimit lim;
	struct sq_st_hint h = { 1, 1 };
	uint64_t n = 1 << 20;
	char *buf = calloc(1, n);
	struct sq_st_out o;
	int fd = temp_fd("file");

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &lim);
	lim.rlim_cur = n;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &lim), 0);
	ck_assert_int_eq(sq_st_out_open_fd(&o, fd, &h), 0);
	ck_assert_int_eq(sq_st_out_begin(&o, "a", SQ_U8, 1, &n), 0);
	wrong(&o, sq_st_out_write(&o, buf, n), "cannot write: File too large");
	n -= 1024;
	ck_assert_int_eq(sq_st_out_open_fd(&o, fd, &h), 0);
	ck_assert_int_eq(sq_st_out_tensor(&o, "a", SQ_U8, 1, &n, buf), 0);
	memset(buf, 'n', 2000);
	buf[2000] = '\0';
	n = 1;
	ck_assert_int_eq(sq_st_out_tensor(&o, buf, SQ_U8, 1, &n, "x"), 0);
	wrong(&o, sq_st_out_finish(&o), "cannot move data: File too large");
	free(buf);
	close(fd);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("safetensors");
	TCase *r = tcase_create("read"), *w = tcase_create("write");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(r, setup, teardown);
	tcase_add_checked_fixture(w, setup, teardown);
	tcase_set_timeout(r, 120);
	tcase_set_timeout(w, 120);
	tcase_add_test(r, good_vectors);
	tcase_add_test(r, bad_vectors);
	tcase_add_test(r, listing);
	tcase_add_test(r, no_files);
	tcase_add_test(r, links);
	tcase_add_test(r, huge_and_sparse);
	tcase_add_test(r, shrinks);
	tcase_add_test(r, long_values);
	tcase_add_test(r, reference_model);
	tcase_add_test(w, exact_bytes);
	tcase_add_test(w, nothing_in_it);
	tcase_add_test(w, all_types);
	tcase_add_test(w, header_room);
	tcase_add_test(w, hint_suffices);
	tcase_add_test(w, same_bytes);
	tcase_add_test(w, shards);
	tcase_add_test(w, many);
	tcase_add_test(w, wrong_tensors);
	tcase_add_test(w, wrong_calls);
	tcase_add_test(w, wrong_outputs);
	tcase_add_test(w, no_space);
	suite_add_tcase(s, r);
	suite_add_tcase(s, w);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
