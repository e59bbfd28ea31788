/* 2:4 of integers by many tokens in bf16 on AMX tiles. */
#ifndef SQ_X86_SPARSE_RUNS_AMX_H
#define SQ_X86_SPARSE_RUNS_AMX_H

#include "kernels/x86/sparse.h"

/* Does it take such a weight? */
int	 sq_sp_runs_allow(const struct sq_weight *);

int	 sq_sp_runs(struct sq_ctx *, const struct sq_weight *,
	    const struct sq_mat *x, const struct sq_mat *y);

#endif
