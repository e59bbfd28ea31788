/* formats/fmt_stream: what goes out comes in, and nothing else does. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

#include "formats/fmt_json.h"
#include "formats/fmt_stream.h"
#include "tests/formats/forge_stream.h"

#define CHUNK	((size_t)4 << 20)	/* of a compressed payload */

static char why[SQ_ERR];

static int
file_of(const void *p, size_t n)
{
	int fd = memfd_create("stream", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, p, n), (ssize_t)n);
	lseek(fd, 0, SEEK_SET);
	return fd;
}

/* Bytes that are not the same everywhere, and hard to compress or not. */
static void
fill(unsigned char *p, size_t n, int easy)
{
	uint32_t x = 1;
	size_t i;

	for (i = 0; i < n; i++) {
		x = x * 1664525 + 1013904223;
		p[i] = (unsigned char)(easy ? i >> 10 : x >> 24);
	}
}

/* Reads a stream to its end, payloads in pieces: 0, or -1 and why. */
static int
read_fd(int fd, size_t piece)
{
	struct sq_in in;
	unsigned char *buf = malloc(piece);
	size_t n;
	int r;

	ck_assert_int_eq(sq_in_open(&in, fd), 0);
	while ((r = sq_in_next(&in)) > 0)
		while (in.left > 0) {
			n = in.left < piece ? (size_t)in.left : piece;
			if (sq_in_read(&in, buf, n) < 0)
				break;
		}
	strcpy(why, in.err);
	ck_assert(r == 0 || why[0] != '\0');
	ck_assert_int_eq(sq_in_next(&in), r);
	sq_in_release(&in);
	free(buf);
	return r;
}

static int
read_bytes(const void *p, size_t n)
{
	int fd = file_of(p, n), r = read_fd(fd, 4096);

	close(fd);
	return r;
}

static int
read_forged(struct forge *f)
{
	int r = read_bytes(f->p, f->n);

	forge_release(f);
	return r;
}

#define REFUSED(f, what) do { \
	ck_assert_int_lt(read_forged(f), 0); \
	ck_assert_msg(strstr(why, what) != NULL, "'%s' is not '%s'", why, \
	    what); \
} while (0)

static void
plain(struct forge *f, unsigned type, const char *json, uint64_t length)
{
	forge_record(f, &(struct forge_rec){ .type = type, .json = json,
	    .length = length });
}

/* HEADER, TOKENS, TENSOR, STATS, TENSOR, a private one, PROVENANCE, END. */
static void
small_stream(struct forge *f)
{
	forge_header(f);
	plain(f, SQ_TOKENS, "{\"tokens\":2}", 8);
	plain(f, SQ_TENSOR, "{\"name\":\"a\"}", 5);
	plain(f, SQ_STATS, "{\"kind\":\"kv\"}", 64);
	plain(f, SQ_TENSOR, "{\"name\":\"b\"}", 0);
	plain(f, 40000, "{\"what\":[1,2,3]}", 57);
	plain(f, SQ_PROVENANCE, "{\"tool\":\"t\"}", 0);
	forge_end(f);
}

/* ---- round trips ---- */

static const size_t sizes[] = { 0, 1, 55, 56, 57, 63, 64, 65, 4095, 4096,
    262143, 262144, 262145, 5 << 20 };
#define SIZES	(sizeof(sizes) / sizeof(sizes[0]))

static const unsigned types[] = { SQ_TOKENS, SQ_TENSOR, SQ_STATS, 0, 7, 32767,
    32768, 65535 };
#define TYPES	(sizeof(types) / sizeof(types[0]))

static void
describe(char *s, size_t size, unsigned type, size_t n)
{
	snprintf(s, size, "{\"name\":\"t.%zu\",\"type\":%u}", n, type);
}

/* A record of every type and size; pieces of several sizes. */
static void
write_all_sizes(struct sq_out *out, const unsigned char *data, size_t piece)
{
	size_t i, k, n, m;
	char json[64];

	ck_assert_int_eq(sq_out_begin(out, SQ_HEADER, "{}", 2, 3), 0);
	ck_assert_int_eq(sq_out_write(out, "abc", 3), 0);
	ck_assert_int_eq(sq_out_end(out), 0);
	for (k = 0; k < TYPES; k++)
		for (i = 0; i < SIZES; i++) {
			if (types[k] == SQ_TOKENS && i != 10)
				continue;	/* there is one at most */
			describe(json, sizeof(json), types[k], sizes[i]);
			ck_assert_int_eq(sq_out_begin(out, types[k], json,
			    strlen(json), sizes[i]), 0);
			for (n = 0; n < sizes[i]; n += m) {
				m = sizes[i] - n < piece ? sizes[i] - n :
				    piece;
				ck_assert_int_eq(sq_out_write(out, data + n,
				    m), 0);
			}
			ck_assert_int_eq(sq_out_end(out), 0);
		}
	ck_assert_int_eq(sq_out_finish(out), 0);
}

static void
read_all_sizes(struct sq_in *in, const unsigned char *data, size_t piece)
{
	unsigned char *buf = malloc(sizes[SIZES - 1]);
	size_t i, k, n, m;
	char json[64];

	ck_assert_int_eq(sq_in_next(in), 1);
	ck_assert_uint_eq(in->type, SQ_HEADER);
	for (k = 0; k < TYPES; k++)
		for (i = 0; i < SIZES; i++) {
			if (types[k] == SQ_TOKENS && i != 10)
				continue;
			ck_assert_msg(sq_in_next(in) == 1, "%s", in->err);
			describe(json, sizeof(json), types[k], sizes[i]);
			ck_assert_uint_eq(in->type, types[k]);
			ck_assert_str_eq(in->json, json);
			ck_assert_uint_eq(in->json_len, strlen(json));
			ck_assert_uint_eq(in->length, sizes[i]);
			memset(buf, 0x55, sizes[i]);
			for (n = 0; n < sizes[i]; n += m) {
				m = sizes[i] - n < piece ? sizes[i] - n :
				    piece;
				ck_assert_int_eq(sq_in_read(in, buf + n, m),
				    0);
			}
			ck_assert_int_eq(memcmp(buf, data, sizes[i]), 0);
		}
	ck_assert_msg(sq_in_next(in) == 0, "%s", in->err);
	ck_assert_int_eq(sq_in_next(in), 0);
	free(buf);
}

static const size_t pieces[] = { 1000, 65536, 131071, 131072, 262145,
    8 << 20 };

