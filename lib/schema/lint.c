/* What an engine will refuse; see lint.h. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schema/lint.h"
#include "schema/profile_fields.h"

/* line: of the profile, or 0. */
static void
say(struct sq_lint *l, const struct sq_profile *p, size_t line,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

static void
say(struct sq_lint *l, const struct sq_profile *p, size_t line,
    const char *fmt, ...)
{
	char why[SQ_ERR], text[SQ_ERR], **more;
	va_list ap;
	size_t i;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	if (line != 0)
		sq_fail(text, "%s:%zu: %s %s", p->label, line,
		    l->engine->name, why);
	else
		sq_fail(text, "%s %s", l->engine->name, why);
	for (i = 0; i < l->found; i++)
		if (strcmp(l->problem[i], text) == 0)
			return;
	more = realloc(l->problem, (l->found + 1) * sizeof(*more));
	if (more == NULL || (more[l->found] = strdup(text)) == NULL) {
		l->problem = more == NULL ? l->problem : more;
		l->failed = 1;
		return;
	}
	l->problem = more;
	l->found++;
}

void
sq_lint_release(struct sq_lint *l)
{
	size_t i;

	for (i = 0; i < l->found; i++)
		free(l->problem[i]);
	free(l->problem);
	l->problem = NULL;
	l->found = 0;
}

static void
lint_kv(struct sq_lint *l, const struct sq_profile *p)
{
	const struct sq_profile_kv *kv = &p->kv;
	int own = p->kv_bits_decode < 16 || p->kv_bits_prefill < 16;

	if (!(l->engine->kv >> kv->format & 1))
		say(l, p, sq_profile_line(p, "kv.format"), "has no cache in "
		    "%s", sq_kv_format_names[kv->format]);
	if (kv->prefill_format != kv->format &&
	    !(l->engine->kv >> kv->prefill_format & 1))
		say(l, p, sq_profile_line(p, "kv.prefill_format"), "has no "
		    "cache in %s", sq_kv_format_names[kv->prefill_format]);
	if (!own || l->engine->kv_exact)
		return;
	if (kv->sink != 0 || kv->window != 0)
		say(l, p, sq_profile_line(p, kv->sink != 0 ? "kv.sink" :
		    "kv.window"), "keeps no tokens of a quantized cache in "
		    "16 bits");
	if (kv->hadamard)
		say(l, p, sq_profile_line(p, "kv.hadamard"), "does not rotate "
		    "queries and keys");
}

int
sq_lint_profile(struct sq_lint *l, const struct sq_profile *p)
{
	enum sq_input_kind act = sq_profile_input(p);
	const struct sq_profile_override *o;
	char why[SQ_ERR];
	size_t i;

	if (p->rule.format != SQ_WF_NONE &&
	    sq_engine_takes(l->engine, &p->rule, act, why) == NULL)
		say(l, p, sq_profile_line(p, "format"), "%s", why);
	for (i = 0; i < p->noverrides; i++) {
		o = &p->override[i];
		if (o->rule.format != SQ_WF_NONE &&
		    sq_engine_takes(l->engine, &o->rule, act, why) == NULL)
			say(l, p, o->line, "%s", why);
	}
	if (!p->activation.symmetric && act != SQ_INPUT_NONE &&
	    !l->engine->activation_zeros)
		say(l, p, sq_profile_line(p, "activation.symmetric"),
		    "does not take zero points of activations");
	if (!(l->engine->sparsity >> p->sparsity_pattern & 1))
		say(l, p, sq_profile_line(p, "sparsity_pattern"), "has no "
		    "kernels for sparsity %s: its zeros would be dense",
		    sq_sparsity_names[p->sparsity_pattern]);
	lint_kv(l, p);
	return l->failed ? -1 : 0;
}

/* What a rank has of a matrix: q, k, v, gate and up are cut across the rows,
 * o and down across the columns. */
static int
cut_columns(const struct sq_slot *s)
{
	return s->role == SQ_O || s->role == SQ_DOWN;
}

struct place {
	char name[SQ_NAME];
};

/* The name without its layer and expert, for messages that hold for all. */
static struct place
place(const struct sq_slot *s)
{
	const char *p = strstr(s->name, "layers.");
	struct place at;
	char *to = at.name;

	if (p != NULL) {
		p += strlen("layers.");
		p += strspn(p, "0123456789.");
	} else {
		p = s->name;
	}
	while (*p != '\0') {
		*to++ = *p++;
		if (to - at.name >= 8 && memcmp(to - 8, "experts.", 8) == 0 &&
		    s->expert >= 0) {
			*to++ = '*';
			p += strspn(p, "0123456789");
		}
	}
	*to = '\0';
	return at;
}

static void
lint_shape(struct sq_lint *l, const struct sq_slot *s,
    const struct sq_profile_rule *r, const struct sq_engine_row *w)
{
	uint64_t rows = s->dim[0], cols = s->dim[1], n = l->ranks;
	uint64_t *part = cut_columns(s) ? &cols : &rows;
	char of[48] = "";

	if (n > 1) {
		snprintf(of, sizeof(of), " of a rank of %ju", (uintmax_t)n);
		if (*part % n != 0) {
			say(l, NULL, 0, "cannot cut '%s' of %ju x %ju into %ju "
			    "ranks", place(s).name, (uintmax_t)rows,
			    (uintmax_t)cols, (uintmax_t)n);
			return;
		}
		*part /= n;
	}
	if (r->group_cols != 0 && cols % r->group_cols != 0 &&
	    (n > 1 || l->engine->tensor_parallel || w->columns != 0))
		say(l, NULL, 0, "'%s': %ju columns%s are not a multiple of the "
		    "group, %ju", place(s).name, (uintmax_t)cols, of,
		    (uintmax_t)r->group_cols);
	if (w->columns != 0 && cols % w->columns != 0)
		say(l, NULL, 0, "'%s': %ju columns%s are not a multiple of %ju",
		    place(s).name, (uintmax_t)cols, of, (uintmax_t)w->columns);
	if (w->rows != 0 && rows % w->rows != 0)
		say(l, NULL, 0, "'%s': %ju rows%s are not a multiple of %ju",
		    place(s).name, (uintmax_t)rows, of, (uintmax_t)w->rows);
}

int
sq_lint_tensor(struct sq_lint *l, const struct sq_slot *s,
    const struct sq_profile_rule *r, enum sq_input_kind act)
{
	const struct sq_engine_row *w;
	char why[SQ_ERR];

	if (!s->linear && !l->engine->head)
		say(l, NULL, 0, "does not take a quantized '%s'", s->name);
	if ((w = sq_engine_takes(l->engine, r, act, why)) == NULL)
		say(l, NULL, 0, "'%s': %s", place(s).name, why);
	else if (s->linear)
		lint_shape(l, s, r, w);
	return l->failed ? -1 : 0;
}

static int
same_rule(const struct sq_profile_rule *a, const struct sq_profile_rule *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return a->format == b->format && a->bits == b->bits &&
	    a->group_rows == b->group_rows &&
	    a->group_cols == b->group_cols && a->symmetric == b->symmetric;
}

/* Matrices that the engine lays together must be of one kind. */
static void
lint_together(struct sq_lint *l, const struct sq_profile *p,
    const struct sq_slot *a, const struct sq_slot *b)
{
	if (!same_rule(sq_profile_find(p, a->name, 1, NULL),
	    sq_profile_find(p, b->name, 1, NULL)))
		say(l, p, 0, "lays '%s' and '%s' together, which the profile "
		    "treats differently", a->name, place(b).name);
}

static void
lint_heads(struct sq_lint *l, const struct sq_profile *p,
    const struct sq_config *c)
{
	uint64_t n = l->ranks;

	if (c->heads % n != 0)
		say(l, p, 0, "cannot deal %ju heads to %ju ranks",
		    (uintmax_t)c->heads, (uintmax_t)n);
	if (c->kv_heads % n != 0 && n % c->kv_heads != 0)
		say(l, p, 0, "cannot deal %ju heads of keys and values to %ju "
		    "ranks", (uintmax_t)c->kv_heads, (uintmax_t)n);
}

int
sq_lint_model(struct sq_lint *l, const struct sq_profile *p,
    const struct sq_config *c)
{
	enum sq_input_kind act = sq_profile_input(p);
	const struct sq_profile_rule *r;
	const struct sq_slot *s, *q = NULL, *gate = NULL;
	struct sq_slot *slot;
	char why[SQ_ERR];
	size_t i, n;

	if (l->ranks > 1 && l->engine->tensor_parallel)
		lint_heads(l, p, c);
	if ((slot = sq_config_slots(c, &n)) == NULL)
		return -1;
	for (s = slot, i = 0; i < n; i++, s++) {
		if (s->ndim != 2 || s->bias)
			continue;
		q = s->role == SQ_Q ? s : q;
		gate = s->role == SQ_GATE ? s : gate;
		if (l->engine->together && (s->role == SQ_K ||
		    s->role == SQ_V))
			lint_together(l, p, q, s);
		if (l->engine->together && s->role == SQ_UP)
			lint_together(l, p, gate, s);
		r = sq_profile_find(p, s->name, s->linear, NULL);
		if (r != NULL && (sq_engine_takes(l->engine, r, act,
		    why) != NULL || !s->linear))
			sq_lint_tensor(l, s, r, act);
	}
	free(slot);
	return l->failed ? -1 : 0;
}

int
sq_profile_validate(const struct sq_profile *p, const char *backend,
    struct sq_lint *l, char *err)
{
	struct sq_engine e;
	int r;

	memset(l, 0, sizeof(*l));
	if (sq_engine_load(&e, backend, err) < 0)
		return -1;
	l->engine = &e;
	l->ranks = 1;
	r = sq_lint_profile(l, p);
	l->engine = NULL;
	return r < 0 ? sq_fail(err, "out of memory") : 0;
}
