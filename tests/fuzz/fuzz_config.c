/* Any bytes as config.json: what is taken has slots that can be found again. */
#include <stdlib.h>

#include "model/config.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct sq_config c;
	struct sq_slot *s;
	char err[SQ_ERR];
	size_t i, count;

	if (sq_config_parse(&c, (const char *)p, n, err) < 0)
		return 0;
	if (c.dim == 0 || c.heads % c.kv_heads != 0 || c.head_dim % 2 != 0)
		abort();
	if (c.layers > 64)		/* fast enough to be fuzzed */
		return 0;
	if ((s = sq_config_slots(&c, &count)) == NULL)
		return 0;
	for (i = 0; i < count; i++)
		if (sq_slot_find(s, count, s[i].name) != &s[i])
			abort();
	free(s);
	return 0;
}
