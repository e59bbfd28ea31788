/* Masks; see mask.h. */
#include <stdlib.h>
#include <string.h>

#include "base/mask.h"

int
sq_mask_init(struct sq_mask *m, const struct sq_sparse *pattern, size_t rows,
    size_t cols, char *err)
{
	*m = (struct sq_mask){ *pattern, rows, cols, NULL };
	m->bits = calloc(rows, sq_mask_row(m));
	return m->bits != NULL ? 0 : sq_fail(err, "out of memory");
}

void
sq_mask_release(struct sq_mask *m)
{
	free(m->bits);
	m->bits = NULL;
}

uint64_t
sq_mask_kept(const struct sq_mask *m)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < m->rows * sq_mask_row(m); i++)
		n += (uint64_t)__builtin_popcount(m->bits[i]);
	return n;
}

/* Kept ones of columns c to end of a row. */
static size_t
count(const struct sq_mask *m, size_t r, size_t c, size_t end)
{
	size_t n = 0;

	for (; c < end && c < m->cols; c++)
		n += (size_t)sq_mask_get(m, r, c);
	return n;
}

static size_t
least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Does every weight of the block from row r, column c on share its fate? */
static int
is_whole(const struct sq_mask *m, size_t r, size_t c)
{
	size_t end = least(m->rows, r + m->pattern.n);
	size_t wide = least(m->cols - c, m->pattern.m);
	size_t all = sq_mask_get(m, r, c) ? wide : 0;

	for (; r < end; r++)
		if (count(m, r, c, c + wide) != all)
			return 0;
	return 1;
}

static int
check_pattern(const struct sq_mask *m, char *err)
{
	const struct sq_sparse *p = &m->pattern;
	int runs = p->kind == SQ_MASK_RUNS;
	size_t r, c;

	if (!runs && p->kind != SQ_MASK_BLOCKS)
		return 0;
	for (r = 0; r < m->rows; r += runs ? 1 : p->n)
		for (c = 0; c < m->cols; c += p->m)
			if (runs ? count(m, r, c, c + p->m) > p->n :
			    !is_whole(m, r, c))
				return sq_fail(err, "row %zu, column %zu: not "
				    "%u%c%u", r, c, p->n, runs ? ':' : 'x',
				    p->m);
	return 0;
}

int
sq_mask_check(const struct sq_mask *m, char *err)
{
	size_t row = sq_mask_row(m), r;

	for (r = 0; m->cols % 8 != 0 && r < m->rows; r++)
		if (m->bits[(r + 1) * row - 1] >> m->cols % 8 != 0)
			return sq_fail(err, "row %zu: bits after its end", r);
	return check_pattern(m, err);
}

/* ---- the index ---- */

static size_t
blocks(size_t n, size_t side)
{
	return (n + side - 1) / side;
}

int
sq_mask_measure(const struct sq_mask *m, struct sq_packed *k, char *err)
{
	const struct sq_sparse *p = &m->pattern;

	*k = (struct sq_packed){ .bits = 1, .row = sq_mask_row(m) };
	if (p->kind == SQ_MASK_RUNS) {
		if (m->cols % p->m != 0)
			return sq_fail(err, "%zu columns are no runs of %u",
			    m->cols, p->m);
		while (1u << k->bits < p->m)
			k->bits++;
		k->row = (m->cols / p->m * p->n * k->bits + 7) / 8;
		k->values = (uint64_t)m->rows * (m->cols / p->m) * p->n;
		k->index = (uint64_t)m->rows * k->row;
		return 0;
	}
	k->values = sq_mask_kept(m);
	k->index = (uint64_t)m->rows * k->row;
	if (p->kind == SQ_MASK_BLOCKS) {
		k->row = (blocks(m->cols, p->m) + 7) / 8;
		k->index = (uint64_t)blocks(m->rows, p->n) * k->row;
	}
	return 0;
}

/* The columns of a run that the compressed form has, in order, from 0 on. */
static void
run_columns(const struct sq_mask *m, size_t r, size_t c, uint8_t *col)
{
	size_t spare = m->pattern.n - count(m, r, c, c + m->pattern.m), i;
	int kept;

	for (i = 0; i < m->pattern.m; i++) {
		kept = sq_mask_get(m, r, c + i);
		if (!kept && spare == 0)
			continue;
		spare -= (size_t)!kept;
		*col++ = (uint8_t)i;
	}
}

static void
put_bits(uint8_t *to, size_t at, size_t bits, unsigned v)
{
	size_t i;

	for (i = 0; i < bits; i++, at++)
		to[at / 8] |= (uint8_t)((v >> i & 1) << at % 8);
}

