/* GPTQ in a stream; see gptq_layer.h. */
#include <stdlib.h>
#include <string.h>

#include "quant/gptq_layer.h"
#include "quant/levels.h"

/* OpenBLAS, and what it takes for each thread. */
#define LAPACK		((uint64_t)20 << 20)
#define LAPACK_THREAD	((uint64_t)6 << 20)

#define PADDING		((uint64_t)4096)	/* between parts, of sizes */

static uint64_t
group_cols(const struct sq_gptq_layer *l, uint64_t cols)
{
	uint64_t g = l->rule.group_cols;

	return g == 0 || g > cols ? cols : g;
}

static int
is_exact(const struct sq_gptq_layer *l)
{
	return l->rule.grid == SQ_DENSE;
}

/* What is held while tensors pass. */
static uint64_t
held(const struct sq_gptq_layer *l, uint64_t cols, int threads)
{
	int pairs = l->pairs && l->sweeps > 0 && !is_exact(l);

	return LAPACK + sq_factor_bytes((size_t)cols, l->sweeps > 0) +
	    sq_gptq_shared((size_t)cols, pairs) +
	    (uint64_t)threads * (LAPACK_THREAD + sq_gptq_bytes((size_t)cols,
	    (size_t)group_cols(l, cols), l->masked ||
	    l->choose.kind != SQ_MASK_NONE, is_exact(l), pairs));
}

uint64_t
sq_gptq_memory(const struct sq_gptq_layer *l, uint64_t rows, uint64_t cols,
    size_t size, int threads)
{
	uint64_t g = group_cols(l, cols), groups = (cols + g - 1) / g;
	uint64_t per = l->rule.symmetric && !sq_grid_is_super(l->rule.grid) ?
	    2 : 3;
	uint64_t some = rows < SQ_GPTQ_ROWS ? rows : SQ_GPTQ_ROWS;

	if (is_exact(l))		/* weights, twice, and the record */
		return SQ_CHUNKS_FIXED + held(l, cols, threads) +
		    rows * (cols * (8 + size) + 2 * sq_row_bytes(cols, 1)) +
		    PADDING;
	return SQ_CHUNKS_FIXED + held(l, cols, threads) +
	    rows * groups * per + PADDING +
	    some * size * cols + (l->keeps ? some + rows : some) *
	    sq_row_bytes((size_t)cols, sq_grid_bits(l->rule.grid));
}

/* As many threads as the memory allows, the pool has, or there is work for. */
static int
choose_threads(const struct sq_gptq_layer *l, const struct sq_tensor *t,
    char *err)
{
	int n = sq_pool_threads(l->ctx->pool);
	uint64_t tiles = (t->dim[0] + SQ_GPTQ_ROWS - 1) / SQ_GPTQ_ROWS;
	uint64_t need = 0;

	if ((uint64_t)n > tiles)
		n = (int)tiles;
	for (; n > 0; n--) {
		need = sq_gptq_memory(l, t->dim[0], t->dim[1],
		    sq_dtype_size(t->type), n);
		if (l->memory == 0 || l->memory >= need)
			return n;
	}
	return sq_fail(err, "tensor '%s': -M: needs at least %juM", t->name,
	    (uintmax_t)(need + 0xfffff) >> 20);
}

void
sq_gptq_forget(struct sq_gptq_layer *l)
{
	sq_gptq_release(&l->gptq);
	sq_factor_release(&l->factor);
	sq_solver_release(&l->device);
	l->seen = l->full = l->raw = l->host_raw = 0;
}

static int
quantize_rows(void *arg, const struct sq_mat *w, const struct sq_qrule *rule,
    const struct sq_dst *dst, char *err)
{
	struct sq_gptq_layer *l = arg;

	(void)rule;
	return l->on_device ? sq_solver_rows(&l->device, &l->gptq, w, dst,
	    err) : sq_gptq_rows(&l->gptq, w, dst, err);
}

static int
host_factor(struct sq_gptq_layer *l, char *err)
{
	l->host_raw = 0;
	return sq_factor_make(&l->factor, l->lapack, l->ctx->pool, l->order,
	    l->damp, err);
}

/* Weights with a mask, or in another order, are the host's. */
static int
knows(const struct sq_gptq_layer *l, const struct sq_qrule *rule, int masked)
{
	return sq_solver_knows(&l->device, rule, l->order, masked ||
	    l->choose.kind != SQ_MASK_NONE);
}

