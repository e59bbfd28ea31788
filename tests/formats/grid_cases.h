/*
 * A tensor of every grid, with the parts that sq-stream(5) gives it: worked out
 * by hand from the page, so that the layout in lib/base has something to be
 * held against.
 */
#ifndef SQ_GRID_CASES_H
#define SQ_GRID_CASES_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct grid_case {
	const char *grid, *dtype;
	int ndim;
	uint64_t dim[8];
	uint64_t group[2];		/* 0: dense */
	const char *symmetric;		/* JSON; NULL: not an integer grid */
	const char *parts;		/* name type offset length, and again */
};

static const struct grid_case grid_cases[] = {
	{ "dense", "F32", 2, { 3, 10 }, { 0, 0 }, NULL, "data F32 0 120" },
	{ "dense", "BF16", 1, { 5 }, { 0, 0 }, NULL,
	    "data BF16 0 10 mask BITS 64 1" },
	{ "dense", "F8_E4M3", 3, { 2, 3, 4 }, { 0, 0 }, NULL,
	    "data F8_E4M3 0 24 mask BITS 64 6" },
	{ "dense", "BF16", 5, { 1, 2, 1, 3, 2 }, { 0, 0 }, NULL,
	    "data BF16 0 24" },
	{ "dense", "F16", 8, { 1, 1, 1, 1, 1, 1, 1, 1 }, { 0, 0 }, NULL,
	    "data F16 0 2" },
	{ "dense", "I64", 1, { 1 }, { 0, 0 }, NULL, "data I64 0 8" },
	{ "dense", "BOOL", 2, { 2, 2 }, { 0, 0 }, NULL, "data BOOL 0 4" },
	{ "dense", "F16", 2, { 4, 8 }, { 0, 0 }, NULL,
	    "data F16 0 64 mask BITS 64 4" },
	{ "int2", "BF16", 2, { 3, 10 }, { 1, 4 }, "true",
	    "codes BITS 0 9 scales F16 64 18" },
	{ "int3", "BF16", 2, { 3, 10 }, { 1, 4 }, "true",
	    "codes BITS 0 12 scales F16 64 18" },
	{ "int4", "BF16", 2, { 3, 10 }, { 1, 4 }, "false",
	    "codes BITS 0 15 scales F16 64 18 zeros U8 128 9" },
	{ "int5", "F16", 2, { 3, 10 }, { 1, 4 }, "true",
	    "codes BITS 0 21 scales BF16 64 18" },
	{ "int6", "F32", 2, { 3, 10 }, { 1, 4 }, "false",
	    "codes BITS 0 24 scales F32 64 36 zeros U8 128 9" },
	{ "int8", "BF16", 2, { 3, 10 }, { 1, 10 }, "true",
	    "codes BITS 0 30 scales F32 64 12" },
	{ "int8", "BF16", 2, { 3, 10 }, { 3, 10 }, "false",
	    "codes BITS 0 30 scales BF16 64 2 zeros U8 128 1" },
	{ "int4", "BF16", 2, { 16, 128 }, { 1, 128 }, "true",
	    "codes BITS 0 1024 scales F16 1024 32" },
	{ "int4", "BF16", 2, { 16, 128 }, { 2, 128 }, "false",
	    "codes BITS 0 1024 scales F16 1024 16 zeros U8 1088 8 "
	    "mask BITS 1152 256" },
	{ "int8", "BF16", 2, { 130, 130 }, { 128, 128 }, "true",
	    "codes BITS 0 16900 scales F32 16960 16" },
	{ "int4", "BF16", 2, { 3, 10 }, { 1, 4 }, "true",
	    "codes BITS 0 15 scales F8_E8M0 64 9" },
	{ "uint4m", "F16", 2, { 3, 10 }, { 1, 4 }, NULL,
	    "codes BITS 0 15 scales F16 64 18 mins F16 128 18" },
	{ "uint5m", "F16", 2, { 2, 9 }, { 2, 4 }, NULL,
	    "codes BITS 0 12 scales BF16 64 6 mins F16 128 6 "
	    "mask BITS 192 4" },
	{ "fp8_e4m3", "BF16", 2, { 3, 10 }, { 2, 4 }, NULL,
	    "codes BITS 0 30 scales F32 64 24" },
	{ "fp8_e5m2", "BF16", 2, { 3, 10 }, { 3, 10 }, NULL,
	    "codes BITS 0 30 scales F32 64 4" },
	{ "fp8_e4m3", "BF16", 2, { 2, 64 }, { 1, 32 }, NULL,
	    "codes BITS 0 128 scales F8_E8M0 128 4" },
	{ "fp4", "BF16", 2, { 2, 17 }, { 1, 16 }, NULL,
	    "codes BITS 0 18 scales F16 64 8" },
	{ "mxfp4", "BF16", 2, { 2, 33 }, { 1, 32 }, NULL,
	    "codes BITS 0 34 scales F8_E8M0 64 4" },
	{ "iq4_nl", "F16", 2, { 2, 64 }, { 1, 32 }, NULL,
	    "codes BITS 0 64 scales F16 64 8" },
	{ "q4_k", "F16", 2, { 1, 256 }, { 1, 32 }, NULL,
	    "codes BITS 0 128 scales U8 128 8 submins U8 192 8 "
	    "super F16 256 2 supermins F16 320 2" },
	{ "q5_k", "F16", 2, { 2, 256 }, { 1, 32 }, NULL,
	    "codes BITS 0 320 scales U8 320 16 submins U8 384 16 "
	    "super F16 448 4 supermins F16 512 4" },
	{ "q6_k", "F16", 2, { 1, 512 }, { 1, 16 }, NULL,
	    "codes BITS 0 384 scales I8 384 32 super F16 448 4" },
	{ "q6_k", "F16", 2, { 1, 256 }, { 1, 16 }, NULL,
	    "codes BITS 0 192 scales I8 192 16 super F16 256 2 "
	    "mask BITS 320 32" },
	{ "iq4_xs", "F16", 2, { 2, 256 }, { 1, 32 }, NULL,
	    "codes BITS 0 256 scales I8 256 16 super F16 320 4" },
};

