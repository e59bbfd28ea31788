/* A model whose weights kernels can work on; see model.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "model/model.h"
#include "model/place.h"
#include "model/weight.h"

static int
new_experts(struct sq_model *m)
{
	const struct sq_config *c = &m->config;
	uint64_t i;

	for (i = 0; i < c->layers; i++)
		if (sq_config_has_experts(c, i) &&
		    (m->layer[i].expert = calloc(c->experts,
		    sizeof(*m->layer[i].expert))) == NULL) {
			m->nslots = 0;	/* whose weights there are none of */
			return -1;
		}
	return 0;
}

struct sq_model *
sq_model_new(const struct sq_config *c, char *err)
{
	struct sq_model *m = calloc(1, sizeof(*m));

	if (m != NULL) {
		m->config = *c;
		m->mem = &sq_mem_host;
		m->layer = calloc(c->layers, sizeof(*m->layer));
		m->slot = sq_config_slots(c, &m->nslots);
	}
	if (m == NULL || m->layer == NULL || m->slot == NULL ||
	    new_experts(m) < 0) {
		sq_model_free(m);
		sq_fail(err, "out of memory");
		return NULL;
	}
	return m;
}

struct sq_linear *
sq_model_linear(struct sq_model *m, enum sq_role role, size_t layer)
{
	struct sq_layer *l = &m->layer[layer];

	switch (role) {
	case SQ_EMBED:
		return &m->embed;
	case SQ_HEAD:
		return &m->head;
	case SQ_Q:
		return &l->q;
	case SQ_K:
		return &l->k;
	case SQ_V:
		return &l->v;
	case SQ_O:
		return &l->o;
	case SQ_GATE:
		return &l->gate;
	case SQ_UP:
		return &l->up;
	case SQ_DOWN:
		return &l->down;
	case SQ_ROUTER:
		return &l->router;
	default:
		return NULL;
	}
}

struct sq_linear *
sq_model_slot(struct sq_model *m, const struct sq_slot *s)
{
	struct sq_expert *e;

	if (s->expert < 0)
		return sq_model_linear(m, s->role, (size_t)s->layer);
	e = &m->layer[s->layer].expert[s->expert];
	return s->role == SQ_GATE ? &e->gate : s->role == SQ_UP ? &e->up :
	    &e->down;
}

static float **
vector_of(struct sq_model *m, const struct sq_slot *s)
{
	struct sq_layer *l = &m->layer[s->layer];

	switch (s->role) {
	case SQ_ATTN_NORM:
		return &l->attn_norm;
	case SQ_FFN_NORM:
		return &l->ffn_norm;
	case SQ_Q_NORM:
		return &l->q_norm;
	case SQ_K_NORM:
		return &l->k_norm;
	case SQ_NORM:
		return &m->norm;
	default:
		return &sq_model_linear(m, s->role, s->layer)->bias;
	}
}

/* Vectors and weights of the model's own: every one has a slot. */
static void
free_slot(struct sq_model *m, const struct sq_slot *s)
{
	struct sq_linear *l;
	float **v;

	if (s->ndim == 1) {
		v = vector_of(m, s);
		m->mem->free(*v);
		*v = NULL;
		return;
	}
	l = sq_model_slot(m, s);
	m->mem->free(l->own);
	l->own = NULL;
}

void
sq_model_free(struct sq_model *m)
{
	size_t i;

	if (m == NULL)
		return;
	for (i = 0; m->layer != NULL && m->slot != NULL && i < m->nslots; i++)
		free_slot(m, &m->slot[i]);
	for (i = 0; m->layer != NULL && i < m->config.layers; i++)
		free(m->layer[i].expert);
	free(m->layer);
	free(m->slot);
	sq_source_close(m->source);
	free(m);
}

static int
is_in_block(const struct sq_slot *s, size_t layer)
{
	return s->layer == layer && s->role != SQ_EMBED && s->role != SQ_NORM &&
	    s->role != SQ_HEAD;
}

void
sq_model_drop(struct sq_model *m, size_t layer)
{
	size_t i;

	for (i = 0; i < m->nslots; i++)
		if (is_in_block(&m->slot[i], layer))
			free_slot(m, &m->slot[i]);
}

