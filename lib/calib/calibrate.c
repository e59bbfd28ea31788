/* Calibration; see calibrate.h. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/pool.h"
#include "calib/block.h"
#include "calib/calibrate.h"
#include "calib/lanes.h"
#include "calib/text.h"
#include "model/inventory.h"

#define FIXED	((uint64_t)96 << 20)	/* the program and the kernels' space */
#define CALM	((uint64_t)640 << 20)	/* nobody minds */

struct calib {
	struct sq_calibrate *o;
	struct sq_in *in;
	struct sq_out *out;
	struct sq_inventory inv;
	struct sq_tokens tokens;
	char model_digest[SQ_DIGEST];
	struct sq_model *model;
	struct sq_lanes lanes;
	struct sq_hidden hidden;
	struct sq_block block;		/* at work */
};

/* ---- memory ---- */

/* The width of a block's inner layer: all experts, or those of a token. */
static uint64_t
inner(const struct sq_config *c, uint64_t experts)
{
	return c->experts > 0 ? c->expert_ffn * experts : c->ffn;
}

/* The weights of one block, at 16 bits. */
static uint64_t
block_bytes(const struct sq_config *c, uint64_t experts)
{
	return 2 * (c->dim * c->head_dim * (2 * c->heads + 2 * c->kv_heads) +
	    3 * c->dim * inner(c, experts));
}

/* With one lane, and everything but the hidden states of all samples. */
static uint64_t
least_memory(const struct calib *k, uint64_t lane)
{
	const struct sq_config *c = &k->inv.config;
	uint64_t embed = 2 * c->vocab * c->dim, block;

	block = block_bytes(c, c->experts) +
	    sq_collect_sum_bytes(c, k->o->mode == SQ_CALIB_FULL);
	return FIXED + lane + (block > embed ? block : embed);
}

/*
 * As many lanes as the ceiling allows; without one, as many as take no more
 * than the rest, or than CALM bytes.  Hidden states go to a file when they do
 * not fit beside one lane, or are many; without a ceiling they stay where a
 * device computes, which a file would keep waiting.  -1 when not even that
 * fits.
 */
static int
plan_memory(const struct calib *k, size_t *lanes, char *err)
{
	size_t length = (size_t)k->tokens.length;
	uint64_t lane = sq_lanes_bytes(&k->inv.config, length,
	    k->o->mode == SQ_CALIB_FULL, k->o->prec);
	uint64_t least = least_memory(k, lane), memory = k->o->memory, all;
	size_t most = sq_lanes_most(k->o->ctx,
	    (size_t)(k->tokens.count / k->tokens.length)), more;
	int spill;

	all = 4 * k->tokens.count * k->inv.config.dim;
	spill = sq_hidden_spills(all, least, memory);
	if (memory == 0) {
		spill &= !k->o->ctx->kern->mem->device;
		memory = least + (spill ? 0 : all) +
		    (least > CALM ? least : CALM);
	}
	if (least > memory)
		return sq_fail(err, "-M: needs at least %juM for this model "
		    "and samples of %ju tokens",
		    (uintmax_t)(least + 0xfffff) >> 20,
		    (uintmax_t)k->tokens.length);
	more = (size_t)((memory - least - (spill ? 0 : all)) / lane);
	*lanes = more < most - 1 ? more + 1 : most;
	return spill;
}

/* ---- the beginning of the stream ---- */

/* Hidden states that are to be in memory: a device's, if they take a quarter of
 * what is left there at most. */
static int
open_hidden(struct calib *k, size_t samples, size_t length, char *err)
{
	const struct sq_mem *mem = k->o->ctx->kern->mem;
	size_t dim = (size_t)k->inv.config.dim, all, unused;
	char name[SQ_ERR];

	if (mem->device && !k->o->spilled &&
	    mem->probe(name, &all, &unused) == 0 &&
	    samples * length * dim * sizeof(float) <= unused / 4 &&
	    sq_hidden_init_far(&k->hidden, samples, length, dim, mem) == 0)
		return 0;
	return sq_hidden_init(&k->hidden, samples, length, dim,
	    k->o->spilled, err);
}

