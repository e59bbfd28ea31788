/*
 * The tiles of bytes with VNNI, for matmul_int_vec.h.  One instruction adds the
 * four products of a lane, so what is done for each group has to be little:
 *
 *	12 sums of integers	start at -z times the sum of the tokens' codes
 *	12 sums of float32	of the panel: the scale of the group times those
 *
 * are in registers together; the scale of a token is applied once a panel.
 */

/* Where the sums of the groups g .. end-1 start. */
SQ_INLINE VI
start_of(const struct panel *p, size_t row, size_t g, size_t end,
    const char *x)
{
	const unsigned per = BLOCK / (unsigned)p->group;
	const struct heads *h;
	VF sum = vf_zero();
	unsigned k;

	for (k = (unsigned)g; k < end; k++) {
		h = (const struct heads *)(x + k / per * V_BYTES);
		sum = vf_add(sum, vf_load(h->sums[k % per]));
	}
	return vi_from_f(vf_mul(vf_set1(p->zero[row][g]), sum));
}

SQ_INLINE void
starts_of(const struct panel *p, size_t row, size_t g, size_t end,
    const char *x, size_t next, VI (*s)[TV], const int nr, const int nv)
{
	int i, j;

	SQ_UNROLL for (j = 0; j < nv; j++)
		s[0][j] = start_of(p, row, g, end, x + (size_t)j * next);
	SQ_UNROLL for (i = 1; i < nr; i++)
		SQ_UNROLL for (j = 0; j < nv; j++)
			s[i][j] = p->even ? s[0][j] : start_of(p, row +
			    (size_t)i, g, end, x + (size_t)j * next);
}

/* A lane of columns of one row times nv vectors of tokens.  The instructions
 * are written out: left to itself, gcc 12 moves the vectors about and spills
 * them. */
SQ_INLINE void
add_row(const int32_t *w, const VI *v, VI *s, const int nv)
{
	VI b;

	if (nv == 3)
		__asm__ volatile("vpbroadcastd %4, %3\n\t"
		    "vpdpbusd %5, %3, %0\n\tvpdpbusd %6, %3, %1\n\t"
		    "vpdpbusd %7, %3, %2" : "+v"(s[0]), "+v"(s[1]), "+v"(s[2]),
		    "=&v"(b) : "m"(*w), "v"(v[0]), "v"(v[1]), "v"(v[2]));
	else if (nv == 2)
		__asm__ volatile("vpbroadcastd %3, %2\n\t"
		    "vpdpbusd %4, %2, %0\n\tvpdpbusd %5, %2, %1" :
		    "+v"(s[0]), "+v"(s[1]), "=&v"(b) :
		    "m"(*w), "v"(v[0]), "v"(v[1]));
	else
		__asm__ volatile("vpbroadcastd %2, %1\n\t"
		    "vpdpbusd %3, %1, %0" : "+v"(s[0]), "=&v"(b) :
		    "m"(*w), "v"(v[0]));
}

/* Adds a group of columns of a block; x: behind the heads. */
SQ_INLINE void
add_columns(const int32_t *w, const char *x, size_t next, size_t n,
    VI (*s)[TV], const int nr, const int nv)
{
	VI v[TV];
	int i, j;

	for (; n > 0; n--, w++, x += VB) {
		SQ_UNROLL for (j = 0; j < nv; j++)
			v[j] = vi_loadu(x + (size_t)j * next);
		SQ_UNROLL for (i = 0; i < nr; i++)
			add_row(w + i * (int)WORDS, v, s[i], nv);
	}
}

/* f += the scales of a run of groups times its sums. */
SQ_INLINE void
add_scaled(const struct panel *p, size_t row, size_t g, VI (*s)[TV],
    VF (*f)[TV], const int nr, const int nv)
{
	VF scale;
	int i, j;

	SQ_UNROLL for (i = 0; i < nr; i++) {
		scale = vf_set1(p->scale[row + (size_t)i][g]);
		SQ_UNROLL for (j = 0; j < nv; j++)
			f[i][j] = vf_fma(scale, vf_from_i(s[i][j]), f[i][j]);
	}
}

/* nr rows of the panel from row by nv vectors of tokens. */
SQ_INLINE void
tile_of(const struct panel *p, size_t row, const char *x, size_t cols,
    float *sums, const int nr, const int nv)
{
	const size_t next = cols / BLOCK * V_BYTES, n = p->group / STEP;
	const size_t all = cols / p->group, per = BLOCK / p->group;
	const int32_t *w = (const int32_t *)p->w[row];
	const char *at = x + sizeof(struct heads);
	VF f[2 * TR][TV], scale;
	VI s[2 * TR][TV];
	size_t g, k, end;
	int i, j;

	SQ_UNROLL for (i = 0; i < nr; i++)
		SQ_UNROLL for (j = 0; j < nv; j++)
			f[i][j] = vf_zero();
	for (g = 0; g < all; g = end) {
		end = g + p->run < all ? g + p->run : all;
		starts_of(p, row, g, end, x, next, s, nr, nv);
		for (k = g; k < end; w += n) {
			add_columns(w, at, next, n, s, nr, nv);
			at += n * VB;
			if ((++k & (per - 1)) == 0)
				at += sizeof(struct heads);
		}
		add_scaled(p, row, g, s, f, nr, nv);
	}
	SQ_UNROLL for (j = 0; j < nv; j++) {
		scale = vf_load(((const struct heads *)(x + (size_t)j *
		    next))->scale);
		SQ_UNROLL for (i = 0; i < nr; i++)
			vf_store(sums + (j * SQ_MM_PANEL + i) * VL,
			    vf_fma(scale, f[i][j], vf_load(sums +
			    (j * SQ_MM_PANEL + i) * VL)));
	}
}
