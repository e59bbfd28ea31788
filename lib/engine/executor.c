/* Which kernel computes what; see executor.h. */
#include <stdio.h>
#include <string.h>

#include "engine/executor.h"
#include "model/stored.h"

static const struct {
	enum sq_role role;
	const char *name;
} roles[] = {
	{ SQ_Q, "q" }, { SQ_K, "k" }, { SQ_V, "v" }, { SQ_O, "o" },
	{ SQ_GATE, "gate" }, { SQ_UP, "up" }, { SQ_DOWN, "down" },
};

#define ROLES	(sizeof(roles) / sizeof(roles[0]))

#define FORMAT	80			/* bytes of one */

static void
plain_format(const struct sq_weight *w, char text[FORMAT])
{
	if (w->grid == SQ_DENSE)
		snprintf(text, FORMAT, "%s", sq_dtype_name(w->type));
	else if (w->group_cols >= w->cols)
		snprintf(text, FORMAT, "%s%s", sq_grid_name(w->grid),
		    w->zeros != NULL ? " zeros" : "");
	else
		snprintf(text, FORMAT, "%s g%zu%s", sq_grid_name(w->grid),
		    w->group_cols, w->zeros != NULL ? " zeros" : "");
}

/* "int4 g64 zeros", "BF16", "int8 2:4" */
static void
format(const struct sq_weight *w, char text[FORMAT])
{
	size_t n;

	plain_format(w, text);
	n = strlen(text);
	if (w->layout != SQ_ROWS)
		snprintf(text + n, FORMAT - n, " %zu%c%zu", w->n,
		    w->layout == SQ_NM ? ':' : 'x', w->m);
}

/* With what its input is quantized to. */
static void
format_linear(const struct sq_linear *l, char text[FORMAT])
{
	size_t n;

	format(&l->w, text);
	n = strlen(text);
	if (l->act.kind != SQ_ACT_NONE)
		snprintf(text + n, FORMAT - n, " x %s",
		    sq_act_name(l->act.kind));
}

static const char *
prec_name(enum sq_prec p)
{
	return p == SQ_PREC_F32 ? "f32" : "bf16";
}

/* As the forward pass decides. */
static int
by_codes(const struct sq_linear *l)
{
	return l->act.kind == SQ_ACT_INT8 && sq_grid_is_int(l->w.grid) &&
	    l->w.layout == SQ_ROWS;
}

static const struct sq_linear *
linear_of(const struct sq_model *m, size_t layer, size_t role)
{
	const struct sq_layer *l = m->layer + layer;
	const struct sq_linear *all[] = { &l->q, &l->k, &l->v, &l->o,
	    &l->gate, &l->up, &l->down };

	return all[role];
}

/* All roles of a layer: "int4 g64 (q k v o), BF16 (gate)" */
static void
describe(const struct sq_model *m, size_t layer, char line[SQ_PLAN])
{
	char f[ROLES][FORMAT];
	size_t i, j, n = 0;
	int said[ROLES] = { 0 };

	for (i = 0; i < ROLES; i++)
		format_linear(linear_of(m, layer, i), f[i]);
	line[0] = '\0';
	for (i = 0; i < ROLES; i++) {
		if (said[i])
			continue;
		n += (size_t)snprintf(line + n, SQ_PLAN - n, "%s%s",
		    n == 0 ? "" : ", ", f[i]);
		for (j = i; j < ROLES && n < SQ_PLAN; j++) {
			if (strcmp(f[i], f[j]) != 0)
				continue;
			said[j] = 1;
			n += (size_t)snprintf(line + n, SQ_PLAN - n, "%s%s",
			    j == i ? " (" : " ", roles[j].name);
		}
		if (n < SQ_PLAN)
			n += (size_t)snprintf(line + n, SQ_PLAN - n, ")");
		if (n >= SQ_PLAN)
			n = SQ_PLAN - 1;
	}
}