/* The device's, if it may be wanted: H stays as it is for the host.  Which
 * weights are given a mask is not known yet. */
static int
make_factor(struct sq_gptq_layer *l, char *err)
{
	static const struct sq_qrule any = { SQ_INT4, SQ_WEIGHTED, 1, 1, 1 };

	l->raw = 0;
	if (!knows(l, &any, 0))
		return host_factor(l, err);
	if (sq_solver_factor(&l->device, &l->factor, l->damp, l->pairs &&
	    l->sweeps > 0, err) < 0)
		return -1;
	l->factor.damp = l->device.damp;
	return 0;
}

static int
fail_factor(const struct sq_gptq_layer *l, const char *why, char *err)
{
	return sq_fail(err, "the statistics of '%s': %s", l->stats.tensor[0],
	    why);
}

int
sq_gptq_factor(struct sq_gptq_layer *l, char *err)
{
	char why[SQ_ERR];

	return l->raw && make_factor(l, why) < 0 ? fail_factor(l, why, err) :
	    0;
}

static int
same_rule(const struct sq_qrule *a, const struct sq_qrule *b)
{
	return a->grid == b->grid && a->scale == b->scale &&
	    a->symmetric == b->symmetric && a->group_rows == b->group_rows &&
	    a->group_cols == b->group_cols;
}

static void
whole_rule(const struct sq_gptq_layer *l, const struct sq_tensor *t,
    struct sq_qrule *rule)
{
	*rule = l->rule;
	rule->group_rows = 1;
	rule->group_cols = (size_t)group_cols(l, t->dim[1]);
}

void
sq_gptq_describe(const struct sq_gptq_layer *l, const struct sq_tensor *t,
    struct sq_tensor *made)
{
	struct sq_tensor named = *t;
	struct sq_qrule rule;

	whole_rule(l, t, &rule);
	if (sq_tensor_part(t, "mask") == NULL)
		named.sparse = l->choose;
	sq_chunks_describe(&rule, &named, t->name, made);
}

static void
set_options(struct sq_gptq_layer *l, const struct sq_qrule *rule)
{
	sq_gptq_release(&l->gptq);
	l->gptq = (struct sq_gptq){ .ctx = l->ctx, .lapack = l->lapack,
	    .factor = &l->factor, .order = l->order, .rule = *rule,
	    .sweeps = l->sweeps, .refit = l->refit && !is_exact(l),
	    .pairs = l->pairs, .want_error = l->want_error, .masked = l->masked,
	    .sparsity = l->sparsity, .plain = l->plain };
}

/* Rows of a chunk: as many as make a device worth its while, or as memory
 * allows. */
#define DEVICE_ROWS	((size_t)16384)

static void
prepare_device(struct sq_gptq_layer *l, const struct sq_tensor *t,
    const struct sq_qrule *rule)
{
	set_options(l, rule);
	if (l->memory == 0)
		l->chunks.step = DEVICE_ROWS;
	l->chunks.per_row = t->dim[1];
}

/* The memory for the tiles of t: that of the tensor before, if it will do. */
static int
prepare(struct sq_gptq_layer *l, const struct sq_tensor *t, char *err)
{
	struct sq_qrule rule = l->rule;
	char why[SQ_ERR];
	int threads;

	if (l->raw && sq_gptq_factor(l, err) < 0)
		return -1;
	if (!is_exact(l) && sq_levels_check(&rule, t->dim[1], why) < 0)
		return sq_fail(err, "tensor '%s': %s", t->name, why);
	if (!l->masked && l->choose.kind == SQ_MASK_RUNS &&
	    !sq_gptq_chooses(&l->choose, t->dim[1]))
		return sq_fail(err, "tensor '%s': %ju columns are no runs of "
		    "%u", t->name, (uintmax_t)t->dim[1], l->choose.m);
	if ((threads = choose_threads(l, t, err)) < 0)
		return -1;
	whole_rule(l, t, &rule);
	l->on_device = l->device.h != NULL && knows(l, &rule, l->masked);
	if (!l->on_device && l->host_raw && host_factor(l, why) < 0)
		return fail_factor(l, why, err);
	l->chunks = (struct sq_chunks){ .rule = rule, .memory = l->memory,
	    .taken = held(l, t->dim[1], threads), .step = SQ_GPTQ_ROWS,
	    .quantize = quantize_rows, .arg = l, .keep = l->keep,
	    .progress = l->progress };
	if (l->on_device) {
		prepare_device(l, t, &rule);
		return 0;
	}
	l->gptq.error = l->gptq.rtn_error = l->gptq.norm = 0;
	if (l->gptq.tile != NULL && l->gptq.threads == threads &&
	    same_rule(&l->gptq.rule, &rule) && !is_exact(l) &&
	    l->gptq.masked == l->masked)
		return 0;
	set_options(l, &rule);
	if (!l->masked)
		l->gptq.choose = l->choose;
	if (sq_gptq_chooses(&l->swap, t->dim[1]))
		l->gptq.swap = l->swap;
	return sq_gptq_init(&l->gptq, threads, err);
}

