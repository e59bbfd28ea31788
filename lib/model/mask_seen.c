/* What the masks of a model have in common; see mask_seen.h. */
#include "model/mask_seen.h"

void
sq_mask_seen_add(struct sq_mask_seen *m, const unsigned char *p, size_t n)
{
	int low, high;
	size_t i;

	for (i = 0; i < n; i++) {
		low = __builtin_popcount(p[i] & 15);
		high = __builtin_popcount(p[i] >> 4);
		m->kept += (uint64_t)(low + high);
		m->more_of_4 |= low > 2 || high > 2;
		m->more_of_8 |= low + high > 4;
	}
}

void
sq_mask_seen_tensor(struct sq_mask_seen *m, const struct sq_tensor *t)
{
	m->weights += sq_tensor_count(t);
	m->tensors++;
	m->in_blocks += t->sparse.kind == SQ_MASK_BLOCKS;
}

enum sq_sparsity
sq_mask_pattern(const struct sq_mask_seen *m)
{
	if (m->weights == 0)
		return SQ_SPARSE_NONE;
	if (m->in_blocks == m->tensors)
		return SQ_SPARSE_BLOCK;
	if (!m->more_of_4)
		return SQ_SPARSE_2_4;
	return m->more_of_8 ? SQ_SPARSE_UNSTRUCTURED : SQ_SPARSE_4_8;
}

double
sq_mask_ratio(const struct sq_mask_seen *m)
{
	switch (sq_mask_pattern(m)) {
	case SQ_SPARSE_NONE:
		return 0;
	case SQ_SPARSE_2_4:
	case SQ_SPARSE_4_8:
		return 0.5;
	default:
		return 1 - (double)m->kept / (double)m->weights;
	}
}
