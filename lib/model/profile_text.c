/* profile.yaml, told from the weights; see profile_text.h. */
#include <stdio.h>
#include <stdlib.h>

#include "model/profile_text.h"

void
sq_profile_text_add(struct sq_profile_text *p, const struct sq_tensor *t,
    int linear)
{
	if (!linear)
		return;
	p->weights[t->grid] += sq_tensor_count(t);
	p->example[t->grid] = *t;
}

/* The spec knows 16, 8 and 4 bits: the least of these that holds the codes. */
static int
spec_bits(int bits)
{
	return bits == 0 || bits > 8 ? 16 : bits > 4 ? 8 : 4;
}

char *
sq_profile_text(const struct sq_profile_text *p, uint64_t context)
{
	const struct sq_tensor *t;
	char *text = NULL, more[256] = "";
	int g, best = SQ_DENSE;

	for (g = 0; g < SQ_GRIDS; g++)
		if (p->weights[g] > p->weights[best])
			best = g;
	t = &p->example[best];
	if (best != SQ_DENSE)
		snprintf(more, sizeof(more), "  group: [%ju, %ju]\n"
		    "  symmetric: %s\n", (uintmax_t)t->group_rows,
		    (uintmax_t)t->group_cols, t->symmetric ? "true" : "false");
	if (asprintf(&text,
	    "weight_bits: %d\n"
	    "activation_bits: 16\n"
	    "kv_bits_prefill: 16\n"
	    "kv_bits_decode: 16\n"
	    "sparsity_ratio: 0.0\n"
	    "sparsity_pattern: none\n"
	    "kernel_backend: cpu\n"
	    "calibration_dataset: \"\"\n"
	    "calibration_samples: 0\n"
	    "max_sequence_length: %ju\n"
	    "extensions:\n"
	    "  grid: %s\n%s",
	    spec_bits(sq_grid_bits((enum sq_grid)best)), (uintmax_t)context,
	    sq_grid_name((enum sq_grid)best), more) < 0)
		return NULL;
	return text;
}
