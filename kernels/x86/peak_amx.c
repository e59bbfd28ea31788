/* What the products of AMX can do at most; see peak.h. */
#include <immintrin.h>

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