void
sq_executor_sparse(const struct sq_model *m, const struct sq_ctx *ctx,
    sq_plan_fn *fn, void *arg)
{
	struct sq_stored_work one, runs = { 0 }, blocks = { 0 }, *k;
	uint64_t bytes = 0, dense = 0, pays = 0;
	const struct sq_linear *l;
	char line[2 * SQ_PLAN];
	size_t i, n;

	for (i = 0; i < m->nslots; i++) {
		l = m->slot[i].linear ? sq_model_slot((struct sq_model *)
		    (uintptr_t)m, &m->slot[i]) : NULL;
		if (l == NULL || l->w.data == NULL)
			continue;
		sq_stored_count(&l->w, &one);
		bytes += one.bytes;
		dense += one.dense_bytes;
		if (l->w.layout == SQ_ROWS)
			continue;
		k = l->w.layout == SQ_NM ? &runs : &blocks;
		k->done += one.done;
		k->all += one.all;
		if (l->w.layout == SQ_NM && l->w.n == 2 && l->w.m == 4 &&
		    l->w.grid == SQ_INT8)
			pays += one.all;
	}
	if (runs.all + blocks.all == 0)
		return;
	n = (size_t)snprintf(line, sizeof(line), "sparse weights: %ju bytes "
	    "read a token, %.3f of dense", (uintmax_t)bytes,
	    (double)bytes / (double)dense);
	if (blocks.all > 0)
		n += (size_t)snprintf(line + n, sizeof(line) - n, "; %ju of "
		    "%ju blocks multiplied, %.3f", (uintmax_t)blocks.done,
		    (uintmax_t)blocks.all, (double)blocks.done /
		    (double)blocks.all);
	if (runs.all > 0)
		n += (size_t)snprintf(line + n, sizeof(line) - n, "; %ju of "
		    "%ju weights multiplied, %.3f", (uintmax_t)runs.done,
		    (uintmax_t)runs.all, (double)runs.done /
		    (double)runs.all);
	snprintf(line + n, sizeof(line) - n, "; sparse_matmul %s",
	    ctx->kern->from[SQ_OP_sparse_matmul]);
	fn(arg, line);
	if (pays > 0)
		fn(arg, "2:4 of int8 pays in decoding; many tokens take as "
		    "long as with dense weights, or longer");
	if (pays < runs.all)
		fn(arg, "N:M other than 2:4 of int8 does not pay: products "
		    "take longer than with dense weights");
}

void
sq_executor_plan(const struct sq_model *m, const struct sq_ctx *ctx,
    enum sq_prec prec, const struct sq_kvcache *cache, sq_plan_fn *fn,
    void *arg)
{
	size_t layers = (size_t)m->config.layers, i, first;
	char a[SQ_PLAN], b[SQ_PLAN], line[SQ_PLAN + 2100], kv[SQ_KV_TEXT];
	const char *level = ctx->kern->from[SQ_OP_matmul];
	enum sq_op op;
	int coded;

	for (first = 0; first < layers; first = i) {
		describe(m, first, a);
		for (i = first + 1; i < layers; i++) {
			describe(m, i, b);
			if (strcmp(a, b) != 0)
				break;
		}
		coded = linear_of(m, first, 0)->act.kind != SQ_ACT_NONE;
		op = by_codes(linear_of(m, first, 0)) ? SQ_OP_matmul_int8 :
		    SQ_OP_matmul;
		snprintf(line, sizeof(line), "layers %zu-%zu: %s%s%s, %s %s",
		    first, i - 1, a, coded ? "" : " x ",
		    coded ? "" : prec_name(prec), sq_op_name(op),
		    ctx->kern->from[op]);
		fn(arg, line);
	}
	format(&m->head.w, a);
	snprintf(line, sizeof(line), "head: %s x %s, matmul %s", a,
	    prec_name(prec), level);
	fn(arg, line);
	sq_executor_sparse(m, ctx, fn, arg);
	if (cache == NULL)
		return;
	sq_kv_policy_text(&cache->policy, kv);
	snprintf(line, sizeof(line), "KV cache: %s, %zu bytes a token, "
	    "attention %s", kv, sq_kvcache_token_bytes(cache),
	    ctx->kern->from[SQ_OP_attention]);
	fn(arg, line);
}
