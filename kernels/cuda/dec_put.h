/* What goes into the cache: pairs of elements e, e + 1 and half a head further
 * of a token, rotated and in the cache's form; see dec_page.h. */
#ifndef SQ_KERNELS_CUDA_DEC_PUT_H
#define SQ_KERNELS_CUDA_DEC_PUT_H

#include "kernels/cuda/dec_page.h"
#include "kernels/cuda/dec_pieces.h"

static __device__ inline void
cache_put(const struct dec_step &d, void *to, size_t at, float v)
{
	if (d.kv == SQ_DEC_KV_FP8)
		((uint8_t *)to)[at] = to_e4m3(v);
	else
		((uint16_t *)to)[at] = to_bf16(v);
}

/* Element e of a key, and of a value's dimension e, from the page's begin. */
static __device__ inline size_t
in_keys(const struct dec_step &d, uint32_t token, uint32_t e)
{
	return d.kv == SQ_DEC_KV_FP8 ? page_at(d.dim, token, e) :
	    page_at(2 * d.dim, token, 2 * e) / 2;
}

static __device__ inline size_t
in_values(const struct dec_step &d, uint32_t token, uint32_t e)
{
	uint32_t at = value_at(d.kv, d.dim, token / 16, e, token % 16 / 8);

	return d.kv == SQ_DEC_KV_FP8 ? at + token % 16 : at / 2 + token % 8;
}

/* What the attention of a step takes for q: f16 beside fp8 and int4. */
static __device__ inline uint16_t
query(const struct dec_step &d, int prefill, float v)
{
	return d.kv != SQ_DEC_KV_BF16 && !prefill ? to_f16(v) : to_bf16(v);
}

static __device__ inline void
cache_put2(const struct dec_step &d, void *to, size_t at, float a, float b)
{
	if (d.kv == SQ_DEC_KV_FP8)
		((uint16_t *)to)[at / 2] = (uint16_t)(to_e4m3(a) |
		    to_e4m3(b) << 8);
	else
		((uint32_t *)to)[at / 2] = two_bf16(a, b);
}

/* ---- int4: words of eight codes, as dec_page.h has them ---- */

struct grid4 {
	float scale, min, by;		/* by: 1 / scale, or 0 */
	uint32_t stored;		/* scale and minimum, f16 */
};

static __device__ inline struct grid4
grid_of(float least, float most)
{
	struct grid4 g;
	uint16_t m = to_f16(least), s;

	g.min = from_f16(m);
	s = to_f16(fmaxf((most - g.min) / 15, 0));
	g.scale = from_f16(s);
	g.by = g.scale > 0 ? 1 / g.scale : 0;
	g.stored = (uint32_t)s | (uint32_t)m << 16;
	return g;
}

static __device__ inline uint32_t
code_of(const struct grid4 &g, float v)
{
	return (uint32_t)fminf(fmaxf(rintf((v - g.min) * g.by), 0), 15);
}

static __device__ inline uint32_t
nibble_at(uint32_t e)
{
	return 4 * (e % 8 / 2 + 4 * (e % 2));
}

/* Where a page of a head begins. */
static __device__ inline uint8_t *
head_page(const struct dec_step &d, void *to, uint32_t page, uint32_t head)
{
	return (uint8_t *)to + ((size_t)page * d.kv_heads + head) *
	    DEC_PAGE_BYTES(SQ_DEC_KV_INT4, d.dim);
}

/* Two neighbours and two half a head further, among the other tokens' codes. */
static __device__ inline void
put4_value(const struct dec_step &d, uint8_t *to, uint32_t token, uint32_t e,
    const struct grid4 &g, const float v[4])
{
	uint4 *p = (uint4 *)(to + value_at(d.kv, d.dim, token / 16, e, 0));
	uint4 *q = (uint4 *)(to + value_at(d.kv, d.dim, token / 16,
	    e + d.dim / 2, 0));
	uint32_t at = nibble_at(token), keep = ~(15u << at);
	uint4 a = *p, b = *q;

	if (token % 16 < 8) {
		a.x = (a.x & keep) | code_of(g, v[0]) << at;
		a.z = (a.z & keep) | code_of(g, v[1]) << at;
		b.x = (b.x & keep) | code_of(g, v[2]) << at;
		b.z = (b.z & keep) | code_of(g, v[3]) << at;
	} else {
		a.y = (a.y & keep) | code_of(g, v[0]) << at;
		a.w = (a.w & keep) | code_of(g, v[1]) << at;
		b.y = (b.y & keep) | code_of(g, v[2]) << at;
		b.w = (b.w & keep) | code_of(g, v[3]) << at;
	}
	*p = a;
	*q = b;
}

/* A head of a token, by the dim / 4 lanes that have v[0 .. 1] = elements e ..
 * and v[2 .. 3] half a head further: a key, or with `turned' a value. */
