/*
 * Steps of the products of integers without VNNI's bytes: STEP columns of a
 * row, broadcast, times those of VL tokens in each of some vectors.  The file
 * that includes this has defined BYTES, STEP, WORDS (from a row to the next), TR
 * and TV (rows and vectors, at most; twice the rows with one vector).
 *
 *	                    sums of
 *	bytes               16 bits, exact for 32 columns of 4 bits
 *	16-bit integers     32 bits
 *
 * The instructions are written out: left to itself, gcc 12 moves the vectors
 * about and spills them.  With 16 registers 12 are sums, two have tokens, one a
 * weight, one a product; the third vector of tokens is an operand in memory.
 */

#define AT_ONCE	8			/* steps whose instructions follow */

typedef VI any_vi __attribute__((aligned(1)));	/* anywhere in memory */

#if VL == 16
#define THIRD	"v"
#else
#define THIRD	"m"
#endif

#if BYTES
#define MUL(x, w, to)	"vpmaddubsw " x ", " w ", " to "\n\t"
#define MORE(x, w, to, s)						\
	MUL(x, w, to) "vpaddw " to ", " s ", " s "\n\t"
#elif defined(__AVX512VNNI__)
#define MORE(x, w, to, s)	"vpdpwssd " x ", " w ", " s "\n\t"
#else
#define MUL(x, w, to)	"vpmaddwd " x ", " w ", " to "\n\t"
#define MORE(x, w, to, s)						\
	MUL(x, w, to) "vpaddd " to ", " s ", " s "\n\t"
#endif

#ifdef MUL

/* The products of a weight, the first of their sums; x: the third vector. */
SQ_INLINE void
row_first(const int32_t *w, const VI *v, const any_vi *x, VI *s, const int nv)
{
	VI b;

	if (nv == 3)
		__asm__ volatile("vpbroadcastd %4, %3\n\t" MUL("%5", "%3",
		    "%0") MUL("%6", "%3", "%1") MUL("%7", "%3", "%2") :
		    "=&v"(s[0]), "=&v"(s[1]), "=v"(s[2]), "=&v"(b) :
		    "m"(*w), "v"(v[0]), "v"(v[1]), THIRD(*x));
	else if (nv == 2)
		__asm__ volatile("vpbroadcastd %3, %2\n\t" MUL("%4", "%2",
		    "%0") MUL("%5", "%2", "%1") :
		    "=&v"(s[0]), "=v"(s[1]), "=&v"(b) :
		    "m"(*w), "v"(v[0]), "v"(v[1]));
	else
		__asm__ volatile("vpbroadcastd %2, %1\n\t" MUL("%3", "%1",
		    "%0") : "=v"(s[0]), "=&v"(b) : "m"(*w), "v"(v[0]));
}

#else

SQ_INLINE void	row_more(const int32_t *, const VI *, const any_vi *, VI *,
		    const int);

SQ_INLINE void
row_first(const int32_t *w, const VI *v, const any_vi *x, VI *s, const int nv)
{
	int j;

	SQ_UNROLL for (j = 0; j < nv; j++)
		s[j] = vi_set1(0);
	row_more(w, v, x, s, nv);
}

#endif

/* Those of another weight are added. */
SQ_INLINE void
row_more(const int32_t *w, const VI *v, const any_vi *x, VI *s, const int nv)
{
	VI b, t;

	if (nv == 3)
		__asm__ volatile("vpbroadcastd %5, %3\n\t" MORE("%6", "%3",
		    "%4", "%0") MORE("%7", "%3", "%4", "%1") MORE("%8", "%3",
		    "%3", "%2") : "+v"(s[0]), "+v"(s[1]), "+v"(s[2]),
		    "=&v"(b), "=&v"(t) : "m"(*w), "v"(v[0]), "v"(v[1]),
		    THIRD(*x));
	else if (nv == 2)
		__asm__ volatile("vpbroadcastd %4, %2\n\t" MORE("%5", "%2",
		    "%3", "%0") MORE("%6", "%2", "%2", "%1") :
		    "+v"(s[0]), "+v"(s[1]), "=&v"(b), "=&v"(t) :
		    "m"(*w), "v"(v[0]), "v"(v[1]));
	else
		__asm__ volatile("vpbroadcastd %2, %1\n\t" MORE("%3", "%1",
		    "%1", "%0") : "+v"(s[0]), "=&v"(b) :
		    "m"(*w), "v"(v[0]));
}

/* AT_ONCE steps of nr rows by nv vectors. */
SQ_INLINE void
add_steps(const int32_t *w, const char *x, size_t next, VI (*s)[TV],
    const int first, const int nr, const int nv)
{
	VI v[2];
	int i, j, k;

	SQ_UNROLL for (k = 0; k < AT_ONCE; k++, w++, x += VB) {
		SQ_UNROLL for (j = 0; j < nv && j < 2; j++)
			v[j] = vi_loadu(x + (size_t)j * next);
		SQ_UNROLL for (i = 0; i < nr; i++)
			if (first && k == 0)
				row_first(w + i * (int)WORDS, v,
				    (const any_vi *)(x + 2 * next), s[i], nv);
			else
				row_more(w + i * (int)WORDS, v,
				    (const any_vi *)(x + 2 * next), s[i], nv);
	}
}

/* The sums of some columns. */
SQ_INLINE void
sums_of(const int32_t *w, const char *x, size_t next, size_t cols, VI (*s)[TV],
    const int nr, const int nv)
{
	size_t n;

	add_steps(w, x, next, s, 1, nr, nv);
	for (n = cols / STEP; n > AT_ONCE; n -= AT_ONCE) {
		w += AT_ONCE;
		x += AT_ONCE * VB;
		add_steps(w, x, next, s, 0, nr, nv);
	}
}
