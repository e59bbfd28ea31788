/* Bits where they do most; see budget.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "calib/block.h"
#include "formats/fmt_records.h"
#include "model/weight.h"
#include "quant/budget.h"

#define HALVINGS	200		/* of the range of lambda */

/* One of the names. */
static int
allow(struct sq_budget *b, char *name, char *err)
{
	struct sq_budget_grid *g = &b->grid[b->ngrids];
	char *colon = strchr(name, ':'), *end;
	unsigned long n = 0;
	int found;

	if (b->ngrids == SQ_CHOICES)
		return sq_fail(err, "more than %d grids", SQ_CHOICES);
	if (colon != NULL) {
		*colon++ = '\0';
		n = strtoul(colon, &end, 10);
		if (*end != '\0' || n == 0 || n > 1 << 20)
			return sq_fail(err, "'%s' is no group size", colon);
	}
	if ((found = sq_levels_named(name, &g->group)) < 0)
		return sq_fail(err, "'%s' is no grid to quantize to", name);
	g->grid = (enum sq_grid)found;
	if (g->group != 0 && n != 0 && n != g->group)
		return sq_fail(err, "'%s' has groups of %zu", name, g->group);
	if (n != 0)
		g->group = (size_t)n;
	b->ngrids++;
	return 0;
}

int
sq_budget_allow(struct sq_budget *b, const char *list, char *err)
{
	char *copy = strdup(list), *name, *rest = NULL;
	int r = 0;

	if (copy == NULL)
		return sq_fail(err, "out of memory");
	b->ngrids = 0;
	for (name = strtok_r(copy, ",", &rest); name != NULL && r == 0;
	    name = strtok_r(NULL, ",", &rest))
		r = allow(b, name, err);
	if (r == 0 && b->ngrids == 0)
		r = sq_fail(err, "no grid");
	free(copy);
	return r;
}

static void
set_choice(const struct sq_budget *b, int k, struct sq_qrule *rule)
{
	rule->grid = b->grid[k].grid;
	if (b->grid[k].group != 0)
		rule->group_cols = b->grid[k].group;
}

static struct sq_unit *
find(const struct sq_budget *b, const struct sq_slot *slot)
{
	int input = sq_input_of(slot);
	size_t i;

	for (i = 0; i < b->n; i++)
		if (b->unit[i].layer == slot->layer &&
		    b->unit[i].input == input)
			return &b->unit[i];
	return NULL;
}

void
sq_budget_set(const struct sq_budget *b, const struct sq_slot *slot,
    struct sq_qrule *rule)
{
	set_choice(b, find(b, slot)->choice, rule);
}

void
sq_budget_release(struct sq_budget *b)
{
	free(b->unit);
	b->unit = NULL;
	b->n = 0;
}

/* ---- the choices ---- */

static double
total_bits(const struct sq_budget *b)
{
	double sum = 0;
	size_t i;

	for (i = 0; i < b->n; i++)
		sum += b->unit[i].bits[b->unit[i].choice];
	return sum;
}

static double
choose_at(struct sq_budget *b, double lambda)
{
	struct sq_unit *u;
	double cost, least;
	size_t i;
	int k;

	for (i = 0; i < b->n; i++) {
		u = &b->unit[i];
		least = INFINITY;
		for (k = 0; k < b->ngrids; k++) {
			cost = u->error[k] + lambda * u->bits[k];
			if (cost < least) {
				least = cost;
				u->choice = k;
			}
		}
	}
	return total_bits(b);
}

/* The step to more bits that fits and gains most for a bit; 0: none does. */
static int
upgrade(struct sq_budget *b, double left)
{
	double gain, best = 0, more;
	struct sq_unit *u, *best_unit = NULL;
	int k, best_k = 0;
	size_t i;

	for (i = 0; i < b->n; i++) {
		u = &b->unit[i];
		for (k = 0; k < b->ngrids; k++) {
			more = u->bits[k] - u->bits[u->choice];
			if (!(more > 0))
				continue;
			gain = (u->error[u->choice] - u->error[k]) / more;
			if (more <= left && gain > best) {
				best = gain;
				best_unit = u;
				best_k = k;
			}
		}
	}
	if (best_unit == NULL)
		return 0;
	best_unit->choice = best_k;
	return 1;
}

