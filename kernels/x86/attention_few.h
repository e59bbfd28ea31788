/*
 * Attention of few rows: decoding.  Vectors lie along the head dimension, so
 * that cached keys and values are used as they come from memory, once, for all
 * rows.  A block of BLOCK keys at a time: scores, softmax, sums of values;
 * what the other half of the work needs next is prefetched meanwhile.
 *
 *	score:	TILE keys x up to GROUP rows of accumulators along dim, summed
 *		over lanes at the end
 *	mix:	up to GROUP rows x 4 vectors of accumulators over the keys
 *
 * Elements come in groups of 2 VL as two vectors; which element lies where is
 * the loader's choice (`place'), queries are brought into the same order, and
 * the sums are put right at the end.  The including file has attention_load.h.
 */
#define FEW	8			/* rows */
#if VL == 16
#define GROUP	4
#else
#define GROUP	2
#endif
#define TILE	4

#define SCORES	(BLOCK + 16)		/* from row to row of scores */

/* Vectors first: they must not lie across cache lines. */
struct few {
	float q[FEW * SQ_ATTN_DIM], sum[FEW * SQ_ATTN_DIM];
	float score[FEW * SCORES];
	float total[FEW * VL];			/* by lanes */
	float max[FEW], fade[FEW];
	const struct sq_attn_call *call;
	const struct sq_attn_part *part;
	size_t width;			/* dim, whole groups of elements */
	struct block block[2];
	float coded[2][2 * BLOCK * SQ_ATTN_DIM];	/* as far as dim needs */
};

_Static_assert(sizeof(struct few) <= SQ_ATTN_SCRATCH, "scratch");

/* Row r of the queries: scaled, in the loader's order, padded with zeros. */
static void
few_query(struct few *f, enum sq_dtype type, size_t r)
{
	const float *x = sq_attn_head(f->call, f->call->q, f->part, r);
	float *q = f->q + r * f->width;
	size_t i;

	memset(q, 0, f->width * sizeof(*q));
	for (i = 0; i < f->call->kv->dim; i++)
		query_put(q, type, i, x[i] * f->call->scale);
}

/* Scores of TILE keys for nr rows. */
SQ_INLINE void
score_tile(const struct few *f, const char *const *k, const float *q,
    float *score, enum sq_dtype type, size_t nr, size_t dim)
{
	VF acc[GROUP][TILE];
	struct pair x;
	size_t i, j, r;

	SQ_UNROLL for (r = 0; r < nr; r++)
		SQ_UNROLL for (j = 0; j < TILE; j++)
			acc[r][j] = vf_zero();
	for (i = 0; i + 2 * VL <= dim; i += 2 * VL)
		SQ_UNROLL for (j = 0; j < TILE; j++) {
			x = pair_load(k[j], type, i);
			SQ_UNROLL for (r = 0; r < nr; r++)
				acc[r][j] = pair_dot(x, q + r * f->width, i,
				    acc[r][j]);
		}
	if (i < dim)
		SQ_UNROLL for (j = 0; j < TILE; j++) {
			x = pair_load_half(k[j], type, i);
			SQ_UNROLL for (r = 0; r < nr; r++)
				acc[r][j] = pair_dot(x, q + r * f->width, i,
				    acc[r][j]);
		}
	SQ_UNROLL for (r = 0; r < nr; r++)
		_mm_storeu_ps(score + r * SCORES, vf_sum4(acc[r][0],
		    acc[r][1], acc[r][2], acc[r][3]));
}

/* nr rows of sums over the keys of a block, in np pairs of vectors. */
SQ_INLINE void
mix_tile(const struct few *f, const struct block *b, const char *const *ahead,
    const float *score, const float *fade, float *sum, size_t i,
    enum sq_dtype type, size_t nr, size_t np, int half, size_t dim)
{
	VF acc[GROUP][2][2], p;
	struct pair x;
	size_t j, t, r, n;

	SQ_UNROLL for (r = 0; r < nr; r++)
		SQ_UNROLL for (n = 0; n < 2 * np; n++)
			acc[r][n / 2][n % 2] = vf_mul(vf_set1(fade[r]),
			    vf_load(sum + r * f->width + i + n * VL));
	for (j = 0; j < b->n; j += TILE) {
		if (ahead != NULL)
			prefetch(ahead + j, dim * sq_dtype_size(type));
		SQ_UNROLL for (t = j; t < j + TILE; t += MIX_KEYS)
			SQ_UNROLL for (n = 0; n < np; n++) {
				x = half ? mix_load_half(b->v + t, type, i) :
				    mix_load(b->v + t, type, i + n * 2 * VL);
				SQ_UNROLL for (r = 0; r < nr; r++) {
					p = mix_prob(score + r * SCORES, t);
					acc[r][n][0] = mac(p, x.a,
					    acc[r][n][0]);
					acc[r][n][1] = mac(p, x.b,
					    acc[r][n][1]);
				}
			}
	}
	SQ_UNROLL for (r = 0; r < nr; r++)
		SQ_UNROLL for (n = 0; n < 2 * np; n++)
			vf_store(sum + r * f->width + i + n * VL,
			    acc[r][n / 2][n % 2]);
}

