/*
 * The products of a panel of floats, or of pairs of bf16, with packed tokens,
 * for matmul_vec.h and the bf16 level.  Over walk_vec.h; the file that includes
 * this has defined
 *
 *	LANE		what a lane multiplies at a time, of `WIDTH' columns
 *	lane_set(a)	a vector of that
 *
 * A tile is TR rows of the panel by up to TV vectors of tokens; its sums stay
 * in registers while it runs through the columns of the panel.
 */
#define TV	SQ_MM_VECTORS
#if VL == 16
#define TR	8			/* 24 sums in 32 registers */
#else
#define TR	4			/* 12 sums in 16 registers */
#endif
#define APART	(STRIDE / WIDTH)	/* lanes from row to row of the panel */

/* nr rows of the panel by nv vectors of tokens; n lanes of each. */
SQ_INLINE void
tile_of(const LANE *a, const LANE *x, size_t n, float *sums, int first,
    const int nr, const int nv)
{
	VF s[2 * TR][TV];
	WV b, v[TV];
	size_t c;
	int i, j;

	SQ_UNROLL for (i = 0; i < nr; i++)
		SQ_UNROLL for (j = 0; j < nv; j++)
			s[i][j] = first ? vf_zero() :
			    vf_load(sums + (j * SQ_MM_PANEL + i) * VL);
	for (c = 0; c < n; c++) {
		SQ_UNROLL for (j = 0; j < nv; j++)
			v[j] = wv_load(x + (size_t)j * n * VL + c * VL);
		SQ_UNROLL for (i = 0; i < nr; i++) {
			b = lane_set(a[i * APART + c]);
			SQ_UNROLL for (j = 0; j < nv; j++)
				s[i][j] = wv_dot(b, v[j], s[i][j]);
		}
	}
	SQ_UNROLL for (i = 0; i < nr; i++)
		SQ_UNROLL for (j = 0; j < nv; j++)
			vf_store(sums + (j * SQ_MM_PANEL + i) * VL, s[i][j]);
}

/* All rows by nv vectors; a single vector gets tiles of twice the rows, since
 * sums that wait for one another would slow it down. */
SQ_INLINE void
tiles_of(const LANE *a, const LANE *x, size_t rows, size_t n, float *sums,
    int first, const int nv)
{
	const int nr = nv == 1 ? 2 * TR : TR;
	size_t i;

	for (i = 0; i < rows; i += (size_t)nr)
		tile_of(a + i * APART, x, n, sums + i * VL, first, nr, nv);
}

static void
tile(const void *panel, const void *packed, size_t rows, size_t cols,
    size_t nvec, float *sums, int first)
{
	const LANE *x = packed;
	size_t v, nv, n = cols / WIDTH;

	for (v = 0; v < nvec; v += nv) {
		nv = sq_mm_strip(nvec - v);
		if (nv == 3)
			tiles_of(panel, x, rows, n, sums, first, 3);
		else if (nv == 2)
			tiles_of(panel, x, rows, n, sums, first, 2);
		else
			tiles_of(panel, x, rows, n, sums, first, 1);
		x += nv * n * VL;
		sums += nv * SQ_MM_PANEL * VL;
	}
}
