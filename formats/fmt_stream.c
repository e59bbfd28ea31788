/*
 * The record stream; see fmt_stream.h and sq-stream(5).
 *
 * Data are hashed in pieces small enough to be in the cache still, right after
 * they were read or before they are written: a pass over memory of its own
 * would cost a third of a pipe's speed.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "base/io.h"
#include "formats/fmt_json.h"
#include "formats/fmt_stream.h"

#define HEADER		64		/* bytes of a record's header */
#define TRAILER		8
#define ALIGN		64
#define BUFFER		((size_t)256 << 10)
#define CHUNK		((size_t)4 << 20)	/* of a compressed payload */
#define MAX_FRAME	((size_t)4210752)	/* its largest frame */
#define FLAG_ZSTD	1u

static const unsigned char magic[4] = { 0x73, 0x71, 0x52, 0x1a };
static const unsigned char zeros[ALIGN];

/* of a reader or a writer: before, in, after the records */
enum { FRESH, RECORD, ENDED, BROKEN };

struct sq_zin {
	ZSTD_DCtx *ctx;
	unsigned char *raw, *frame;	/* CHUNK, MAX_FRAME */
	size_t have, used;
};

struct sq_zout {
	ZSTD_CCtx *ctx;
	unsigned char *raw, *frame;
	size_t have;
};

static const char *const rtypes[] = {
	[SQ_HEADER] = "HEADER", [SQ_TOKENS] = "TOKENS",
	[SQ_TENSOR] = "TENSOR", [SQ_STATS] = "STATS",
	[SQ_PROVENANCE] = "PROVENANCE", [SQ_END] = "END",
};

const char *
sq_rtype_name(unsigned type)
{
	if (type >= SQ_HEADER && type <= SQ_END)
		return rtypes[type];
	return type >= 32768 ? "private" : "reserved";
}

static void
put16(unsigned char *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, 2);
}

static void
put32(unsigned char *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, 4);
}

static void
put64(unsigned char *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, 8);
}

static unsigned
get16(const unsigned char *p)
{
	uint16_t v;

	memcpy(&v, p, 2);
	return le16toh(v);
}

static uint32_t
get32(const unsigned char *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return le32toh(v);
}

static uint64_t
get64(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return le64toh(v);
}

/* Zero bytes from pos up to `below' less than a multiple of ALIGN. */
static size_t
padding(uint64_t pos, size_t below)
{
	return (size_t)((ALIGN - (pos + below) % ALIGN) % ALIGN);
}

void
sq_digest_text(char text[SQ_DIGEST], XXH128_hash_t h)
{
	snprintf(text, SQ_DIGEST, "%016jx%016jx", (uintmax_t)h.high64,
	    (uintmax_t)h.low64);
}

/* What the stream digest says of one record. */
static void
digest_record(XXH3_state_t *running, unsigned type,
    const unsigned char desc_hash[8], uint64_t length, uint64_t payload_hash)
{
	unsigned char b[32];

	put64(b, type);
	memcpy(b + 8, desc_hash, 8);
	put64(b + 16, length);
	put64(b + 24, payload_hash);
	XXH3_128bits_update(running, b, sizeof(b));
}

static int
new_hashes(XXH3_state_t **hash, XXH3_state_t **running)
{
	*hash = XXH3_createState();
	*running = XXH3_createState();
	if (*hash == NULL || *running == NULL)
		return -1;
	XXH3_64bits_reset(*hash);
	XXH3_128bits_reset(*running);
	return 0;
}

/* ---- reading ---- */

int
sq_in_open(struct sq_in *in, int fd)
{
	memset(in, 0, sizeof(*in));
	in->fd = fd;
	in->state = FRESH;
	sq_widen_pipe(fd);
	if ((in->buf = malloc(BUFFER)) == NULL ||
	    new_hashes(&in->hash, &in->running) < 0) {
		sq_in_release(in);
		return sq_fail(in->err, "out of memory");
	}
	return 0;
}

void
sq_in_release(struct sq_in *in)
{
	json_decref(in->desc);
	free(in->json);
	free(in->buf);
	XXH3_freeState(in->hash);
	XXH3_freeState(in->running);
	sq_order_release(&in->order);
	if (in->z != NULL) {
		ZSTD_freeDCtx(in->z->ctx);
		free(in->z->raw);
		free(in->z->frame);
		free(in->z);
	}
	in->desc = NULL;
	in->json = NULL;
	in->buf = NULL;
	in->hash = in->running = NULL;
	in->z = NULL;
}

