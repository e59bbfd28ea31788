/* What the bf16 product of AVX-512 can do at most; see peak.h. */
#include "kernels/x86/peak.h"
#include "kernels/x86/vec.h"

void
sq_peak_avx512bf16(long rounds)
{
	VF s[SQ_PEAK_SUMS];
	__m512bh a = (__m512bh)_mm512_set1_epi16(0x3f00);	/* 0.5 */
	volatile float sink;
	long n;
	int i;

	SQ_UNROLL for (i = 0; i < SQ_PEAK_SUMS; i++)
		s[i] = vf_set1((float)i);
	for (n = 0; n < rounds; n++)
		SQ_UNROLL for (i = 0; i < SQ_PEAK_SUMS; i++)
			s[i] = _mm512_dpbf16_ps(s[i], a, a);
	for (i = 1; i < SQ_PEAK_SUMS; i++)
		s[0] = vf_add(s[0], s[i]);
	sink = vf_sum(s[0]);
	(void)sink;
}