static unsigned
get_bits(const uint8_t *from, size_t at, size_t bits)
{
	unsigned v = 0;
	size_t i;

	for (i = 0; i < bits; i++, at++)
		v |= (unsigned)(from[at / 8] >> at % 8 & 1) << i;
	return v;
}

static void
pack_runs(const struct sq_mask *m, const struct sq_packed *k, uint8_t *to)
{
	uint8_t col[SQ_SPARSE_RUN];
	size_t r, c, i, at;

	for (r = 0; r < m->rows; r++, to += k->row)
		for (c = at = 0; c < m->cols; c += m->pattern.m) {
			run_columns(m, r, c, col);
			for (i = 0; i < m->pattern.n; i++, at += k->bits)
				put_bits(to, at, k->bits, col[i]);
		}
}

void
sq_mask_pack(const struct sq_mask *m, const struct sq_packed *k,
    uint8_t *index)
{
	const struct sq_sparse *p = &m->pattern;
	size_t r, c;

	if (p->kind == SQ_MASK_ANY || p->kind == SQ_MASK_NONE) {
		memcpy(index, m->bits, (size_t)k->index);
		return;
	}
	memset(index, 0, (size_t)k->index);
	if (p->kind == SQ_MASK_RUNS) {
		pack_runs(m, k, index);
		return;
	}
	for (r = 0; r < m->rows; r += p->n, index += k->row)
		for (c = 0; c < m->cols; c += p->m)
			put_bits(index, c / p->m, 1,
			    (unsigned)sq_mask_get(m, r, c));
}

static int
unpack_runs(struct sq_mask *m, const struct sq_packed *k,
    const uint8_t *from, char *err)
{
	size_t r, c, i, at;
	unsigned v, next;

	for (r = 0; r < m->rows; r++, from += k->row)
		for (c = at = 0; c < m->cols; c += m->pattern.m)
			for (i = next = 0; i < m->pattern.n; i++) {
				v = get_bits(from, at, k->bits);
				at += k->bits;
				if (v < next || v >= m->pattern.m)
					return sq_fail(err, "row %zu: an index "
					    "out of order", r);
				sq_mask_set(m, r, c + v, 1);
				next = v + 1;
			}
	return 0;
}

int
sq_mask_unpack(struct sq_mask *m, const uint8_t *index, uint64_t n, char *err)
{
	const struct sq_sparse *p = &m->pattern;
	struct sq_packed k;
	size_t r, c;

	if (sq_mask_measure(m, &k, err) < 0)
		return -1;
	if (k.index != n)
		return sq_fail(err, "an index of %ju bytes, not %ju",
		    (uintmax_t)n, (uintmax_t)k.index);
	if (p->kind == SQ_MASK_RUNS)
		return unpack_runs(m, &k, index, err);
	if (p->kind == SQ_MASK_BLOCKS)
		for (r = 0; r < m->rows; r++)
			for (c = 0; c < m->cols; c++)
				sq_mask_set(m, r, c, (int)get_bits(index +
				    r / p->n * k.row, c / p->m, 1));
	else
		memcpy(m->bits, index, (size_t)n);
	return sq_mask_check(m, err);
}

/* ---- values ---- */

/* Copies the values of the compressed form in its order: in or out. */
static void
walk(const struct sq_mask *m, size_t size, const char *from, char *to,
    int out)
{
	const struct sq_sparse *p = &m->pattern;
	int whole = p->kind == SQ_MASK_BLOCKS, runs = p->kind == SQ_MASK_RUNS;
	size_t tall = whole ? p->n : 1, wide = whole || runs ? p->m : m->cols;
	size_t r0, c0, r, c, n, i, at = 0;
	uint8_t col[SQ_SPARSE_RUN];

	for (r0 = 0; r0 < m->rows; r0 += tall)
		for (c0 = 0; c0 < m->cols; c0 += wide)
			for (r = r0; r < least(m->rows, r0 + tall); r++) {
				if (runs)
					run_columns(m, r, c0, col);
				n = runs ? p->n : least(wide, m->cols - c0);
				for (i = 0; i < n; i++) {
					c = c0 + (runs ? col[i] : i);
					if (!runs && !sq_mask_get(m, r, c))
						continue;
					c = (r * m->cols + c) * size;
					if (out)
						memcpy(to + c, from + at, size);
					else
						memcpy(to + at, from + c, size);
					at += size;
				}
			}
}

void
sq_mask_squeeze(const struct sq_mask *m, const void *values, size_t size,
    void *kept)
{
	walk(m, size, values, kept, 0);
}

void
sq_mask_spread(const struct sq_mask *m, const void *kept, size_t size,
    void *values)
{
	memset(values, 0, m->rows * m->cols * size);
	walk(m, size, kept, values, 1);
}