static int
stops_early(struct sq_in *in)
{
	uintmax_t n = in->pos + in->have - in->used;

	if (n == 0)
		return sq_fail(in->err, "the input is empty");
	return sq_fail(in->err, "the stream stops after %ju bytes, before its "
	    "end", n);
}

/* At least n bytes into the buffer, which is empty. */
static int
fill(struct sq_in *in, size_t n)
{
	ssize_t r;

	in->used = in->have = 0;
	while (in->have < n) {
		r = read(in->fd, in->buf + in->have, BUFFER - in->have);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return sq_fail_errno(in->err, "cannot read");
		if (r == 0)
			return stops_early(in);
		in->have += (size_t)r;
	}
	return 0;
}

/* Stored bytes: large pieces go straight to where they belong. */
static int
take(struct sq_in *in, void *dst, size_t n)
{
	size_t m = in->have - in->used;
	ssize_t r;

	if (m > n)
		m = n;
	memcpy(dst, in->buf + in->used, m);
	in->used += m;
	in->pos += m;
	dst = (char *)dst + m;
	n -= m;
	if (n >= BUFFER / 2) {
		if ((r = sq_read_full(in->fd, dst, n)) < 0)
			return sq_fail_errno(in->err, "cannot read");
		in->pos += (uint64_t)r;
		return (size_t)r == n ? 0 : stops_early(in);
	}
	if (n > 0) {
		if (fill(in, n) < 0)
			return -1;
		memcpy(dst, in->buf, n);
		in->used = n;
		in->pos += n;
	}
	return 0;
}

static int
take_padding(struct sq_in *in, size_t below)
{
	unsigned char b[ALIGN];
	size_t n = padding(in->pos, below);

	if (take(in, b, n) < 0)
		return -1;
	if (memcmp(b, zeros, n) != 0)
		return sq_fail(in->err, "record %ju: padding that is not zero",
		    (uintmax_t)in->records);
	return 0;
}

/* Zstandard as in RFC 8878, and one frame: the library would take several, and
 * formats of its own that came before. */
static int
one_frame(const unsigned char *p, size_t n)
{
	return n >= 4 && get32(p) == ZSTD_MAGICNUMBER &&
	    ZSTD_findFrameCompressedSize(p, n) == n;
}

static int
next_frame(struct sq_in *in)
{
	unsigned char b[4];
	struct sq_zin *z = in->z;
	size_t n, want, r;

	if (take(in, b, 4) < 0)
		return -1;
	n = get32(b);
	want = in->left < CHUNK ? (size_t)in->left : CHUNK;
	if (n == 0 || n > MAX_FRAME)
		return sq_fail(in->err, "record %ju: a compressed chunk of "
		    "%zu bytes", (uintmax_t)in->records, n);
	if (take(in, z->frame, n) < 0)
		return -1;
	r = one_frame(z->frame, n) ?
	    ZSTD_decompressDCtx(z->ctx, z->raw, CHUNK, z->frame, n) : 0;
	if (r != want)
		return sq_fail(in->err, "record %ju: a damaged compressed "
		    "chunk", (uintmax_t)in->records);
	z->have = r;
	z->used = 0;
	return 0;
}

static int
take_compressed(struct sq_in *in, unsigned char *dst, size_t n)
{
	struct sq_zin *z = in->z;
	size_t m;

	while (n > 0) {
		if (z->used == z->have && next_frame(in) < 0)
			return -1;
		m = z->have - z->used < n ? z->have - z->used : n;
		memcpy(dst, z->raw + z->used, m);
		z->used += m;
		in->left -= m;
		dst += m;
		n -= m;
	}
	return 0;
}

int
sq_in_read(struct sq_in *in, void *buf, size_t n)
{
	unsigned char *p = buf;
	size_t m;

	if (in->state == BROKEN)
		return -1;
	if (in->state != RECORD || n > in->left) {
		in->state = BROKEN;
		return sq_fail(in->err, "record %ju: fewer bytes than its "
		    "description says", (uintmax_t)in->records);
	}
	for (; n > 0; p += m, n -= m) {
		m = n < BUFFER ? n : BUFFER;
		if (in->flags & FLAG_ZSTD) {
			if (take_compressed(in, p, m) < 0)
				goto broken;
		} else {
			if (take(in, p, m) < 0)
				goto broken;
			in->left -= m;
		}
		XXH3_64bits_update(in->hash, p, m);
	}
	return 0;
broken:
	in->state = BROKEN;
	return -1;
}

