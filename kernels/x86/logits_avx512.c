/* nll and kl; see logits_vec.h. */
#define LEVEL(op)	sq_##op##_avx512
#include "kernels/x86/logits_vec.h"
