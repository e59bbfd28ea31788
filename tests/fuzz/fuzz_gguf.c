/*
 * Any bytes as a GGUF file: the reader, and the model source above it, must say
 * no, or yes, and nothing worse.  What the reader takes lies within the file,
 * and all that the source offers can be read.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"
#include "formats/fmt_gguf.h"
#include "model/source.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
read_all(const struct sq_source *m)
{
	const struct sq_part *p;
	unsigned char b[64];
	char err[SQ_ERR];
	size_t i, n;
	int j;

	for (i = 0; i < m->n; i++)
		for (j = 0; j < m->tensor[i].t.nparts; j++) {
			p = &m->tensor[i].t.part[j];
			n = p->length < sizeof(b) ? (size_t)p->length :
			    sizeof(b);
			(void)sq_source_read(m, &m->tensor[i], j,
			    p->length - n, b, n, err);
		}
}

static void
look(const char *path)
{
	struct sq_source *m;
	struct sq_gguf *g;
	char err[SQ_ERR];
	size_t i;

	if ((g = sq_gguf_open(path, err)) == NULL)
		return;
	for (i = 0; i < g->n; i++)
		if (g->tensor[i].length > g->size ||
		    g->tensor[i].offset > g->size - g->tensor[i].length)
			abort();
	sq_gguf_close(g);
	if ((m = sq_source_open_any(path, err)) != NULL) {
		read_all(m);
		sq_source_close(m);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char path[64];
	int fd = memfd_create("gguf", MFD_CLOEXEC);

	if (fd < 0 || sq_write_full(fd, p, n) < 0)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	look(path);
	close(fd);
	return 0;
}
