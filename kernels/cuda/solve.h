/* GPTQ of whole weights, the device's side; solve.c starts these. */
#ifndef SQ_KERNELS_CUDA_SOLVE_H
#define SQ_KERNELS_CUDA_SOLVE_H

#include "kernels/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Its operations, into the table. */
void	 sqc_solve_init(struct sq_kern *);

void	 sqc_reflect(gpu_stream, struct sq_mat x, size_t col, struct sq_mat y);

/* to = H in the order of col, both ways from the end, more added to its
 * diagonal: L of that, in the rows, is R turned about. */
void	 sqc_gather(gpu_stream, struct sq_mat h, const uint32_t *col,
	    const float *more, struct sq_mat to);
/* The other way, in place; diagonal: scratch [n]. */
void	 sqc_turn_about(gpu_stream, struct sq_mat r, float *diagonal,
	    float *pivot);

void	 sqc_partners(gpu_stream, struct sq_mat h, size_t most,
	    uint32_t *with, float *has);
/* bad: 1 where no scale was finite, else as it was. */
void	 sqc_weighted_scales(gpu_stream, struct sq_rounding s,
	    const float *cost, int *bad);
void	 sqc_round_columns(gpu_stream, struct sq_rounding s,
	    const uint32_t *col, struct sq_mat t, struct sq_mat m,
	    struct sq_mat e);
int	 sqc_move_columns(gpu_stream, struct sq_rounding s, size_t first,
	    struct sq_mat h, struct sq_mat g, int refit, int passes);
/* diagonal: scratch [cols]. */
int	 sqc_move_pairs(gpu_stream, struct sq_rounding s, struct sq_mat h,
	    size_t most, const uint32_t *with, const float *has,
	    struct sq_mat g, float *diagonal);
void	 sqc_row_forms(gpu_stream, struct sq_mat x, struct sq_mat g,
	    const float *less, double *sum);

#ifdef __cplusplus
}
#endif

#endif
