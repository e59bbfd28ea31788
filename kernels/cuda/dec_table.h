/*
 * What was measured of products, in a file: which of the library's choices is
 * the fastest for a shape.  A line for each, after one that says of which
 * device and library; a file of another is begun anew.
 *
 *	rows cols tokens fp8|bf16 f32|bf16 bare|scaled choice
 */
#ifndef SQ_KERNELS_CUDA_DEC_TABLE_H
#define SQ_KERNELS_CUDA_DEC_TABLE_H

#include <stddef.h>

struct dec_product {
	size_t rows, cols, n;
	int fp8, f32, scaled;
};

int	 dec_same_product(const struct dec_product *,
	    const struct dec_product *);

struct dec_table;

/* NULL with the reason in err.  A file that is not there is made. */
struct dec_table *dec_table_open(const char *path, const char *of, char *err);
void	 dec_table_close(struct dec_table *);

/* The choice, or -1. */
int	 dec_table_find(const struct dec_table *, const struct dec_product *);
/* Also into the file, where that can be written. */
void	 dec_table_add(struct dec_table *, const struct dec_product *,
	    int choice);

#endif
