/* A tensor is quantized in chunks of rows; see chunks.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "quant/chunks.h"

#define CHUNK	((uint64_t)16 << 20)	/* of weights at a time */

/* The buffers of one tensor. */
struct job {
	struct sq_tensor made;
	int masked;			/* as the weights were */
	size_t rows;			/* of a chunk */
	size_t row_bytes, code_bytes;	/* of a row */
	unsigned char *weights, *codes;	/* a chunk */
	unsigned char *part[SQ_PARTS];	/* the others, all of them */
};

static void
job_release(struct job *j)
{
	int i;

	free(j->weights);
	free(j->codes);
	for (i = 0; i < SQ_PARTS; i++)
		free(j->part[i]);
}

void
sq_chunks_describe(const struct sq_qrule *rule, const struct sq_tensor *t,
    const char *name, struct sq_tensor *m)
{
	*m = *t;
	snprintf(m->name, sizeof(m->name), "%s", name);
	m->grid = rule->grid;
	m->symmetric = rule->symmetric;
	m->group_rows = rule->group_rows == 0 ? t->dim[0] : rule->group_rows;
	m->group_cols = rule->group_cols == 0 ||
	    rule->group_cols > t->dim[1] ? t->dim[1] : rule->group_cols;
	sq_tensor_layout(m, m->grid == SQ_MXFP4 ? SQ_F8_E8M0 : SQ_F16,
	    sq_tensor_part(t, "mask") != NULL ||
	    t->sparse.kind != SQ_MASK_NONE);
}

void
sq_chunks_dst(const struct sq_tensor *t, unsigned char *const *part,
    uint64_t row, struct sq_dst *q)
{
	uint64_t at = row / t->group_rows * sq_tensor_group_cols(t);
	uint64_t super = row * t->dim[1] / 256;
	int i;

	memset(q, 0, sizeof(*q));
	for (i = 0; i < t->nparts; i++)
		if (strcmp(t->part[i].name, "zeros") == 0)
			q->zeros = part[i] + at;
		else if (strcmp(t->part[i].name, "submins") == 0)
			q->submins = part[i] + at;
		else if (strcmp(t->part[i].name, "super") == 0)
			q->super = (uint16_t *)(void *)part[i] + super;
		else if (strcmp(t->part[i].name, "supermins") == 0)
			q->supermins = (uint16_t *)(void *)part[i] + super;
		else if (strcmp(t->part[i].name, "mask") == 0)
			q->mask = part[i] + row * sq_row_bytes(t->dim[1], 1);
		else if (strcmp(t->part[i].name, "scales") != 0)
			continue;
		else if (t->part[i].type == SQ_F16)
			q->scales = (uint16_t *)(void *)part[i] + at;
		else
			q->scales8 = part[i] + at;
}

/* How many rows to take at a time: the memory says, never the result. */
static int
choose_rows(struct job *j, const struct sq_chunks *k,
    const struct sq_tensor *t, char *err)
{
	uint64_t one = j->row_bytes + j->code_bytes + k->per_row;
	uint64_t step = k->step == 0 ? 1 : k->step, most = t->dim[0];
	uint64_t rows = CHUNK / j->row_bytes + 1, used;

	if (j->made.group_rows > 1)
		step = most;		/* a group spans them */
	if (step > most)
		step = most;
	used = SQ_CHUNKS_FIXED + k->taken + j->made.length -
	    j->made.part[0].length;
	if (k->memory != 0 && k->memory < used + step * one)
		return sq_fail(err, "tensor '%s': -M: needs at least %juM",
		    t->name,
		    (uintmax_t)(used + step * one + 0xfffff) >> 20);
	if (k->memory != 0 && rows > (k->memory - used) / one)
		rows = (k->memory - used) / one;
	rows = rows < step ? step : rows / step * step;
	j->rows = rows > most ? most : rows;
	return 0;
}

