/* What the products of AMX can do at most; see peak.h. */
#include <immintrin.h>
#include <string.h>

#include "kernels/x86/peak.h"
#include "kernels/x86/tiles.h"

static void
begin(void)
{
	sq_tiles_begin();
	_tile_zero(0);
	_tile_zero(1);
	_tile_zero(2);
	_tile_zero(3);
	_tile_zero(4);
	_tile_zero(5);
}

void
sq_peak_amx(long rounds)
{
	long n;

	begin();
	for (n = 0; n < rounds; n++) {
		_tile_dpbf16ps(0, 4, 5);
		_tile_dpbf16ps(1, 4, 5);
		_tile_dpbf16ps(2, 4, 5);
		_tile_dpbf16ps(3, 4, 5);
	}
	_tile_release();
}

void
sq_peak_int8_amx(long rounds)
{
	long n;

	begin();
	for (n = 0; n < rounds; n++) {
		_tile_dpbusd(0, 4, 5);
		_tile_dpbusd(1, 4, 5);
		_tile_dpbusd(2, 4, 5);
		_tile_dpbusd(3, 4, 5);
	}
	_tile_release();
}

/* Of two tiles of weights by two of tokens, at p. */
#define STEP(product, p)						\
	_tile_loadd(6, p, SQ_TILE_BYTES);				\
	sq_tile_space();						\
	_tile_loadd(4, p + SQ_TILE_SIZE, SQ_TILE_BYTES);		\
	sq_tile_space();						\
	product(0, 4, 6);						\
	sq_tile_space();						\
	_tile_loadd(5, p + 2 * SQ_TILE_SIZE, SQ_TILE_BYTES);		\
	sq_tile_space();						\
	product(2, 5, 6);						\
	sq_tile_done(6);						\
	sq_tile_space();						\
	_tile_loadd(7, p + 3 * SQ_TILE_SIZE, SQ_TILE_BYTES);		\
	sq_tile_space();						\
	product(1, 4, 7);						\
	sq_tile_done(4);						\
	sq_tile_space();						\
	product(3, 5, 7);						\
	sq_tile_done(5);						\
	sq_tile_done(7);						\
	sq_tile_space()

#define LOADED(name, product)						\
void									\
name(long rounds)							\
{									\
	_Alignas(64) char tiles[SQ_PEAK_LOADS][4 * SQ_TILE_SIZE];	\
	long n;								\
	int i;								\
									\
	memset(tiles, 0, sizeof(tiles));				\
	__asm__ volatile("" : : "r"(tiles) : "memory");			\
	begin();							\
	for (n = 0; n < rounds; n++)					\
		for (i = 0; i < SQ_PEAK_LOADS; i++) {			\
			STEP(product, tiles[i]);			\
		}							\
	_tile_release();						\
}

LOADED(sq_peak_loaded_amx, _tile_dpbf16ps)
LOADED(sq_peak_int8_loaded_amx, _tile_dpbssd)
