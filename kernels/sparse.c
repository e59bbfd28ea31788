/* Between rows of weights and sparse layouts; see sparse.h. */
#include <string.h>

#include "kernels/sparse.h"

#define NO_ZERO		256		/* not a code */

/* Value i of an array of values of so many bits, as its bytes. */
static uint32_t
get(const void *p, size_t bits, size_t i)
{
	const uint8_t *b = p;
	uint32_t v = 0;

	if (bits == 4)
		return b[i / 2] >> 4 * (i % 2) & 15;
	memcpy(&v, b + i * bits / 8, bits / 8);
	return v;
}

static void
put(void *p, size_t bits, size_t i, uint32_t v)
{
	uint8_t *b = p;

	if (bits == 4)
		b[i / 2] = (uint8_t)((b[i / 2] & ~(15u << 4 * (i % 2))) |
		    v << 4 * (i % 2));
	else
		memcpy(b + i * bits / 8, &v, bits / 8);
}

/* The number in rows of the weight in row r, column c. */
static size_t
place(const struct sq_weight *w, size_t r, size_t c)
{
	size_t bits = sq_sparse_bits(w);

	return bits == 4 ? 2 * r * sq_row_bytes(w->cols, 4) + c :
	    r * w->cols + c;
}

/* The code of the weight 0 there, or NO_ZERO. */
static unsigned
zero_code(const struct sq_weight *w, size_t r, size_t c)
{
	unsigned z;

	if (w->grid == SQ_DENSE)
		return 0;
	if (w->zeros == NULL)
		return 1u << (sq_grid_bits(w->grid) - 1);
	z = w->zeros[r / w->group_rows * sq_groups_across(w->cols,
	    w->group_cols) + c / w->group_cols];
	return z >> sq_grid_bits(w->grid) != 0 ? NO_ZERO : z;
}

/* What is or'ed out of a stored code: int8 in two's complement. */
static unsigned
turn(const struct sq_weight *w)
{
	return w->layout == SQ_NM && w->grid == SQ_INT8 && w->zeros == NULL ?
	    128 : 0;
}

static int
dropped_are_zero(const struct sq_weight *w, const struct sq_mask *m)
{
	size_t bits = sq_sparse_bits(w), r, c;

	for (r = 0; r < w->rows; r++)
		for (c = 0; c < w->cols; c++)
			if (!sq_mask_get(m, r, c) && get(w->data, bits,
			    place(w, r, c)) != zero_code(w, r, c))
				return 0;
	return 1;
}

/* Of the run of `most' columns from c on, how many are kept. */
static size_t
run_kept(const struct sq_mask *m, size_t r, size_t c, size_t most)
{
	size_t n = 0;

	for (; most > 0 && c < m->cols; c++, most--)
		n += (size_t)sq_mask_get(m, r, c);
	return n;
}

/* The layout of runs, of which each has a slot for every weight that it keeps,
 * and if it is but one, then just one. */
static int
plan_runs(const struct sq_mask *mask, struct sq_weight *to)
{
	size_t most = 0, least = SIZE_MAX, r, c, n;

	for (r = 0; r < to->rows; r++)
		for (c = 0; c < to->cols; c += to->m) {
			n = run_kept(mask, r, c, to->m);
			most = n > most ? n : most;
			least = n < least ? n : least;
		}
	for (to->n = 1; to->n < most; to->n *= 2)
		;
	if (to->n == 1 && least < 1)
		to->n = 2;
	to->layout = SQ_NM;
	return to->n < to->m ? 0 : -1;
}

/* Whether block (i, j) is kept: its first weight tells. */
static int
block_kept(const struct sq_mask *mask, const struct sq_weight *to, size_t i,
    size_t j)
{
	return sq_mask_get(mask, i * to->n, j * to->m);
}

static int
plan_blocks(const struct sq_mask *mask, struct sq_weight *to, size_t *kept)
{
	char why[SQ_ERR];
	size_t i, j;

	to->layout = SQ_BLOCKS;
	to->n = mask->pattern.n;
	to->m = mask->pattern.m;
	if (!sq_sparse_allows(to) || sq_mask_check(mask, why) < 0)
		return -1;
	for (i = 0; i < sq_blocks_down(to); i++)
		for (j = 0; j < sq_blocks_across(to); j++)
			*kept += (size_t)block_kept(mask, to, i, j);
	return 0;
}