static int
smallest(const struct sq_budget *b, const struct sq_unit *u)
{
	int k, least = 0;

	for (k = 1; k < b->ngrids; k++)
		if (u->bits[k] < u->bits[least])
			least = k;
	return least;
}

int
sq_budget_choose(struct sq_budget *b, char *err)
{
	double all = 0, most, lo = 0, hi = 0, mid;
	size_t i;

	for (i = 0; i < b->n; i++)
		all += (double)b->unit[i].weights;
	most = b->bits * all;
	for (i = 0; i < b->n; i++)
		b->unit[i].choice = smallest(b, &b->unit[i]);
	if (total_bits(b) > most)
		return sq_fail(err, "--budget: needs at least %.3f bits for a "
		    "weight", total_bits(b) / all);
	for (hi = 1e-30; choose_at(b, hi) > most; hi *= 16)
		;
	for (i = 0; i < HALVINGS; i++) {
		mid = (lo + hi) / 2;
		if (choose_at(b, mid) > most)
			lo = mid;
		else
			hi = mid;
	}
	(void)choose_at(b, hi);
	while (upgrade(b, most - total_bits(b)))
		;
	return 0;
}

/* ---- the survey ---- */

struct survey {
	struct sq_budget *b;
	struct sq_filter *f;
	struct sq_gptq_layer *l;
	struct sq_inventory inv;
	struct sq_select select;	/* as the filter's, unused so far */
	struct sq_out copy;
	char *err;
};

static struct sq_unit *
unit_of(struct survey *s, const struct sq_slot *slot)
{
	struct sq_unit *u = find(s->b, slot);
	void *p;

	if (u != NULL)
		return u;
	p = realloc(s->b->unit, (s->b->n + 1) * sizeof(*u));
	if (p == NULL)
		return NULL;
	s->b->unit = p;
	u = &s->b->unit[s->b->n++];
	memset(u, 0, sizeof(*u));
	u->layer = slot->layer;
	u->input = sq_input_of(slot);
	return u;
}

static uint64_t
bits_of(const struct sq_tensor *made)
{
	uint64_t sum = 0;
	int i;

	for (i = 0; i < made->nparts; i++)
		sum += 8 * made->part[i].length;
	return sum;
}

/* Every grid in turn. */
static int
measure(struct survey *s, const struct sq_tensor *t,
    const struct sq_slot *slot, const float *w)
{
	struct sq_gptq_layer *l = s->l;
	struct sq_unit *u = unit_of(s, slot);
	unsigned char *payload;
	struct sq_qrule rule = sq_filter_rule(s->f, t, slot);
	struct sq_tensor made;
	char why[SQ_ERR];
	int k;

	if (u == NULL)
		return sq_fail(s->err, "out of memory");
	u->weights += t->dim[0] * t->dim[1];
	for (k = 0; k < s->b->ngrids; k++) {
		l->rule = rule;
		set_choice(s->b, k, &l->rule);
		if (sq_levels_check(&l->rule, t->dim[1], why) < 0) {
			u->bits[k] = u->error[k] = INFINITY;
			continue;
		}
		if (sq_gptq_matrix(l, t, w, NULL, &made, &payload,
		    s->err) < 0)
			return -1;
		free(payload);
		u->bits[k] += (double)bits_of(&made);
		u->error[k] += l->gptq.norm > 0 ? l->gptq.error /
		    l->gptq.norm : 0;
	}
	return 0;
}

static int
measure_tensor(struct survey *s, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	unsigned char *payload = sq_in_payload(&s->f->in, SQ_MAX_PAYLOAD);
	struct sq_mat m = { NULL, SQ_F32, t->dim[0], t->dim[1], t->dim[1] };
	struct sq_weight w;
	int r = -1;

	if (payload == NULL)
		return sq_fail(s->err, "%s: %s", s->f->name, s->f->in.err);
	m.p = malloc(m.rows * m.cols * sizeof(float));
	if (m.p == NULL)
		sq_fail(s->err, "tensor '%s': out of memory", t->name);
	else if (sq_weight_init(&w, t, payload, s->err) == 0 &&
	    sq_gptq_ready(s->l, t, s->err) == 0) {
		if (!s->l->full)
			sq_fail(s->err, "tensor '%s': --budget needs all of H",
			    t->name);
		else if (sq_dequantize(s->l->ctx, &w, 0, &m) != 0)
			sq_fail(s->err, "no kernel for '%s'", t->name);
		else
			r = measure(s, t, slot, m.p);
	}
	if (r == 0)
		r = sq_payload_put(&s->copy, t, payload, s->err);
	free(m.p);
	free(payload);
	return r;
}

