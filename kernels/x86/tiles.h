/* The tile registers of AMX: eight, of up to 16 rows of 64 bytes. */
#ifndef SQ_X86_TILES_H
#define SQ_X86_TILES_H

#include <immintrin.h>
#include <stdint.h>

#define SQ_TILE_ROWS	16
#define SQ_TILE_BYTES	64		/* of a row */
#define SQ_TILE_SIZE	(SQ_TILE_ROWS * SQ_TILE_BYTES)
#define SQ_TILES	8

/*
 * Where another thread has a part of the core, a thread seems to have no more
 * than about eight registers for what its tiles hold (measured): with eight of
 * them in use each load and each product waits until an earlier one has ended,
 * and takes two or three times as long.  So a tile is emptied after its last
 * use, not before its next one.
 */
#define sq_tile_done(t)		_tile_zero(t)

/* Something between two instructions of tiles: those that follow close on one
 * another delay each other then too (measured). */
#define sq_tile_space()		__asm__ volatile(			\
	"nop\n\tnop\n\tnop\n\tnop\n\tnop\n\tnop\n\tnop\n\tnop")

/* What LDTILECFG reads (Intel SDM, AMX, palette 1). */
struct sq_tile_config {
	uint8_t palette, start_row;
	uint8_t reserved[14];
	uint16_t bytes[16];
	uint8_t rows[16];
};

/* All of them whole. */
static inline struct sq_tile_config
sq_tiles_whole(void)
{
	struct sq_tile_config c = { .palette = 1 };
	int i;

	for (i = 0; i < SQ_TILES; i++) {
		c.bytes[i] = SQ_TILE_BYTES;
		c.rows[i] = SQ_TILE_ROWS;
	}
	return c;
}

/* Gives the calling thread such tiles, zeroed; _tile_release() ends it. */
static inline void
sq_tiles_set(const struct sq_tile_config *c)
{
	/* GCC's intrinsic names only the first bytes of c as read. */
	__asm__ volatile("" : : "r"(c) : "memory");
	_tile_loadconfig(c);
}

static inline void
sq_tiles_begin(void)
{
	struct sq_tile_config c = sq_tiles_whole();

	sq_tiles_set(&c);
}

#endif