int
sq_in_gap(struct sq_in *in, uint64_t at, uint64_t next)
{
	unsigned char b[ALIGN];

	if (in->state == BROKEN)
		return -1;
	if (next < at || next - at >= ALIGN) {
		in->state = BROKEN;
		return sq_fail(in->err, "record %ju: parts out of place",
		    (uintmax_t)in->records);
	}
	if (sq_in_read(in, b, (size_t)(next - at)) < 0)
		return -1;
	if (memcmp(b, zeros, (size_t)(next - at)) == 0)
		return 0;
	in->state = BROKEN;
	return sq_fail(in->err, "record %ju: a gap that is not zero",
	    (uintmax_t)in->records);
}

uint64_t
sq_in_hash(const struct sq_in *in)
{
	return XXH3_64bits_digest(in->hash);
}

void *
sq_in_payload(struct sq_in *in, uint64_t max)
{
	void *p;

	if (in->state == BROKEN)
		return NULL;
	if (in->left > max || in->left > SIZE_MAX / 2) {
		sq_fail(in->err, "record %ju: a payload of %ju bytes, more "
		    "than the %ju that fit here", (uintmax_t)in->records,
		    (uintmax_t)in->left, (uintmax_t)max);
		return NULL;
	}
	if ((p = malloc(in->left > 0 ? (size_t)in->left : 1)) == NULL) {
		sq_fail(in->err, "out of memory");
		return NULL;
	}
	if (sq_in_read(in, p, (size_t)in->left) < 0) {
		free(p);
		return NULL;
	}
	return p;
}

/* What is left of the current record, and its hash. */
static int
finish_record(struct sq_in *in)
{
	unsigned char scratch[16384], b[8];
	uint64_t h;

	while (in->left > 0)
		if (sq_in_read(in, scratch, in->left < sizeof(scratch) ?
		    (size_t)in->left : sizeof(scratch)) < 0)
			return -1;
	if (in->flags & FLAG_ZSTD) {
		if (take(in, b, 4) < 0)
			return -1;
		if (get32(b) != 0)
			return sq_fail(in->err, "record %ju: compressed chunks "
			    "beyond its length", (uintmax_t)in->records);
	}
	if (take_padding(in, TRAILER) < 0 || take(in, b, TRAILER) < 0)
		return -1;
	h = XXH3_64bits_digest(in->hash);
	if (get64(b) != h)
		return sq_fail(in->err, "record %ju: the payload does not "
		    "match its hash", (uintmax_t)in->records);
	if (in->type != SQ_END)
		digest_record(in->running, in->type, in->desc_hash,
		    in->length, h);
	return 0;
}

/* END has been read: does it tell the truth, and is it the end? */
static int
check_end(struct sq_in *in)
{
	char why[SQ_ERR];
	const char *digest;
	uint64_t n;
	ssize_t r;

	sq_digest_text(in->digest, XXH3_128bits_digest(in->running));
	if (sq_json_uint(in->desc, "records", &n, why) < 0 ||
	    sq_json_string(in->desc, "digest", &digest, why) < 0)
		return sq_fail(in->err, "the end record: %s", why);
	if (n != in->records - 1 || strcmp(digest, in->digest) != 0)
		return sq_fail(in->err, "the end record does not match the "
		    "stream");
	if (in->used == in->have) {
		if ((r = sq_read_full(in->fd, in->buf, 1)) < 0)
			return sq_fail_errno(in->err, "cannot read");
		if (r == 0)
			return 0;
	}
	return sq_fail(in->err, "bytes after the end record");
}

static int
check_header(struct sq_in *in, const unsigned char *h)
{
	if (memcmp(h, magic, sizeof(magic)) != 0)
		return sq_fail(in->err, in->records == 1 ?
		    "not an sq stream" : "record %ju: no record where one "
		    "should begin", (uintmax_t)in->records);
	if (get64(h + 56) != XXH3_64bits(h, 56))
		return sq_fail(in->err, "record %ju: a damaged header",
		    (uintmax_t)in->records);
	if (get16(h + 4) > SQ_STREAM_VERSION)
		return sq_fail(in->err, "record %ju: version %u, newer than "
		    "%d", (uintmax_t)in->records, get16(h + 4),
		    SQ_STREAM_VERSION);
	if (get16(h + 4) == 0 || get16(h + 6) < get16(h + 4))
		return sq_fail(in->err, "record %ju: versions %u and %u",
		    (uintmax_t)in->records, get16(h + 4), get16(h + 6));
	if (get64(h + 24) != in->records - 1)
		return sq_fail(in->err, "record %ju: it carries the number "
		    "%ju", (uintmax_t)in->records, (uintmax_t)get64(h + 24));
	if ((get16(h + 10) & ~FLAG_ZSTD) != 0 ||
	    memcmp(h + 40, zeros, 16) != 0)
		return sq_fail(in->err, "record %ju: reserved bits are set",
		    (uintmax_t)in->records);
	if (get32(h + 12) > SQ_MAX_JSON || get64(h + 16) > SQ_MAX_PAYLOAD)
		return sq_fail(in->err, "record %ju: lengths out of bounds",
		    (uintmax_t)in->records);
	return 0;
}

