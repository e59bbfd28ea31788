/*
 * What a tensor is: name, type, shape, grid and the parts that its payload is
 * made of.  sq-stream(5) defines all of it; this is its form in memory.
 */
#ifndef SQ_BASE_TENSOR_H
#define SQ_BASE_TENSOR_H

#include <stdint.h>

#include "base/act.h"
#include "base/dtype.h"
#include "base/err.h"
#include "base/grid.h"
#include "base/sparse.h"

#define SQ_NAME		256	/* bytes of a name, the zero included */
#define SQ_NDIM		8
#define SQ_PARTS	8
#define SQ_PARTNAME	16

struct sq_part {
	char name[SQ_PARTNAME];
	enum sq_dtype type;
	uint64_t offset, length;	/* in the payload, bytes */
};

struct sq_tensor {
	char name[SQ_NAME];
	enum sq_dtype type;		/* of the values, before quantization */
	int ndim;
	uint64_t dim[SQ_NDIM];		/* outermost first */
	enum sq_grid grid;		/* SQ_GRIDS: one that we do not know */
	uint64_t group_rows, group_cols;
	int symmetric;
	struct sq_act act;		/* how the layer's input is quantized */
	struct sq_sparse sparse;	/* what its mask keeps to */
	int nparts;
	struct sq_part part[SQ_PARTS];
	uint64_t length;		/* of the payload */
};

/* 1 when s may be the name of a tensor (dots and colons too) or of a blob. */
int	 sq_name_ok(const char *s);
int	 sq_blob_name_ok(const char *s);

uint64_t sq_tensor_count(const struct sq_tensor *);	/* values */

/* A matrix's sides: a vector is one row. */
uint64_t sq_tensor_rows(const struct sq_tensor *);
uint64_t sq_tensor_cols(const struct sq_tensor *);

/* Groups down and across. */
uint64_t sq_tensor_group_rows(const struct sq_tensor *);
uint64_t sq_tensor_group_cols(const struct sq_tensor *);

/* The part of that name, or NULL. */
const struct sq_part *sq_tensor_part(const struct sq_tensor *,
	    const char *name);

/*
 * Lays out the parts of a tensor whose other members are set, the payload's
 * length included.  scale_type is for grids whose scales have a choice.
 */
void	 sq_tensor_layout(struct sq_tensor *, enum sq_dtype scale_type,
	    int with_mask);

/*
 * Checks everything that sq-stream(5) demands of a tensor, the parts and their
 * lengths included: 0, or -1 with the reason in err.
 */
int	 sq_tensor_check(const struct sq_tensor *, char *err);

/*
 * Checks what sq-stream(5) demands of the payload of a tensor that passed
 * sq_tensor_check: zero gaps and row ends, no value that is forbidden, a mask
 * that keeps to its pattern.  It is not held against the codes.  It passes over
 * all bytes but dense values.
 */
int	 sq_tensor_check_data(const struct sq_tensor *, const void *payload,
	    char *err);

#endif
