/* Rounds of each level's best multiply-and-add in registers, for limits.c; and
 * the operations of a round. */
#ifndef SQ_X86_PEAK_H
#define SQ_X86_PEAK_H

#define SQ_PEAK_SUMS		12	/* sums that do not wait for another */
#define SQ_PEAK_AVX2		(SQ_PEAK_SUMS * 8 * 2.0)
#define SQ_PEAK_AVX512		(SQ_PEAK_SUMS * 16 * 2.0)
#define SQ_PEAK_AVX512BF16	(SQ_PEAK_SUMS * 32 * 2.0)
#define SQ_PEAK_INT16_AVX2	(SQ_PEAK_SUMS * 16 * 2.0)
#define SQ_PEAK_INT16_AVX512	(SQ_PEAK_SUMS * 32 * 2.0)
#define SQ_PEAK_INT8_AVX2	(SQ_PEAK_SUMS * 32 * 2.0)
#define SQ_PEAK_INT8_AVX512	(SQ_PEAK_SUMS * 64 * 2.0)
#define SQ_PEAK_INT8_AMX	(4 * 16 * 16 * 64 * 2.0)
#define SQ_PEAK_AMX		(4 * 16 * 16 * 32 * 2.0)	/* four tiles */

/* Tiles that are loaded from the first cache, as those of a product are. */
#define SQ_PEAK_LOADS		4	/* steps of a round */
#define SQ_PEAK_LOADED		(SQ_PEAK_LOADS * SQ_PEAK_AMX)
#define SQ_PEAK_INT8_LOADED	(SQ_PEAK_LOADS * SQ_PEAK_INT8_AMX)

void	 sq_peak_loaded_amx(long rounds);
void	 sq_peak_int8_loaded_amx(long rounds);

void	 sq_peak_avx2(long rounds);
void	 sq_peak_avx512(long rounds);
void	 sq_peak_avx512bf16(long rounds);
void	 sq_peak_amx(long rounds);

void	 sq_peak_int16_avx2(long rounds);
void	 sq_peak_int8_avx2(long rounds);
void	 sq_peak_int16_avx512(long rounds);
void	 sq_peak_int8_avx512(long rounds);
void	 sq_peak_int16_avx512vnni(long rounds);
void	 sq_peak_int8_avx512vnni(long rounds);
void	 sq_peak_int8_amx(long rounds);

#endif
