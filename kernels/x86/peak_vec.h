/* The body of sq_peak_avx2 and sq_peak_avx512: fused multiply and add. */
#include "kernels/x86/peak.h"
#include "kernels/x86/vec.h"

void
LEVEL(long rounds)
{
	VF s[SQ_PEAK_SUMS], a = vf_set1(0.5f), b = vf_set1(0.25f);
	volatile float sink;
	long n;
	int i;

	SQ_UNROLL for (i = 0; i < SQ_PEAK_SUMS; i++)
		s[i] = vf_set1((float)i);
	for (n = 0; n < rounds; n++)
		SQ_UNROLL for (i = 0; i < SQ_PEAK_SUMS; i++)
			s[i] = vf_fma(a, b, s[i]);
	for (i = 1; i < SQ_PEAK_SUMS; i++)
		s[0] = vf_add(s[0], s[i]);
	sink = vf_sum(s[0]);
	(void)sink;
}