START_TEST(round_trips)
{
	size_t n = sizes[SIZES - 1], piece = pieces[_i % 6];
	int compress = _i / 6 % 2, fd = memfd_create("s", MFD_CLOEXEC);
	unsigned char *data = malloc(n);
	struct sq_out out;
	struct sq_in in;

	fill(data, n, _i / 12);
	ck_assert_int_eq(sq_out_open(&out, fd, compress), 0);
	write_all_sizes(&out, data, piece);
	ck_assert_uint_eq(out.pos, (uint64_t)lseek(fd, 0, SEEK_CUR));
	if (compress && _i / 12)
		ck_assert_uint_lt(out.pos, 7 * n);
	lseek(fd, 0, SEEK_SET);
	ck_assert_int_eq(sq_in_open(&in, fd), 0);
	read_all_sizes(&in, data, pieces[(_i + 1) % 6]);
	ck_assert_uint_eq(in.pos, out.pos);
	ck_assert_uint_eq(in.records, out.records);
	ck_assert_str_eq(in.digest, out.digest);
	sq_in_release(&in);
	sq_out_release(&out);
	free(data);
	close(fd);
}
END_TEST

static unsigned char *big;

struct job {
	int fd, compress;
	size_t piece;
	char digest[SQ_DIGEST];
};

static void *
writer(void *arg)
{
	struct job *j = arg;
	struct sq_out out;

	ck_assert_int_eq(sq_out_open(&out, j->fd, j->compress), 0);
	write_all_sizes(&out, big, j->piece);
	strcpy(j->digest, out.digest);
	sq_out_release(&out);
	close(j->fd);
	return NULL;
}

/* The same digest, compressed or not, whatever the pieces. */
START_TEST(pipes)
{
	size_t n = sizes[SIZES - 1];
	struct job j = { -1, _i % 2, _i < 2 ? 777777 : 65537, "" };
	struct sq_in in;
	pthread_t t;
	int p[2];

	big = malloc(n);
	fill(big, n, 0);
	ck_assert_int_eq(pipe(p), 0);
	j.fd = p[1];
	ck_assert_int_eq(pthread_create(&t, NULL, writer, &j), 0);
	ck_assert_int_eq(sq_in_open(&in, p[0]), 0);
	read_all_sizes(&in, big, 100001);
	pthread_join(t, NULL);
	ck_assert_str_eq(in.digest, j.digest);
	ck_assert_str_eq(in.digest, "4e58b5f0676844a99bb586dd08d97dd0");
	sq_in_release(&in);
	close(p[0]);
	free(big);
}
END_TEST

/* A writer of few bytes at a time, with pauses. */
static void *
dribble(void *arg)
{
	int fd = *(int *)arg;
	struct forge f = { 0 };
	size_t at, n, k = 0;

	small_stream(&f);
	for (at = 0; at < f.n; at += n) {
		n = 1 + k++ * 7 % 13;
		if (n > f.n - at)
			n = f.n - at;
		ck_assert_int_eq(write(fd, f.p + at, n), (ssize_t)n);
		if (k % 8 == 0)
			usleep(500);
	}
	forge_release(&f);
	close(fd);
	return NULL;
}

START_TEST(slow_writer)
{
	pthread_t t;
	int p[2];

	ck_assert_int_eq(pipe(p), 0);
	ck_assert_int_eq(pthread_create(&t, NULL, dribble, &p[1]), 0);
	ck_assert_msg(read_fd(p[0], 7) == 0, "%s", why);
	pthread_join(t, NULL);
	close(p[0]);
}
END_TEST

/* The forged stream is what the writer writes. */
START_TEST(same_bytes)
{
	struct forge f = { 0 };
	struct sq_in in;
	struct sq_out out;
	int a, b = memfd_create("s", MFD_CLOEXEC);
	unsigned char *copy;

	small_stream(&f);
	forge_set(&f, 5, 6, 9, 2);		/* a newer writer's */
	a = file_of(f.p, f.n);
	ck_assert_int_eq(sq_in_open(&in, a), 0);
	ck_assert_int_eq(sq_out_open(&out, b, 0), 0);
	while (sq_in_next(&in) > 0)
		ck_assert_int_eq(sq_out_copy(&out, &in), 0);
	ck_assert_int_eq(sq_out_finish(&out), 0);
	ck_assert_uint_eq(out.pos, f.n);
	copy = malloc(f.n);
	ck_assert_int_eq(pread(b, copy, f.n, 0), (ssize_t)f.n);
	ck_assert_int_eq(memcmp(copy, f.p, f.n), 0);
	free(copy);
	sq_in_release(&in);
	sq_out_release(&out);
	forge_release(&f);
	close(a);
	close(b);
}
END_TEST

/* Copies compress and expand; digests stay. */
START_TEST(copies)
{
	size_t n = sizes[SIZES - 1];
	unsigned char *data = malloc(n);
	char digest[SQ_DIGEST] = "";
	struct sq_out out;
	struct sq_in in;
	int fd[4], i;

	fill(data, n, 1);
	for (i = 0; i < 4; i++)
		fd[i] = memfd_create("s", MFD_CLOEXEC);
	ck_assert_int_eq(sq_out_open(&out, fd[0], 0), 0);
	write_all_sizes(&out, data, n);
	strcpy(digest, out.digest);
	sq_out_release(&out);
	for (i = 1; i < 4; i++) {
		lseek(fd[i - 1], 0, SEEK_SET);
		ck_assert_int_eq(sq_in_open(&in, fd[i - 1]), 0);
		ck_assert_int_eq(sq_out_open(&out, fd[i], i < 3), 0);
		while (sq_in_next(&in) > 0)
			ck_assert_int_eq(sq_out_copy(&out, &in), 0);
		ck_assert_str_eq(in.err, "");
		ck_assert_int_eq(sq_out_finish(&out), 0);
		ck_assert_str_eq(in.digest, digest);
		ck_assert_str_eq(out.digest, digest);
		sq_in_release(&in);
		sq_out_release(&out);
	}
	ck_assert_int_eq(lseek(fd[0], 0, SEEK_END),
	    lseek(fd[3], 0, SEEK_END));
	ck_assert_int_lt(lseek(fd[1], 0, SEEK_END),
	    lseek(fd[3], 0, SEEK_END) / 10);
	for (i = 0; i < 4; i++)
		close(fd[i]);
	free(data);
}
END_TEST