static int
open_runner(struct calib *k, char *err)
{
	const struct sq_config *c = &k->inv.config;
	size_t length = (size_t)k->tokens.length;

	struct sq_lanes_how how = { .ctx = k->o->ctx, .hidden = &k->hidden,
	    .prec = k->o->prec, .full = k->o->mode == SQ_CALIB_FULL };

	k->o->spilled = plan_memory(k, &how.n, err);
	if (k->o->spilled < 0 || (k->model = sq_model_new(c, err)) == NULL ||
	    sq_model_place(k->model, k->o->ctx->kern->mem, err) < 0 ||
	    open_hidden(k, (size_t)(k->tokens.count / k->tokens.length),
	    length, err) < 0)
		return -1;
	how.model = k->model;
	return sq_lanes_init(&k->lanes, &how, err);
}

static int
begin(struct calib *k, char *err)
{
	const unsigned char *config;
	struct sq_calibrate *o = k->o;
	struct sq_files files;
	size_t size;
	int r = -1;

	if (sq_files_read(&files, k->in) < 0)
		return sq_fail(err, "%s", k->in->err);
	config = sq_files_find(&files, "config.json", &size);
	memcpy(k->model_digest, files.h.model, sizeof(k->model_digest));
	if (sq_inventory_init(&k->inv, (const char *)config, size, err) < 0 ||
	    sq_calib_tokens(&k->tokens, &files, &k->inv.config, o->text,
	    o->text_len, o->samples, o->length, o->skip, o->report,
	    err) < 0)
		goto done;
	if (o->begun != NULL && o->begun(o, &k->tokens, err) < 0)
		goto done;
	if (o->mode != SQ_CALIB_TOKENS && open_runner(k, err) < 0)
		goto done;
	if (sq_files_write(&files, k->out) < 0 ||
	    sq_tokens_write(&k->tokens, k->out) < 0) {
		sq_fail(err, "%s", k->out->err);
		goto done;
	}
	o->got = (size_t)(k->tokens.count / k->tokens.length);
	o->sample_length = (size_t)k->tokens.length;
	o->progress->bytes = k->tokens.count * k->inv.config.layers;
	r = 0;
done:
	sq_files_release(&files);
	return r;
}

static int
copy(struct calib *k, char *err)
{
	return sq_out_copy(k->out, k->in) < 0 ?
	    sq_fail(err, "%s", k->out->err) : 0;
}

/* ---- the embedding ---- */

static int
embedding(struct calib *k, const struct sq_tensor *t, char *err)
{
	unsigned char *payload = sq_in_payload(k->in, SQ_MAX_PAYLOAD);
	int r = -1;

	if (payload == NULL)
		return sq_fail(err, "%s", k->in->err);
	if (sq_payload_bind(k->model, t, payload, err) == 0 &&
	    sq_lanes_embed(&k->lanes, k->tokens.id, err) == 0)
		r = sq_payload_put(k->out, t, payload, err);
	free(payload);
	return r;
}

/* ---- a block ---- */

static void
count_flops(struct calib *k)
{
	const struct sq_config *c = &k->inv.config;
	uint64_t tokens = k->tokens.count, q = c->heads * c->head_dim;

	k->o->flops += tokens * block_bytes(c, c->chosen);
	k->o->flops += tokens * 2 * k->tokens.length * q;	/* causal */
	if (k->o->mode == SQ_CALIB_FULL)
		k->o->flops += tokens * (2 * c->dim * c->dim + q * q +
		    inner(c, 1) * inner(c, c->chosen));
}

/* The finite check is here: a NaN would spread to every statistic. */
static int
check_finite(const struct calib *k, char *err)
{
	const struct sq_stats *s;
	size_t i;
	int n;

	for (n = 0; n < k->lanes.sum.n; n++) {
		s = &k->lanes.sum.in[n].stats;
		for (i = 0; i < k->lanes.sum.in[n].channels; i++)
			if (!(k->lanes.sum.in[n].abssum[i] < 1e30) ||
			    s->max[i] < s->min[i])
				return sq_fail(err, "block %ju: activations "
				    "that are not finite",
				    (uintmax_t)k->block.layer);
	}
	return 0;
}

static int
run_block(struct calib *k, char *err)
{
	double start = sq_now();

	if (sq_block_bind(&k->block, k->model, err) < 0 ||
	    sq_lanes_block(&k->lanes, (size_t)k->block.layer,
	    k->o->progress, err) < 0)
		return -1;
	count_flops(k);
	k->o->seconds += sq_now() - start;
	return check_finite(k, err);
}

