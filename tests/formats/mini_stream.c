/*
 * A second reader of sq-stream(5), written from the page alone: what it and
 * the tools disagree about is a bug in one of them or in the page.  For each
 * record: "number type J P hash"; then "end records digest", or a reason.
 */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

enum { PIECE = 4194304, LMAX = 4210752 };	/* a chunk expanded, at most */
enum { HEADER = 1, TOKENS, TENSOR, STATS, PROVENANCE, END };
static unsigned char h[64], desc[1 << 20], piece[PIECE], packed[LMAX];
static const char *names[4194304];
static uintmax_t pos, nnames;

static uintmax_t
le(const unsigned char *p, int n)
{
	return n ? p[0] | le(p + 1, n - 1) << 8 : 0;
}

static void
want(int ok, const char *else_why)
{
	if (!ok)
		exit(printf("%s\n", else_why) > 0);
}

static void
need(void *p, size_t n)
{
	want(fread(p, 1, n, stdin) == n, "the stream ends early");
	pos += n;
}

static void
zeros(unsigned upto)
{
	unsigned char c = 0;

	for (; pos % 64 != upto; want(c == 0, "padding that is not zero"))
		need(&c, 1);
}

static uintmax_t
payload(uintmax_t p, int compressed)
{
	XXH3_state_t *st = XXH3_createState();
	unsigned char l[4];
	uintmax_t n, len;

	for (XXH3_64bits_reset(st); p; p -= n) {
		n = p < PIECE ? p : PIECE;
		if (compressed) {
			need(l, 4);
			len = le(l, 4);
			want(len > 0 && len <= LMAX, "chunk out of bounds");
			need(packed, len);
			want(len > 4 && le(packed, 4) == 0xfd2fb528 &&
			    ZSTD_findFrameCompressedSize(packed, len) == len &&
			    ZSTD_decompress(piece, PIECE, packed, len) == n,
			    "bad chunk");
		} else
			need(piece, n);
		XXH3_64bits_update(st, piece, n);
	}
	if (compressed)
		need(l, 4);
	want(!compressed || !le(l, 4), "too many chunks");
	n = XXH3_64bits_digest(st);
	XXH3_freeState(st);
	return n;
}

static void
check_name(const json_t *o)
{
	const char *s = json_string_value(json_object_get(o, "name")), *ok =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	    "0123456789_:@+.-";

	want(s && *s && strlen(s) < 256 && strspn(s, ok) == strlen(s) &&
	    *s != '.' && *s != '-', "bad name");
	for (uintmax_t i = 0; i < nnames; i++)
		want(strcmp(names[i], s) != 0, "a name twice");
	want(nnames < 4194304 && (names[nnames++] = strdup(s)), "too many");
}

static void
finish(json_t *o, uintmax_t records, XXH128_hash_t d)
{
	const char *s = json_string_value(json_object_get(o, "digest"));
	uintmax_t n = json_integer_value(json_object_get(o, "records"));
	char t[33];

	sprintf(t, "%016jx%016jx", (uintmax_t)d.high64, (uintmax_t)d.low64);
	want(n == records && s && strcmp(s, t) == 0, "wrong count or digest");
	want(getchar() == EOF && !ferror(stdin), "bytes after the end");
	printf("end %ju %s\n", records, t);
}

int
main(void)
{
	static const unsigned stages[] = { 0, 1, 2, 3, 3, 4, 5 };
	XXH3_state_t *all = XXH3_createState();
	uintmax_t n, type, j, p, ph, s, stage = 0;
	json_t *o = NULL;
	unsigned char e[8];

	XXH3_128bits_reset(all);
	for (n = 0; stage < 5; n++) {
		need(h, 64);
		type = le(h + 8, 2), j = le(h + 12, 4), p = le(h + 16, 8);
		want(le(h, 4) == 0x1a527173, "wrong magic");
		want(le(h + 56, 8) == XXH3_64bits(h, 56), "wrong header hash");
		want(le(h + 4, 2) == 1 && le(h + 6, 2) >= 1, "version");
		want(le(h + 24, 8) == n, "sequence number out of step");
		want(le(h + 10, 2) <= 1 && !le(h + 40, 8) && !le(h + 48, 8),
		    "reserved bits");
		want(j <= 1 << 20 && p <= 1ULL << 48, "length out of bounds");
		s = type >= HEADER && type <= END ? stages[type] : stage;
		want((type == HEADER) == (n == 0) && s >= stage &&
		    (type != TOKENS || stage < 2), "wrong order");
		want(!p || (type != PROVENANCE && type != END), "payload");
		need(desc, j);
		want(XXH3_64bits(desc, j) == le(h + 32, 8), "wrong desc hash");
		json_decref(o);
		o = json_loadb((char *)desc, j, JSON_REJECT_DUPLICATES, NULL);
		want(json_is_object(o), "bad description");
		if (type == TENSOR)
			check_name(o);
		zeros(0);
		ph = payload(p, (int)le(h + 10, 2));
		zeros(56), need(e, 8);
		want(le(e, 8) == ph, "wrong payload hash");
		printf("%ju %ju %ju %ju %016jx\n", n, type, j, p, ph);
		memset(memmove(h, h + 8, 2) + 2, 0, 6);	/* type, 8 bytes */
		memcpy(h + 8, h + 32, 8);
		memcpy(h + 24, e, 8);			/* P is at 16 */
		if ((stage = s) < 5)
			XXH3_128bits_update(all, h, 32);
	}
	finish(o, n - 1, XXH3_128bits_digest(all));
	return 0;
}
