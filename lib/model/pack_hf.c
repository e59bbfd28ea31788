/*
 * A stream becomes a Hugging Face directory of dense safetensors; see pack.h.
 * Quantized tensors are dequantized to the type that they came from.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "formats/fmt_records.h"
#include "formats/fmt_safetensors.h"
#include "model/inventory.h"
#include "model/pack.h"
#include "model/weight.h"

#define PIECE	((size_t)1 << 20)
#define SHARD	((uint64_t)5 << 30)
#define FIXED	((uint64_t)24 << 20)	/* besides a tensor: libraries, files */

struct packer {
	struct sq_pack *p;
	struct sq_in *in;
	struct sq_st_out out;
	struct sq_inventory inv;
	int dirfd;
	unsigned char *piece;
};

static int
write_file(int dirfd, const char *name, const void *data, size_t n, char *err)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
	    0666);
	int r = 0;

	if (fd < 0 || sq_write_full(fd, data, n) < 0 || fsync(fd) < 0)
		r = sq_fail_errno(err, "'%s'", name);
	if (fd >= 0)
		close(fd);
	return r;
}

static int
pack_header(struct packer *k, char *err)
{
	const unsigned char *config;
	struct sq_st_hint hint;
	struct sq_files f;
	size_t size;
	int i, r = -1;

	if (sq_files_read(&f, k->in) < 0)
		return sq_fail(err, "%s", k->in->err);
	config = sq_files_find(&f, "config.json", &size);
	k->p->progress->tensors = f.h.tensors;
	if (sq_inventory_init(&k->inv, (const char *)config, size, err) < 0)
		goto done;
	for (i = 0; i < f.h.nblobs; i++)
		if (write_file(k->dirfd, f.h.blob[i].name, f.data[i],
		    (size_t)f.h.blob[i].length, err) < 0)
			goto done;
	hint.tensors = (size_t)f.h.tensors;
	hint.name_bytes = hint.tensors * 48;
	if (sq_st_out_open_dir(&k->out, k->dirfd, "model",
	    k->p->shard == 0 ? SHARD : k->p->shard, &hint) < 0)
		sq_fail(err, "%s", k->out.err);
	else
		r = 0;
done:
	sq_files_release(&f);
	return r;
}

static int
pack_dense(struct packer *k, const struct sq_tensor *t, char *err)
{
	uint64_t left = t->part[0].length;
	size_t n;

	for (; left > 0; left -= n) {
		n = left < PIECE ? (size_t)left : PIECE;
		if (sq_in_read(k->in, k->piece, n) < 0)
			return sq_fail(err, "%s", k->in->err);
		if (sq_st_out_write(&k->out, k->piece, n) < 0)
			return sq_fail(err, "%s", k->out.err);
		sq_progress_add(k->p->progress, n);
	}
	return 0;
}

/* The codes in memory, the values in pieces of whole rows. */
static int
pack_quantized(struct packer *k, const struct sq_tensor *t, char *err)
{
	size_t row_bytes = t->dim[1] * sq_dtype_size(t->type), row, rows;
	struct sq_weight w;
	struct sq_mat m;
	unsigned char *payload, *values;
	uint64_t need;
	int r = -1;

	rows = PIECE / row_bytes + 1;
	need = FIXED + t->length + rows * row_bytes;
	if (k->p->memory != 0 && k->p->memory < need)
		return sq_fail(err, "tensor '%s': -M: needs at least %juM",
		    t->name, (uintmax_t)(need + 0xfffff) >> 20);
	payload = sq_in_payload(k->in, k->in->length);
	if (payload == NULL)
		return sq_fail(err, "%s", k->in->err);
	if ((values = malloc(rows * row_bytes)) == NULL) {
		sq_fail(err, "out of memory");
		goto done;
	}
	if (sq_tensor_check_data(t, payload, err) < 0 ||
	    sq_weight_init(&w, t, payload, err) < 0)
		goto done;
	for (row = 0; row < t->dim[0]; row += m.rows) {
		m = (struct sq_mat){ values, t->type, t->dim[0] - row < rows ?
		    t->dim[0] - row : rows, t->dim[1], t->dim[1] };
		if (sq_dequantize(k->p->ctx, &w, row, &m) != 0) {
			sq_fail(err, "tensor '%s': no kernel for its grid",
			    t->name);
			goto done;
		}
		if (sq_st_out_write(&k->out, values, m.rows * row_bytes) < 0) {
			sq_fail(err, "%s", k->out.err);
			goto done;
		}
	}
	sq_progress_add(k->p->progress, k->in->length);
	r = 0;
done:
	free(payload);
	free(values);
	return r;
}

static int
pack_tensor(struct packer *k, char *err)
{
	const struct sq_slot *slot;
	struct sq_tensor t;
	int r;

	if (sq_tensor_parse(&t, k->in->desc, k->in->length, err) < 0 ||
	    sq_inventory_add(&k->inv, &t, &slot, err) < 0)
		return -1;
	sq_progress_tensor(k->p->progress);
	if (sq_st_out_begin(&k->out, t.name, t.type, t.ndim, t.dim) < 0)
		return sq_fail(err, "%s", k->out.err);
	r = t.grid == SQ_DENSE ? pack_dense(k, &t, err) :
	    pack_quantized(k, &t, err);
	if (r < 0)
		return -1;
	if (sq_st_out_end(&k->out) < 0)
		return sq_fail(err, "%s", k->out.err);
	k->p->tensors++;
	k->p->quantized += t.grid != SQ_DENSE;
	k->p->before += t.length;
	k->p->after += sq_tensor_count(&t) * sq_dtype_size(t.type);
	return 0;
}

static int
pack_record(struct packer *k, char *err)
{
	switch (k->in->type) {
	case SQ_HEADER:
		return pack_header(k, err);
	case SQ_TENSOR:
		return pack_tensor(k, err);
	default:
		k->p->dropped++;
		return 0;
	}
}

int
sq_pack_hf(struct sq_pack *p, struct sq_in *in, int dirfd, char *err)
{
	struct packer k = { .p = p, .in = in, .dirfd = dirfd };
	int r = -1, got;

	if ((k.piece = malloc(PIECE)) == NULL)
		return sq_fail(err, "out of memory");
	while ((got = sq_in_next(in)) > 0)
		if (pack_record(&k, err) < 0)
			goto done;
	if (got < 0)
		sq_fail(err, "%s", in->err);
	else if (sq_inventory_complete(&k.inv, err) == 0)
		r = sq_st_out_finish(&k.out) == 0 ? 0 :
		    sq_fail(err, "%s", k.out.err);
done:
	sq_st_out_release(&k.out);
	sq_inventory_release(&k.inv);
	free(k.piece);
	return r;
}