START_TEST(payloads)
{
	struct forge f = { 0 };
	struct sq_in in;
	char *p;
	int fd;

	small_stream(&f);
	fd = file_of(f.p, f.n);
	ck_assert_int_eq(sq_in_open(&in, fd), 0);
	ck_assert_int_eq(sq_in_next(&in), 1);
	p = sq_in_payload(&in, 1);
	ck_assert_ptr_null(p);			/* too long: unread */
	p = sq_in_payload(&in, 2);
	ck_assert_mem_eq(p, "{}", 2);
	free(p);
	ck_assert_int_eq(sq_in_next(&in), 1);	/* left unread */
	ck_assert_int_eq(sq_in_next(&in), 1);
	p = malloc(6);
	ck_assert_int_eq(sq_in_read(&in, p, 2), 0);
	ck_assert_int_lt(sq_in_read(&in, p, 6), 0);
	ck_assert_ptr_nonnull(strstr(in.err, "fewer bytes"));
	ck_assert_int_lt(sq_in_next(&in), 0);
	ck_assert_ptr_null(sq_in_payload(&in, 100));
	free(p);
	sq_in_release(&in);
	forge_release(&f);
	close(fd);
}
END_TEST

START_TEST(gaps)
{
	struct forge f = { 0 };
	struct sq_in in;
	char b[64];
	int fd;

	forge_header(&f);
	forge_record(&f, &(struct forge_rec){ .type = SQ_TENSOR,
	    .json = "{\"name\":\"a\"}", .length = 66,
	    .payload = "x\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
	    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
	    "\0\0\0\0xy" });
	fd = file_of(f.p, f.n);
	ck_assert_int_eq(sq_in_open(&in, fd), 0);
	ck_assert_int_eq(sq_in_next(&in), 1);
	ck_assert_int_eq(sq_in_next(&in), 1);
	ck_assert_int_eq(sq_in_read(&in, b, 1), 0);
	ck_assert_int_eq(sq_in_gap(&in, 1, 64), 0);
	ck_assert_int_eq(sq_in_gap(&in, 64, 64), 0);
	ck_assert_int_lt(sq_in_gap(&in, 64, 65), 0);
	ck_assert_ptr_nonnull(strstr(in.err, "gap"));
	ck_assert_int_lt(sq_in_next(&in), 0);
	sq_in_release(&in);
	forge_release(&f);
	close(fd);
}
END_TEST

/* The bytes of the dump in a page: how many. */
static size_t
dump_of(const char *path, unsigned char *p, size_t size)
{
	FILE *f = fopen(path, "r");
	char line[256], *s, *end;
	size_t at = 0, i;

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		i = strtoul(line, &end, 16);
		if (end != line + 3 || i > size)
			continue;
		for (; at < i; at++)		/* lines left out */
			p[at] = p[at - 16];
		for (s = end; at < i + 16 && s[0] == ' '; s = end) {
			p[at] = (unsigned char)strtoul(s, &end, 16);
			if (end == s)
				break;
			at++;
		}
	}
	fclose(f);
	return at;
}

/* The example of sq-stream(5) is what the writer makes of it. */
START_TEST(example)
{
	unsigned char want[1024], got[1024];
	struct sq_header h = { 0 };
	struct sq_out out;
	uint64_t config = XXH3_64bits("{}", 2);
	int fd = memfd_create("s", MFD_CLOEXEC);
	json_t *o;

	ck_assert_int_eq(sq_header_add(&h, "config.json", 2, why), 0);
	sq_digest_text(h.model, XXH3_128bits(&config, sizeof(config)));
	ck_assert_int_eq(sq_out_open(&out, fd, 0), 0);
	o = sq_header_describe(&h);
	ck_assert_int_eq(sq_out_record(&out, SQ_HEADER, o, "{}", 2), 0);
	json_decref(o);
	o = json_pack("{s:s,s:s,s:{},s:s}", "tool", "sq-import", "version",
	    "1.0", "options", "input", h.model);
	ck_assert_int_eq(sq_out_record(&out, SQ_PROVENANCE, o, NULL, 0), 0);
	json_decref(o);
	ck_assert_int_eq(sq_out_finish(&out), 0);
	ck_assert_uint_eq(dump_of("man/sq-stream.5", want, sizeof(want)),
	    out.pos);
	ck_assert_int_eq(pread(fd, got, sizeof(got), 0), (ssize_t)out.pos);
	ck_assert_mem_eq(got, want, out.pos);
	sq_out_release(&out);
	close(fd);
}
END_TEST

/* ---- damage ---- */

START_TEST(truncations)
{
	struct forge f = { 0 };
	size_t n;
	int p[2];

	small_stream(&f);
	ck_assert_msg(read_bytes(f.p, f.n) == 0, "%s", why);
	for (n = 0; n < f.n; n++) {
		ck_assert_msg(read_bytes(f.p, n) < 0, "%zu bytes", n);
		ck_assert_int_eq(pipe(p), 0);
		ck_assert_int_eq(write(p[1], f.p, n), (ssize_t)n);
		close(p[1]);
		ck_assert_msg(read_fd(p[0], 3) < 0, "%zu bytes", n);
		close(p[0]);
	}
	forge_release(&f);
}
END_TEST

START_TEST(bit_flips)
{
	struct forge f = { 0 };
	size_t i;

	small_stream(&f);
	for (i = 0; i < 8 * f.n; i++) {
		f.p[i / 8] ^= (unsigned char)(1 << i % 8);
		ck_assert_msg(read_bytes(f.p, f.n) < 0, "bit %zu", i);
		f.p[i / 8] ^= (unsigned char)(1 << i % 8);
	}
	ck_assert_int_eq(read_forged(&f), 0);
}
END_TEST

/* A compressed stream with one bit wrong may still expand to what it should:
 * then it has lost nothing, and the digests are right. */
START_TEST(bit_flips_compressed)
{
	struct forge f = { 0 };
	unsigned char data[5000], frame[6000];
	size_t i, n, accepted = 0;

	fill(data, sizeof(data), 0);
	memset(data, 7, 4800);
	n = ZSTD_compress(frame + 4, sizeof(frame) - 4, data, sizeof(data), 1);
	ck_assert(!ZSTD_isError(n));
	forge_le(frame, n, 4);
	forge_le(frame + 4 + n, 0, 4);
	forge_header(&f);
	forge_record(&f, &(struct forge_rec){ .type = SQ_TENSOR, .flags = 1,
	    .json = "{\"name\":\"a\"}", .payload = data,
	    .length = sizeof(data), .stored = frame, .stored_len = n + 8 });
	forge_end(&f);
	ck_assert_msg(read_bytes(f.p, f.n) == 0, "%s", why);
	for (i = 0; i < 8 * f.n; i++) {
		f.p[i / 8] ^= (unsigned char)(1 << i % 8);
		accepted += read_bytes(f.p, f.n) == 0;
		f.p[i / 8] ^= (unsigned char)(1 << i % 8);
	}
	ck_assert_uint_le(accepted, 8);
	forge_release(&f);
}
END_TEST