static int
read_description(struct sq_in *in, const unsigned char *h)
{
	char why[SQ_ERR];

	in->json_len = get32(h + 12);
	free(in->json);
	if ((in->json = malloc((size_t)in->json_len + 1)) == NULL)
		return sq_fail(in->err, "out of memory");
	if (take(in, in->json, in->json_len) < 0)
		return -1;
	in->json[in->json_len] = '\0';
	if (get64(h + 32) != XXH3_64bits(in->json, in->json_len))
		return sq_fail(in->err, "record %ju: the description does not "
		    "match its hash", (uintmax_t)in->records);
	json_decref(in->desc);
	in->desc = sq_json_object(in->json, in->json_len, why);
	if (in->desc == NULL)
		return sq_fail(in->err, "record %ju: %s",
		    (uintmax_t)in->records, why);
	return take_padding(in, 0);
}

static int
open_zin(struct sq_in *in)
{
	struct sq_zin *z = in->z;

	if (z == NULL) {
		if ((z = in->z = calloc(1, sizeof(*z))) == NULL)
			return sq_fail(in->err, "out of memory");
		z->ctx = ZSTD_createDCtx();
		z->raw = malloc(CHUNK);
		z->frame = malloc(MAX_FRAME);
	}
	if (z->ctx == NULL || z->raw == NULL || z->frame == NULL)
		return sq_fail(in->err, "out of memory");
	z->have = z->used = 0;
	return 0;
}

static int
check_place(struct sq_in *in)
{
	char why[SQ_ERR];
	const char *name;
	int r;

	r = sq_order_next(&in->order, in->type, why);
	if (r == 0 && in->type == SQ_TENSOR) {
		r = sq_json_string(in->desc, "name", &name, why);
		if (r == 0)
			r = sq_order_name(&in->order, name, why);
	}
	if (r == 0 && in->length != 0 &&
	    (in->type == SQ_PROVENANCE || in->type == SQ_END))
		r = sq_fail(why, "%s with a payload", sq_rtype_name(in->type));
	if (r < 0)
		sq_fail(in->err, "record %ju: %s", (uintmax_t)in->records,
		    why);
	return r;
}

static int
begin_record(struct sq_in *in)
{
	unsigned char h[HEADER];

	if (take(in, h, HEADER) < 0)
		return -1;
	in->records++;
	if (check_header(in, h) < 0)
		return -1;
	memcpy(in->versions, h + 4, 4);
	memcpy(in->desc_hash, h + 32, 8);
	in->type = get16(h + 8);
	in->flags = get16(h + 10);
	in->length = in->left = get64(h + 16);
	XXH3_64bits_reset(in->hash);
	if (read_description(in, h) < 0 || check_place(in) < 0)
		return -1;
	if ((in->flags & FLAG_ZSTD) && open_zin(in) < 0)
		return -1;
	return 0;
}

int
sq_in_next(struct sq_in *in)
{
	if (in->state == BROKEN)
		return -1;
	if (in->state == ENDED)
		return 0;
	if (in->state == RECORD && finish_record(in) < 0)
		goto broken;
	in->state = RECORD;
	if (begin_record(in) < 0)
		goto broken;
	if (in->type != SQ_END)
		return 1;
	if (finish_record(in) < 0 || check_end(in) < 0)
		goto broken;
	in->state = ENDED;
	return 0;
broken:
	in->state = BROKEN;
	return -1;
}

/* ---- writing ---- */

