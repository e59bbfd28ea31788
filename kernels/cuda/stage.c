/*
 * Operands of one call; see cuda.h.  Pointers into the device's memory pass;
 * what lies in the host's is copied to temporary memory, tightly, and results
 * are copied back at the end.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cuda/cuda.h"
#include "kernels/quant.h"

#define ALIGN		256
#define CHUNKS		32
#define LEAST		((size_t)64 << 20)
#define RING		((size_t)16 << 20)	/* pinned: small descriptions */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Temporary memory: chunks that become one at the next call. */
static struct {
	char *p;
	size_t size, used;
} chunk[CHUNKS];
static int nchunks;

static char *ring;
static size_t ring_at;

int
sqc_on_device(const void *p)
{
	struct GPU(PointerAttributes) a;

	if (GPU(PointerGetAttributes)(&a, p) != GPU(Success)) {
		(void)GPU(GetLastError)();
		return 0;
	}
	return a.type == GPU(MemoryTypeDevice);
}

static int
add_chunk(size_t n)
{
	if (nchunks == CHUNKS) {
		snprintf(sqc.err, sizeof(sqc.err), "too many pieces of "
		    "temporary memory");
		return -1;
	}
	n = n < LEAST ? LEAST : n;
	if (sqc_ok(GPU(Malloc)((void **)&chunk[nchunks].p, n),
	    "temporary memory") < 0)
		return -1;
	chunk[nchunks].size = n;
	chunk[nchunks++].used = 0;
	return 0;
}

void *
sqc_temp(struct sqc_call *k, size_t n)
{
	char *p;

	n = (n + ALIGN - 1) / ALIGN * ALIGN;
	if (k->failed || ((nchunks == 0 || chunk[nchunks - 1].size -
	    chunk[nchunks - 1].used < n) && add_chunk(n) < 0)) {
		k->failed = 1;
		return NULL;
	}
	p = chunk[nchunks - 1].p + chunk[nchunks - 1].used;
	chunk[nchunks - 1].used += n;
	return p;
}

/* All chunks become one of their size, so that calls alike find room. */
static void
reset_temp(struct sqc_call *k)
{
	size_t all = 0;
	int i;

	if (nchunks == 1)
		chunk[0].used = 0;
	if (nchunks < 2)
		return;
	(void)GPU(StreamSynchronize)(sqc.stream);
	for (i = 0; i < nchunks; i++) {
		all += chunk[i].size;
		(void)GPU(Free)(chunk[i].p);
	}
	nchunks = 0;
	k->failed = add_chunk(all) < 0;
}

void
sqc_call_begin(struct sqc_call *k)
{
	pthread_mutex_lock(&lock);
	memset(k, 0, sizeof(*k));
	reset_temp(k);
}

int
sqc_call_end(struct sqc_call *k, int r)
{
	struct sqc_operand *o;
	int i, any = 0;

	if (sqc_ok(GPU(GetLastError)(), "kernel") < 0)
		k->failed = 1;
	for (i = 0; i < k->n && r == 0 && !k->failed; i++) {
		o = &k->o[i];
		if (!o->back)
			continue;
		any = 1;
		if (sqc_ok(GPU(Memcpy2DAsync)(o->host, o->pitch, o->dev,
		    o->row_bytes, o->row_bytes, o->rows,
		    GPU(MemcpyDeviceToHost), sqc.stream), "copy") < 0)
			k->failed = 1;
	}
	if (any && sqc_ok(GPU(StreamSynchronize)(sqc.stream), "kernel") < 0)
		k->failed = 1;
	pthread_mutex_unlock(&lock);
	return k->failed && r == 0 ? -1 : r;
}

/* A matrix of the host's on the device; the same memory is brought once. */
static void *
bring(struct sqc_call *k, const void *host, size_t rows, size_t row_bytes,
    size_t pitch, int how)
{
	struct sqc_operand *o;
	int i;

	for (i = 0; i < k->n; i++)
		if (k->o[i].host == host) {
			k->o[i].back |= how & SQC_OUT;
			return k->o[i].dev;
		}
	if (k->n == SQC_OPERANDS) {
		snprintf(sqc.err, sizeof(sqc.err), "too many operands");
		k->failed = 1;
		return NULL;
	}
	o = &k->o[k->n];
	o->host = (void *)(uintptr_t)host;
	o->rows = rows;
	o->row_bytes = row_bytes;
	o->pitch = pitch < row_bytes ? row_bytes : pitch;
	o->back = how & SQC_OUT;
	if ((o->dev = sqc_temp(k, rows * row_bytes)) == NULL)
		return NULL;
	k->n++;
	if (how & SQC_IN && rows * row_bytes > 0 &&
	    sqc_ok(GPU(Memcpy2DAsync)(o->dev, row_bytes, host, o->pitch,
	    row_bytes, rows, GPU(MemcpyHostToDevice), sqc.stream), "copy") < 0)
		k->failed = 1;
	return o->dev;
}

void *
sqc_bytes(struct sqc_call *k, const void *p, size_t n, int how)
{
	if (p == NULL || n == 0 || sqc_on_device(p))
		return (void *)(uintptr_t)p;
	return bring(k, p, 1, n, n, how);
}

struct sq_mat
sqc_mat(struct sqc_call *k, const struct sq_mat *m, int how)
{
	struct sq_mat d = *m;
	size_t size = sq_dtype_size(m->type);

	if (m->rows == 0 || sqc_on_device(m->p))
		return d;
	d.p = bring(k, m->p, m->rows, m->cols * size, m->stride * size, how);
	d.stride = m->cols;
	return d;
}

struct sq_weight
sqc_weight(struct sqc_call *k, const struct sq_weight *w)
{
	struct sq_weight_part part[SQ_WEIGHT_PARTS];
	struct sq_weight d = *w;
	int i;

	sq_weight_parts(&d, part);
	for (i = 0; i < SQ_WEIGHT_PARTS; i++)
		*part[i].p = sqc_bytes(k, *part[i].p, part[i].size, SQC_IN);
	return d;
}

/* Through pinned memory, so that nothing waits; around the ring, for what was
 * pushed a whole ring ago. */
void *
sqc_push(struct sqc_call *k, const void *host, size_t n)
{
	void *dev = sqc_temp(k, n);

	if (dev == NULL)
		return NULL;
	if (ring == NULL && sqc_ok(GPU(HostAlloc)((void **)&ring, RING, 0),
	    "pinned memory") < 0)
		goto failed;
	if (n > RING)
		return sqc_ok(GPU(MemcpyAsync)(dev, host, n,
		    GPU(MemcpyHostToDevice), sqc.stream), "copy") == 0 ? dev :
		    (k->failed = 1, NULL);
	if (n > RING - ring_at) {
		ring_at = 0;
		if (sqc_ok(GPU(StreamSynchronize)(sqc.stream), "kernel") < 0)
			goto failed;
	}
	memcpy(ring + ring_at, host, n);
	if (sqc_ok(GPU(MemcpyAsync)(dev, ring + ring_at, n,
	    GPU(MemcpyHostToDevice), sqc.stream), "copy") < 0)
		goto failed;
	ring_at += (n + 63) / 64 * 64;
	if (ring_at > RING)
		ring_at = RING;
	return dev;
failed:
	k->failed = 1;
	return NULL;
}