int
sq_sparse_plan(const struct sq_weight *w, const struct sq_mask *mask,
    struct sq_weight *to, size_t *kept)
{
	static const size_t runs[] = { 4, 8 };
	const struct sq_sparse *p = &mask->pattern;
	int r = -1;
	size_t i;

	*kept = 0;
	*to = *w;
	if (w->layout != SQ_ROWS || w->cols == 0)
		return -1;
	if (p->kind == SQ_MASK_BLOCKS)
		r = plan_blocks(mask, to, kept);
	for (i = 0; r < 0 && i < 2; i++) {
		to->m = runs[i];
		r = plan_runs(mask, to);
	}
	if (r < 0 || !sq_sparse_allows(to))
		return -1;
	return dropped_are_zero(w, mask) ? 0 : -1;
}

/* A run into its slots, the first of which is `lane' of a step. */
static void
pack_run(const struct sq_weight *w, const struct sq_mask *mask,
    const struct sq_weight *to, size_t r, size_t c, uint8_t *values)
{
	size_t rows = sq_nm_rows(to), band = r / rows, bits = sq_sparse_bits(w);
	size_t step = c / SQ_NM_LANES, k = 0, j;
	size_t lane = c % SQ_NM_LANES + r % rows * to->n, shift;
	unsigned slot[SQ_NM_LANES] = { 1, 0 };
	uint32_t *line = (uint32_t *)(uintptr_t)to->index + (band *
	    sq_nm_index(to) + step / sq_nm_per_line(to) * SQ_NM_LINE) / 4;

	values += band * sq_nm_values(to);
	for (j = 0; j < to->m && c + j < w->cols; j++)
		if (sq_mask_get(mask, r, c + j)) {
			put(values, bits, sq_nm_value(to, step, lane + k),
			    get(w->data, bits, place(w, r, c + j)) ^ turn(to));
			slot[k++] = (unsigned)j;
		}
	for (j = k; j < to->n; j++) {
		if (k > 0)
			slot[j] = slot[k - 1];
		put(values, bits, sq_nm_value(to, step, lane + j),
		    zero_code(w, r, c) ^ turn(to));
	}
	shift = step % sq_nm_per_line(to) * sq_nm_bits(to);
	for (j = 0; j < to->n; j++)
		line[lane + j] |= slot[j] << shift;
}

static void
pack_block(const struct sq_weight *w, const struct sq_weight *to, size_t i,
    size_t j, uint8_t *block)
{
	size_t bits = sq_sparse_bits(w), r, c;

	for (r = i * to->n; r < (i + 1) * to->n && r < w->rows; r++)
		for (c = j * to->m; c < (j + 1) * to->m && c < w->cols; c++)
			put(block, bits, (r - i * to->n) * to->m + c -
			    j * to->m, get(w->data, bits, place(w, r, c)));
}

static void
pack_blocks(const struct sq_weight *w, const struct sq_mask *mask,
    const struct sq_weight *to, uint8_t *values, uint32_t *start)
{
	uint16_t *column = (uint16_t *)(start + sq_blocks_down(to) + 1);
	uint32_t n = 0;
	size_t i, j;

	for (i = 0; i < sq_blocks_down(to); i++) {
		start[i] = n;
		for (j = 0; j < sq_blocks_across(to); j++) {
			if (!block_kept(mask, to, i, j))
				continue;
			column[n] = (uint16_t)j;
			pack_block(w, to, i, j,
			    values + n++ * sq_block_bytes(to));
		}
	}
	start[i] = n;
}

void
sq_sparse_pack(const struct sq_weight *w, const struct sq_mask *mask,
    const struct sq_weight *plan, size_t kept, void *values, void *index)
{
	struct sq_weight to = *plan;
	size_t r, c;

	to.index = index;
	if (to.layout == SQ_BLOCKS) {
		memset(values, 0, kept * sq_block_bytes(&to));
		pack_blocks(w, mask, &to, values, index);
		return;
	}
	memset(values, 0, sq_sparse_values(&to, 0));
	memset(index, 0, sq_sparse_index(&to, 0));
	for (r = 0; r < w->rows; r++)
		for (c = 0; c < w->cols; c += to.m)
			pack_run(w, mask, &to, r, c, values);
}