int
sq_out_open(struct sq_out *out, int fd, int compress)
{
	memset(out, 0, sizeof(*out));
	out->fd = fd;
	out->compress = compress;
	sq_widen_pipe(fd);
	if ((out->buf = malloc(BUFFER)) == NULL ||
	    new_hashes(&out->hash, &out->running) < 0)
		goto err;
	if (!compress)
		return 0;
	if ((out->z = calloc(1, sizeof(*out->z))) == NULL)
		goto err;
	out->z->ctx = ZSTD_createCCtx();
	out->z->raw = malloc(CHUNK);
	out->z->frame = malloc(MAX_FRAME);
	if (out->z->ctx == NULL || out->z->raw == NULL ||
	    out->z->frame == NULL)
		goto err;
	return 0;
err:
	sq_out_release(out);
	return sq_fail(out->err, "out of memory");
}

void
sq_out_release(struct sq_out *out)
{
	free(out->buf);
	XXH3_freeState(out->hash);
	XXH3_freeState(out->running);
	sq_order_release(&out->order);
	if (out->z != NULL) {
		ZSTD_freeCCtx(out->z->ctx);
		free(out->z->raw);
		free(out->z->frame);
		free(out->z);
	}
	out->buf = NULL;
	out->hash = out->running = NULL;
	out->z = NULL;
}

static int
flush(struct sq_out *out)
{
	if (sq_write_full(out->fd, out->buf, out->have) < 0)
		return sq_fail_errno(out->err, "cannot write");
	out->have = 0;
	return 0;
}

/* Stored bytes: small pieces are collected. */
static int
give(struct sq_out *out, const void *src, size_t n)
{
	out->pos += n;
	if (n > BUFFER - out->have && flush(out) < 0)
		return -1;
	if (n >= BUFFER / 2) {
		if (flush(out) < 0)
			return -1;
		if (sq_write_full(out->fd, src, n) < 0)
			return sq_fail_errno(out->err, "cannot write");
		return 0;
	}
	memcpy(out->buf + out->have, src, n);
	out->have += n;
	return 0;
}

static int
give_frame(struct sq_out *out)
{
	struct sq_zout *z = out->z;
	unsigned char b[4];
	size_t n;

	if (z->have == 0)
		return 0;
	n = ZSTD_compressCCtx(z->ctx, z->frame, MAX_FRAME, z->raw, z->have, 1);
	if (ZSTD_isError(n))
		return sq_fail(out->err, "zstd: %s", ZSTD_getErrorName(n));
	z->have = 0;
	put32(b, (uint32_t)n);
	if (give(out, b, 4) < 0)
		return -1;
	return give(out, z->frame, n);
}

static int
give_compressed(struct sq_out *out, const unsigned char *src, size_t n)
{
	struct sq_zout *z = out->z;
	size_t m;

	while (n > 0) {
		m = n < CHUNK - z->have ? n : CHUNK - z->have;
		memcpy(z->raw + z->have, src, m);
		z->have += m;
		src += m;
		n -= m;
		if (z->have == CHUNK && give_frame(out) < 0)
			return -1;
	}
	return 0;
}

/* Small payloads are not worth a frame. */
static int
compressed(const struct sq_out *out)
{
	return out->compress && out->length >= 4096;
}

/* A call's outcome is the writer's new state. */
static int
settle(struct sq_out *out, int r, int state)
{
	out->state = r < 0 ? BROKEN : state;
	return r;
}

/* Calls out of turn are the program's errors, but no stream is made of them. */
static int
expect(struct sq_out *out, int state)
{
	if (out->state == state)
		return 0;
	if (out->state != BROKEN)
		sq_fail(out->err, state == RECORD ? "bytes outside a record" :
		    out->state == RECORD ? "a record within a record" :
		    "a record after END");
	return -1;
}

static int
begin(struct sq_out *out, const unsigned char versions[4], unsigned type,
    const char *json, size_t json_len, uint64_t length)
{
	unsigned char h[HEADER] = { 0 };

	if (expect(out, FRESH) < 0 ||
	    sq_order_next(&out->order, type, out->err) < 0)
		return -1;
	if (type > UINT16_MAX || json_len > SQ_MAX_JSON ||
	    length > SQ_MAX_PAYLOAD)
		return sq_fail(out->err, "a %s record out of bounds",
		    sq_rtype_name(type));
	out->type = type;
	out->length = out->left = length;
	put64(out->desc_hash, XXH3_64bits(json, json_len));
	memcpy(h, magic, sizeof(magic));
	memcpy(h + 4, versions, 4);
	put16(h + 8, (uint16_t)type);
	put16(h + 10, compressed(out) ? FLAG_ZSTD : 0);
	put32(h + 12, (uint32_t)json_len);
	put64(h + 16, length);
	put64(h + 24, out->records++);
	memcpy(h + 32, out->desc_hash, 8);
	put64(h + 56, XXH3_64bits(h, 56));
	XXH3_64bits_reset(out->hash);
	if (give(out, h, HEADER) < 0 || give(out, json, json_len) < 0)
		return -1;
	return give(out, zeros, padding(out->pos, 0));
}