START_TEST(after_the_end)
{
	struct forge f = { 0 };

	small_stream(&f);
	forge_put(&f, "", 1);
	REFUSED(&f, "after the end");
	small_stream(&f);
	plain(&f, SQ_PROVENANCE, "{}", 0);
	REFUSED(&f, "after the end");
	small_stream(&f);
	small_stream(&f);
	REFUSED(&f, "after the end");
}
END_TEST

static void
end_with(struct forge *f, const char *fmt, size_t records)
{
	char digest[33], json[200];

	forge_header(f);
	plain(f, 9, "{}", 1);
	forge_digest(f, digest);
	if (fmt[0] == '!') {
		digest[31] ^= 1;
		fmt++;
	}
	snprintf(json, sizeof(json), fmt, records, digest);
	plain(f, SQ_END, json, 0);
}

START_TEST(wrong_ends)
{
	static const char *const good =
	    "{\"records\":%zu,\"digest\":\"%s\"}";
	struct forge f = { 0 };

	end_with(&f, good, 2);
	ck_assert_int_eq(read_forged(&f), 0);
	end_with(&f, good, 1);
	REFUSED(&f, "does not match the stream");
	end_with(&f, good, 3);
	REFUSED(&f, "does not match the stream");
	end_with(&f, "!{\"records\":%zu,\"digest\":\"%s\"}", 2);
	REFUSED(&f, "does not match the stream");
	end_with(&f, "{\"records\":%zu,\"digest\":\"%.31s\"}", 2);
	REFUSED(&f, "does not match the stream");
	end_with(&f, "{\"records\":%zu,\"digest\":\"%s0\"}", 2);
	REFUSED(&f, "does not match the stream");
	end_with(&f, "{\"records\":\"%zu\",\"digest\":\"%s\"}", 2);
	REFUSED(&f, "'records'");
	end_with(&f, "{\"records\":-%zu,\"digest\":\"%s\"}", 2);
	REFUSED(&f, "'records'");
	end_with(&f, "{\"records\":%zu.0,\"digest\":\"%s\"}", 2);
	REFUSED(&f, "'records'");
	end_with(&f, "{\"records\":%zu}", 2);
	REFUSED(&f, "'digest'");
	end_with(&f, "{}", 2);
	REFUSED(&f, "'records'");
	forge_header(&f);
	forge_end(&f);
	forge_set(&f, 1, 16, 1, 8);
	REFUSED(&f, "payload");
}
END_TEST

/* Records moved, repeated or left out, their numbers as they were. */
START_TEST(shuffled)
{
	struct forge f = { 0 }, g = { 0 };
	size_t i, k, size, next;

	small_stream(&f);
	f.at[f.records] = f.n;
	for (i = 0; i < f.records; i++) {
		size = f.at[i + 1] - f.at[i];
		forge_put(&g, f.p, f.at[i]);		/* left out */
		forge_put(&g, f.p + f.at[i + 1], f.n - f.at[i + 1]);
		ck_assert_int_lt(read_forged(&g), 0);
		forge_put(&g, f.p, f.at[i + 1]);	/* twice */
		forge_put(&g, f.p + f.at[i], f.n - f.at[i]);
		ck_assert_int_lt(read_forged(&g), 0);
		if (i + 1 == f.records)
			break;
		next = f.at[i + 2] - f.at[i + 1];	/* exchanged */
		forge_put(&g, f.p, f.at[i]);
		forge_put(&g, f.p + f.at[i + 1], next);
		forge_put(&g, f.p + f.at[i], size);
		forge_put(&g, f.p + f.at[i + 2], f.n - f.at[i + 2]);
		ck_assert_int_lt(read_forged(&g), 0);
	}
	/* numbers made anew: the digest tells */
	for (i = 1; i + 1 < f.records; i++) {
		forge_put(&g, f.p, f.at[i]);
		forge_put(&g, f.p + f.at[i + 1], f.n - f.at[i + 1]);
		g.records = f.records - 1;
		size = f.at[i + 1] - f.at[i];
		for (k = 0; k < g.records; k++)
			g.at[k] = k < i ? f.at[k] : f.at[k + 1] - size;
		for (k = i; k < g.records; k++)
			forge_set(&g, k, 24, k, 8);
		REFUSED(&g, "does not match the stream");
	}
	forge_release(&f);
}
END_TEST

START_TEST(headers)
{
	struct forge f = { 0 };
	unsigned i;

	for (i = 0; i < 16; i++) {
		small_stream(&f);
		forge_set(&f, 2, 40 + i, 1u << i % 8, 1);
		REFUSED(&f, "reserved bits");
	}
	for (i = 1; i < 16; i++) {
		small_stream(&f);
		forge_set(&f, 2, 10, 1u << i, 2);
		REFUSED(&f, "reserved bits");
	}
	small_stream(&f);
	forge_set(&f, 2, 4, 2, 2);
	REFUSED(&f, "newer");
	small_stream(&f);
	forge_set(&f, 2, 4, 0, 2);
	REFUSED(&f, "versions");
	small_stream(&f);
	forge_set(&f, 2, 6, 0, 2);
	REFUSED(&f, "versions");
	small_stream(&f);
	forge_set(&f, 2, 6, 65535, 2);
	ck_assert_int_eq(read_forged(&f), 0);
	small_stream(&f);
	forge_set(&f, 2, 24, 3, 8);
	REFUSED(&f, "it carries the number 3");
	small_stream(&f);
	forge_set(&f, 2, 24, (uint64_t)1 << 63 | 2, 8);
	REFUSED(&f, "it carries the number");
	small_stream(&f);
	forge_set(&f, 2, 0, 0x1b, 1);
	REFUSED(&f, "no record where one should begin");
	small_stream(&f);
	forge_set(&f, 0, 0, 0x1b, 1);
	REFUSED(&f, "not an sq stream");
	small_stream(&f);
	f.p[f.at[2] + 56] ^= 1;
	REFUSED(&f, "damaged header");
	small_stream(&f);
	forge_set(&f, 2, 32, 0, 8);
	REFUSED(&f, "description does not match");
	ck_assert_int_lt(read_bytes("", 0), 0);
	ck_assert_str_eq(why, "the input is empty");
}
END_TEST