/* While the first tile is worked on, the next keys are fetched. */
SQ_INLINE void
mix_rows(struct few *f, const struct block *b, const char *const *next,
    size_t r, enum sq_dtype type, size_t nr, size_t dim)
{
	const float *score = f->score + r * SCORES, *fade = f->fade + r;
	float *sum = f->sum + r * f->width;
	size_t i;

	next = r == 0 ? next : NULL;
	for (i = 0; i + 4 * VL <= dim; i += 4 * VL) {
		mix_tile(f, b, next, score, fade, sum, i, type, nr, 2, 0, dim);
		next = NULL;
	}
	if (i + 2 * VL <= dim) {
		mix_tile(f, b, next, score, fade, sum, i, type, nr, 1, 0, dim);
		next = NULL;
		i += 2 * VL;
	}
	if (i < dim)
		mix_tile(f, b, next, score, fade, sum, i, type, nr, 1, 1, dim);
}

/* Calls fn for the rows from 0, GROUP at a time, the number a constant. */
#if VL == 16
#define BY_GROUPS(rows, r, fn)						\
	for (r = 0; r < (rows); r += GROUP)				\
		switch ((rows) - r) {					\
		case 1: fn(1); break;					\
		case 2: fn(2); break;					\
		case 3: fn(3); break;					\
		default: fn(4); break;					\
		}
#else
#define BY_GROUPS(rows, r, fn)						\
	for (r = 0; r < (rows); r += GROUP)				\
		switch ((rows) - r) {					\
		case 1: fn(1); break;					\
		default: fn(2); break;					\
		}
#endif

SQ_INLINE void
few_scores(struct few *f, const struct block *b, enum sq_dtype type,
    size_t dim)
{
	size_t j, r, rows = f->part->rows, bytes = dim * sq_dtype_size(type);

	for (j = 0; j < b->n; j += TILE) {
		prefetch(b->v + j, bytes);
#define SCORE(nr)	score_tile(f, b->k + j, f->q + r * f->width,	\
			    f->score + r * SCORES + j, type, nr, dim)
		BY_GROUPS(rows, r, SCORE)
#undef SCORE
	}
}

/* Takes what a row does not see out of the scores of a block. */
static void
few_mask(struct few *f, const struct block *b, size_t r)
{
	size_t start, end, j;
	float *s = f->score + r * SCORES;

	seen(f->call, b->stretch, sq_attn_pos(f->call, f->part, r), &start,
	    &end);
	if (start > b->pos || end < b->pos + b->n)
		for (j = 0; j < b->n; j++)
			if (b->pos + j < start || b->pos + j >= end)
				s[j] = -INFINITY;
	for (j = b->n; j < BLOCK; j++)
		s[j] = -INFINITY;
}

/*
 * The scores of a row become probabilities relative to f->max, which need not
 * be the maximum: it is raised only when a score is HEADROOM above it, so that
 * most blocks need no reduction over lanes and no fading of the sums.
 */
static void
few_softmax(struct few *f, size_t r)
{
	float *s = f->score + r * SCORES, old = f->max[r];
	VF p, m = vf_load(s), total;
	size_t j;

	for (j = VL; j < BLOCK; j += VL)
		m = vf_max(m, vf_load(s + j));
	f->fade[r] = 1;
	if (vf_any_gt(m, vf_set1(old + HEADROOM))) {
		f->max[r] = vf_greatest(m);
		f->fade[r] = exp2_of(old - f->max[r]);
	}
	m = vf_set1(f->max[r]);
	total = vf_mul(vf_load(f->total + r * VL), vf_set1(f->fade[r]));
	for (j = 0; j < BLOCK; j += VL) {
		p = prob_exp2(vf_sub(vf_load(s + j), m));
		total = vf_add(total, p);
		few_put_prob(s, j, p);
	}
	vf_store(f->total + r * VL, total);
}

static void
few_finish(struct few *f, enum sq_dtype type)
{
	const struct sq_attn_part *p = f->part;
	float *to, scale;
	size_t r, i;

	for (r = 0; r < p->rows; r++) {
		to = row_out(f->call, p, r, f->max[r],
		    vf_sum(vf_load(f->total + r * VL)), &scale);
		for (i = 0; i < f->call->kv->dim; i++)
			to[i] = f->sum[r * f->width + place(type, i)] * scale;
	}
}

SQ_INLINE void
few_rows(struct few *f, enum sq_dtype type, size_t dim)
{
	const struct sq_attn_part *p = f->part;
	struct block *b = f->block, *next = f->block + 1, *t;
	size_t r, size = sq_dtype_size(type);

	for (r = 0; r < p->rows; r++) {
		few_query(f, type, r);
		f->max[r] = -FLT_MAX;
		vf_store(f->total + r * VL, vf_zero());
	}
	memset(f->sum, 0, p->rows * f->width * sizeof(float));
	b->coded = f->coded[0];
	next->coded = f->coded[0] + 2 * BLOCK * dim + 16;
	block_next(f->call, p, SINK, 0, size, b);
	while (b->n > 0) {
		block_next(f->call, p, b->stretch, b->pos + b->n, size, next);
		few_scores(f, b, type, dim);
		for (r = 0; r < p->rows; r++) {
			few_mask(f, b, r);
			few_softmax(f, r);
		}
#define MIX(nr)		mix_rows(f, b, next->n > 0 ? next->k : NULL, r, \
			    type, nr, dim)
		BY_GROUPS(p->rows, r, MIX)
#undef MIX
		t = b;
		b = next;
		next = t;
	}
	few_finish(f, type);
}