int
sq_out_begin(struct sq_out *out, unsigned type, const char *json,
    size_t json_len, uint64_t length)
{
	static const unsigned char versions[4] = {
		SQ_STREAM_VERSION, 0, SQ_STREAM_VERSION, 0
	};

	return settle(out, begin(out, versions, type, json, json_len, length),
	    RECORD);
}

static int
pass(struct sq_out *out, const unsigned char *p, size_t n)
{
	size_t m;

	if (expect(out, RECORD) < 0)
		return -1;
	if (n > out->left)
		return sq_fail(out->err, "more bytes than the record has");
	out->left -= n;
	for (; n > 0; p += m, n -= m) {
		m = n < BUFFER ? n : BUFFER;
		XXH3_64bits_update(out->hash, p, m);
		if (compressed(out)) {
			if (give_compressed(out, p, m) < 0)
				return -1;
		} else if (give(out, p, m) < 0)
			return -1;
	}
	return 0;
}

int
sq_out_write(struct sq_out *out, const void *buf, size_t n)
{
	return settle(out, pass(out, buf, n), RECORD);
}

static int
end(struct sq_out *out)
{
	uint64_t h = XXH3_64bits_digest(out->hash);
	unsigned char b[8] = { 0 };

	if (expect(out, RECORD) < 0)
		return -1;
	if (out->left != 0)
		return sq_fail(out->err, "fewer bytes than the record has");
	if (compressed(out) && (give_frame(out) < 0 || give(out, b, 4) < 0))
		return -1;
	if (out->type != SQ_END)
		digest_record(out->running, out->type, out->desc_hash,
		    out->length, h);
	put64(b, h);
	if (give(out, zeros, padding(out->pos, TRAILER)) < 0)
		return -1;
	return give(out, b, TRAILER);
}

int
sq_out_end(struct sq_out *out)
{
	return settle(out, end(out), FRESH);
}

int
sq_out_record(struct sq_out *out, unsigned type, const json_t *desc,
    const void *payload, uint64_t length)
{
	char *json = sq_json_text(desc);
	int r = -1;

	if (json == NULL)
		return settle(out, sq_fail(out->err, "a %s record without a "
		    "description", sq_rtype_name(type)), BROKEN);
	if (sq_out_begin(out, type, json, strlen(json), length) == 0 &&
	    sq_out_write(out, payload, (size_t)length) == 0)
		r = sq_out_end(out);
	free(json);
	return r;
}

int
sq_out_begin_copy(struct sq_out *out, const struct sq_in *in)
{
	return settle(out, begin(out, in->versions, in->type, in->json,
	    in->json_len, in->length), RECORD);
}

/* What is left of the payload of in, through a buffer. */
static int
pass_left(struct sq_out *out, struct sq_in *in)
{
	unsigned char *piece = malloc(BUFFER);
	int r = 0;
	size_t n;

	if (piece == NULL)
		return sq_fail(out->err, "out of memory");
	while (r == 0 && in->left > 0) {
		n = in->left < BUFFER ? (size_t)in->left : BUFFER;
		if (sq_in_read(in, piece, n) < 0)
			r = sq_fail(out->err, "the input: %s", in->err);
		else
			r = pass(out, piece, n);
	}
	free(piece);
	return r;
}

int
sq_out_pass(struct sq_out *out, struct sq_in *in)
{
	return settle(out, pass_left(out, in), RECORD);
}

int
sq_out_copy(struct sq_out *out, struct sq_in *in)
{
	if (sq_out_begin_copy(out, in) < 0 || sq_out_pass(out, in) < 0)
		return -1;
	return sq_out_end(out);
}

int
sq_out_finish(struct sq_out *out)
{
	char json[128];

	sq_digest_text(out->digest, XXH3_128bits_digest(out->running));
	snprintf(json, sizeof(json), "{\"records\":%ju,\"digest\":\"%s\"}",
	    (uintmax_t)out->records, out->digest);
	if (sq_out_begin(out, SQ_END, json, strlen(json), 0) < 0 ||
	    sq_out_end(out) < 0)
		return -1;
	return settle(out, flush(out), ENDED);
}
