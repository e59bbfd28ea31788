/*
 * Writes the vectors of sq-stream(5) into DIR/good and DIR/bad:
 *
 *	mkvectors_stream tests/formats/stream
 *
 * They are about records, not about what records of one type hold.  Every bad
 * one has one fault, named by the file.  They are made by hand, not by the
 * writer (forge_stream.h); vectors once committed do not change, new ones are
 * added.
 */
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "tests/formats/forge_stream.h"
#include "tests/formats/grid_cases.h"

#define LIMIT	2048		/* bytes of a vector */

static const char *dir;

static void
save(struct forge *f, const char *kind, const char *name)
{
	char path[4096];
	FILE *out;

	snprintf(path, sizeof(path), "%s/%s/%s.sq", dir, kind, name);
	if (f->n >= LIMIT || (out = fopen(path, "wb")) == NULL ||
	    fwrite(f->p, 1, f->n, out) != f->n || fclose(out) != 0) {
		fprintf(stderr, "%s: too long or not written\n", path);
		exit(1);
	}
	forge_release(f);
}

static void
plain(struct forge *f, unsigned type, const char *json, const void *payload,
    uint64_t length)
{
	forge_record(f, &(struct forge_rec){ .type = type, .json = json,
	    .payload = payload, .length = length });
}

/* The least that may come first. */
static void
first(struct forge *f)
{
	plain(f, 1, "{}", NULL, 0);
}

/* HEADER with five bytes and END: what most faults are put into. */
static void
base(struct forge *f)
{
	plain(f, 1, "{\"a\":\"b\"}", "12345", 5);
	forge_end(f);
}

/* ---- good ---- */

static void
whole(struct forge *f)
{
	forge_header(f);
	plain(f, 2, "{\"tokens\":2,\"length\":2,\"skip\":0,"
	    "\"source\":\"00000000000000000000000000000000\","
	    "\"tokenizer\":\"00000000000000000000000000000000\"}",
	    "\1\0\0\0\2\0\0\0", 8);
	plain(f, 4, "{\"kind\":\"linear\",\"tensors\":[\"w\"],\"tokens\":2,"
	    "\"channels\":1,\"parts\":[{\"part\":\"hdiag\",\"dtype\":\"F32\","
	    "\"offset\":0,\"length\":4}]}", "\0\0\x80\x3f", 4);
	plain(f, 3, "{\"name\":\"w\",\"dtype\":\"F32\",\"shape\":[1,1],"
	    "\"grid\":\"dense\",\"parts\":[{\"part\":\"data\","
	    "\"dtype\":\"F32\",\"offset\":0,\"length\":4}]}",
	    "\0\0\x80\x3f", 4);
	plain(f, 5, "{\"tool\":\"sq-import\",\"version\":\"1.0\","
	    "\"options\":{},\"input\":"
	    "\"00000000000000000000000000000000\"}", NULL, 0);
	forge_end(f);
}

/* Tensors of all grids, as many in a file as fit. */
static void
good_grids(void)
{
	struct forge f = { 0 };
	char json[1024], name[32];
	unsigned char *p;
	size_t i, size, files = 0;

	for (i = 0; i < GRID_CASES; i++) {
		if ((size = (size_t)grid_length(&grid_cases[i])) > 384)
			continue;
		snprintf(name, sizeof(name), "t.%zu", i);
		grid_json(&grid_cases[i], name, json, sizeof(json));
		if (f.n > 0 && f.n + strlen(json) + size + 512 > LIMIT) {
			snprintf(name, sizeof(name), "grids-%zu", files++);
			forge_end(&f);
			save(&f, "good", name);
		}
		if (f.n == 0)
			first(&f);
		p = calloc(1, size);
		grid_fill(&grid_cases[i], p);
		plain(&f, 3, json, p, size);
		free(p);
	}
	snprintf(name, sizeof(name), "grids-%zu", files);
	forge_end(&f);
	save(&f, "good", name);
}

