/*
 * The reader of checkpoints that are quantized already: a line of JSON with the
 * small files, and model.safetensors.  What opens is read, every part of it.
 * Good seeds: tests/formats/quantized.
 */
#include "model/source.h"
#include "tests/formats/split_vector.h"

#define MAX_INPUT	(1 << 16)
#define MAX_PART	(1 << 22)

int	 LLVMFuzzerTestOneInput(const unsigned char *data, size_t n);

static char dir[64];

static void
remove_dir(void)
{
	char path[128];
	size_t i;

	for (i = 0; i < SPLIT_NAMES; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, split_names[i]);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/model.safetensors", dir);
	unlink(path);
	rmdir(dir);
}

static void
read_part(const struct sq_source *s, const struct sq_source_tensor *t, int part)
{
	size_t n = (size_t)t->t.part[part].length;
	char err[SQ_ERR] = "", *buf;

	if (n > MAX_PART)
		return;
	if ((buf = malloc(n)) == NULL)
		abort();
	if (sq_source_read(s, t, part, 0, buf, n, err) < 0 && err[0] == '\0')
		abort();
	free(buf);
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t n)
{
	struct sq_source *s;
	char err[SQ_ERR] = "";
	size_t i;
	int p;

	if (dir[0] == '\0') {
		snprintf(dir, sizeof(dir), "/tmp/fuzz_quantized.XXXXXX");
		if (mkdtemp(dir) == NULL)
			abort();
		atexit(remove_dir);
	}
	if (n > MAX_INPUT || split_vector(dir, (const char *)data, n) < 0)
		return 0;
	if ((s = sq_source_open(dir, err)) == NULL) {
		if (err[0] == '\0')
			abort();
		return 0;
	}
	for (i = 0; i < s->n; i++)
		for (p = 0; p < s->tensor[i].t.nparts; p++)
			read_part(s, &s->tensor[i], p);
	sq_source_close(s);
	return 0;
}