static float
element(const void *p, enum sq_dtype type, size_t i)
{
	uint16_t h;
	float f;

	if (type == SQ_F32) {
		memcpy(&f, (const char *)p + 4 * i, 4);
		return f;
	}
	memcpy(&h, (const char *)p + 2 * i, 2);
	return type == SQ_F16 ? sq_f16_to_f32(h) : sq_bf16_to_f32(h);
}

static int
bind_vector(struct sq_model *m, const struct sq_slot *s,
    const struct sq_tensor *t, const void *p, char *err)
{
	float **v = vector_of(m, s), *f;
	size_t i, n = (size_t)t->dim[0];

	if (t->grid != SQ_DENSE || !sq_dtype_is_float(t->type))
		return sq_fail(err, "tensor '%s': not a vector of floats",
		    t->name);
	if ((f = malloc(n * sizeof(*f))) == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < n; i++) {
		f[i] = element(p, t->type, i);
		if (!isfinite(f[i])) {
			free(f);
			return sq_fail(err, "tensor '%s': holds infinity or "
			    "NaN", t->name);
		}
	}
	m->mem->free(*v);
	*v = f;
	return sq_place_vector(m->mem, v, n, err);
}

int
sq_model_bind(struct sq_model *m, const struct sq_tensor *t,
    const void *const part[SQ_PARTS], char *err)
{
	const struct sq_slot *s = sq_slot_find(m->slot, m->nslots, t->name);
	struct sq_linear *l;

	if (s == NULL)
		return 0;
	if (s->ndim == 1)
		return bind_vector(m, s, t, part[0], err);
	l = sq_model_slot(m, s);
	if (sq_weight_init_parts(&l->w, t, part, err) < 0)
		return -1;
	if (s->linear)
		l->act = t->act;
	if (sq_place_linear(m->mem, l, err) < 0)
		return -1;
	if (s->role == SQ_EMBED && m->head.w.data == NULL && m->config.tied)
		m->head.w = l->w;
	return 0;
}

/* A weight in a layout of its own. */
static int
bind_stored(struct sq_model *m, const struct sq_source_tensor *t, char *err)
{
	const struct sq_slot *s = sq_slot_find(m->slot, m->nslots, t->t.name);
	struct sq_linear *l = sq_model_slot(m, s);

	l->w = t->stored;
	l->act = t->t.act;
	return sq_place_linear(m->mem, l, err);
}

int
sq_model_place(struct sq_model *m, const struct sq_mem *mem, char *err)
{
	const struct sq_slot *s;
	struct sq_linear *l;
	float **v;
	size_t i;
	int r = 0;

	if (m->mem == mem)
		return 0;
	for (i = 0; i < m->nslots; i++) {
		s = &m->slot[i];
		if (s->ndim != 1) {
			l = sq_model_slot(m, s);
			if (r == 0 && l->w.data != NULL)
				r = sq_place_linear(mem, l, err);
			continue;
		}
		v = vector_of(m, s);
		if (r == 0 && *v != NULL)
			r = sq_place_vector(mem, v, (size_t)s->dim[0], err);
		else if (r < 0) {	/* none of the old memory is left */
			m->mem->free(*v);
			*v = NULL;
		}
	}
	m->mem = mem;
	if (m->config.tied && m->embed.own != NULL)
		m->head.w = m->embed.w;
	return r;
}

static int
bind_all(struct sq_model *m, char *err)
{
	struct sq_source *s = m->source;
	const void *part[SQ_PARTS];
	size_t i;
	int p;

	for (i = 0; i < s->n; i++) {
		if (s->tensor[i].stored.layout != SQ_ROWS) {
			if (bind_stored(m, &s->tensor[i], err) < 0)
				return -1;
			continue;
		}
		for (p = 0; p < s->tensor[i].t.nparts; p++)
			if ((part[p] = sq_source_map(s, &s->tensor[i], p,
			    err)) == NULL)
				return -1;
		if (sq_model_bind(m, &s->tensor[i].t, part, err) < 0)
			return -1;
	}
	return 0;
}

struct sq_model *
sq_model_open(const char *path, char *err)
{
	struct sq_source *s = sq_source_open(path, err);
	struct sq_model *m;
	char why[SQ_ERR];

	if (s == NULL)
		return NULL;
	if ((m = sq_model_new(&s->config, err)) == NULL) {
		sq_source_close(s);
		return NULL;
	}
	m->source = s;
	if (bind_all(m, why) < 0) {
		sq_model_free(m);
		sq_fail(err, "'%s': %s", path, why);
		return NULL;
	}
	return m;
}