static void
good_sizes(void)
{
	static const unsigned sizes[] = { 0, 1, 55, 56, 57, 63, 64, 65, 120,
	    121 };
	struct forge f = { 0 };
	char name[32];
	size_t i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		if (f.n == 0)
			first(&f);
		plain(&f, 40000, "{}", NULL, sizes[i]);
		if (i % 5 < 4)
			continue;
		forge_end(&f);
		snprintf(name, sizeof(name), "payload-sizes-%zu", i / 5);
		save(&f, "good", name);
	}
}

/* Descriptions that end at and around a multiple of 64. */
static void
good_descriptions(void)
{
	static const unsigned sizes[] = { 63, 64, 65, 127, 128, 129 };
	struct forge f = { 0 };
	char json[256], name[32];
	size_t i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		if (f.n == 0)
			first(&f);
		memset(json, ' ', sizeof(json));
		json[0] = '{';
		json[sizes[i] - 1] = '}';
		json[sizes[i]] = '\0';
		plain(&f, 40000, json, NULL, 0);
		if (i % 3 < 2)
			continue;
		forge_end(&f);
		snprintf(name, sizeof(name), "description-sizes-%zu", i / 3);
		save(&f, "good", name);
	}
}

static void
good_json(void)
{
	struct forge f = { 0 };
	char deep[130];

	first(&f);
	plain(&f, 7, " \t\r\n{ } \n", NULL, 0);
	plain(&f, 7, "{\"a\":{\"a\":[{\"a\":1},{\"a\":2}]},\"\":null}", NULL,
	    0);
	plain(&f, 7, "{\"a\":-9223372036854775808,\"b\":9223372036854775807,"
	    "\"c\":1.7e308,\"d\":-0.5E-3,\"e\":5e-324}", NULL, 0);
	plain(&f, 7, "{\"\xc3\xa4\":\"\xf0\x9f\x98\x80 \xed\x9f\xbf\","
	    "\"b\":\"\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", NULL, 0);
	memcpy(deep, "{\"a\":", 5);
	memset(deep + 5, '[', 62);
	memset(deep + 67, ']', 62);
	strcpy(deep + 128, "}");
	deep[5 + 61] = '[';
	deep[67 - 1] = '1';
	plain(&f, 7, deep, NULL, 0);
	forge_end(&f);
	save(&f, "good", "json");
}

static size_t
chunk(unsigned char *p, const void *data, size_t n)
{
	size_t r = ZSTD_compress(p + 4, 1024, data, n, 1);

	if (ZSTD_isError(r))
		exit(1);
	forge_le(p, r, 4);
	forge_le(p + 4 + r, 0, 4);
	return r + 4;
}

static void
packed(struct forge *f, unsigned type, const void *payload, uint64_t length,
    const void *stored, size_t n)
{
	forge_record(f, &(struct forge_rec){ .type = type, .flags = 1,
	    .json = "{}", .payload = payload, .length = length,
	    .stored = stored, .stored_len = n });
}

static void
good_compressed(void)
{
	static const char text[] = "to be, or not to be, or not to be, or not";
	struct forge f = { 0 };
	unsigned char p[2048], *zeros = calloc(1, 4194304);
	size_t n;

	first(&f);
	packed(&f, 40000, NULL, 0, "\0\0\0", 4);
	n = chunk(p, text, sizeof(text));
	packed(&f, 40000, text, sizeof(text), p, n + 4);
	n = chunk(p, zeros, 4194304);
	packed(&f, 40000, NULL, 4194304, p, n + 4);
	n += chunk(p + n, zeros, 1);
	packed(&f, 40000, NULL, 4194305, p, n + 4);
	forge_end(&f);
	save(&f, "good", "compressed");
	free(zeros);
}