static int
tensor(struct survey *s)
{
	const struct sq_slot *slot;
	struct sq_tensor t;
	char why[SQ_ERR];

	if (sq_tensor_parse(&t, s->f->in.desc, s->f->in.length, why) < 0 ||
	    sq_inventory_add(&s->inv, &t, &slot, why) < 0)
		return sq_fail(s->err, "%s: %s", s->f->name, why);
	if (sq_select(&s->select, &t, slot)) {
		if (slot == NULL || sq_input_of(slot) < 0)
			return sq_fail(s->err, "tensor '%s': --budget is for "
			    "the linear layers of blocks", t.name);
		if (t.grid != SQ_DENSE || !sq_dtype_is_float(t.type))
			return sq_fail(s->err, "tensor '%s': is quantized "
			    "already", t.name);
		return measure_tensor(s, &t, slot);
	}
	return sq_out_copy(&s->copy, &s->f->in) < 0 ?
	    sq_fail(s->err, "temporary file: %s", s->copy.err) : 0;
}

static int
header(struct survey *s)
{
	const unsigned char *config;
	struct sq_files files;
	size_t size;
	int r = -1;

	if (sq_files_read(&files, &s->f->in) < 0)
		return sq_fail(s->err, "%s: %s", s->f->name, s->f->in.err);
	config = sq_files_find(&files, "config.json", &size);
	memcpy(s->l->model, files.h.model, sizeof(s->l->model));
	if (sq_inventory_init(&s->inv, (const char *)config, size,
	    s->err) == 0)
		r = sq_files_write(&files, &s->copy) < 0 ? sq_fail(s->err,
		    "temporary file: %s", s->copy.err) : 0;
	sq_files_release(&files);
	return r;
}

static int
statistics(struct survey *s)
{
	struct sq_stats st;
	int full;

	if (sq_stats_parse(&st, &s->f->in, &full, s->err) < 0)
		return -1;
	if (!st.is_kv)
		return sq_gptq_stats(s->l, &s->f->in, &s->copy, s->err);
	return sq_out_copy(&s->copy, &s->f->in) < 0 ?
	    sq_fail(s->err, "temporary file: %s", s->copy.err) : 0;
}

static int
record(struct survey *s)
{
	switch (s->f->in.type) {
	case SQ_HEADER:
		return header(s);
	case SQ_TENSOR:
		return tensor(s);
	case SQ_STATS:
		return statistics(s);
	default:
		return sq_out_copy(&s->copy, &s->f->in) < 0 ?
		    sq_fail(s->err, "temporary file: %s", s->copy.err) : 0;
	}
}

static int
read_all(struct survey *s)
{
	int r;

	while ((r = sq_in_next(&s->f->in)) > 0)
		if (record(s) < 0)
			return -1;
	if (r < 0)
		return sq_fail(s->err, "%s: %s", s->f->name, s->f->in.err);
	if (sq_out_finish(&s->copy) < 0)
		return sq_fail(s->err, "temporary file: %s", s->copy.err);
	return 0;
}

int
sq_budget_survey(struct sq_budget *b, struct sq_filter *f,
    struct sq_gptq_layer *l)
{
	struct survey s = { .b = b, .f = f, .l = l, .select = f->select,
	    .err = f->err };
	int sweeps = l->sweeps, want = l->want_error, fd = sq_temp_file(), r;

	if (fd < 0 || sq_out_open(&s.copy, fd, 0) < 0)
		return sq_fail_errno(f->err, "temporary file");
	l->sweeps = 0;
	l->want_error = 1;
	r = read_all(&s);
	sq_gptq_forget(l);
	l->sweeps = sweeps;
	l->want_error = want;
	sq_out_release(&s.copy);
	sq_inventory_release(&s.inv);
	if (r < 0)
		return -1;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return sq_fail_errno(f->err, "temporary file");
	sq_in_release(&f->in);
	if (sq_in_open(&f->in, fd) < 0)
		return sq_fail(f->err, "temporary file: %s", f->in.err);
	return 0;
}
