/*
 * checkkern [-s seed] [-k level] [op ...]: every operation of every level
 * against the reference; see checkkern.h.  checkkern -l lists the levels that
 * this machine runs.
 */
#include <sys/mman.h>

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/half.h"
#include "base/pool.h"
#include "tests/kernels/checkkern.h"

#define PAGE		65536u	/* a multiple of every page size */
#define GUARD		4096u	/* bytes before a buffer that are watched */
#define SHOWN		5	/* failures of a check that are printed */
#define DEFAULT_SEED	20261123

/* A mapping: size bytes, the n last of them the buffer, then a page that
 * cannot be touched. */
struct ck_block {
	struct ck_block *next;
	unsigned char *map;
	size_t size, n;
};

static const struct op {
	const char *name;
	double bound;
	void (*check)(struct checker *, const struct sq_kern *,
	    const struct sq_kern *);
} ops[SQ_OPS] = {
#define OP(name, params, args, bound)	{ #name, bound, check_##name },
#include "kernels/ops.def"
#undef OP
};

static const char *const kinds[CK_KINDS] = {
	"normal", "ties", "zero", "tiny", "large", "outlier"
};

static char where[128] = "start";	/* for the signal handler */

static void
die(const char *what)
{
	fprintf(stderr, "checkkern: %s\n", what);
	exit(1);
}

static void
on_fault(int sig)
{
	static const char msg[] = ": touched memory outside of its buffers\n";

	(void)sig;
	if (write(2, where, strlen(where)) < 0 ||
	    write(2, msg, sizeof(msg) - 1) < 0)
		_exit(3);
	_exit(1);
}

/* Buffers */

