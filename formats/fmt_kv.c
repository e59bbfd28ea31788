/* Records of a KV stream; see fmt_kv.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#include "base/io.h"
#include "formats/fmt_json.h"
#include "formats/fmt_kv.h"

#define HEADER		64
#define ZSTD		1u
#define LEVEL		1
#define WORTH(n)	((n) / 20 * 19)		/* compressed: at most */

static const unsigned char magic[4] = { 0x73, 0x71, 0x4b, 0x1a };

static void
put16(unsigned char *p, unsigned v)
{
	p[0] = (unsigned char)v;
	p[1] = (unsigned char)(v >> 8);
}

static void
put64(unsigned char *p, uint64_t v)
{
	int i;

	for (i = 0; i < 8; i++, v >>= 8)
		p[i] = (unsigned char)v;
}

static uint64_t
get(const unsigned char *p, int n)
{
	uint64_t v = 0;

	while (n-- > 0)
		v = v << 8 | p[n];
	return v;
}

static size_t
pad(uint64_t n)
{
	return (size_t)(-n & 63);
}

/* ---- writing ---- */

static int
broken(char *err, const char *what)
{
	return errno == EPIPE || errno == ECONNRESET ? sq_fail(err,
	    "the other end has gone") : sq_fail_errno(err, what);
}

static int
write_padded(struct sq_kvout *o, const void *p, size_t n)
{
	static const unsigned char zero[64];

	if (sq_write_full(o->fd, p, n) < 0 ||
	    sq_write_full(o->fd, zero, pad(n)) < 0)
		return broken(o->err, "cannot be written");
	o->bytes += n + pad(n);
	return 0;
}

/* The pieces in one: malloc'd. */
static unsigned char *
join(const struct sq_piece *p, size_t pieces, size_t *n)
{
	unsigned char *all;
	size_t i, at = 0;

	for (i = 0, *n = 0; i < pieces; i++)
		*n += p[i].n;
	if ((all = malloc(*n + 1)) == NULL)
		return NULL;
	for (i = 0; i < pieces; at += p[i++].n)
		if (p[i].n > 0)
			memcpy(all + at, p[i].p, p[i].n);
	return all;
}

/* Compressed, where that pays: *n becomes the length of what is returned. */
static unsigned char *
squeeze(unsigned char *all, size_t *n, unsigned *flags)
{
	size_t room = ZSTD_compressBound(*n), got;
	unsigned char *small = malloc(room);

	if (small == NULL)
		return all;
	got = ZSTD_compress(small, room, all, *n, LEVEL);
	if (ZSTD_isError(got) || got > WORTH(*n)) {
		free(small);
		return all;
	}
	free(all);
	*n = got;
	*flags = ZSTD;
	return small;
}

int
sq_kvout_put(struct sq_kvout *o, enum sq_kvtype type, json_t *desc,
    const struct sq_piece *p, size_t pieces)
{
	char *text = desc == NULL ? NULL : sq_json_text(desc);
	unsigned char h[HEADER] = { 0 }, *all;
	unsigned flags = 0;
	size_t n, stored, len = text == NULL ? 0 : strlen(text);
	int r = -1;

	json_decref(desc);
	all = join(p, pieces, &n);
	if (text == NULL || all == NULL) {
		free(text);
		free(all);
		return sq_fail(o->err, "out of memory");
	}
	memcpy(h, magic, sizeof(magic));
	put16(h + 4, 1);
	put16(h + 6, type);
	put64(h + 16, n);
	put64(h + 32, XXH3_64bits(text, len));
	put64(h + 40, XXH3_64bits(all, n));
	stored = n;
	if (o->compress && n > 0)
		all = squeeze(all, &stored, &flags);
	put16(h + 8, flags);
	put16(h + 12, (unsigned)len & 0xffff);
	put16(h + 14, (unsigned)len >> 16);
	put64(h + 24, stored);
	put64(h + 48, o->records);
	put64(h + 56, XXH3_64bits(h, 56));
	if (write_padded(o, h, HEADER) == 0 &&
	    write_padded(o, text, len) == 0 &&
	    write_padded(o, all, stored) == 0) {
		o->records++;
		r = 0;
	}
	free(text);
	free(all);
	return r;
}

/* ---- reading ---- */

static int
read_padded(struct sq_kvin *in, void *p, size_t n)
{
	unsigned char zero[64];
	ssize_t got = sq_read_full(in->fd, p, n);
	size_t i, rest = pad(n);

	if (got == (ssize_t)n && rest > 0)
		got = sq_read_full(in->fd, zero, rest) == (ssize_t)rest ?
		    (ssize_t)n : 0;
	if (got < 0)
		return broken(in->err, "cannot be read");
	if (got != (ssize_t)n)
		return sq_fail(in->err, "the KV stream has been cut in record "
		    "%ju", (uintmax_t)in->records);
	for (i = 0; i < rest; i++)
		if (zero[i] != 0)
			return sq_fail(in->err, "record %ju: padding that is "
			    "not zero", (uintmax_t)in->records);
	in->bytes += n + rest;
	return 0;
}

