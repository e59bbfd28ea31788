/*
 * What the products of integers can do at most, for peak.h: of 16 bits, two
 * added to a sum of 32; of bytes, two added to a sum of 16, or with VNNI four
 * to one of 32, at once.  In assembly: a compiler would see that every round
 * does the same.
 */
#include "kernels/x86/codes.h"
#include "kernels/x86/peak.h"
#include "kernels/x86/vec.h"

#define PEAK(name, step)						\
void									\
name(long rounds)							\
{									\
	VI s[SQ_PEAK_SUMS], a = vi_set1(0), t;				\
	long n;								\
	int i;								\
									\
	SQ_UNROLL for (i = 0; i < SQ_PEAK_SUMS; i++)			\
		s[i] = a;						\
	for (n = 0; n < rounds; n++)					\
		SQ_UNROLL for (i = 0; i < SQ_PEAK_SUMS; i++)		\
			__asm__ volatile(step : "+v"(s[i]), "=&v"(t) :	\
			    "v"(a));					\
	(void)t;							\
}

#if defined(__AVX512VNNI__)
PEAK(LEVEL(int16), "vpdpwssd %2, %2, %0")
PEAK(LEVEL(int8), "vpdpbusd %2, %2, %0")
#else
PEAK(LEVEL(int16), "vpmaddwd %2, %2, %1\n\tvpaddd %1, %0, %0")
PEAK(LEVEL(int8), "vpmaddubsw %2, %2, %1\n\tvpaddw %1, %0, %0")
#endif