static void
good(void)
{
	struct forge f = { 0 };
	char json[512];

	forge_header(&f);
	forge_end(&f);
	save(&f, "good", "least");
	whole(&f);
	save(&f, "good", "whole");
	base(&f);
	forge_set(&f, 0, 6, 65535, 2);
	save(&f, "good", "newer-writer");
	first(&f);
	plain(&f, 0, "{}", "x", 1);
	plain(&f, 7, "{}", "x", 1);
	plain(&f, 2, "{\"tokens\":0}", NULL, 0);
	plain(&f, 32767, "{}", "x", 1);
	forge_end(&f);
	save(&f, "good", "unknown-types-0");
	first(&f);
	plain(&f, 3, "{\"name\":\"b\",\"unknown\":[]}", NULL, 0);
	plain(&f, 32768, "{}", "x", 1);
	plain(&f, 5, "{}", NULL, 0);
	plain(&f, 65535, "{}", "x", 1);
	plain(&f, 5, "{}", NULL, 0);
	forge_end(&f);
	save(&f, "good", "unknown-types-1");
	memset(json, 'n', sizeof(json));
	memcpy(json, "{\"name\":\"", 9);
	strcpy(json + 9 + 255, "\"}");
	first(&f);
	plain(&f, 3, json, NULL, 0);
	plain(&f, 3, "{\"name\":\"0:_@+-.\"}", NULL, 0);
	plain(&f, 3, "{\"name\":\"A\"}", NULL, 0);
	plain(&f, 3, "{\"name\":\"a\"}", NULL, 0);
	forge_end(&f);
	save(&f, "good", "names");
	good_sizes();
	good_descriptions();
	good_json();
	good_compressed();
	good_grids();
}

/* ---- bad ---- */

static void
bad_header(void)
{
	static const struct {
		const char *name;
		size_t offset;
		uint64_t value;
		int n;
	} v[] = {
		{ "magic", 0, 0x1a527153, 4 },
		{ "read-version-0", 4, 0, 2 },
		{ "read-version-2", 4, 0x00020002, 4 },
		{ "write-version-0", 6, 0, 2 },
		{ "flag-2", 10, 2, 2 },
		{ "description-too-long", 12, 1048577, 4 },
		{ "payload-too-long", 16, 0x1000000000001, 8 },
		{ "payload-beyond-the-end", 16, 0x1000000000000, 8 },
		{ "number", 24, 1, 8 },
		{ "description-hash", 32, 0, 8 },
		{ "reserved", 55, 128, 1 },
	};
	struct forge f = { 0 };
	size_t i;

	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		base(&f);
		forge_set(&f, 0, v[i].offset, v[i].value, v[i].n);
		save(&f, "bad", v[i].name);
	}
	base(&f);
	f.p[56] ^= 1;
	save(&f, "bad", "header-hash");
	base(&f);
	forge_set(&f, 1, 24, 2, 8);
	save(&f, "bad", "number-skipped");
}

/* A byte of the first record other than it should be. */
static void
bad_bytes(void)
{
	static const struct { const char *name; size_t at; } v[] = {
		{ "padding-of-description", 64 + 9 },
		{ "payload", 128 }, { "padding-of-payload", 128 + 5 },
		{ "padding-of-payload-last", 192 - 9 },
		{ "payload-hash", 192 - 1 },
	};
	static const struct { const char *name; size_t n; } cuts[] = {
		{ "empty", 0 }, { "cut-in-header", 60 },
		{ "cut-in-description", 66 }, { "cut-in-payload", 130 },
		{ "no-end", 192 }, { "cut-in-end", 192 + 191 },
	};
	struct forge f = { 0 };
	size_t i;

	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		base(&f);
		f.p[v[i].at] ^= 1;
		save(&f, "bad", v[i].name);
	}
	for (i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		base(&f);
		f.n = cuts[i].n;
		save(&f, "bad", cuts[i].name);
	}
	base(&f);
	forge_put(&f, NULL, 1);
	save(&f, "bad", "byte-after-the-end");
	base(&f);
	f.p[128] ^= 1;			/* and its hash, but not the digest */
	forge_le(f.p + 192 - 8, XXH3_64bits(f.p + 128, 5), 8);
	save(&f, "bad", "payload-exchanged");
}