static int
check_header(struct sq_kvin *in, const unsigned char *h)
{
	uintmax_t at = in->records;

	if (memcmp(h, magic, sizeof(magic)) != 0)
		return sq_fail(in->err, "not a KV stream");
	if (get(h + 56, 8) != XXH3_64bits(h, 56))
		return sq_fail(in->err, "record %ju: the header is damaged",
		    at);
	if (get(h + 4, 2) != 1)
		return sq_fail(in->err, "KV stream version %u, this is 1",
		    (unsigned)get(h + 4, 2));
	if (get(h + 6, 2) == 0 || get(h + 6, 2) >= SQ_KVR_TYPES ||
	    get(h + 8, 2) > ZSTD || get(h + 10, 2) != 0)
		return sq_fail(in->err, "record %ju: of an unknown kind", at);
	if (get(h + 12, 4) > SQ_KVR_JSON || get(h + 16, 8) > SQ_KVR_PAYLOAD ||
	    get(h + 24, 8) > ZSTD_compressBound(SQ_KVR_PAYLOAD) ||
	    (get(h + 8, 2) == 0 && get(h + 16, 8) != get(h + 24, 8)))
		return sq_fail(in->err, "record %ju: lengths that cannot be",
		    at);
	if (in->max > 0 && (get(h + 16, 8) > in->max ||
	    get(h + 24, 8) > ZSTD_compressBound(in->max)))
		return sq_fail(in->err, "record %ju: a payload of more than "
		    "%ju bytes", at, (uintmax_t)in->max);
	if (get(h + 48, 8) != in->records)
		return sq_fail(in->err, "record %ju is out of step", at);
	return 0;
}

static int
read_desc(struct sq_kvin *in, const unsigned char *h)
{
	size_t n = (size_t)get(h + 12, 4);
	char *text = malloc(n + 1), why[SQ_ERR];
	int r = -1;

	if (text == NULL)
		return sq_fail(in->err, "out of memory");
	if (read_padded(in, text, n) < 0)
		r = -1;
	else if (XXH3_64bits(text, n) != get(h + 32, 8))
		sq_fail(in->err, "record %ju: the description is damaged",
		    (uintmax_t)in->records);
	else if ((in->desc = sq_json_object(text, n, why)) == NULL)
		sq_fail(in->err, "record %ju: %s", (uintmax_t)in->records,
		    why);
	else
		r = 0;
	free(text);
	return r;
}

static int
read_payload(struct sq_kvin *in, const unsigned char *h)
{
	size_t stored = (size_t)get(h + 24, 8), got;
	unsigned char *small;

	in->size = (size_t)get(h + 16, 8);
	free(in->payload);
	if ((in->payload = malloc(in->size + 1)) == NULL)
		return sq_fail(in->err, "out of memory");
	if (get(h + 8, 2) == 0) {
		if (read_padded(in, in->payload, in->size) < 0)
			return -1;
	} else {
		if ((small = malloc(stored + 1)) == NULL)
			return sq_fail(in->err, "out of memory");
		if (read_padded(in, small, stored) < 0) {
			free(small);
			return -1;
		}
		got = ZSTD_decompress(in->payload, in->size, small, stored);
		free(small);
		if (got != in->size)
			return sq_fail(in->err, "record %ju: does not expand",
			    (uintmax_t)in->records);
	}
	if (XXH3_64bits(in->payload, in->size) != get(h + 40, 8))
		return sq_fail(in->err, "record %ju: the payload is damaged",
		    (uintmax_t)in->records);
	return 0;
}

int
sq_kvin_next(struct sq_kvin *in)
{
	unsigned char h[HEADER];
	ssize_t n = sq_read_full(in->fd, h, sizeof(h));

	json_decref(in->desc);
	in->desc = NULL;
	if (n == 0)
		return 0;
	if (n < 0)
		return broken(in->err, "cannot be read");
	if (n < HEADER)
		return sq_fail(in->err, "the KV stream has been cut in record "
		    "%ju", (uintmax_t)in->records);
	in->bytes += HEADER;
	if (check_header(in, h) < 0 || read_desc(in, h) < 0 ||
	    read_payload(in, h) < 0)
		return -1;
	in->type = (enum sq_kvtype)get(h + 6, 2);
	in->records++;
	return 1;
}

void
sq_kvin_release(struct sq_kvin *in)
{
	json_decref(in->desc);
	free(in->payload);
	in->desc = NULL;
	in->payload = NULL;
}