START_TEST(lengths)
{
	struct forge f = { 0 };
	char *json;

	small_stream(&f);
	forge_set(&f, 2, 16, ((uint64_t)1 << 48) + 1, 8);
	REFUSED(&f, "out of bounds");
	small_stream(&f);
	forge_set(&f, 2, 16, UINT64_MAX, 8);
	REFUSED(&f, "out of bounds");
	small_stream(&f);
	forge_set(&f, 2, 16, (uint64_t)1 << 48, 8);
	REFUSED(&f, "stops after");
	small_stream(&f);
	forge_set(&f, 2, 12, (1 << 20) + 1, 4);
	REFUSED(&f, "out of bounds");
	small_stream(&f);
	forge_set(&f, 2, 12, UINT32_MAX, 4);
	REFUSED(&f, "out of bounds");
	small_stream(&f);
	forge_set(&f, 2, 12, 1 << 20, 4);
	REFUSED(&f, "stops after");
	json = malloc((1 << 20) + 1);
	memset(json, ' ', (1 << 20) + 1);
	memcpy(json, "{}", 2);
	forge_header(&f);
	forge_record(&f, &(struct forge_rec){ .type = 9, .json = json,
	    .json_len = 1 << 20 });
	forge_end(&f);
	ck_assert_msg(read_forged(&f) == 0, "%s", why);
	forge_header(&f);
	forge_record(&f, &(struct forge_rec){ .type = 9, .json = json,
	    .json_len = (1 << 20) + 1 });
	forge_end(&f);
	REFUSED(&f, "out of bounds");
	free(json);
}
END_TEST

START_TEST(padding)
{
	struct forge f = { 0 };
	size_t at;

	small_stream(&f);
	at = f.at[2] + 64 + strlen("{\"name\":\"a\"}");
	f.p[at] = 1;
	REFUSED(&f, "padding");
	small_stream(&f);
	f.p[f.at[2] + 127] = 1;
	REFUSED(&f, "padding");
	small_stream(&f);
	f.p[f.at[2] + 128 + 5] = 1;
	REFUSED(&f, "padding");
	small_stream(&f);
	f.p[f.at[3] - 9] = 1;
	REFUSED(&f, "padding");
	small_stream(&f);
	f.p[f.at[3] - 1] ^= 1;
	REFUSED(&f, "payload does not match");
	small_stream(&f);
	f.p[f.at[2] + 128] ^= 1;
	REFUSED(&f, "payload does not match");
}
END_TEST

/* ---- order and names ---- */

/* A stream of these types, END after them; '1' to '6' or 'u', 'p'. */
static int
in_order(const char *order)
{
	struct forge f = { 0 };
	char json[64];
	unsigned type;
	size_t i;

	for (i = 0; order[i] != '\0'; i++) {
		type = order[i] == 'u' ? 31000 : order[i] == 'p' ? 50000 :
		    (unsigned)(order[i] - '0');
		describe(json, sizeof(json), type, i);
		plain(&f, type, json, type == SQ_PROVENANCE ? 0 : 4);
	}
	forge_end(&f);
	return read_forged(&f);
}

START_TEST(order)
{
	static const char *const good[] = { "1", "12", "15", "13", "14", "1u",
	    "1u2p3u4p3u5p5u", "12343435555", "15u5", "1p2", "10", "170" };
	static const char *const bad[] = { "", "2", "3", "4", "5", "u", "p",
	    "p1", "11", "121", "1u1", "122", "12u2", "132", "142", "152",
	    "153", "154", "13532", "1351", "0" };
	size_t i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ck_assert_msg(in_order(good[i]) == 0, "%s: %s", good[i], why);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(in_order(bad[i]) < 0, "%s", bad[i]);
}
END_TEST

START_TEST(tensor_names)
{
	static const char *const bad[] = { "{}", "{\"name\":1}",
	    "{\"name\":\"\"}", "{\"name\":\"a b\"}", "{\"name\":\"-a\"}",
	    "{\"name\":\".a\"}", "{\"name\":\"\\u00e4\"}", "{\"name\":null}",
	    "{\"name\":\"a\\n\"}", "{\"name\":[\"a\"]}", "{\"name\":\"a/b\"}" };
	struct forge f = { 0 };
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		forge_header(&f);
		plain(&f, SQ_TENSOR, bad[i], 0);
		forge_end(&f);
		ck_assert_msg(read_forged(&f) < 0, "%s", bad[i]);
	}
	forge_header(&f);
	plain(&f, SQ_TENSOR, "{\"name\":\"a.b\"}", 0);
	plain(&f, SQ_TENSOR, "{\"name\":\"a.c\"}", 0);
	plain(&f, SQ_TENSOR, "{\"name\":\"\\u0061.b\"}", 0);
	forge_end(&f);
	REFUSED(&f, "record 4: a second tensor 'a.b'");
}
END_TEST

START_TEST(many_names)
{
	struct sq_order o = { 0 };
	char name[32];
	int i;

	for (i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "layer.%d", i);
		ck_assert_int_eq(sq_order_name(&o, name, why), 0);
	}
	for (i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "layer.%d", i);
		ck_assert_int_lt(sq_order_name(&o, name, why), 0);
	}
	o.count = SQ_MAX_TENSORS;
	ck_assert_int_lt(sq_order_name(&o, "another", why), 0);
	sq_order_release(&o);
}
END_TEST

/* ---- descriptions ---- */

static int
described(const char *json, size_t n)
{
	struct forge f = { 0 };

	forge_header(&f);
	forge_record(&f, &(struct forge_rec){ .type = 9, .json = json,
	    .json_len = n });
	forge_end(&f);
	return read_forged(&f);
}

