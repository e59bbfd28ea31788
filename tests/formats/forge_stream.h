/*
 * Streams made by hand, for tests: bytes are put together as sq-stream(5) says,
 * without the writer that is being tested, and can be spoilt on the way.
 */
#ifndef SQ_FORGE_STREAM_H
#define SQ_FORGE_STREAM_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define FORGE_RECORDS	4096

struct forge {
	unsigned char *p;
	size_t n, cap;
	size_t at[FORGE_RECORDS];	/* where records begin */
	size_t records;
};

struct forge_rec {
	unsigned type, flags;
	unsigned read_version, write_version;	/* 0: 1 */
	const char *json;
	size_t json_len;			/* 0: of the string */
	const void *payload;			/* NULL: zeros */
	uint64_t length;
	const void *stored;			/* NULL: the payload */
	size_t stored_len;
};

static inline void
forge_le(unsigned char *p, uint64_t v, int n)
{
	for (; n > 0; n--, v >>= 8)
		*p++ = (unsigned char)v;
}

static inline void
forge_put(struct forge *f, const void *p, size_t n)
{
	if (f->n + n > f->cap) {
		f->cap = 2 * (f->n + n);
		if ((f->p = realloc(f->p, f->cap)) == NULL)
			exit(2);
	}
	if (n == 0)
		return;
	if (p != NULL)
		memcpy(f->p + f->n, p, n);
	else
		memset(f->p + f->n, 0, n);
	f->n += n;
}

/* The header's hash anew, after some of its bytes were changed. */
static inline void
forge_rehash(struct forge *f, size_t record)
{
	unsigned char *h = f->p + f->at[record];

	forge_le(h + 56, XXH3_64bits(h, 56), 8);
}

/* Sets n bytes at an offset of a record's header, and makes its hash anew. */
static inline void
forge_set(struct forge *f, size_t record, size_t offset, uint64_t v, int n)
{
	forge_le(f->p + f->at[record] + offset, v, n);
	forge_rehash(f, record);
}

static inline size_t
forge_record(struct forge *f, const struct forge_rec *r)
{
	unsigned char h[64] = { 0x73, 0x71, 0x52, 0x1a }, e[8];
	size_t json_len = r->json_len ? r->json_len : strlen(r->json);
	void *none = NULL;
	const void *payload = r->payload;

	if (payload == NULL && r->length > 0 && r->length < 1 << 24)
		payload = none = calloc(1, (size_t)r->length);
	f->at[f->records] = f->n;
	forge_le(h + 4, r->read_version ? r->read_version : 1, 2);
	forge_le(h + 6, r->write_version ? r->write_version : 1, 2);
	forge_le(h + 8, r->type, 2);
	forge_le(h + 10, r->flags, 2);
	forge_le(h + 12, json_len, 4);
	forge_le(h + 16, r->length, 8);
	forge_le(h + 24, f->records, 8);
	forge_le(h + 32, XXH3_64bits(r->json, json_len), 8);
	forge_put(f, h, 64);
	forge_rehash(f, f->records);
	forge_put(f, r->json, json_len);
	forge_put(f, NULL, (64 - f->n % 64) % 64);
	if (r->stored != NULL)
		forge_put(f, r->stored, r->stored_len);
	else
		forge_put(f, payload, (size_t)r->length);
	forge_put(f, NULL, (64 - (f->n + 8) % 64) % 64);
	forge_le(e, XXH3_64bits(payload, (size_t)r->length), 8);
	forge_put(f, e, 8);
	free(none);
	return f->records++;
}

/* The digest of the records so far, as they lie there. */
static inline void
forge_digest(const struct forge *f, char text[33])
{
	XXH3_state_t *st = XXH3_createState();
	XXH128_hash_t d;
	unsigned char b[32];
	size_t i, end;

	XXH3_128bits_reset(st);
	for (i = 0; i < f->records; i++) {
		end = i + 1 < f->records ? f->at[i + 1] : f->n;
		memset(b, 0, sizeof(b));
		memcpy(b, f->p + f->at[i] + 8, 2);
		memcpy(b + 8, f->p + f->at[i] + 32, 8);
		memcpy(b + 16, f->p + f->at[i] + 16, 8);
		memcpy(b + 24, f->p + end - 8, 8);
		XXH3_128bits_update(st, b, sizeof(b));
	}
	d = XXH3_128bits_digest(st);
	XXH3_freeState(st);
	snprintf(text, 33, "%016jx%016jx", (uintmax_t)d.high64,
	    (uintmax_t)d.low64);
}

static inline size_t
forge_end(struct forge *f)
{
	char digest[33], json[128];

	forge_digest(f, digest);
	snprintf(json, sizeof(json), "{\"records\":%zu,\"digest\":\"%s\"}",
	    f->records, digest);
	return forge_record(f, &(struct forge_rec){ .type = 6, .json = json });
}

/* A HEADER with a config.json of two bytes. */
static inline size_t
forge_header(struct forge *f)
{
	return forge_record(f, &(struct forge_rec){ .type = 1,
	    .json = "{\"stream\":\"sq\",\"blobs\":[{\"name\":\"config.json\","
	    "\"offset\":0,\"length\":2}],\"model\":"
	    "\"00000000000000000000000000000000\"}",
	    .payload = "{}", .length = 2 });
}

static inline void
forge_release(struct forge *f)
{
	free(f->p);
	memset(f, 0, sizeof(*f));
}

#endif
