/*
 * The reader of safetensors, on a file as it is and with the length of its
 * header put right, and on an index of two small shards.  What can be read is
 * written, and must come back the same.  Good seeds: tests/formats/safetensors.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "base/io.h"
#include "formats/fmt_safetensors.h"

#define MAX_INPUT	(1 << 16)

int	 LLVMFuzzerTestOneInput(const unsigned char *data, size_t n);

static const char *const shards[2][2] = {
	{ "model-00001-of-00002.safetensors", "{\"a\":{\"dtype\":\"F32\","
	    "\"shape\":[2,3],\"data_offsets\":[0,24]}}  " },
	{ "model-00002-of-00002.safetensors", "{\"b\":{\"dtype\":\"U8\","
	    "\"shape\":[2],\"data_offsets\":[22,24]},\"c\":{\"dtype\":\"U8\","
	    "\"shape\":[22],\"data_offsets\":[0,22]}}  " },
};
static char dir[64];

static void
must(int ok)
{
	if (!ok)
		abort();
}

static void
put(int fd, const void *data, size_t n)
{
	must(fd >= 0 && ftruncate(fd, 0) == 0 &&
	    sq_pwrite_full(fd, data, n, 0) == 0);
}

static const char *
in_dir(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void
remove_dir(void)
{
	unlink(in_dir(shards[0][0]));
	unlink(in_dir(shards[1][0]));
	unlink(in_dir("model.safetensors.index.json"));
	rmdir(dir);
}

static void
make_dir(void)
{
	char file[256];
	uint64_t n;
	int i, fd;

	snprintf(dir, sizeof(dir), "/tmp/fuzz_safetensors.XXXXXX");
	must(mkdtemp(dir) != NULL);
	atexit(remove_dir);
	for (i = 0; i < 2; i++) {
		n = strlen(shards[i][1]);
		memset(file, 0, sizeof(file));
		memcpy(file, &n, 8);
		memcpy(file + 8, shards[i][1], n);
		fd = open(in_dir(shards[i][0]), O_RDWR | O_CREAT, 0666);
		put(fd, file, 8 + n + 24);
		close(fd);
	}
}

static void
write_all(struct sq_st *st, int fd)
{
	const struct sq_st_tensor *t;
	struct sq_st_hint hint = { st->ntensors % 3, 1 };
	struct sq_st_out o;
	char err[SQ_ERR];
	size_t i;

	must(sq_st_out_open_fd(&o, fd, &hint) == 0);
	for (i = 0; i < st->ntensors; i++) {
		t = &st->tensor[i];
		must(sq_st_find(st, t->name) == t);
		must(sq_st_out_tensor(&o, t->name, t->type, t->ndim, t->dim,
		    sq_st_map(st, t, err)) == 0);
	}
	must(sq_st_out_finish(&o) == 0);
	sq_st_out_release(&o);
}

static void
compare(struct sq_st *st, struct sq_st *back)
{
	const struct sq_st_tensor *t, *u;
	char *buf, err[SQ_ERR];
	size_t i;

	must(st->ntensors == back->ntensors);
	for (i = 0; i < st->ntensors; i++) {
		t = &st->tensor[i];
		u = &back->tensor[i];
		must(strcmp(t->name, u->name) == 0 && t->type == u->type &&
		    t->ndim == u->ndim && t->length == u->length);
		must(memcmp(t->dim, u->dim, sizeof(t->dim)) == 0);
		buf = malloc((size_t)t->length);
		must(sq_st_read(st, t, 0, buf, (size_t)t->length, err) == 0);
		must(memcmp(buf, sq_st_map(back, u, err),
		    (size_t)t->length) == 0);
		free(buf);
	}
}

static void
try(const char *path)
{
	char err[SQ_ERR] = "", proc[64];
	struct sq_st *st = sq_st_open(path, err), *back;
	static int fd = -1;

	if (st == NULL) {
		must(err[0] != '\0');
		return;
	}
	if (fd < 0)
		fd = memfd_create("out", 0);
	write_all(st, fd);
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	must((back = sq_st_open(proc, err)) != NULL);
	compare(st, back);
	sq_st_close(back);
	sq_st_close(st);
}

static void
try_file(const void *data, size_t n)
{
	static int fd = -1;
	char proc[64];

	if (fd < 0)
		fd = memfd_create("in", 0);
	put(fd, data, n);
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	try(proc);
}

static void
try_index(const void *data, size_t n)
{
	int fd;

	if (dir[0] == '\0')
		make_dir();
	fd = open(in_dir("model.safetensors.index.json"), O_RDWR | O_CREAT,
	    0666);
	put(fd, data, n);
	close(fd);
	try(dir);
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t n)
{
	unsigned char buf[MAX_INPUT];
	const unsigned char *end = memrchr(data, '}', n);
	uint64_t length;

	if (n > MAX_INPUT)
		return 0;
	try_file(data, n);
	if (end != NULL && end - data >= 8) {
		length = (uint64_t)(end - data) - 7;
		memcpy(buf, data, n);
		memcpy(buf, &length, 8);
		try_file(buf, n);
	}
	if (n > 0 && data[0] == '{')
		try_index(data, n);
	return 0;
}