START_TEST(descriptions)
{
#define J(s)	{ s, sizeof(s) - 1 }
	static const struct { const char *s; size_t n; } good[] = {
		J("{}"), J(" \t\r\n{ } \n"), J("{\"a\":{\"a\":{\"a\":1}}}"),
		J("{\"a\":-9223372036854775808,\"b\":9223372036854775807}"),
		J("{\"a\":1e308,\"b\":-0.5E-3,\"c\":-0,\"d\":null}"),
		J("{\"\":1}"), J("{\"\xc3\xa4\":\"\xf0\x9f\x98\x80\"}"),
		J("{\"a\":\"\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\"}"),
	}, bad[] = {
		J("x"), J("[]"), J("1"), J("\"a\""), J("null"), J("{"),
		J("{}}"), J("{}{}"), J("{} x"), J("{\"a\":1,}"), J("{,}"),
		J("{\"a\":1,\"a\":1}"), J("{\"a\":1,\"\\u0061\":2}"),
		J("{\"x\":{\"b\":1,\"c\":[],\"b\":2}}"),
		J("{\"x\":[[{\"b\":1,\"b\":2}]]}"), J("{a:1}"), J("{'a':1}"),
		J("{\"a\":01}"), J("{\"a\":+1}"), J("{\"a\":.5}"),
		J("{\"a\":1.}"), J("{\"a\":0x1}"), J("{\"a\":NaN}"),
		J("{\"a\":1e309}"), J("{\"a\":9223372036854775808}"),
		J("{\"a\":-9223372036854775809}"), J("{\"a\":tru}"),
		J("{\"a\":\"\n\"}"), J("{\"a\":\"\\x\"}"), J("{\"a\":\"b}"),
		J("{\"a\":\"\\u0000\"}"), J("{\"\\u0000\":1}"),
		J("{\"a\":\"\0\"}"), J("{}\0"), J("\0{}"), J("\xef\xbb\xbf{}"),
		J("{\"a\":\"\x80\"}"), J("{\"a\":\"\xc3\"}"),
		J("{\"a\":\"\xc0\x80\"}"), J("{\"a\":\"\xe0\x80\x80\"}"),
		J("{\"a\":\"\xed\xa0\x80\"}"), J("{\"a\":\"\xff\"}"),
		J("{\"a\":\"\xf4\x90\x80\x80\"}"), J("{\"a\":\"\\ud800\"}"),
		J("{\"a\":\"\\ud800x\"}"), J("{\"a\":\"\\ude00\"}"),
		J("{\"a\":\"\\ud800\\u0041\"}"), J("{\"\xff\":1}"),
		J("{/**/}"), J("{\"a\" 1}"), J("{\"a\":1 \"b\":2}"),
	};
	struct forge f = { 0 };
	char *deep = malloc(200010);
	size_t i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ck_assert_msg(described(good[i].s, good[i].n) == 0, "%s: %s",
		    good[i].s, why);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(described(bad[i].s, bad[i].n) < 0, "%s",
		    bad[i].s);
	forge_header(&f);
	plain(&f, 9, "", 0);
	REFUSED(&f, "record 2");
	memcpy(deep, "{\"a\":", 5);
	memset(deep + 5, '[', 62);
	memset(deep + 67, ']', 62);
	deep[129] = '}';
	ck_assert_msg(described(deep, 130) == 0, "%s", why);
	memset(deep + 5, '[', 100000);
	memset(deep + 100005, ']', 100000);
	deep[200005] = '}';
	ck_assert_int_lt(described(deep, 200006), 0);
	free(deep);
}
END_TEST

/* ---- compressed payloads ---- */

static int
chunks(uint64_t length, const void *stored, size_t n)
{
	struct forge f = { 0 };

	forge_header(&f);
	forge_record(&f, &(struct forge_rec){ .type = 9, .flags = 1,
	    .json = "{}", .length = length, .stored = stored,
	    .stored_len = n });
	forge_end(&f);
	return read_forged(&f);
}

/* A chunk that expands to n zeros, and a 4-byte zero; the chunk's bytes. */
static size_t
chunk(unsigned char *p, size_t n, int level)
{
	void *zeros = calloc(1, n + 1);
	size_t r = ZSTD_compress(p + 4, 65536, zeros, n, level);

	ck_assert(!ZSTD_isError(r));
	free(zeros);
	forge_le(p, r, 4);
	forge_le(p + 4 + r, 0, 4);
	return r + 4;
}

START_TEST(compressed_good)
{
	unsigned char *p = calloc(1, 200000);
	size_t n;

	ck_assert_msg(chunks(0, "\0\0\0", 4) == 0, "%s", why);
	n = chunk(p, 1, 1);
	ck_assert_msg(chunks(1, p, n + 4) == 0, "%s", why);
	n = chunk(p, CHUNK, 19);
	ck_assert_msg(chunks(CHUNK, p, n + 4) == 0, "%s", why);
	n += chunk(p + n, 1, 1);
	ck_assert_msg(chunks(CHUNK + 1, p, n + 4) == 0, "%s", why);
	free(p);
}
END_TEST

START_TEST(compressed_bad)
{
	unsigned char *p = calloc(1, 200000);
	size_t n, m;

	ck_assert_int_lt(chunks(0, "\1\0\0\0x\0\0\0", 9), 0);
	n = chunk(p, 0, 1);			/* expands to nothing */
	ck_assert_int_lt(chunks(0, p, n + 4), 0);
	ck_assert_int_lt(chunks(1, p, n + 4), 0);
	m = chunk(p + n, 9, 1);
	ck_assert_int_lt(chunks(9, p, n + m + 4), 0);
	forge_le(p, n + m - 4, 4);		/* two frames in a chunk */
	memmove(p + n, p + n + 4, m);
	ck_assert_int_lt(chunks(9, p, n + m), 0);
	n = chunk(p, 9, 1);
	ck_assert_int_eq(chunks(9, p, n + 4), 0);
	ck_assert_int_lt(chunks(8, p, n + 4), 0);
	ck_assert_int_lt(chunks(10, p, n + 4), 0);
	ck_assert_int_lt(chunks((uint64_t)1 << 23, p, n + 4), 0);
	forge_le(p + n, 1, 4);
	ck_assert_int_lt(chunks(9, p, n + 4), 0);
	forge_le(p + n, 0, 4);
	forge_le(p, n - 3, 4);			/* a byte after the frame */
	ck_assert_int_lt(chunks(9, p, n + 5), 0);
	forge_le(p, n - 5, 4);			/* a byte too few */
	ck_assert_int_lt(chunks(9, p, n + 4), 0);
	forge_le(p, 0, 4);
	ck_assert_int_lt(chunks(9, p, n + 4), 0);
	forge_le(p, 4210753, 4);
	ck_assert_int_lt(chunks(9, p, n + 4), 0);
	ck_assert_ptr_nonnull(strstr(why, "4210753"));
	forge_le(p, UINT32_MAX, 4);
	ck_assert_int_lt(chunks(9, p, n + 4), 0);
	forge_le(p, 3, 4);			/* less than a magic */
	ck_assert_int_lt(chunks(9, p, n + 4), 0);
	n = chunk(p, CHUNK + 1, 19);		/* more than a chunk holds */
	ck_assert_int_lt(chunks(CHUNK + 1, p, n + 4), 0);
	n = chunk(p, CHUNK - 1, 19);		/* less, and not the last */
	n += chunk(p + n, 2, 1);
	ck_assert_int_lt(chunks(CHUNK + 1, p, n + 4), 0);
	memcpy(p, "\14\0\0\0\x50\x2a\x4d\x18\4\0\0\0abcd\0\0\0", 20);
	ck_assert_int_lt(chunks(9, p, 20), 0);	/* a skippable frame */
	free(p);
}
END_TEST

/* ---- HEADER ---- */

