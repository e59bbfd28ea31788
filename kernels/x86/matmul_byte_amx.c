/* The matrix product of bytes, AMX; see matmul_int_vec.h. */
#define LEVEL(op)	sq_##op##_amx
#define BYTES		1
#include "kernels/x86/matmul_int_vec.h"
