/*
 * The gradients of operations on rows; included after rows_vec.h.  A sum over
 * rows belongs to one task, which has some columns of all rows: they are summed
 * in runs of RUN, and the runs' sums are added.
 */
#define COLS	(4 * VL)	/* of a sum's task */
#define RUN	64

/* What row i adds to column k .. of a sum. */
SQ_INLINE VF
addend(const struct job *j, size_t i, size_t k, size_t n)
{
	VF x = vf_get(sq_row(j->a, i) + k, n);

	if (j->dy == NULL)
		return x;
	x = vf_mul(x, vf_get(sq_row(j->dy, i) + k, n));
	return vf_mul(x, vf_set1(j->root[i]));
}

static void
do_sums(void *arg, long task, int thread)
{
	const struct job *j = arg;
	size_t k0 = (size_t)task * COLS, cols = j->a->cols, i, v, n;
	VF run[COLS / VL], all[COLS / VL];

	(void)thread;
	for (v = 0; v < COLS / VL; v++)
		run[v] = all[v] = vf_zero();
	for (i = 0; i < j->a->rows; i++) {
		for (v = 0, n = k0; v < COLS / VL && n < cols; v++, n += VL)
			run[v] = vf_add(run[v], addend(j, i, n, cols - n));
		if (i % RUN != RUN - 1 && i + 1 < j->a->rows)
			continue;
		for (v = 0; v < COLS / VL; v++) {
			all[v] = vf_add(all[v], run[v]);
			run[v] = vf_zero();
		}
	}
	for (v = 0, n = k0; v < COLS / VL && n < cols; v++, n += VL)
		vf_put(j->sum + n, vf_add(vf_get(j->sum + n, cols - n),
		    all[v]), cols - n);
}

static int
run_sums(struct sq_ctx *c, struct job *j)
{
	sq_pool_run(c->pool, do_sums, j,
	    (long)((j->a->cols + COLS - 1) / COLS));
	return 0;
}

int
LEVEL(sum_rows)(struct sq_ctx *c, const struct sq_mat *x, float *sum)
{
	struct job j = { .a = x, .sum = sum };

	return x->type != SQ_F32 ? SQ_UNSUP : run_sums(c, &j);
}

static void
norm_back_row(const struct job *j, size_t row)
{
	const float *x = sq_row(j->a, row), *dy = sq_row(j->dy, row);
	float *dx = sq_row(j->y, row), r, t;
	size_t i, n = j->a->cols;
	VF vr, vt, g, s = vf_zero();

	r = 1 / sqrtf(sum_squares(x, n) / (float)n + j->eps);
	if (j->root != NULL)
		j->root[row] = r;
	for (i = 0; i < n; i += VL) {
		g = vf_mul(vf_get(dy + i, n - i), vf_get(j->w + i, n - i));
		s = vf_fma(g, vf_get(x + i, n - i), s);
	}
	t = vf_sum(s) / (float)n * r * r;
	vr = vf_set1(r);
	vt = vf_set1(-t);
	for (i = 0; i < n; i += VL) {
		g = vf_mul(vf_get(dy + i, n - i), vf_get(j->w + i, n - i));
		g = vf_fma(vt, vf_get(x + i, n - i), g);
		vf_put(dx + i, vf_mul(g, vr), n - i);
	}
}

int
LEVEL(rmsnorm_backward)(struct sq_ctx *c, const struct sq_mat *x,
    const float *weight, float eps, const struct sq_mat *dy,
    const struct sq_mat *dx, float *dweight)
{
	struct job j = { .a = x, .dy = dy, .y = dx, .w = weight, .eps = eps,
	    .sum = dweight };

	if (!sq_rows_alike(x, dy) || !sq_rows_alike(x, dx))
		return SQ_UNSUP;
	if (dweight == NULL)
		return run(c, &j, norm_back_row);
	if (dx->p == dy->p || x->rows > c->work_size / sizeof(float))
		return SQ_UNSUP;
	j.root = c->work;
	run(c, &j, norm_back_row);
	return run_sums(c, &j);
}

static void
silu_back_row(const struct job *j, size_t row)
{
	const float *gate = sq_row(j->a, row), *up = sq_row(j->b, row);
	const float *dy = sq_row(j->dy, row);
	float *dgate = sq_row(j->y, row), *dup = sq_row(j->z, row);
	size_t i, n = j->y->cols;
	VF one = vf_set1(1), g, d, s, u;

	for (i = 0; i < n; i += VL) {
		g = vf_get(gate + i, n - i);
		d = vf_get(dy + i, n - i);
		u = vf_mul(d, vf_get(up + i, n - i));
		s = vf_div(one, vf_add(one, vf_exp(vf_sub(vf_zero(), g))));
		d = vf_mul(d, vf_mul(g, s));
		s = vf_mul(s, vf_fma(g, vf_sub(one, s), one));
		vf_put(dgate + i, vf_mul(u, s), n - i);
		vf_put(dup + i, d, n - i);
	}
}

int
LEVEL(silu_mul_backward)(struct sq_ctx *c, const struct sq_mat *gate,
    const struct sq_mat *up, const struct sq_mat *dy,
    const struct sq_mat *dgate, const struct sq_mat *dup)
{
	struct job j = { .a = gate, .b = up, .dy = dy, .y = dgate, .z = dup };

	if (!sq_rows_alike(gate, up) || !sq_rows_alike(gate, dy) ||
	    !sq_rows_alike(gate, dgate) || !sq_rows_alike(gate, dup))
		return SQ_UNSUP;
	return run(c, &j, silu_back_row);
}

static void
softmax_row(const struct job *j, size_t row)
{
	const float *x = sq_row(j->a, row);
	float *y = sq_row(j->y, row);
	size_t i, n = j->y->cols;
	VF e, lse = vf_set1(j->w[row]), scale = vf_set1(j->eps);

	for (i = 0; i < n; i += VL) {
		e = vf_exp(vf_sub(vf_get(x + i, n - i), lse));
		vf_put(y + i, vf_fma(scale, e, vf_get(y + i, n - i)), n - i);
	}
}

int
LEVEL(softmax_add)(struct sq_ctx *c, const struct sq_mat *x, const float *lse,
    float scale, const struct sq_mat *y)
{
	struct job j = { .a = x, .w = lse, .eps = scale, .y = y };

	if (!sq_rows_alike(x, y))
		return SQ_UNSUP;
	return run(c, &j, softmax_row);
}