static int
header(const char *blobs, uint64_t length)
{
	char json[4096], err[SQ_ERR];
	struct sq_header h;
	json_t *o;
	int r;

	snprintf(json, sizeof(json), "{\"stream\":\"sq\",\"model\":\""
	    "0123456789abcdef0123456789abcdef\",\"blobs\":%s}", blobs);
	o = sq_json_object(json, strlen(json), err);
	ck_assert_msg(o != NULL, "%s", err);
	r = sq_header_parse(&h, o, length, err);
	json_decref(o);
	return r;
}

#define BLOB(name, offset, length) "{\"name\":\"" name "\",\"offset\":" \
	#offset ",\"length\":" #length "}"

START_TEST(blobs)
{
	char many[4096] = "[" BLOB("config.json", 0, 0);
	int i;

	ck_assert_int_eq(header("[" BLOB("config.json", 0, 2) "]", 2), 0);
	ck_assert_int_eq(header("[" BLOB("a", 0, 64) ","
	    BLOB("config.json", 64, 1) "," BLOB("b", 128, 0) ","
	    BLOB("c", 128, 3) "]", 131), 0);
	ck_assert_int_eq(header("[" BLOB("config.json", 0, 536870912) "]",
	    536870912), 0);
	ck_assert_int_lt(header("[" BLOB("config.json", 0, 536870913) "]",
	    536870913), 0);
	ck_assert_int_lt(header("[" BLOB("config.json", 0, 536870912) ","
	    BLOB("b", 536870912, 1) "]", 536870913), 0);
	ck_assert_int_lt(header("[" BLOB("config.json", 0, 2) "]", 3), 0);
	ck_assert_int_lt(header("[" BLOB("config.json", 64, 2) "]", 66), 0);
	ck_assert_int_lt(header("[" BLOB("config.json", 0, -1) "]", 0), 0);
	ck_assert_int_lt(header("[" BLOB("config.json", 0,
	    9223372036854775807) "]", 0), 0);
	ck_assert_int_lt(header("[" BLOB("config.js", 0, 2) "]", 2), 0);
	ck_assert_int_lt(header("[" BLOB("config.json", 0, 2) ","
	    BLOB("../a", 64, 2) "]", 66), 0);
	ck_assert_int_lt(header("[" BLOB("config.json", 0, 2) ","
	    BLOB(".a", 64, 2) "]", 66), 0);
	ck_assert_int_lt(header("[" BLOB("config.json", 0, 2) ","
	    BLOB("config.json", 64, 2) "]", 66), 0);
	ck_assert_int_lt(header("[" BLOB("config.json", 0, 2) ","
	    BLOB("a", 128, 2) "]", 130), 0);
	ck_assert_int_lt(header("[" BLOB("config.json", 0, 65) ","
	    BLOB("a", 64, 2) "]", 66), 0);
	ck_assert_int_lt(header("[]", 0), 0);
	ck_assert_int_lt(header("{}", 0), 0);
	ck_assert_int_lt(header("[1]", 0), 0);
	for (i = 1; i < 64; i++)
		sprintf(many + strlen(many), ",{\"name\":\"%d\",\"offset\":0,"
		    "\"length\":0}", i);
	strcat(many, "]");
	ck_assert_int_eq(header(many, 0), 0);
	many[strlen(many) - 1] = '\0';
	strcat(many, "," BLOB("x", 0, 0) "]");
	ck_assert_int_lt(header(many, 0), 0);
}
END_TEST

START_TEST(header_made)
{
	struct sq_header h = { 0 }, g;
	unsigned char p[129] = { 0 };
	json_t *o;

	strcpy(h.model, "0123456789abcdef0123456789abcdef");
	h.tensors = 7;
	h.bytes = (uint64_t)1 << 40;
	ck_assert_int_eq(sq_header_add(&h, "config.json", 2, why), 0);
	ck_assert_int_eq(sq_header_add(&h, "a", 64, why), 0);
	ck_assert_int_eq(sq_header_add(&h, "b", 1, why), 0);
	ck_assert_int_lt(sq_header_add(&h, "b", 1, why), 0);
	ck_assert_int_lt(sq_header_add(&h, "a/b", 1, why), 0);
	ck_assert_int_lt(sq_header_add(&h, "d", UINT64_MAX, why), 0);
	ck_assert_uint_eq(h.length, 129);
	ck_assert_uint_eq(sq_header_blob(&h, "b")->offset, 128);
	ck_assert_ptr_null(sq_header_blob(&h, "c"));
	o = sq_header_describe(&h);
	ck_assert_msg(sq_header_parse(&g, o, 129, why) == 0, "%s", why);
	ck_assert_mem_eq(&g, &h, sizeof(g));
	ck_assert_int_lt(sq_header_parse(&g, o, 128, why), 0);
	json_object_set_new(o, "model", json_string("0123456789ABCDEF"
	    "0123456789abcdef"));
	ck_assert_int_lt(sq_header_parse(&g, o, 129, why), 0);
	json_decref(o);
	p[1] = p[64] = p[127] = p[128] = 1;
	ck_assert_int_eq(sq_header_check_data(&h, p, why), 0);
	p[2] = 1;
	ck_assert_int_lt(sq_header_check_data(&h, p, why), 0);
	p[2] = 0;
	p[63] = 1;
	ck_assert_int_lt(sq_header_check_data(&h, p, why), 0);
}
END_TEST

/* ---- the writer ---- */

static int
begun(struct sq_out *out, unsigned type, uint64_t length)
{
	return sq_out_begin(out, type, "{\"name\":\"a\"}", 12, length);
}