static unsigned char *
guarded(size_t size)
{
	unsigned char *p;

	p = mmap(NULL, size + PAGE, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		die("no memory");
	if (mprotect(p + size, PAGE, PROT_NONE) < 0)
		die("mprotect failed");
	return p;
}

void *
ck_buf(struct checker *k, size_t n)
{
	struct ck_block *b;

	if ((b = malloc(sizeof(*b))) == NULL)
		die("no memory");
	b->n = n;
	b->size = (n / PAGE + 2) * PAGE;
	b->map = guarded(b->size);
	memset(b->map + b->size - n - GUARD, CK_FILL, n + GUARD);
	b->next = k->blocks;
	k->blocks = b;
	return b->map + b->size - n;
}

void
ck_clear(void *p, size_t n)
{
	memset(p, CK_FILL, n);
}

static int
all_fill(const unsigned char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (p[i] != CK_FILL)
			return 0;
	return 1;
}

void
ck_done(struct checker *k)
{
	struct ck_block *b;

	while ((b = k->blocks) != NULL) {
		ck_true(k, all_fill(b->map + b->size - b->n - GUARD, GUARD),
		    "bytes before a buffer of %zu were changed", b->n);
		k->blocks = b->next;
		munmap(b->map, b->size + PAGE);
		free(b);
	}
}

/* Contexts */

static void
make_ctx(struct sq_ctx *c, int threads)
{
	size_t garbage = 1 << 20;

	if ((c->pool = sq_pool_new(threads)) == NULL)
		die("no threads");
	c->work_size = SQ_WORK(threads);
	c->work = guarded(c->work_size);
	memset(c->work, 0xff, garbage);		/* NaN, whatever the type */
}

struct sq_ctx *
ck_ctx(struct checker *k, const struct sq_kern *kern, int t)
{
	k->ctx[t].kern = kern;
	return &k->ctx[t];
}

struct sq_ctx *
ck_ref(struct checker *k, const struct sq_kern *ref)
{
	k->ref.kern = ref;
	return &k->ref;
}

/* Random numbers: splitmix64. */

uint64_t
ck_rand(struct checker *k)
{
	uint64_t z = k->rng += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

size_t
ck_range(struct checker *k, size_t lo, size_t hi)
{
	return lo + (size_t)(ck_rand(k) % (hi - lo + 1));
}

double
ck_uniform(struct checker *k)
{
	return (double)(ck_rand(k) >> 11) * 0x1p-53;
}

double
ck_normal(struct checker *k)
{
	double u = 1 - ck_uniform(k);		/* (0, 1] */

	return sqrt(-2 * log(u)) * cos(2 * M_PI * ck_uniform(k));
}

double
ck_get(const void *p, enum sq_dtype type, size_t i)
{
	if (type == SQ_F32)
		return ((const float *)p)[i];
	if (type == SQ_F16)
		return sq_f16_to_f32(((const uint16_t *)p)[i]);
	return sq_bf16_to_f32(((const uint16_t *)p)[i]);
}

void
ck_put(void *p, enum sq_dtype type, size_t i, double v)
{
	if (type == SQ_F32)
		((float *)p)[i] = (float)v;
	else if (type == SQ_F16)
		((uint16_t *)p)[i] = sq_f64_to_f16(v);
	else
		((uint16_t *)p)[i] = sq_f32_to_bf16((float)v);
}

static double
one_value(struct checker *k, enum sq_dtype type, enum ck_kind kind)
{
	double sign = ck_rand(k) & 1 ? -1 : 1;
	double least = type == SQ_F16 ? 0x1p-14 : 0x1p-126;
	double large = type == SQ_F16 ? 4094 : 1e6;

	switch (kind) {
	case CK_TIES:
		return sign * (double)ck_range(k, 0, 32) / 4;
	case CK_ZERO:
		return sign * 0.0;
	case CK_TINY:
		return sign * least * 2 * ck_uniform(k);
	case CK_LARGE:
		return sign * large * ck_uniform(k);
	case CK_OUTLIER:
		return ck_normal(k) * (ck_range(k, 0, 63) == 0 ? 100 : 1);
	default:
		return ck_normal(k);
	}
}

void
ck_fill(struct checker *k, void *p, enum sq_dtype type, size_t n,
    enum ck_kind kind)
{
	size_t i;

	for (i = 0; i < n; i++)
		ck_put(p, type, i, one_value(k, type, kind));
}

void
ck_bytes(struct checker *k, void *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		((unsigned char *)p)[i] = (unsigned char)ck_rand(k);
}

const char *
ck_kind_name(enum ck_kind kind)
{
	return kinds[kind];
}

/* Comparisons */

static int
verdict(struct checker *k, int ok, const char *how, const char *fmt,
    va_list ap)
{
	k->compared++;
	if (ok)
		return 1;
	if (k->failed++ < SHOWN) {
		printf("  %s %s: ", k->level, ops[k->op].name);
		vprintf(fmt, ap);
		printf("%s\n", how);
	}
	return 0;
}

int
ck_ret(struct checker *k, int ref, int new, const char *fmt, ...)
{
	char how[80];
	va_list ap;

	if (new == SQ_UNSUP && ref != SQ_UNSUP &&
	    strcmp(k->level, "ref") != 0) {
		k->unsup++;
		return 0;
	}
	snprintf(how, sizeof(how), ": returned %d, ref %d", new, ref);
	va_start(ap, fmt);
	verdict(k, new == ref && ref != SQ_UNSUP, how, fmt, ap);
	va_end(ap);
	return ref == 0 && new == 0;
}

int
ck_same(struct checker *k, const void *want, const void *got, size_t n,
    const char *fmt, ...)
{
	const unsigned char *a = want, *b = got;
	char how[80] = "";
	size_t i;
	va_list ap;
	int r;

	for (i = 0; i < n && a[i] == b[i]; i++)
		;
	if (i < n)
		snprintf(how, sizeof(how),
		    ": byte %zu of %zu is %02x, expected %02x", i, n, b[i],
		    a[i]);
	va_start(ap, fmt);
	r = verdict(k, i == n, how, fmt, ap);
	va_end(ap);
	return r;
}

/* The error of one value in units of the magnitude; infinite for NaN that is
 * not expected. */
static double
error_of(float want, float got, double mag)
{
	double d;

	if (isnan(want) && isnan(got))
		return 0;
	if (want == got)
		return 0;
	d = fabs((double)got - want);
	if (isnan(d) || isinf(d) || mag == 0)
		return INFINITY;
	return d / mag;
}

int
ck_close(struct checker *k, const float *want, const float *got,
    const double *mag, size_t n, const char *fmt, ...)
{
	char how[160] = "";
	double e, worst = 0;
	size_t i, at = 0;
	va_list ap;
	int r;

	for (i = 0; i < n; i++) {
		e = error_of(want[i], got[i], mag != NULL ? mag[i] :
		    fabs((double)want[i]));
		if (!(e <= worst)) {
			worst = e;
			at = i;
		}
	}
	if (worst > k->worst)
		k->worst = worst;
	if (!(worst <= k->bound))
		snprintf(how, sizeof(how), ": value %zu of %zu is %.9g, "
		    "expected %.9g: error %.3g of the magnitudes, allowed %g",
		    at, n, (double)got[at], (double)want[at], worst, k->bound);
	va_start(ap, fmt);
	r = verdict(k, worst <= k->bound, how, fmt, ap);
	va_end(ap);
	return r;
}

int
ck_untouched(struct checker *k, const void *p, size_t n, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = verdict(k, all_fill(p, n), ": output touched", fmt, ap);
	va_end(ap);
	return r;
}

int
ck_true(struct checker *k, int holds, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = verdict(k, holds, "", fmt, ap);
	va_end(ap);
	return r;
}

/* The run */

static uint64_t
hash_name(const char *s)
{
	uint64_t h = 0xcbf29ce484222325;

	for (; *s != '\0'; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001b3;
	return h;
}

/* 1 when the check passed. */
static int
check_one(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, enum sq_op op)
{
	int ok;

	k->level = new->name;
	k->op = op;
	k->bound = ops[op].bound;
	k->rng = k->seed ^ hash_name(ops[op].name);
	k->compared = k->unsup = k->failed = 0;
	k->worst = 0;
	snprintf(where, sizeof(where), "checkkern: %s %s", new->name,
	    ops[op].name);
	ops[op].check(k, ref, new);
	ck_done(k);
	ok = k->failed == 0 && k->compared > 0;
	printf("%-10s  %-10s  %s  %ld compared, %ld unsupported", new->name,
	    ops[op].name, ok ? "ok  " : "FAIL", k->compared, k->unsup);
	if (k->bound > 0)
		printf(", worst %.2g of %g", k->worst, k->bound);
	if (k->failed > 0)
		printf(", %ld wrong", k->failed);
	printf("\n");
	fflush(stdout);
	return ok;
}

static int
wanted(const char *name, char *const list[], int n)
{
	int i;

	for (i = 0; i < n; i++)
		if (strcmp(list[i], name) == 0)
			return 1;
	return n == 0;
}

struct tally {
	long passed, failed, skipped;
};

static void
check_level(struct checker *k, const char *level, char *const list[], int n,
    struct tally *t)
{
	const struct sq_kern *ref, *new;
	char err[SQ_ERR];
	int op;

	if ((ref = sq_kern_find("ref", err)) == NULL)
		die(err);
	if ((new = sq_kern_find(level, err)) == NULL) {
		printf("%-10s  not checked: %s\n", level, err);
		return;
	}
	for (op = 0; op < SQ_OPS; op++) {
		if (!wanted(ops[op].name, list, n))
			continue;
		if (strcmp(new->from[op], new->name) != 0)
			t->skipped++;
		else if (check_one(k, ref, new, (enum sq_op)op))
			t->passed++;
		else
			t->failed++;
	}
}

/* Every name on the command line must be one of ours. */
static void
known_names(char *const list[], int n)
{
	int i, op;

	for (i = 0; i < n; i++) {
		for (op = 0; op < SQ_OPS; op++)
			if (strcmp(ops[op].name, list[i]) == 0)
				break;
		if (op == SQ_OPS)
			die("no such operation");
	}
}

static void
list_levels(void)
{
	const char *const *l;
	char err[SQ_ERR];

	for (l = sq_kern_levels(); *l != NULL; l++)
		if (sq_kern_find(*l, err) != NULL)
			printf("%s\n", *l);
}

static void
usage(void)
{
	fprintf(stderr, "usage: checkkern [-l] [-s seed] [-k level] "
	    "[op ...]\n");
	exit(2);
}

int
main(int argc, char *argv[])
{
	struct checker k = { .seed = DEFAULT_SEED };
	struct tally t = { 0, 0, 0 };
	const char *const *l;
	const char *level = NULL;
	int c, i;

	while ((c = getopt(argc, argv, "k:ls:")) != -1)
		switch (c) {
		case 'k': level = optarg; break;
		case 'l': list_levels(); return 0;
		case 's': k.seed = strtoull(optarg, NULL, 0); break;
		default: usage();
		}
	known_names(argv + optind, argc - optind);
	signal(SIGSEGV, on_fault);
	signal(SIGBUS, on_fault);
	for (i = 0; i < CK_CTXS; i++)
		make_ctx(&k.ctx[i], i + 1);
	make_ctx(&k.ref, 1);
	printf("seed %llu\n", (unsigned long long)k.seed);
	for (l = sq_kern_levels(); *l != NULL; l++)
		if (level == NULL)
			check_level(&k, *l, argv + optind, argc - optind, &t);
	if (level != NULL)
		check_level(&k, level, argv + optind, argc - optind, &t);
	for (i = 0; i < CK_CTXS; i++)
		sq_pool_free(k.ctx[i].pool);
	sq_pool_free(k.ref.pool);
	printf("%ld passed, %ld failed, %ld skipped\n", t.passed, t.failed,
	    t.skipped);
	return t.failed == 0 && t.passed > 0 ? 0 : 1;
}
