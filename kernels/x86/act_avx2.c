/* Activations to eight bits and back; see act_vec.h. */
#define LEVEL(op)	sq_##op##_avx2
#include "kernels/x86/act_vec.h"
