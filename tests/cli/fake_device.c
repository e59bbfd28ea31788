/*
 * A plug-in whose device is the host: its operations are the host's, but its
 * memory says that it is a device's, and lies where malloc's never does; free
 * of anything else ends the program.  With SQ_FAKE=abi it is of another
 * version, with SQ_FAKE=none there is no such device.
 */
#include <sys/mman.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kern.h"

#define ROOM	((size_t)1 << 30)
#define MARK	0x51deull

static char *base;
static size_t used;

/* Each piece has a mark before it. */
static void *
fake_alloc(size_t n)
{
	unsigned long long *p;

	n = (n + 127) / 64 * 64;
	if (n > ROOM - used)
		return NULL;
	p = (void *)(base + used);
	used += n;
	*p = MARK;
	return (char *)p + 64;
}

static void
fake_free(void *p)
{
	unsigned long long *mark = (void *)((char *)p - 64);

	if (p == NULL)
		return;
	if ((char *)p < base || (char *)p > base + used || *mark != MARK) {
		fprintf(stderr, "fake_device: not its memory\n");
		abort();
	}
	*mark = 0;
}

static int
fake_put(void *to, const void *from, size_t n)
{
	if ((char *)to < base || (char *)to + n > base + used)
		abort();
	memcpy(to, from, n);
	return 0;
}

static int
fake_get(void *to, const void *from, size_t n)
{
	if ((const char *)from < base || (const char *)from + n > base + used)
		abort();
	memcpy(to, from, n);
	return 0;
}

static int
fake_sync(void)
{
	return 0;
}

static int
fake_probe(char *name, size_t *total, size_t *unused)
{
	strcpy(name, "fake");
	*total = ROOM;
	*unused = ROOM - used;
	return 0;
}

static const char *
fake_error(void)
{
	return "fake: out of memory";
}

static const struct sq_mem mem = { 1, fake_alloc, fake_free, fake_put,
	fake_get, fake_sync, fake_probe, fake_error };

const char *
sq_plugin_abi(void)
{
	const char *how = getenv("SQ_FAKE");

	return how != NULL && strcmp(how, "abi") == 0 ? "1" : sq_kern_abi();
}

int
sq_plugin_init(struct sq_kern *k, char *err)
{
	const char *how = getenv("SQ_FAKE");

	if (how != NULL && strcmp(how, "none") == 0) {
		strcpy(err, "no such device");
		return -1;
	}
	base = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE |
	    MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED) {
		strcpy(err, "no memory");
		return -1;
	}
	k->mem = &mem;
	return 0;
}
