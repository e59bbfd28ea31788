/* The profile that a model was made by; see profile_made.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/profile_made.h"

struct sq_made {
	char name[SQ_NAME];
	int linear, told;		/* told: there is an override for it */
	uint64_t dim[2];
	struct sq_profile_rule rule;
};

static int
format_of(enum sq_grid g)
{
	struct sq_profile_rule r;
	int f;

	if (sq_grid_is_int(g))
		return SQ_WF_INT;
	for (f = SQ_WF_INT + 1; f < SQ_WFORMATS; f++) {
		sq_profile_rule_format(&r, f);
		if (f != SQ_WF_Q4_0 && sq_profile_grid(&r) == g)
			return f;
	}
	return SQ_WF_NONE;
}

void
sq_profile_rule_of(const struct sq_tensor *t, struct sq_profile_rule *r)
{
	memset(r, 0, sizeof(*r));
	sq_profile_rule_format(r, format_of(t->grid));
	if (r->format == SQ_WF_INT) {
		r->bits = sq_grid_bits(t->grid);
		r->symmetric = t->symmetric;
	}
	if (!sq_profile_free_group(r->format))
		return;
	r->group_rows = t->group_rows != t->dim[0] || t->dim[0] == 1;
	r->group_cols = t->group_cols == t->dim[1] ? 0 : t->group_cols;
}

/* Groups that come to the same, on a matrix of that size if there is one. */
static int
same_group(const struct sq_profile_rule *a, const struct sq_profile_rule *b,
    const uint64_t dim[2])
{
	uint64_t ar = a->group_rows, br = b->group_rows;
	uint64_t ac = a->group_cols, bc = b->group_cols;

	if (dim != NULL) {
		ar = ar == 0 ? dim[0] : ar;
		br = br == 0 ? dim[0] : br;
		ac = ac == 0 || ac > dim[1] ? dim[1] : ac;
		bc = bc == 0 || bc > dim[1] ? dim[1] : bc;
	}
	return ar == br && ac == bc;
}

static int
same_rule(const struct sq_profile_rule *a, const struct sq_profile_rule *b,
    const uint64_t dim[2])
{
	return sq_profile_grid(a) == sq_profile_grid(b) &&
	    a->symmetric == b->symmetric && same_group(a, b, dim);
}

void
sq_profile_made_add(struct sq_profile_made *p, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	struct sq_made *more, *m;

	if (t->ndim != 2)
		return;
	if ((p->n & (p->n + 1)) == 0) {		/* 0, 1, 3, 7 ... are full */
		more = realloc(p->made, (2 * p->n + 1) * sizeof(*more));
		if (more == NULL) {
			p->failed = 1;
			return;
		}
		p->made = more;
	}
	m = &p->made[p->n++];
	memset(m, 0, sizeof(*m));
	memcpy(m->name, t->name, sizeof(m->name));
	m->linear = slot != NULL && slot->linear;
	memcpy(m->dim, t->dim, sizeof(m->dim));
	sq_profile_rule_of(t, &m->rule);
}

void
sq_profile_made_release(struct sq_profile_made *p)
{
	free(p->made);
	p->made = NULL;
	p->n = 0;
}

/* The form that most weights of linear layers have. */
static const struct sq_made *
usual(const struct sq_profile_made *p)
{
	const struct sq_made *best = NULL, *m;
	uint64_t most = 0, sum;
	size_t i, k;

	for (i = 0; i < p->n; i++) {
		m = &p->made[i];
		if (!m->linear || (best != NULL &&
		    same_rule(&m->rule, &best->rule, NULL)))
			continue;
		for (sum = 0, k = i; k < p->n; k++)
			if (p->made[k].linear &&
			    same_rule(&p->made[k].rule, &m->rule, NULL))
				sum += p->made[k].dim[0] *
				    p->made[k].dim[1];
		if (sum > most) {
			most = sum;
			best = m;
		}
	}
	return best;
}

/* "model.layers.7.mlp.up_proj.weight" is ".mlp.up_proj.weight", one of many. */
static const char *
place(const char *name)
{
	const char *p = strstr(name, "layers.");

	if (p == NULL)
		return name;
	p += strlen("layers.");
	p += strspn(p, "0123456789");
	return *p == '.' ? p : name;
}

