/* OpenBLAS at run time; see lapack.h. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/lapack.h"

struct sq_lapack {
	void *library;
	const char *core;		/* what the environment asked for */
	void (*sgemm)(const char *, const char *, const int *, const int *,
	    const int *, const float *, const float *, const int *,
	    const float *, const int *, const float *, float *, const int *);
	void (*strsm)(const char *, const char *, const char *, const char *,
	    const int *, const int *, const float *, const float *,
	    const int *, float *, const int *);
	void (*spotrf)(const char *, const int *, float *, const int *,
	    int *);
	char *(*corename)(void);
	int alone;			/* one call at a time */
	pthread_mutex_t *call;
};

/* The build with threads first; Debian has each build in a directory of the
 * architecture, and one of them as the last name here. */
static const char *const paths[] = {
	"/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so.0",
	"/usr/lib/aarch64-linux-gnu/openblas-pthread/libopenblas.so.0",
	"/usr/lib/loongarch64-linux-gnu/openblas-pthread/libopenblas.so.0",
	"/usr/lib/riscv64-linux-gnu/openblas-pthread/libopenblas.so.0",
	"libopenblas.so.0",
};

/* What openblas_get_parallel() says of it. */
#define WITH_THREADS	1

/* OpenBLAS's kernels for a level: those above avx512 have nothing for float32
 * that it has not.  NULL: it chooses, on machines that have one level. */
static const char *
core_of(const char *level)
{
#if defined(__x86_64__)
	if (strcmp(level, "ref") == 0)
		return "Prescott";
	return strcmp(level, "avx2") == 0 ? "Haswell" : "SkylakeX";
#else
	(void)level;
	return NULL;
#endif
}

static int
symbol(const struct sq_lapack *l, const char *name, void *where, char *err)
{
	void *p = dlsym(l->library, name);

	if (p == NULL)
		return sq_fail(err, "OpenBLAS: it has no %s", name);
	memcpy(where, &p, sizeof(p));
	return 0;
}

static int
load(struct sq_lapack *l, const char *core, char *err)
{
	static pthread_mutex_t call = PTHREAD_MUTEX_INITIALIZER;
	int (*parallel)(void) = NULL;
	size_t i;

	/* it starts its threads when it is loaded */
	if ((core != NULL && setenv("OPENBLAS_CORETYPE", core, 1) < 0) ||
	    setenv("OPENBLAS_NUM_THREADS", "1", 1) < 0)
		return sq_fail_errno(err, "OpenBLAS");
	for (i = 0; i < sizeof(paths) / sizeof(paths[0]) &&
	    l->library == NULL; i++)
		l->library = dlopen(paths[i], RTLD_NOW | RTLD_LOCAL);
	if (l->library == NULL)
		return sq_fail(err, "OpenBLAS is not installed (Debian: "
		    "libopenblas0-pthread): %s", dlerror());
	if (symbol(l, "sgemm_", &l->sgemm, err) < 0 ||
	    symbol(l, "strsm_", &l->strsm, err) < 0 ||
	    symbol(l, "spotrf_", &l->spotrf, err) < 0 ||
	    symbol(l, "openblas_get_corename", &l->corename, err) < 0 ||
	    symbol(l, "openblas_get_parallel", &parallel, err) < 0)
		return -1;
	l->alone = parallel() != WITH_THREADS;
	l->call = &call;
	l->core = core;
	return 0;
}

const struct sq_lapack *
sq_lapack_open(const char *level, char *err)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct sq_lapack l;
	static int loaded;
	const char *core = core_of(level);
	int r = 0;

	pthread_mutex_lock(&lock);
	if (!loaded)
		r = load(&l, core, err);
	else if (core != NULL && strcmp(core, l.core) != 0)
		r = sq_fail(err, "OpenBLAS: loaded for %s, not for %s",
		    l.core, core);
	if (r == 0)
		loaded = 1;
	pthread_mutex_unlock(&lock);
	return r < 0 ? NULL : &l;
}

const char *
sq_lapack_kernels(const struct sq_lapack *l)
{
	return l->corename();
}

static void
begin(const struct sq_lapack *l)
{
	if (l->alone)
		pthread_mutex_lock(l->call);
}

static void
end(const struct sq_lapack *l)
{
	if (l->alone)
		pthread_mutex_unlock(l->call);
}

void
sq_sgemm(const struct sq_lapack *l, char transa, char transb, int m, int n,
    int k, float alpha, const float *a, int lda, const float *b, int ldb,
    float beta, float *c, int ldc)
{
	begin(l);
	l->sgemm(&transa, &transb, &m, &n, &k, &alpha, a, &lda, b, &ldb,
	    &beta, c, &ldc);
	end(l);
}

void
sq_strsm(const struct sq_lapack *l, char side, char uplo, char trans,
    char diag, int m, int n, float alpha, const float *a, int lda, float *b,
    int ldb)
{
	begin(l);
	l->strsm(&side, &uplo, &trans, &diag, &m, &n, &alpha, a, &lda, b,
	    &ldb);
	end(l);
}

int
sq_spotrf(const struct sq_lapack *l, char uplo, int n, float *a, int lda)
{
	int info;

	begin(l);
	l->spotrf(&uplo, &n, a, &lda, &info);
	end(l);
	return info;
}
