/* The reference kernels: naive, scalar, and the specification of the others. */
#include "kernels/kern.h"
#include "kernels/ref/ref.h"

int
sq_init_ref(struct sq_kern *k)
{
#define OP(name, params, args, bound)	k->name = sq_##name##_ref;
#include "kernels/ops.def"
#undef OP
	return 0;
}