/* Rows of blocks that follow one another, and in each, columns that go up. */
static int
check_blocks(const struct sq_weight *w, size_t kept, char *err)
{
	const uint32_t *start = sq_blocks_start(w);
	const uint16_t *column = sq_blocks_column(w);
	size_t i, down = sq_blocks_down(w);
	uint32_t k;

	if (start[0] != 0 || start[down] != kept)
		return sq_fail(err, "an index of another number of blocks");
	for (i = 0; i < down; i++) {
		if (start[i + 1] < start[i] || start[i + 1] > kept)
			return sq_fail(err, "rows of blocks out of order");
		for (k = start[i]; k < start[i + 1]; k++)
			if (column[k] >= sq_blocks_across(w) ||
			    (k > start[i] && column[k] <= column[k - 1]))
				return sq_fail(err, "a block out of order or "
				    "range");
	}
	return 0;
}

int
sq_sparse_check(const struct sq_weight *w, uint64_t values, uint64_t index,
    char *err)
{
	size_t kept = 0;

	if (!sq_sparse_allows(w))
		return sq_fail(err, "a layout that is not known here");
	if (w->layout == SQ_BLOCKS)
		kept = (size_t)values / sq_block_bytes(w);
	if (kept > UINT32_MAX || values != sq_sparse_values(w, kept) ||
	    index != sq_sparse_index(w, kept))
		return sq_fail(err, "values or an index of a wrong size");
	return w->layout == SQ_BLOCKS ? check_blocks(w, kept, err) : 0;
}

/* What is dropped: the code of 0, everywhere. */
static void
fill_zeros(const struct sq_weight *w, void *rows)
{
	size_t bits = sq_sparse_bits(w), r, c;

	if (w->grid == SQ_DENSE) {
		memset(rows, 0, w->rows * w->cols * bits / 8);
		return;
	}
	memset(rows, 0, w->rows * sq_row_bytes(w->cols, (int)bits));
	for (r = 0; r < w->rows; r++)
		for (c = 0; c < w->cols; c++)
			put(rows, bits, place(w, r, c), zero_code(w, r, c));
}

static int
unpack_run(const struct sq_weight *w, size_t r, size_t c, void *rows,
    struct sq_mask *mask)
{
	size_t in = sq_nm_rows(w), band = r / in, bits = sq_sparse_bits(w);
	size_t step = c / SQ_NM_LANES, k, n = 0;
	size_t lane = c % SQ_NM_LANES + r % in * w->n;
	const uint8_t *p = (const uint8_t *)w->data + band * sq_nm_values(w);
	unsigned slot[SQ_NM_LANES];
	uint32_t v;

	for (k = 0; k < w->n; k++)
		slot[k] = sq_nm_get(w, band, step, lane + k);
	if (w->n == 1 || slot[1] >= slot[0])
		for (n = 1; n < w->n && slot[n] > slot[n - 1]; n++)
			;
	for (k = 0; k < w->n; k++) {
		v = get(p, bits, sq_nm_value(w, step, lane + k)) ^ turn(w);
		if (k >= n) {
			if (v != zero_code(w, r, c))
				return -1;
			continue;
		}
		if (c + slot[k] >= w->cols)
			return -1;
		put(rows, bits, place(w, r, c + slot[k]), v);
		sq_mask_set(mask, r, c + slot[k], 1);
	}
	return 0;
}

static void
unpack_block(const struct sq_weight *w, size_t k, size_t i, void *rows,
    struct sq_mask *mask)
{
	const uint8_t *p = (const uint8_t *)w->data + k * sq_block_bytes(w);
	size_t bits = sq_sparse_bits(w), j = sq_blocks_column(w)[k], r, c;

	for (r = i * w->n; r < (i + 1) * w->n && r < w->rows; r++)
		for (c = j * w->m; c < (j + 1) * w->m && c < w->cols; c++) {
			put(rows, bits, place(w, r, c), get(p, bits,
			    (r - i * w->n) * w->m + c - j * w->m));
			sq_mask_set(mask, r, c, 1);
		}
}

int
sq_sparse_unpack(const struct sq_weight *w, void *rows, struct sq_mask *mask,
    char *err)
{
	size_t r, c, i, k;

	fill_zeros(w, rows);
	if (w->layout == SQ_BLOCKS) {
		for (i = 0; i < sq_blocks_down(w); i++)
			for (k = sq_blocks_start(w)[i];
			    k < sq_blocks_start(w)[i + 1]; k++)
				unpack_block(w, k, i, rows, mask);
		return 0;
	}
	for (r = 0; r < w->rows; r++)
		for (c = 0; c < w->cols; c += w->m)
			if (unpack_run(w, r, c, rows, mask) < 0)
				return sq_fail(err, "row %zu, column %zu: a "
				    "weight out of place", r, c);
	return 0;
}
