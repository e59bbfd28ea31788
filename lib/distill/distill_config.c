/* What a distillation's YAML file says; see distill_config.h. */
#include <stdlib.h>
#include <string.h>

#include "distill/distill_config.h"
#include "formats/fmt_yaml.h"

/* For codes: the divergence alone says too little of the many weights there are
 * (measured on a model of 88M: 10 to 100 do as well, 1 and 3 less). */
#define HIDDEN	30

static const char *const presets[] = { "response", "layer", "self", NULL };
static const char *const trains[] = { "dense", "codes", NULL };

const char *const *
sq_distill_presets(void)
{
	return presets;
}

const char *const *
sq_distill_trains(void)
{
	return trains;
}

static int
find(const char *const *names, const char *name)
{
	int i;

	for (i = 0; names[i] != NULL; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return -1;
}

int
sq_distill_preset(const char *name)
{
	return find(presets, name);
}

void
sq_distill_defaults(struct sq_distill_config *c)
{
	*c = (struct sq_distill_config){ .preset = SQ_PRESET_OPEN,
	    .samples = 64, .length = 1024, .steps = 200,
	    .batch = SQ_DISTILL_OPEN, .own_length = 512,
	    .warmup = 10, .checkpoint = 50, .lr = 1e-4, .temperature = 1,
	    .hidden = -1, .place = 1.5e-3, .scale = 1e-3, .norm = 3e-4,
	    .own = SQ_DISTILL_OPEN, .redraw = -1 };
}

void
sq_distill_settle(struct sq_distill_config *c)
{
	int codes = c->train == SQ_TRAIN_CODES;
	int own = c->own == SQ_DISTILL_OPEN ? codes && c->redraw <= 0 :
	    c->own > 0;

	if (c->preset == SQ_PRESET_OPEN)
		c->preset = codes && c->nlayers == 0 ? SQ_SELF :
		    SQ_RESPONSE;
	if (c->hidden < 0)
		c->hidden = codes ? HIDDEN : 1;
	if (c->batch == SQ_DISTILL_OPEN)
		c->batch = own ? 8 : 4;
	if (c->own == SQ_DISTILL_OPEN)
		c->own = own ? (c->steps * c->batch + 1) / 2 : 0;
	if (c->redraw < 0)
		c->redraw = codes && c->own == 0 ? 0.3 : 0;
}

void
sq_distill_config_release(struct sq_distill_config *c)
{
	free(c->text);
	free(c->layer);
	c->text = NULL;
	c->layer = NULL;
}

struct whole {
	const char *key;
	uint64_t *to, lo, hi;
};

struct real {
	const char *key;
	double *to, lo, hi;
};

static int
wrong(const struct sq_yaml *v, const char *key, char *err)
{
	return sq_fail(err, "%zu: '%s': not a value that it can have",
	    v->line, key);
}

static int
take_map(struct sq_distill_config *c, const struct sq_yaml *v, char *err)
{
	size_t i;

	if (v->kind != SQ_YAML_MAP || v->n == 0 ||
	    v->n / 2 > SQ_DISTILL_LAYERS)
		return wrong(v, "layers", err);
	free(c->layer);
	c->layer = calloc(v->n / 2, sizeof(*c->layer));
	if (c->layer == NULL)
		return sq_fail(err, "out of memory");
	c->nlayers = v->n / 2;
	for (i = 0; i < c->nlayers; i++)
		if (sq_yaml_uint(v->item[2 * i], &c->layer[i].student) < 0 ||
		    sq_yaml_uint(v->item[2 * i + 1],
		    &c->layer[i].teacher) < 0)
			return wrong(v->item[2 * i], "layers", err);
	return 0;
}

static int
take_preset(struct sq_distill_config *c, const struct sq_yaml *v, char *err)
{
	int n = v->kind == SQ_YAML_SCALAR ? sq_distill_preset(v->text) : -1;

	if (n < 0)
		return wrong(v, "preset", err);
	c->preset = (enum sq_distill_preset)n;
	return 0;
}

static int
take_train(struct sq_distill_config *c, const struct sq_yaml *v, char *err)
{
	int n = v->kind == SQ_YAML_SCALAR ? find(trains, v->text) : -1;

	if (n < 0)
		return wrong(v, "train", err);
	c->train = (enum sq_distill_train)n;
	return 0;
}

static int
take(struct sq_distill_config *c, const char *key, const struct sq_yaml *v,
    char *err)
{
	const struct whole whole[] = {
		{ "samples", &c->samples, 1, 1 << 24 },
		{ "length", &c->length, 2, 1 << 20 },
		{ "steps", &c->steps, 1, 1 << 30 },
		{ "own", &c->own, 0, 1 << 24 },
		{ "own_length", &c->own_length, 2, 1 << 20 },
		{ "batch", &c->batch, 1, 1 << 16 },
		{ "warmup", &c->warmup, 0, 1 << 30 },
		{ "checkpoint", &c->checkpoint, 1, 1 << 30 },
	};
	const struct real real[] = {
		{ "lr", &c->lr, 0, 1 },
		{ "weight_decay", &c->weight_decay, 0, 1 },
		{ "temperature", &c->temperature, 0.01, 100 },
		{ "ce", &c->ce, 0, 100 },
		{ "hidden", &c->hidden, 0, 1e6 },
		{ "place", &c->place, 0, 1 },
		{ "scale", &c->scale, 0, 1 },
		{ "norm", &c->norm, 0, 1 },
		{ "redraw", &c->redraw, 0, 1 },
	};
	size_t i;

	if (strcmp(key, "preset") == 0)
		return take_preset(c, v, err);
	if (strcmp(key, "train") == 0)
		return take_train(c, v, err);
	if (strcmp(key, "layers") == 0)
		return take_map(c, v, err);
	if (strcmp(key, "text") == 0) {
		free(c->text);
		c->text = v->kind == SQ_YAML_SCALAR ? strdup(v->text) : NULL;
		return c->text == NULL ? wrong(v, key, err) : 0;
	}
	for (i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
		if (strcmp(key, whole[i].key) == 0)
			return sq_yaml_uint(v, whole[i].to) < 0 ||
			    *whole[i].to < whole[i].lo ||
			    *whole[i].to > whole[i].hi ?
			    wrong(v, key, err) : 0;
	for (i = 0; i < sizeof(real) / sizeof(real[0]); i++)
		if (strcmp(key, real[i].key) == 0)
			return sq_yaml_real(v, real[i].to) < 0 ||
			    !(*real[i].to >= real[i].lo &&
			    *real[i].to <= real[i].hi) ?
			    wrong(v, key, err) : 0;
	return sq_fail(err, "%zu: there is no '%s'", v->line, key);
}

int
sq_distill_parse(struct sq_distill_config *c, const char *text, size_t len,
    char *err)
{
	struct sq_yaml *y = sq_yaml_parse(text, len, err);
	size_t i;
	int r = 0;

	if (y == NULL)
		return -1;
	if (y->kind != SQ_YAML_MAP)
		r = sq_fail(err, "1: not keys with values");
	for (i = 0; r == 0 && i < y->n; i += 2)
		r = take(c, y->item[i]->text, y->item[i + 1], err);
	sq_yaml_free(y);
	return r;
}