static int
job_init(struct job *j, const struct sq_chunks *k, const struct sq_tensor *t,
    const char *name, char *err)
{
	struct sq_tensor named = *t;
	int i, bad = 0;

	memset(j, 0, sizeof(*j));
	j->masked = sq_tensor_part(t, "mask") != NULL;
	if (!j->masked)
		named.sparse = k->choose;
	sq_chunks_describe(&k->rule, &named, name, &j->made);
	j->row_bytes = t->dim[1] * sq_dtype_size(t->type);
	j->code_bytes = sq_row_bytes(t->dim[1], sq_grid_bits(j->made.grid));
	if (sq_tensor_part(&j->made, "mask") != NULL &&
	    !sq_grid_has_zero(k->rule.grid))
		return sq_fail(err, "tensor '%s': has a mask, and grid %s no "
		    "zero", t->name, sq_grid_name(k->rule.grid));
	if (choose_rows(j, k, t, err) < 0)
		return -1;
	j->weights = malloc(j->rows * j->row_bytes);
	j->codes = malloc(j->rows * j->code_bytes);
	for (i = 1; i < j->made.nparts; i++) {
		j->part[i] = malloc((size_t)j->made.part[i].length);
		bad |= j->part[i] == NULL;
	}
	if (j->weights == NULL || j->codes == NULL || bad) {
		job_release(j);
		return sq_fail(err, "tensor '%s': out of memory", t->name);
	}
	return 0;
}

/* The mask of the rows that are in j->weights: what is zero stays so. */
static void
mark_zeros(const struct job *j, size_t rows, size_t cols, size_t size,
    uint8_t *mask)
{
	const unsigned char *w = j->weights;
	size_t r, c, i;
	unsigned any;

	memset(mask, 0, rows * sq_row_bytes(cols, 1));
	for (r = 0; r < rows; r++, mask += sq_row_bytes(cols, 1))
		for (c = 0; c < cols; c++, w += size) {
			for (any = 0, i = 0; i < size - 1; i++)
				any |= w[i];
			any |= w[i] & 0x7f;	/* of -0, too */
			mask[c / 8] |= (uint8_t)((any != 0) << c % 8);
		}
}

/* Quantizes rows row .. row+rows-1, which are in j->weights. */
static int
do_chunk(struct job *j, struct sq_chunks *k, const struct sq_tensor *t,
    size_t row, size_t rows, char *err)
{
	struct sq_mat w = { j->weights, t->type, rows, t->dim[1], t->dim[1] };
	struct sq_qrule rule = k->rule;
	struct sq_dst dst;
	char why[SQ_ERR];

	rule.group_cols = j->made.group_cols;
	rule.group_rows = j->made.group_rows;
	sq_chunks_dst(&j->made, j->part, row, &dst);
	dst.codes = j->codes;
	if (j->masked)
		mark_zeros(j, rows, t->dim[1], sq_dtype_size(t->type),
		    dst.mask);
	if (k->quantize(k->arg, &w, &rule, &dst, why) < 0)
		return sq_fail(err, "tensor '%s': rows %zu to %zu %s",
		    t->name, row, row + rows - 1, why);
	return 0;
}

/* Where the quantized record goes: a stream, or a file for a while. */
struct sink {
	struct sq_out *out;
	FILE *file;
	unsigned char *keep;		/* where a copy goes on, or NULL */
};

static int
put(struct sink *s, const void *buf, size_t n, char *err)
{
	if (s->keep != NULL) {
		memcpy(s->keep, buf, n);
		s->keep += n;
	}
	if (s->file != NULL) {
		if (n > 0 && fwrite(buf, n, 1, s->file) != 1)
			return sq_fail_errno(err, "temporary file");
		return 0;
	}
	if (sq_out_write(s->out, buf, n) < 0)
		return sq_fail(err, "%s", s->out->err);
	return 0;
}

static int
put_gap(struct sink *s, const struct sq_part *a, const struct sq_part *b,
    char *err)
{
	static const char zeros[64];

	return put(s, zeros, (size_t)(b->offset - a->offset - a->length),
	    err);
}

/* The mask that follows the weights, to be the last part. */
static int
pass_mask(struct job *j, const struct sq_tensor *t, struct sq_in *in,
    struct sq_out *copy, char *err)
{
	const struct sq_part *p = sq_tensor_part(t, "mask");
	uint64_t at = t->part[0].length;
	unsigned char *to = j->part[j->made.nparts - 1];

	if (sq_in_gap(in, at, p->offset) < 0 ||
	    sq_in_read(in, to, (size_t)p->length) < 0)
		return sq_fail(err, "%s", in->err);
	if (copy != NULL && (sq_out_gap(copy, at, p->offset) < 0 ||
	    sq_out_write(copy, to, (size_t)p->length) < 0))
		return sq_fail(err, "%s", copy->err);
	return 0;
}

