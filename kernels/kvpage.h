/*
 * How a page of the cache lies in memory: `page' tokens of one layer, keys or
 * values.  The heads follow one another; of each head
 *
 *	plain		[page][dim] values
 *
 *	coded		[page] rows of codes, (dim * bits + 7) / 8 bytes each,
 *			    element 0 in the lowest bits of the first byte;
 *			    int8 is signed
 *			up to a multiple of 4: scales, F16
 *			    int8, fp8	[page]
 *			    int4, int2	[page][ceil(dim / 32)]
 *			    by channel	[page / 32][dim]
 *			int4, int2: minima, F16, as many
 *			up to a multiple of 64
 *
 * so that a head of a page is one stretch of memory, scales included, for hosts
 * and devices alike.
 */
#ifndef SQ_KERNELS_KVPAGE_H
#define SQ_KERNELS_KVPAGE_H

#include "kernels/kern.h"

#define SQ_PAGE_GROUP	32	/* elements, or tokens, that share a scale */

static inline size_t
sq_page_bits(enum sq_page_grid g)
{
	return g == SQ_PAGE_INT4 ? 4 : g == SQ_PAGE_INT2 ? 2 : 8;
}

/* The scale belongs to a group, and has a minimum beside it. */
static inline int
sq_page_grouped(enum sq_page_grid g)
{
	return g == SQ_PAGE_INT4 || g == SQ_PAGE_INT2;
}

static inline int
sq_kv_plain(const struct sq_kv *kv)
{
	return kv->k.grid == SQ_PAGE_PLAIN && kv->v.grid == SQ_PAGE_PLAIN;
}

/* Bytes of a token's head. */
static inline size_t
sq_page_row(const struct sq_kv *kv, const struct sq_kv_side *s)
{
	if (s->grid == SQ_PAGE_PLAIN)
		return kv->dim * sq_dtype_size(kv->type);
	return (kv->dim * sq_page_bits(s->grid) + 7) / 8;
}

/* Groups of a token's head. */
static inline size_t
sq_page_groups(const struct sq_kv *kv, const struct sq_kv_side *s)
{
	return sq_page_grouped(s->grid) ? (kv->dim + SQ_PAGE_GROUP - 1) /
	    SQ_PAGE_GROUP : 1;
}

/* Scales of a head of a page. */
static inline size_t
sq_page_scales(const struct sq_kv *kv, const struct sq_kv_side *s)
{
	return s->by_channel ? kv->page / SQ_PAGE_GROUP * kv->dim :
	    kv->page * sq_page_groups(kv, s);
}

/* Where the scales begin, in bytes from the head. */
static inline size_t
sq_page_scale_at(const struct sq_kv *kv, const struct sq_kv_side *s)
{
	return (kv->page * sq_page_row(kv, s) + 3) / 4 * 4;
}

/* Bytes of a head of a page. */
static inline size_t
sq_page_head(const struct sq_kv *kv, const struct sq_kv_side *s)
{
	size_t n = sq_page_scales(kv, s) * sizeof(uint16_t);

	if (s->grid == SQ_PAGE_PLAIN)
		return kv->page * sq_page_row(kv, s);
	n = sq_page_grouped(s->grid) ? 2 * n : n;
	return (sq_page_scale_at(kv, s) + n + 63) / 64 * 64;
}

static inline size_t
sq_page_bytes(const struct sq_kv *kv, const struct sq_kv_side *s)
{
	return kv->heads * sq_page_head(kv, s);
}

/* Bytes of a near page, and of a sink: plain values. */
static inline size_t
sq_near_bytes(const struct sq_kv *kv)
{
	return kv->heads * kv->page * kv->dim * sq_dtype_size(kv->type);
}

static inline size_t
sq_sink_bytes(const struct sq_kv *kv)
{
	return kv->heads * kv->sink * kv->dim * sq_dtype_size(kv->type);
}

/* Scale of a token's element; its minimum is sq_page_scales() further on. */
static inline size_t
sq_page_scale(const struct sq_kv *kv, const struct sq_kv_side *s, size_t token,
    size_t i)
{
	if (s->by_channel)
		return token / SQ_PAGE_GROUP * kv->dim + i;
	return token * sq_page_groups(kv, s) +
	    (sq_page_grouped(s->grid) ? i / SQ_PAGE_GROUP : 0);
}

/* A head of the page that holds a position; where its row of codes or values
 * lies; a row of plain values. */
static inline void *
sq_page_at(const struct sq_kv *kv, const struct sq_kv_side *s,
    void *const *pages, size_t head, size_t pos)
{
	return (char *)pages[pos / kv->page] + head * sq_page_head(kv, s);
}

static inline void *
sq_near_at(const struct sq_kv *kv, void *const *pages, size_t head, size_t pos)
{
	return (char *)pages[pos / kv->page] + (head * kv->page +
	    pos % kv->page) * kv->dim * sq_dtype_size(kv->type);
}

static inline void *
sq_sink_at(const struct sq_kv *kv, void *sink, size_t head, size_t pos)
{
	return (char *)sink + (head * kv->sink + pos) * kv->dim *
	    sq_dtype_size(kv->type);
}

static inline int
sq_side_allows(const struct sq_kv *kv, const struct sq_kv_side *s)
{
	if ((unsigned)s->grid >= SQ_PAGE_GRIDS)
		return 0;
	return !s->by_channel || (sq_page_grouped(s->grid) &&
	    kv->page % SQ_PAGE_GROUP == 0 && kv->window >= SQ_PAGE_GROUP);
}

/* A cache that kernels know. */
static inline int
sq_kv_allows(const struct sq_kv *kv)
{
	return sq_dtype_is_float(kv->type) && kv->page > 0 &&
	    sq_side_allows(kv, &kv->k) && sq_side_allows(kv, &kv->v) &&
	    (!sq_kv_plain(kv) || (kv->sink == 0 && kv->window == 0));
}

#endif
