/*
 * Random numbers that are the same everywhere: SplitMix64 (Steele, Lea, Flood
 * 2014).  Not for secrets.
 */
#ifndef SQ_BASE_RNG_H
#define SQ_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct sq_rng {
	uint64_t state;			/* the seed */
};

static inline uint64_t
sq_rng_next(struct sq_rng *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* In [0, 1), 53 bits. */
static inline double
sq_rng_uniform(struct sq_rng *r)
{
	return (double)(sq_rng_next(r) >> 11) * 0x1p-53;
}

/* The n elements of a in a random order (Fisher, Yates). */
static inline void
sq_rng_shuffle(struct sq_rng *r, size_t *a, size_t n)
{
	size_t i, other, t;

	for (i = n; i > 1; i--) {
		other = (size_t)(sq_rng_next(r) % i);
		t = a[i - 1];
		a[i - 1] = a[other];
		a[other] = t;
	}
}

#endif
