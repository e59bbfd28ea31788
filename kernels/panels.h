/*
 * Panels: a matrix b [k][n] as the second factor of a product, 16 columns after
 * 16 columns, each of them in words of 32 bits, which hold a value of float32
 * or a pair of bf16 of two rows:
 *
 *	panel 0			   panel 1
 *	k0,k1: c0 c1 .. c15	   k0,k1: c16 c17 .. c31
 *	k2,k3: c0 c1 .. c15	   ...
 *
 * Rows are filled up with zeros to whole blocks of 16 words, columns to whole
 * panels.  A block of a panel is a tile of AMX.
 */
#ifndef SQ_KERNELS_PANELS_H
#define SQ_KERNELS_PANELS_H

#include "kernels/kern.h"

#define SQ_PANEL	16		/* columns; words of a block */

/* Values of a word. */
static inline size_t
sq_panel_unit(enum sq_dtype type)
{
	return type == SQ_BF16 ? 2 : 1;
}

/* Words of a column, filled up. */
static inline size_t
sq_panel_words(size_t k, enum sq_dtype type)
{
	size_t block = SQ_PANEL * sq_panel_unit(type);

	return (k + block - 1) / block * SQ_PANEL;
}

static inline size_t
sq_panel_bytes(size_t k, size_t n, enum sq_dtype type)
{
	return (n + SQ_PANEL - 1) / SQ_PANEL * SQ_PANEL *
	    sq_panel_words(k, type) * sizeof(uint32_t);
}

static inline enum sq_dtype
sq_panel_type(enum sq_prec prec)
{
	return prec == SQ_PREC_BF16 ? SQ_BF16 : SQ_F32;
}

/* Rows and columns as they are meant. */
static inline size_t
sq_operand_rows(const struct sq_operand *f)
{
	return f->lay == SQ_TURNED ? f->m.cols : f->m.rows;
}

static inline size_t
sq_operand_cols(const struct sq_operand *f)
{
	return f->lay == SQ_TURNED ? f->m.rows : f->m.cols;
}

/* What sq_product allows. */
static inline int
sq_product_allows(const struct sq_operand *a, const struct sq_operand *b,
    enum sq_prec prec, const struct sq_mat *y)
{
	return sq_dtype_is_float(a->m.type) && sq_dtype_is_float(b->m.type) &&
	    a->lay != SQ_PANELS && (b->lay != SQ_PANELS ||
	    b->m.type == sq_panel_type(prec)) && y->type == SQ_F32 &&
	    sq_operand_rows(a) == y->rows && sq_operand_cols(b) == y->cols &&
	    sq_operand_cols(a) == sq_operand_rows(b) && sq_operand_cols(a) > 0;
}

/* What sq_panels allows. */
static inline int
sq_panels_allows(const struct sq_operand *b, const struct sq_mat *to)
{
	return sq_dtype_is_float(b->m.type) && b->lay != SQ_PANELS &&
	    (to->type == SQ_F32 || to->type == SQ_BF16) &&
	    sq_operand_rows(b) == to->rows && sq_operand_cols(b) == to->cols;
}

#endif