static __device__ inline void
put4(const struct dec_step &d, uint8_t *to, uint32_t token, uint32_t e,
    const float v[4], int turned)
{
	uint32_t lanes = d.dim / 4, i, k, at, w[2], *word;
	float least = fminf(fminf(v[0], v[1]), fminf(v[2], v[3]));
	float most = fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3]));
	struct grid4 g;

	for (i = lanes / 2; i > 0; i /= 2) {
		least = fminf(least, gpu_shfl_xor(least, i));
		most = fmaxf(most, gpu_shfl_xor(most, i));
	}
	g = grid_of(least, most);
	if (e == 0)
		((uint32_t *)(to + PAGE * d.dim / 2))[token] = g.stored;
	if (turned && d.pos == NULL) {
		put4_value(d, to, token, e, g, v);
		return;
	}
	if (turned) {
		/* its neighbours come at the same time */
		at = nibble_at(token);
		for (i = 0; i < 4; i++) {
			word = (uint32_t *)(to + value_at(d.kv, d.dim,
			    token / 16, e + i % 2 + i / 2 * (d.dim / 2), 0)) +
			    token % 16 / 8;
			atomicAnd(word, ~(15u << at));
			atomicOr(word, code_of(g, v[i]) << at);
		}
		return;
	}
	for (i = 0; i < 2; i++) {
		w[i] = code_of(g, v[2 * i]) << nibble_at(e) |
		    code_of(g, v[2 * i + 1]) << nibble_at(e + 1);
		for (k = 1; k < 4; k *= 2)
			w[i] |= gpu_shfl_xor(w[i], k);
	}
	word = (uint32_t *)(to + token * (d.dim / 2));
	if (e % 8 == 0) {
		word[e / 8] = w[0];
		word[(e + d.dim / 2) / 8] = w[1];
	}
}

/* The angles of two pairs at their place. */
struct angles {
	float2 cos, sin;
};

static __device__ inline struct angles
angles_of(const struct dec_step &d, uint32_t pos, uint32_t e)
{
	const float *a = d.angles + (size_t)pos * d.dim + e;

	return { *(const float2 *)a, *(const float2 *)(a + d.dim / 2) };
}

/* The pairs v[0], v[2] and v[1], v[3] by them. */
static __device__ inline void
turn(const struct angles &a, float v[4])
{
	float x = v[0], y = v[1];

	v[0] = x * a.cos.x - v[2] * a.sin.x;
	v[1] = y * a.cos.y - v[3] * a.sin.y;
	v[2] = v[2] * a.cos.x + x * a.sin.x;
	v[3] = v[3] * a.cos.y + y * a.sin.y;
}

/* By the dim / 4 lanes of a head, into a page of that head. */
static __device__ inline void
put_key(const struct dec_step &d, uint32_t page, uint32_t head, uint32_t pos,
    uint32_t e, const float v[4])
{
	size_t at = (page * (size_t)d.kv_heads + head) * PAGE * d.dim;

	if (d.kv == SQ_DEC_KV_INT4) {
		put4(d, head_page(d, d.k, page, head), pos % PAGE, e, v, 0);
		return;
	}
	cache_put2(d, d.k, at + in_keys(d, pos % PAGE, e), v[0], v[1]);
	cache_put2(d, d.k, at + in_keys(d, pos % PAGE, e + d.dim / 2),
	    v[2], v[3]);
}

static __device__ inline void
bring_near(const void *p)
{
#if GPU_MMA
	asm volatile("prefetch.global.L2 [%0];" :: "l"(p));
#endif
}

/* What put_value() changes rather than replaces comes nearer. */
static __device__ inline void
expect_value(const struct dec_step &d, uint32_t page, uint32_t head,
    uint32_t pos, uint32_t e)
{
	const uint8_t *to = head_page(d, d.v, page, head);
	uint32_t i;

	for (i = 0; d.kv == SQ_DEC_KV_INT4 && i < 2; i++)
		bring_near(to + value_at(d.kv, d.dim, pos % PAGE / 16,
		    e + i * (d.dim / 2), 0));
}

static __device__ inline void
put_value(const struct dec_step &d, uint32_t page, uint32_t head, uint32_t pos,
    uint32_t e, const float v[4])
{
	size_t at = (page * (size_t)d.kv_heads + head) * PAGE * d.dim;
	uint32_t i;

	if (d.kv == SQ_DEC_KV_INT4) {
		put4(d, head_page(d, d.v, page, head), pos % PAGE, e, v, 1);
		return;
	}
	for (i = 0; i < 4; i++)
		cache_put(d, d.v, at + in_values(d, pos % PAGE, e + i % 2 +
		    i / 2 * (d.dim / 2)), v[i]);
}

/* A head of a token, by its lanes: queries to p, keys and values into the cache,
 * but of a prompt values to p. */
static __device__ inline void
take_head(const struct dec_step &d, uint32_t *p, uint32_t head, uint32_t pos,
    uint32_t page, uint32_t e, const struct angles &angles, float v[4],
    int prefill)
{
	uint32_t half = d.dim / 2;

	if (prefill && head >= d.heads + d.kv_heads) {
		p[0] = two_bf16(v[0], v[1]);
		p[half / 2] = two_bf16(v[2], v[3]);
		return;
	}
	if (head >= d.heads + d.kv_heads) {
		put_value(d, page, head - d.heads - d.kv_heads, pos, e, v);
		return;
	}
	turn(angles, v);
	if (head < d.heads) {
		p[0] = query(d, prefill, v[0]) |
		    (uint32_t)query(d, prefill, v[1]) << 16;
		p[half / 2] = query(d, prefill, v[2]) |
		    (uint32_t)query(d, prefill, v[3]) << 16;
		return;
	}
	p[0] = two_bf16(v[0], v[1]);
	p[half / 2] = two_bf16(v[2], v[3]);
	put_key(d, page, head - d.heads, pos, e, v);
}

#endif