/* Fewer tokens than channels, as an expert may have seen: there is no H worth
 * the name, and the diagonal has to do. */
static int
is_rare(const struct sq_gptq_layer *l)
{
	return l->any_diagonal || l->stats.tokens < l->stats.channels;
}

/* Columns that stay together. */
static size_t
run(const struct sq_gptq_layer *l)
{
	return l->run == 0 && sq_grid_is_super(l->rule.grid) ?
	    sq_levels_group(l->rule.grid) : l->run;
}

int
sq_gptq_stats(struct sq_gptq_layer *l, struct sq_in *in, struct sq_out *out,
    char *err)
{
	const char *name = l->stats.tensor[0];
	uint64_t need;

	sq_gptq_forget(l);
	if (sq_stats_parse(&l->stats, in, &l->full, err) < 0)
		return -1;
	if (strcmp(l->stats.model, l->model) != 0)
		return sq_fail(err, "the statistics of '%s' are those of "
		    "another model: %s, not %s", name, l->stats.model,
		    l->model);
	l->seen = 1;
	if (!l->full && !is_rare(l))
		return out == NULL || sq_out_copy(out, in) == 0 ? 0 :
		    sq_fail(err, "%s", out->err);
	need = sq_gptq_memory(l, 1, l->stats.channels, 2, 1);
	if (l->memory != 0 && l->memory < need)
		return sq_fail(err, "the statistics of '%s': -M: needs at "
		    "least %juM", name, (uintmax_t)(need + 0xfffff) >> 20);
	if (sq_factor_init(&l->factor, (size_t)l->stats.channels,
	    l->sweeps > 0, err) < 0)
		return -1;
	l->factor.run = run(l);
	if (sq_factor_read(&l->factor, l->full, in, out, err) < 0)
		return -1;
	l->raw = l->host_raw = 1;
	return 0;
}

static int
concerns(const struct sq_stats *s, const char *name)
{
	size_t i;

	for (i = 0; i < s->ntensors; i++)
		if (strcmp(s->tensor[i], name) == 0)
			return 1;
	return 0;
}

int
sq_gptq_ready(const struct sq_gptq_layer *l, const struct sq_tensor *t,
    char *err)
{
	if (!l->seen || !concerns(&l->stats, t->name))
		return sq_fail(err, "tensor '%s': no statistics before it; "
		    "sq-calibrate makes them", t->name);
	if (!l->full && !is_rare(l))
		return sq_fail(err, "tensor '%s': its statistics have the "
		    "diagonal of H alone; sq-calibrate --stats full makes all "
		    "of it", t->name);
	if (t->dim[1] != l->stats.channels)
		return sq_fail(err, "tensor '%s': %ju columns, but statistics "
		    "of %ju channels", t->name, (uintmax_t)t->dim[1],
		    (uintmax_t)l->stats.channels);
	return 0;
}

int
sq_gptq_tensor(struct sq_gptq_layer *l, const struct sq_tensor *t,
    struct sq_in *in, struct sq_out *out, char *err)
{
	l->masked = sq_tensor_part(t, "mask") != NULL;
	if (sq_gptq_ready(l, t, err) < 0 || prepare(l, t, err) < 0)
		return -1;
	l->chunks.choose = l->gptq.choose;
	return sq_chunks_tensor(&l->chunks, t, in, out, err);
}

