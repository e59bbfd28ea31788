/*
 * Round to nearest as kernels/ops.def words it, in the plainest way, for
 * sq-rtn-grids.sh: shares nothing with the library.
 *
 *	naive_rtn BITS GROUP absmax|asym codes|scales|zeros ROWSxCOLS <values
 *
 * Reads float32 values and writes one part of the quantized tensor.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The F16 nearest to x >= 0, ties to even, and its bits. */
static double
half(double x, unsigned *bits)
{
	int e = x < 0x1p-14 ? -14 : ilogb(x);
	double n = rint(ldexp(x, 10 - e));	/* in steps of its last bit */

	*bits = (unsigned)((e + 14) * 1024 + n);
	return ldexp(n, e - 10);
}

static long
clamp(double v, int bits)
{
	return v < 0 ? 0 : v > (1 << bits) - 1 ? (1 << bits) - 1 : (long)v;
}

int
main(int argc, char *argv[])
{
	int bits, asym, want, b;
	long rows, cols, group, i, j, k, end, u, z;
	double lo, hi, s;
	unsigned h;
	float *w;
	unsigned char *codes;

	if (argc != 6 || sscanf(argv[5], "%ldx%ld", &rows, &cols) != 2)
		return 2;
	bits = atoi(argv[1]);
	group = atol(argv[2]) > 0 ? atol(argv[2]) : cols;
	asym = strcmp(argv[3], "asym") == 0;
	want = argv[4][0];
	w = malloc((size_t)cols * sizeof(*w));
	codes = malloc((size_t)cols);
	for (i = 0; i < rows; i++) {
		if (fread(w, sizeof(*w), (size_t)cols, stdin) != (size_t)cols)
			return 1;
		memset(codes, 0, (size_t)cols);
		for (j = 0; j < cols; j = end) {
			end = j + group < cols ? j + group : cols;
			for (lo = hi = 0, k = j; k < end; k++) {
				lo = fmin(lo, w[k]);
				hi = fmax(hi, w[k]);
			}
			s = asym ? (hi - lo) / ((1 << bits) - 1) :
			    fmax(hi, -lo) / ((1 << (bits - 1)) - .5);
			s = half(s, &h);
			z = asym && s > 0 ? clamp(rint((float)-lo / (float)s),
			    bits) : 1 << (bits - 1);
			for (k = j; k < end; k++) {
				u = s > 0 ? clamp(rint(w[k] / (float)s) + z,
				    bits) : z;
				for (b = 0; b < bits; b++)
					codes[(k * bits + b) / 8] |=
					    (u >> b & 1) << (k * bits + b) % 8;
			}
			if (want == 's')
				putchar(h & 255), putchar(h >> 8);
			if (want == 'z' && asym)
				putchar(z);
		}
		if (want == 'c')
			fwrite(codes, (size_t)((cols * bits + 7) / 8), 1,
			    stdout);
	}
	return fflush(stdout) != 0;
}