/* 1 when all layers have the same at that place. */
static int
everywhere(const struct sq_profile_made *p, const struct sq_made *m)
{
	const char *where = place(m->name);
	size_t i;

	if (where == m->name)
		return 0;
	for (i = 0; i < p->n; i++)
		if (strcmp(place(p->made[i].name), where) == 0 &&
		    !same_rule(&p->made[i].rule, &m->rule, NULL))
			return 0;
	return 1;
}

static int
tell(const struct sq_profile_made *p, struct sq_profile *out, size_t i,
    char *err)
{
	struct sq_made *m = &p->made[i];
	char glob[SQ_NAME + 1];
	size_t k;

	if (!everywhere(p, m))
		return sq_profile_override(out, m->name, &m->rule, err);
	snprintf(glob, sizeof(glob), "*%s", place(m->name));
	for (k = i; k < p->n; k++)
		if (strcmp(place(p->made[k].name), place(m->name)) == 0)
			p->made[k].told = 1;
	return sq_profile_override(out, glob, &m->rule, err);
}

int
sq_profile_made(const struct sq_profile_made *p, struct sq_profile *out,
    char *err)
{
	const struct sq_made *m = usual(p);
	size_t i;

	sq_profile_init(out);
	if (p->failed)
		return sq_fail(err, "out of memory");
	if (m != NULL)
		out->rule = m->rule;
	out->weight_bits = (uint64_t)sq_profile_spec_bits(out->rule.bits);
	for (i = 0; i < p->n; i++)
		p->made[i].told = 0;
	for (i = 0; i < p->n; i++) {
		m = &p->made[i];
		if (m->told || (m->linear ? same_rule(&m->rule, &out->rule,
		    NULL) : m->rule.format == SQ_WF_NONE))
			continue;
		if (tell(p, out, i, err) < 0) {
			sq_profile_release(out);
			return -1;
		}
	}
	return 0;
}

static void
say_rule(const struct sq_profile_rule *r, char *text, size_t size)
{
	char group[32];

	if (r->format == SQ_WF_NONE) {
		snprintf(text, size, "16 bits");
		return;
	}
	if (sq_profile_rule_text(r, "group_size", group) == 0)
		snprintf(group, sizeof(group), "%ju",
		    (uintmax_t)r->group_cols);
	snprintf(text, size, "%s of %d bits, group %s%s",
	    sq_wformat_names[r->format], r->bits, group,
	    r->symmetric ? "" : ", zero points");
}

static int
holds(const struct sq_profile *p, const char *name, int linear,
    const struct sq_profile_rule *is, const uint64_t dim[2], char *err)
{
	static const struct sq_profile_rule none = { .format = SQ_WF_NONE,
	    .bits = 16, .group_rows = 1, .symmetric = 1 };
	const struct sq_profile_rule *want;
	char a[96], b[96];

	want = sq_profile_find(p, name, linear, NULL);
	if (want == NULL)
		want = &none;
	if (same_rule(is, want, dim))
		return 0;
	say_rule(is, a, sizeof(a));
	say_rule(want, b, sizeof(b));
	return sq_fail(err, "tensor '%s': is in %s, not in %s as the profile "
	    "says", name, a, b);
}

int
sq_profile_holds(const struct sq_profile *p, const struct sq_tensor *t,
    const struct sq_slot *slot, char *err)
{
	struct sq_profile_rule is;

	if (t->ndim != 2)
		return 0;
	sq_profile_rule_of(t, &is);
	return holds(p, t->name, slot != NULL && slot->linear, &is, t->dim,
	    err);
}

int
sq_profile_made_by(const struct sq_profile_made *m, const struct sq_profile *p)
{
	char why[SQ_ERR];
	size_t i;

	for (i = 0; i < m->n; i++)
		if (holds(p, m->made[i].name, m->made[i].linear,
		    &m->made[i].rule, m->made[i].dim, why) < 0)
			return 0;
	return !m->failed;
}