int
sq_gptq_given(struct sq_gptq_layer *l, const float *h, size_t n, char *err)
{
	size_t i;

	sq_gptq_forget(l);
	if (sq_factor_init(&l->factor, n, l->sweeps > 0, err) < 0)
		return -1;
	l->factor.run = run(l);
	for (i = 0; i < n; i++)
		sq_factor_row(&l->factor, i, h + sq_triangle_at(n, i, i));
	l->host_raw = 1;
	return make_factor(l, err);
}

/* The mask of a record: as it was, found before, or chosen on the way. */
static int
begin_mask(struct sq_gptq_layer *l, const struct sq_tensor *t,
    const float *w, const uint8_t *bits, uint8_t *to, char *err)
{
	struct sq_mask m = { l->find, t->dim[0], t->dim[1], to };

	size_t r, c;

	if (bits != NULL)
		memcpy(to, bits, m.rows * sq_mask_row(&m));
	else if (sq_tensor_part(t, "mask") != NULL)
		for (r = 0; r < m.rows; r++)
			for (c = 0; c < m.cols; c++)
				sq_mask_set(&m, r, c, w[r * m.cols + c] != 0);
	else if (l->find_mask != NULL)
		return l->find_mask(l->find_arg, t, w, &m, err);
	return 0;
}

/* Values into the type of the tensor. */
static int
put_values(struct sq_gptq_layer *l, const struct sq_tensor *t,
    const float *values, void *to, char *err)
{
	struct sq_weight w = { .grid = SQ_DENSE, .type = SQ_F32,
	    .rows = t->dim[0], .cols = t->dim[1], .data = values };
	struct sq_mat m = { to, t->type, w.rows, w.cols, w.cols };

	return sq_dequantize(l->ctx, &w, 0, &m) == 0 ? 0 :
	    sq_fail(err, "tensor '%s': no kernel writes %s", t->name,
	    sq_dtype_name(t->type));
}

static int
do_matrix(struct sq_gptq_layer *l, const struct sq_tensor *t, const float *w,
    const uint8_t *bits, const struct sq_tensor *made, unsigned char *payload,
    char *err)
{
	struct sq_mat m = { (float *)(uintptr_t)w, SQ_F32, t->dim[0],
	    t->dim[1], t->dim[1] };
	unsigned char *part[SQ_PARTS];
	struct sq_dst q;
	char why[SQ_ERR];
	int i, r = -1;

	for (i = 0; i < made->nparts; i++)
		part[i] = payload + made->part[i].offset;
	sq_chunks_dst(made, part, 0, &q);
	q.codes = part[0];
	if (q.mask != NULL && begin_mask(l, t, w, bits, q.mask, err) < 0)
		return -1;
	if (is_exact(l) && (q.values = malloc(m.rows * m.cols *
	    sizeof(float))) == NULL)
		return sq_fail(err, "tensor '%s': out of memory", t->name);
	if (quantize_rows(l, &m, &l->gptq.rule, &q, why) < 0)
		sq_fail(err, "tensor '%s': its weights %s", t->name, why);
	else
		r = q.values == NULL ? 0 : put_values(l, t, q.values, part[0],
		    err);
	free(q.values);
	return r;
}

int
sq_gptq_matrix(struct sq_gptq_layer *l, const struct sq_tensor *t,
    const float *w, const uint8_t *bits, struct sq_tensor *made,
    unsigned char **payload, char *err)
{
	int had = sq_tensor_part(t, "mask") != NULL;
	struct sq_tensor named = *t;

	l->masked = had || l->find_mask != NULL;
	if ((l->masked || l->choose.kind != SQ_MASK_NONE) &&
	    !sq_grid_has_zero(l->rule.grid))
		return sq_fail(err, "tensor '%s': has a mask, and grid %s no "
		    "zero", t->name, sq_grid_name(l->rule.grid));
	if (prepare(l, t, err) < 0)
		return -1;
	if (!had)
		named.sparse = l->find_mask != NULL ? l->find : l->choose;
	sq_chunks_describe(&l->rule, &named, t->name, made);
	if ((*payload = calloc(1, (size_t)made->length)) == NULL)
		return sq_fail(err, "tensor '%s': out of memory", t->name);
	if (do_matrix(l, t, w, bits, made, *payload, err) == 0)
		return 0;
	free(*payload);
	return -1;
}

int
sq_gptq_concerns(const struct sq_gptq_layer *l, const char *name)
{
	return l->seen && l->full && concerns(&l->stats, name);
}