/* Codes chunk by chunk, then what was collected beside them. */
static int
put_payload(struct job *j, struct sq_chunks *k, const struct sq_tensor *t,
    struct sq_in *in, struct sq_out *copy, struct sink *s, char *err)
{
	const struct sq_part *p = j->made.part;
	size_t row, rows;
	int i;

	for (row = 0; row < t->dim[0]; row += rows) {
		rows = t->dim[0] - row < j->rows ? t->dim[0] - row : j->rows;
		if (sq_in_read(in, j->weights, rows * j->row_bytes) < 0)
			return sq_fail(err, "%s", in->err);
		if (copy != NULL && sq_out_write(copy, j->weights,
		    rows * j->row_bytes) < 0)
			return sq_fail(err, "%s", copy->err);
		if (do_chunk(j, k, t, row, rows, err) < 0 ||
		    put(s, j->codes, rows * j->code_bytes, err) < 0)
			return -1;
		sq_progress_add(k->progress, rows * j->row_bytes);
	}
	if (j->masked && pass_mask(j, t, in, copy, err) < 0)
		return -1;
	for (i = 1; i < j->made.nparts; i++)
		if (put_gap(s, &p[i - 1], &p[i], err) < 0 ||
		    put(s, j->part[i], (size_t)p[i].length, err) < 0)
			return -1;
	return 0;
}

int
sq_chunks_tensor(struct sq_chunks *k, const struct sq_tensor *t,
    struct sq_in *in, struct sq_out *out, char *err)
{
	struct sink s = { out, NULL, k->keep };
	struct job j;
	int r = -1;

	if (job_init(&j, k, t, t->name, err) < 0)
		return -1;
	if (sq_out_tensor(out, &j.made) < 0)
		sq_fail(err, "%s", out->err);
	else if (put_payload(&j, k, t, in, NULL, &s, err) == 0)
		r = sq_out_end(out) < 0 ? sq_fail(err, "%s", out->err) : 0;
	k->made = j.made;
	job_release(&j);
	return r;
}

struct sq_twin {
	struct sq_tensor made;
	FILE *file;
};

void
sq_twin_free(struct sq_twin *w)
{
	if (w != NULL && w->file != NULL)
		fclose(w->file);
	free(w);
}

static FILE *
temp_stream(void)
{
	int fd = sq_temp_file();
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w+");

	if (f == NULL && fd >= 0)
		close(fd);
	return f;
}

struct sq_twin *
sq_chunks_twin(struct sq_chunks *k, const struct sq_tensor *t,
    const char *name, struct sq_in *in, struct sq_out *out, char *err)
{
	struct sq_twin *w = calloc(1, sizeof(*w));
	struct sink s = { NULL, NULL, NULL };
	struct job j;

	if (w == NULL || (w->file = s.file = temp_stream()) == NULL) {
		sq_fail_errno(err, "temporary file");
		sq_twin_free(w);
		return NULL;
	}
	if (job_init(&j, k, t, name, err) < 0) {
		sq_twin_free(w);
		return NULL;
	}
	w->made = j.made;
	if (sq_out_tensor(out, t) < 0) {
		sq_fail(err, "%s", out->err);
		goto fail;
	}
	if (put_payload(&j, k, t, in, out, &s, err) < 0)
		goto fail;
	if (sq_out_end(out) < 0) {
		sq_fail(err, "%s", out->err);
		goto fail;
	}
	k->made = j.made;
	job_release(&j);
	return w;
fail:
	job_release(&j);
	sq_twin_free(w);
	return NULL;
}

int
sq_twin_put(struct sq_twin *w, struct sq_out *out, char *err)
{
	char piece[65536];
	size_t n;

	if (fflush(w->file) != 0 || fseek(w->file, 0, SEEK_SET) != 0)
		return sq_fail_errno(err, "temporary file");
	if (sq_out_tensor(out, &w->made) < 0)
		return sq_fail(err, "%s", out->err);
	while ((n = fread(piece, 1, sizeof(piece), w->file)) > 0)
		if (sq_out_write(out, piece, n) < 0)
			return sq_fail(err, "%s", out->err);
	if (ferror(w->file))
		return sq_fail_errno(err, "temporary file");
	return sq_out_end(out) < 0 ? sq_fail(err, "%s", out->err) : 0;
}
