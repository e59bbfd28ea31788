/*
 * Any bytes as an artifact: the archive reader, and the model source above it,
 * must say no, or yes, and nothing worse.  What the archive reader takes lies
 * within the file.  The checksums of tar headers would keep a fuzzer out, so
 * they are made right, unless the first byte of the checksum field is 'x'.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"
#include "formats/fmt_sqa.h"
#include "model/source.h"

#define BLOCK	512
#define SUM	148	/* the checksum field: 8 bytes */

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* Every block that could be a header gets the checksum that it should have. */
static void
repair(uint8_t *p, size_t n)
{
	char text[9];
	unsigned sum;
	size_t i, j;

	for (i = 0; i + BLOCK <= n; i += BLOCK) {
		if (memcmp(p + i + 257, "ustar", 5) != 0 || p[i + SUM] == 'x')
			continue;
		memset(p + i + SUM, ' ', 8);
		for (j = sum = 0; j < BLOCK; j++)
			sum += p[i + j];
		snprintf(text, sizeof(text), "%06o", sum);
		memcpy(p + i + SUM, text, 7);
	}
}

static void
look(const char *path)
{
	struct sq_source *m;
	struct sq_sqa *s;
	char err[SQ_ERR];
	size_t i;

	if ((s = sq_sqa_open(path, err)) == NULL)
		return;
	for (i = 0; i < s->n; i++) {
		if (s->member[i].size > s->size ||
		    s->member[i].offset > s->size - s->member[i].size)
			abort();
		if (sq_sqa_find(s, s->member[i].name) != &s->member[i])
			abort();
	}
	(void)sq_sqa_verify(s, err);
	sq_sqa_close(s);
	if ((m = sq_source_open_any(path, err)) != NULL)
		sq_source_close(m);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	uint8_t *copy = malloc(n + 1);
	char path[64];
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	/* not the shipping form: a bomb would only measure the disk */
	if (copy != NULL && fd >= 0 && (n == 0 || p[0] != 0x28)) {
		memcpy(copy, p, n);
		repair(copy, n);
		if (sq_write_full(fd, copy, n) == 0) {
			snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
			look(path);
		}
	}
	if (fd >= 0)
		close(fd);
	free(copy);
	return 0;
}
