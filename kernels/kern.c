/* Which kernels this machine runs, and the way down the levels; see kern.h. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "kernels/kern.h"
#include "kernels/plugin.h"

static const struct level {
	const char *name;
	int (*init)(struct sq_kern *);
	int (*pays)(void);	/* worth it where it runs; NULL: always */
} levels[] = {
	{ "ref", sq_init_ref, NULL },
#if defined(__x86_64__)
	{ "avx2", sq_init_avx2, NULL },
	{ "avx512", sq_init_avx512, NULL },
	{ "avx512vnni", sq_init_avx512vnni, NULL },
	{ "avx512bf16", sq_init_avx512bf16, sq_pays_avx512bf16 },
	{ "amx", sq_init_amx, NULL },
#endif
};

#define NLEVELS	(sizeof(levels) / sizeof(levels[0]))

static const char *names[NLEVELS + 1];
static struct sq_kern table[NLEVELS];
static int runs[NLEVELS];		/* this machine runs level i */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const char *const op_names[SQ_OPS] = {
#define OP(name, params, args, bound)	#name,
#include "kernels/ops.def"
#undef OP
};

/* Which operations a level brought: those whose function it replaced. */
static void
mark(struct sq_kern *k, const struct sq_kern *below)
{
#define OP(opname, params, args, bound)					\
	if (below == NULL || k->opname != below->opname)		\
		k->from[SQ_OP_##opname] = k->name;
#include "kernels/ops.def"
#undef OP
}

static void
init_all(void)
{
	const struct sq_kern *below = NULL;
	size_t i;

	for (i = 0; i < NLEVELS; i++) {
		names[i] = levels[i].name;
		if (below != NULL)
			table[i] = *below;
		table[i].name = levels[i].name;
		table[i].lower = below;
		table[i].mem = &sq_mem_host;
		if (levels[i].init(&table[i]) < 0)
			continue;
		mark(&table[i], below);
		runs[i] = 1;
		below = &table[i];
	}
}

const char *
sq_op_name(enum sq_op op)
{
	return op_names[op];
}

int
sq_no_kernel(char *err, enum sq_op op)
{
	return sq_fail(err, "no kernel for this case of '%s'", sq_op_name(op));
}

const char *const *
sq_kern_levels(void)
{
	pthread_once(&once, init_all);
	return names;
}

const struct sq_kern *
sq_kern_find(const char *name, char *err)
{
	const struct sq_kern *best = NULL;
	int is_auto = strcmp(name, "auto") == 0;
	size_t i;
	int known = is_auto;

	pthread_once(&once, init_all);
	for (i = 0; i < NLEVELS; i++) {
		if (!is_auto && strcmp(name, levels[i].name) != 0)
			continue;
		known = 1;
		if (!is_auto && !runs[i]) {
			sq_fail(err, "kernels '%s': not on this processor",
			    name);
			return NULL;
		}
		if (runs[i] && (!is_auto || levels[i].pays == NULL ||
		    levels[i].pays()))
			best = &table[i];
	}
	if (!known)
		return sq_plugin_find(name, sq_kern_find("auto", err), err);
	return best;
}

int
sq_ctx_init(struct sq_ctx *c, const struct sq_kern *kern, struct sq_pool *pool)
{
	c->kern = kern;
	c->pool = pool;
	c->fell = NULL;
	c->batch = SQ_BATCH_AUTO;
	c->work_size = SQ_WORK(sq_pool_threads(pool));
	c->work = sq_mem_host.alloc(c->work_size);
	return c->work == NULL ? -1 : 0;
}

void
sq_ctx_release(struct sq_ctx *c)
{
	sq_mem_host.free(c->work);
	c->work = NULL;
}

int
sq_ctx_init_part(struct sq_ctx *c, const struct sq_ctx *whole, int parts)
{
	int threads = sq_pool_threads(whole->pool) / parts;
	struct sq_pool *pool = threads > 1 ? sq_pool_new(threads) : NULL;

	if (sq_ctx_init(c, whole->kern, pool) < 0) {
		sq_pool_free(pool);
		c->pool = NULL;
		return -1;
	}
	c->fell = whole->fell;
	return 0;
}

void
sq_ctx_release_part(struct sq_ctx *c)
{
	sq_pool_free(c->pool);
	c->pool = NULL;
	sq_ctx_release(c);
}

/* No silent fallback: a slower level that steps in is named, once. */
static void
fell(struct sq_ctx *c, enum sq_op op, const struct sq_kern *to)
{
	static atomic_int said[SQ_OPS];

	if (c->fell != NULL && atomic_exchange(&said[op], 1) == 0)
		c->fell(op_names[op], c->kern->from[op], to->from[op]);
}

#define OP(op, params, args, bound)					\
int									\
sq_##op params								\
{									\
	const struct sq_kern *lv;					\
	int r = SQ_UNSUP;						\
									\
	for (lv = c->kern; lv != NULL; lv = lv->lower)			\
		if ((r = lv->op args) != SQ_UNSUP)			\
			break;						\
	if (lv != NULL && lv->op != c->kern->op)			\
		fell(c, SQ_OP_##op, lv);				\
	return r;							\
}
#include "kernels/ops.def"