#define GRID_CASES	(sizeof(grid_cases) / sizeof(grid_cases[0]))

struct grid_part {
	char name[16], type[16];
	uint64_t offset, length;
};

/* The parts of a case, from its text: how many. */
static inline int
grid_parts(const struct grid_case *c, struct grid_part part[8])
{
	const char *s = c->parts;
	unsigned long long offset, length;
	int n, k = 0;

	while (k < 8 && sscanf(s, "%15s %15s %llu %llu%n", part[k].name,
	    part[k].type, &offset, &length, &n) == 4) {
		part[k].offset = offset;
		part[k].length = length;
		s += n;
		k++;
	}
	return k;
}

static inline uint64_t
grid_length(const struct grid_case *c)
{
	struct grid_part part[8];
	int k = grid_parts(c, part);

	return part[k - 1].offset + part[k - 1].length;
}

/* The description, in the order of keys of sq-stream(5). */
static inline void
grid_json(const struct grid_case *c, const char *name, char *s, size_t size)
{
	struct grid_part part[8];
	int i, k = grid_parts(c, part);
	FILE *f = fmemopen(s, size, "w");

	fprintf(f, "{\"name\":\"%s\",\"dtype\":\"%s\",\"shape\":[", name,
	    c->dtype);
	for (i = 0; i < c->ndim; i++)
		fprintf(f, "%s%ju", i > 0 ? "," : "", (uintmax_t)c->dim[i]);
	fprintf(f, "],\"grid\":\"%s\"", c->grid);
	if (c->group[0] != 0)
		fprintf(f, ",\"group\":[%ju,%ju]", (uintmax_t)c->group[0],
		    (uintmax_t)c->group[1]);
	if (c->symmetric != NULL)
		fprintf(f, ",\"symmetric\":%s", c->symmetric);
	fprintf(f, ",\"parts\":[");
	for (i = 0; i < k; i++)
		fprintf(f, "%s{\"part\":\"%s\",\"dtype\":\"%s\","
		    "\"offset\":%ju,\"length\":%ju}", i > 0 ? "," : "",
		    part[i].name, part[i].type, (uintmax_t)part[i].offset,
		    (uintmax_t)part[i].length);
	fprintf(f, "]}");
	fclose(f);
}

/* A payload that the page allows: ones for scales, some codes. */
static inline void
grid_fill(const struct grid_case *c, unsigned char *p)
{
	static const unsigned char f32[4] = { 0, 0, 0x80, 0x3f };
	struct grid_part part[8];
	int i, k = grid_parts(c, part);
	uint64_t j, rows = 1, row, bits;
	unsigned char *q;

	memset(p, 0, grid_length(c));
	for (i = 0; i < c->ndim - 1; i++)
		rows *= c->dim[i];
	for (i = 0; i < k; i++) {
		q = p + part[i].offset;
		row = part[i].length / rows;
		bits = strcmp(part[i].name, "mask") == 0 ? 1 :
		    strncmp(c->grid, "fp8", 3) == 0 ? 8 :
		    (uint64_t)(c->grid[strcspn(c->grid, "2356")] != 0 ?
		    c->grid[strcspn(c->grid, "2356")] - '0' :
		    strchr(c->grid, '8') != NULL ? 8 : 4);
		for (j = 0; j < part[i].length; j++)
			if (strcmp(part[i].type, "F16") == 0)
				q[j] = j % 2 ? 0x3c : 0;
			else if (strcmp(part[i].type, "BF16") == 0)
				q[j] = f32[2 + j % 2];
			else if (strcmp(part[i].type, "F32") == 0)
				q[j] = f32[j % 4];
			else if (strcmp(part[i].type, "F8_E8M0") == 0)
				q[j] = 127;
			else if (strcmp(part[i].type, "BITS") != 0)
				q[j] = 1;
			else if (j % row < row - 1 ||
			    c->dim[c->ndim - 1] * bits % 8 == 0)
				q[j] = 0x35;
			else
				q[j] = (unsigned char)(0x35 & ((1u <<
				    c->dim[c->ndim - 1] * bits % 8) - 1));
	}
}

#endif