static void
bad_end(void)
{
	static const struct { const char *name, *fmt; } v[] = {
		{ "end-count", "{\"records\":2,\"digest\":\"%s\"}" },
		{ "end-count-missing", "{\"digest\":\"%s\"}" },
		{ "end-digest-short", "{\"records\":1,\"digest\":\"%.31s\"}" },
		{ "end-digest-missing", "{\"records\":1}" },
		{ "end-digest", "{\"records\":1,"
		    "\"digest\":\"00000000000000000000000000000000\"}" },
	};
	struct forge f = { 0 };
	char digest[33], json[256];
	size_t i;

	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		first(&f);
		forge_digest(&f, digest);
		snprintf(json, sizeof(json), v[i].fmt, digest);
		plain(&f, 6, json, NULL, 0);
		save(&f, "bad", v[i].name);
	}
	first(&f);
	forge_digest(&f, digest);
	snprintf(json, sizeof(json), "{\"records\":1,\"digest\":\"%s\"}",
	    digest);
	plain(&f, 6, json, "x", 1);
	save(&f, "bad", "end-with-payload");
}

static void
bad_order(void)
{
	static const struct { const char *name, *types; } v[] = {
		{ "order-no-header", "3" }, { "order-two-headers", "11" },
		{ "order-two-tokens", "122" },
		{ "order-tokens-after-tensor", "132" },
		{ "order-tensor-after-provenance", "153" },
		{ "order-stats-after-provenance", "15p4" },
	};
	struct forge f = { 0 };
	char json[32];
	size_t i, k;
	unsigned type;

	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		for (k = 0; v[i].types[k] != '\0'; k++) {
			type = v[i].types[k] == 'p' ? 40000 :
			    (unsigned)(v[i].types[k] - '0');
			snprintf(json, sizeof(json), "{\"name\":\"%zu\"}", k);
			plain(&f, type, json, NULL, 0);
		}
		forge_end(&f);
		save(&f, "bad", v[i].name);
	}
	first(&f);
	plain(&f, 5, "{}", "x", 1);
	forge_end(&f);
	save(&f, "bad", "provenance-with-payload");
}

/* Text that is no description; names that are none. */
static void
bad_json(void)
{
#define J(s)	s, sizeof(s) - 1
	static const struct { const char *name; unsigned type; const char *s;
	    size_t n; } v[] = {
		{ "json-array", 1, J("[]") },
		{ "json-key-twice-escaped", 1, J("{\"a\":1,\"\\u0061\":1}") },
		{ "json-key-twice-deep", 1,
		    J("{\"x\":[{\"y\":{\"a\":1,\"a\":1}}]}") },
		{ "json-utf8-overlong", 1, J("{\"a\":\"\xc0\xaf\"}") },
		{ "json-utf8-surrogate", 1, J("{\"a\":\"\xed\xa0\x80\"}") },
		{ "json-utf8-key", 1, J("{\"\xff\":1}") },
		{ "json-byte-order-mark", 1, J("\xef\xbb\xbf{}") },
		{ "json-surrogate", 1, J("{\"a\":\"\\ud800\"}") },
		{ "json-zero-escaped", 1, J("{\"a\":\"\\u0000\"}") },
		{ "json-zero-after", 1, J("{}\0") },
		{ "json-integer-high", 1, J("{\"a\":9223372036854775808}") },
		{ "json-real-high", 1, J("{\"a\":1e400}") },
		{ "json-nan", 1, J("{\"a\":NaN}") },
		{ "name-missing", 3, J("{}") },
		{ "name-dot", 3, J("{\"name\":\".a\"}") },
	};
	struct forge f = { 0 };
	char json[512];
	size_t i;

	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		if (v[i].type != 1)
			first(&f);
		forge_record(&f, &(struct forge_rec){ .type = v[i].type,
		    .json = v[i].s, .json_len = v[i].n });
		forge_end(&f);
		save(&f, "bad", v[i].name);
	}
	plain(&f, 1, "", NULL, 0);
	forge_end(&f);
	save(&f, "bad", "json-empty");
	first(&f);
	plain(&f, 3, "{\"name\":\"a\"}", NULL, 0);
	plain(&f, 3, "{\"name\":\"b\"}", NULL, 0);
	plain(&f, 3, "{\"name\":\"a\"}", NULL, 0);
	forge_end(&f);
	save(&f, "bad", "name-twice");
	memset(json, 'n', sizeof(json));
	memcpy(json, "{\"name\":\"", 9);
	strcpy(json + 9 + 256, "\"}");
	first(&f);
	plain(&f, 3, json, NULL, 0);
	forge_end(&f);
	save(&f, "bad", "name-too-long");
}

