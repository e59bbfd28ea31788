/* Scales beyond half precision; see scale_range.h. */
#include <string.h>

#include "base/half.h"
#include "model/scale_range.h"

#define PIECE	65536			/* bytes */

static int
is_beyond(float f)
{
	uint16_t h = sq_f32_to_f16(f) & 0x7fff;

	return h >= 0x7c00 || (h == 0 && f != 0);
}

uint64_t
sq_beyond_f16(enum sq_dtype type, const void *values, size_t n)
{
	const unsigned char *p = values;
	uint64_t bad = 0;
	uint16_t b;
	size_t i;
	float f;

	if (type != SQ_F32 && type != SQ_BF16)
		return 0;
	for (i = 0; i < n; i++) {
		if (type == SQ_F32) {
			memcpy(&f, p + 4 * i, sizeof(f));
		} else {
			memcpy(&b, p + 2 * i, sizeof(b));
			f = sq_bf16_to_f32(b);
		}
		bad += (uint64_t)is_beyond(f);
	}
	return bad;
}

int
sq_scales_beyond_f16(const struct sq_source *s,
    const struct sq_source_tensor *t, uint64_t *bad, char *err)
{
	unsigned char piece[PIECE];
	const struct sq_part *p;
	uint64_t at;
	size_t n;
	int i;

	*bad = 0;
	for (i = 0; i < t->t.nparts; i++) {
		p = &t->t.part[i];
		if (strcmp(p->name, "scales") != 0 ||
		    (p->type != SQ_F32 && p->type != SQ_BF16))
			continue;
		for (at = 0; at < p->length; at += n) {
			n = p->length - at < PIECE ?
			    (size_t)(p->length - at) : PIECE;
			if (sq_source_read(s, t, i, at, piece, n, err) < 0)
				return -1;
			*bad += sq_beyond_f16(p->type, piece,
			    n / sq_dtype_size(p->type));
		}
	}
	return 0;
}