START_TEST(misuse)
{
	static const unsigned orders[][3] = { { SQ_TENSOR }, { SQ_END },
	    { SQ_HEADER, SQ_HEADER }, { SQ_HEADER, SQ_STATS, SQ_TOKENS },
	    { SQ_HEADER, SQ_PROVENANCE, SQ_TENSOR }, { SQ_HEADER, 65536 },
	    { SQ_HEADER, SQ_END, 9 } };
	struct sq_out out;
	int fd = open("/dev/null", O_WRONLY);
	size_t i, k;
	char *json;
	int r;

	for (i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		ck_assert_int_eq(sq_out_open(&out, fd, 0), 0);
		for (r = 0, k = 0; k < 3 && r == 0 && orders[i][k]; k++)
			if ((r = begun(&out, orders[i][k], 0)) == 0)
				r = sq_out_end(&out);
		ck_assert_int_lt(r, 0);
		ck_assert_str_ne(out.err, "");
		ck_assert_int_lt(begun(&out, SQ_HEADER, 0), 0);
		ck_assert_int_lt(sq_out_finish(&out), 0);
		sq_out_release(&out);
	}
	for (i = 0; i < 6; i++) {
		ck_assert_int_eq(sq_out_open(&out, fd, 0), 0);
		ck_assert_int_eq(begun(&out, SQ_HEADER, 2), 0);
		ck_assert_int_eq(sq_out_write(&out, "a", 1), 0);
		r = i == 0 ? sq_out_write(&out, "bc", 2) :
		    i == 1 ? sq_out_end(&out) :
		    i == 2 ? begun(&out, SQ_TENSOR, 0) :
		    i == 3 ? sq_out_finish(&out) :
		    i == 4 ? sq_out_gap(&out, 0, 64) :
		    sq_out_gap(&out, 1, 0);
		ck_assert_int_lt(r, 0);
		sq_out_release(&out);
	}
	json = calloc(1, (1 << 20) + 1);
	ck_assert_int_eq(sq_out_open(&out, fd, 0), 0);
	ck_assert_int_lt(sq_out_begin(&out, SQ_HEADER, json, (1 << 20) + 1,
	    0), 0);
	sq_out_release(&out);
	ck_assert_int_eq(sq_out_open(&out, fd, 0), 0);
	ck_assert_int_lt(begun(&out, SQ_HEADER, ((uint64_t)1 << 48) + 1), 0);
	sq_out_release(&out);
	ck_assert_int_eq(sq_out_open(&out, fd, 0), 0);
	ck_assert_int_eq(begun(&out, SQ_HEADER, 0), 0);
	ck_assert_int_eq(sq_out_end(&out), 0);
	ck_assert_int_eq(sq_out_finish(&out), 0);
	ck_assert_int_lt(sq_out_finish(&out), 0);
	sq_out_release(&out);
	free(json);
	close(fd);
}
END_TEST

/* A full disk, a reader gone, files that cannot be read. */
START_TEST(broken_files)
{
	unsigned char *data = calloc(1, 1 << 20);
	struct sq_out out;
	int fd = open("/dev/full", O_WRONLY), p[2], r, i;

	signal(SIGPIPE, SIG_IGN);
	for (i = 0; i < 4; i++) {
		if (i >= 2) {
			ck_assert_int_eq(pipe(p), 0);
			close(p[0]);
		}
		ck_assert_int_eq(sq_out_open(&out, i < 2 ? fd : p[1], i % 2),
		    0);
		fill(data, 1 << 20, 0);
		r = begun(&out, SQ_HEADER, 1 << 20);
		if (r == 0)
			r = sq_out_write(&out, data, 1 << 20);
		if (r == 0)
			r = sq_out_end(&out);
		if (r == 0)
			r = sq_out_finish(&out);
		ck_assert_int_lt(r, 0);
		ck_assert_ptr_nonnull(strstr(out.err, i < 2 ?
		    strerror(ENOSPC) : strerror(EPIPE)));
		ck_assert_int_lt(sq_out_finish(&out), 0);
		sq_out_release(&out);
		if (i >= 2)
			close(p[1]);
	}
	close(fd);
	fd = open("/", O_RDONLY);
	ck_assert_int_lt(read_fd(fd, 10), 0);
	ck_assert_ptr_nonnull(strstr(why, strerror(EISDIR)));
	close(fd);
	ck_assert_int_lt(read_fd(fd, 10), 0);
	ck_assert_ptr_nonnull(strstr(why, strerror(EBADF)));
	free(data);
}
END_TEST

/* A copy of a damaged record fails, and says whose fault it is. */
START_TEST(damaged_copy)
{
	struct forge f = { 0 };
	struct sq_in in;
	struct sq_out out;
	int fd, null = open("/dev/null", O_WRONLY);

	small_stream(&f);
	fd = file_of(f.p, f.at[3] + 140);
	ck_assert_int_eq(sq_in_open(&in, fd), 0);
	ck_assert_int_eq(sq_out_open(&out, null, 0), 0);
	while (sq_in_next(&in) > 0)
		if (sq_out_copy(&out, &in) < 0)
			break;
	ck_assert_ptr_nonnull(strstr(out.err, "the input: the stream stops"));
	ck_assert_int_lt(sq_in_next(&in), 0);
	ck_assert_int_lt(sq_out_finish(&out), 0);
	sq_in_release(&in);
	sq_out_release(&out);
	forge_release(&f);
	close(fd);
	close(null);
}
END_TEST

START_TEST(type_names)
{
	ck_assert_str_eq(sq_rtype_name(SQ_HEADER), "HEADER");
	ck_assert_str_eq(sq_rtype_name(SQ_END), "END");
	ck_assert_str_eq(sq_rtype_name(0), "reserved");
	ck_assert_str_eq(sq_rtype_name(7), "reserved");
	ck_assert_str_eq(sq_rtype_name(32767), "reserved");
	ck_assert_str_eq(sq_rtype_name(32768), "private");
	ck_assert(sq_digest_ok("0123456789abcdef0123456789abcdef"));
	ck_assert(!sq_digest_ok("0123456789abcdef0123456789abcde"));
	ck_assert(!sq_digest_ok("0123456789abcdef0123456789abcdef0"));
	ck_assert(!sq_digest_ok("0123456789abcdef0123456789abcdeF"));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("stream");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, round_trips, 0, 24);
	tcase_add_loop_test(tc, pipes, 0, 4);
	tcase_add_test(tc, slow_writer);
	tcase_add_test(tc, same_bytes);
	tcase_add_test(tc, copies);
	tcase_add_test(tc, example);
	tcase_add_test(tc, payloads);
	tcase_add_test(tc, gaps);
	tcase_add_test(tc, truncations);
	tcase_add_test(tc, bit_flips);
	tcase_add_test(tc, bit_flips_compressed);
	tcase_add_test(tc, after_the_end);
	tcase_add_test(tc, wrong_ends);
	tcase_add_test(tc, shuffled);
	tcase_add_test(tc, headers);
	tcase_add_test(tc, lengths);
	tcase_add_test(tc, padding);
	tcase_add_test(tc, order);
	tcase_add_test(tc, tensor_names);
	tcase_add_test(tc, many_names);
	tcase_add_test(tc, descriptions);
	tcase_add_test(tc, compressed_good);
	tcase_add_test(tc, compressed_bad);
	tcase_add_test(tc, blobs);
	tcase_add_test(tc, header_made);
	tcase_add_test(tc, misuse);
	tcase_add_test(tc, broken_files);
	tcase_add_test(tc, damaged_copy);
	tcase_add_test(tc, type_names);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