static void
save_packed(uint64_t length, const void *stored, size_t n, const char *name)
{
	struct forge f = { 0 };

	packed(&f, 1, NULL, length, stored, n);
	forge_end(&f);
	save(&f, "bad", name);
}

static void
bad_compressed(void)
{
	unsigned char p[2048], *zeros = calloc(1, 4194304 + 1);
	size_t n, m;

	n = chunk(p, zeros, 9);
	save_packed(8, p, n + 4, "chunk-expands-to-more");
	save_packed(10, p, n + 4, "chunk-expands-to-less");
	save_packed(0, p, n + 4, "chunk-of-no-payload");
	forge_le(p + n, 1, 4);
	save_packed(9, p, n + 5, "chunk-after-the-last");
	forge_le(p + n, 0, 4);
	forge_le(p, 0, 4);
	save_packed(9, p, n + 4, "chunk-of-length-0");
	forge_le(p, 4210753, 4);
	save_packed(9, p, n + 4, "chunk-too-long");
	forge_le(p, n - 5, 4);
	save_packed(9, p, n + 4, "chunk-cut");
	n = chunk(p, zeros, 9);
	p[4] ^= 1;
	save_packed(9, p, n + 4, "chunk-of-another-magic");
	n = chunk(p, zeros, 4);
	m = chunk(p + n, zeros, 5) - 4;
	memmove(p + n, p + n + 4, m + 4);
	forge_le(p, n - 4 + m, 4);
	save_packed(9, p, n + m + 4, "chunk-of-two-frames");
	n = chunk(p, zeros, 9);
	memmove(p + 4 + 12, p + 4, n);
	memcpy(p + 4, "\x50\x2a\x4d\x18\4\0\0\0abcd", 12);
	forge_le(p, n - 4 + 12, 4);
	save_packed(9, p, n + 12 + 4, "chunk-with-a-skippable-frame");
	n = chunk(p, zeros, 4);
	n += chunk(p + n, zeros, 5);
	save_packed(9, p, n + 4, "chunks-of-less-than-4-mib");
	n = chunk(p, zeros, 4194304 + 1);
	save_packed(4194305, p, n + 4, "chunk-of-more-than-4-mib");
	n = chunk(p, zeros, 9);
	n += chunk(p + n, zeros, 0);
	save_packed(9, p, n + 4, "chunk-of-nothing");
	n = chunk(p, zeros, 9);
	p[n - 1] ^= 0xff;
	save_packed(9, p, n + 4, "chunk-damaged");
	free(zeros);
}

int
main(int argc, char *argv[])
{
	if (argc != 2) {
		fprintf(stderr, "usage: mkvectors_stream DIR\n");
		return 2;
	}
	dir = argv[1];
	good();
	bad_header();
	bad_bytes();
	bad_end();
	bad_order();
	bad_json();
	bad_compressed();
	return 0;
}