static int
put_stats(struct calib *k, struct sq_stats *s, char *err)
{
	memcpy(s->model, k->model_digest, sizeof(s->model));
	memcpy(s->source, k->tokens.source, sizeof(s->source));
	if (k->o->seen != NULL)
		k->o->seen(k->o, s);
	return sq_stats_write(s, k->out) < 0 ?
	    sq_fail(err, "%s", k->out->err) : 0;
}

/* Which tensors a record concerns. */
static void
name_tensors(const struct calib *k, struct sq_stats *s, int input)
{
	const struct sq_slot *slot;
	int h;

	s->ntensors = 0;
	for (h = 0; h < k->block.n; h++) {
		slot = k->block.held[h].slot;
		if (sq_input_of(slot) != input || (s->is_kv &&
		    slot->role != SQ_K && slot->role != SQ_V))
			continue;
		memcpy(s->tensor[s->ntensors++], k->block.held[h].t.name, SQ_NAME);
	}
}

static int
put_block(struct calib *k, char *err)
{
	const struct sq_held *held = k->block.held;
	int h, input, last = -1;

	for (h = 0; h < k->block.n; h++) {
		input = sq_input_of(held[h].slot);
		if (input == SQ_IN_O) {
			name_tensors(k, &k->lanes.sum.kv, SQ_IN_QKV);
			if (put_stats(k, &k->lanes.sum.kv, err) < 0)
				return -1;
		}
		if (input >= 0 && input != last) {
			name_tensors(k, &k->lanes.sum.in[input].stats, input);
			if (put_stats(k, &k->lanes.sum.in[input].stats,
			    err) < 0)
				return -1;
			last = input;
		}
		if (sq_payload_put(k->out, &held[h].t, held[h].payload,
		    err) < 0)
			return -1;
	}
	return 0;
}

/* A block is whole when something else comes. */
static int
end_block(struct calib *k, char *err)
{
	int r = 0;

	if (k->block.n == 0)
		return 0;
	sq_progress_tensor(k->o->progress);
	if (run_block(k, err) < 0)
		r = -1;
	sq_model_drop(k->model, (size_t)k->block.layer);
	if (r == 0)
		r = put_block(k, err);
	sq_block_drop(&k->block);
	k->block.layer++;
	return r;
}

static int
hold(struct calib *k, const struct sq_tensor *t, const struct sq_slot *slot,
    char *err)
{
	if (slot->layer != k->block.layer && end_block(k, err) < 0)
		return -1;
	return sq_block_hold(&k->block, k->in, t, slot, err);
}

/* ---- the stream ---- */

static int
tensor(struct calib *k, char *err)
{
	const struct sq_slot *slot;
	struct sq_tensor t;

	if (sq_tensor_parse(&t, k->in->desc, k->in->length, err) < 0 ||
	    sq_inventory_add(&k->inv, &t, &slot, err) < 0)
		return -1;
	if (slot != NULL && slot->role == SQ_EMBED)
		return embedding(k, &t, err);
	if (slot != NULL && slot->role != SQ_NORM && slot->role != SQ_HEAD)
		return hold(k, &t, slot, err);
	return end_block(k, err) < 0 ? -1 : copy(k, err);
}

static int
record(struct calib *k, char *err)
{
	switch (k->in->type) {
	case SQ_HEADER:
		return begin(k, err);
	case SQ_TOKENS:
	case SQ_STATS:		/* ours take their place */
		return 0;
	case SQ_TENSOR:
		return k->o->mode == SQ_CALIB_TOKENS ? copy(k, err) :
		    tensor(k, err);
	default:
		return copy(k, err);
	}
}

int
sq_calibrate(struct sq_calibrate *o, struct sq_in *in, struct sq_out *out,
    char *err)
{
	struct calib k = { .o = o, .in = in, .out = out, .hidden.fd = -1 };
	int r = -1, got;

	while ((got = sq_in_next(in)) > 0)
		if (record(&k, err) < 0)
			goto done;
	if (got < 0)
		sq_fail(err, "%s", in->err);
	else if (o->mode == SQ_CALIB_TOKENS ||
	    sq_inventory_complete(&k.inv, err) == 0)
		r = 0;
done:
	sq_block_drop(&k.block);
	sq_lanes_release(&k.lanes);
	sq_hidden_release(&k.hidden);
	sq_model_free(k.model);
	sq_tokens_release(&k.tokens);
	sq_inventory_release(&k.inv);
	return r;
}
