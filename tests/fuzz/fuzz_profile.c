/* Any bytes as a profile: what is taken reads back as itself. */
#include <stdlib.h>
#include <string.h>

#include "schema/profile.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *d, size_t n)
{
	struct sq_profile p, q;
	char err[SQ_ERR], *a, *b;

	if (sq_profile_parse(&p, "in", (const char *)d, n, err) < 0)
		return 0;
	(void)sq_profile_find(&p, "model.layers.0.mlp.up_proj.weight", 1,
	    NULL);
	a = sq_profile_text(&p);
	if (a == NULL || sq_profile_parse(&q, "out", a, strlen(a), err) < 0)
		abort();
	b = sq_profile_text(&q);
	if (b == NULL || strcmp(a, b) != 0)
		abort();
	free(a);
	free(b);
	sq_profile_release(&p);
	sq_profile_release(&q);
	return 0;
}
