/* The digest of a model; see model_digest.h. */
#include <stdio.h>
#include <string.h>

#include "model/model_digest.h"

static void
update(XXH3_state_t *x, uint64_t h)
{
	unsigned char b[8];
	int i;

	for (i = 0; i < 8; i++)
		b[i] = (unsigned char)(h >> 8 * i);
	XXH3_128bits_update(x, b, sizeof(b));
}

int
sq_model_digest_init(struct sq_model_digest *d, const void *config,
    size_t size)
{
	if ((d->state = XXH3_createState()) == NULL)
		return -1;
	XXH3_128bits_reset(d->state);
	update(d->state, XXH3_64bits(config, size));
	return 0;
}

void
sq_model_digest_add(struct sq_model_digest *d, const char *name,
    const char *type, int ndim, const uint64_t *dim, const void *first,
    const void *last, size_t n)
{
	unsigned char ends[2 * SQ_DIGEST_SAMPLE];
	char shape[224];
	size_t at;
	int i;

	at = (size_t)snprintf(shape, sizeof(shape), "%s[", type);
	for (i = 0; i < ndim; i++)
		at += (size_t)snprintf(shape + at, sizeof(shape) - at, "%s%ju",
		    i == 0 ? "" : ",", (uintmax_t)dim[i]);
	at += (size_t)snprintf(shape + at, sizeof(shape) - at, "]");
	memcpy(ends, first, n);
	memcpy(ends + n, last, n);
	update(d->state, XXH3_64bits(name, strlen(name)));
	update(d->state, XXH3_64bits(shape, at));
	update(d->state, XXH3_64bits(ends, 2 * n));
}

void
sq_model_digest_end(struct sq_model_digest *d, char text[SQ_DIGEST])
{
	sq_digest_text(text, XXH3_128bits_digest(d->state));
	XXH3_freeState(d->state);
}
