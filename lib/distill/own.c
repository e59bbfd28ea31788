/* A text of the teacher's own; see own.h. */
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "distill/own.h"
#include "distill/redraw.h"
#include "distill/writer.h"
#include "model/head.h"

#define LEAD	16			/* tokens of the text, at most */
#define SEQS	128			/* samples side by side */
#define PAGE	64			/* tokens of a block of the cache */

struct work {
	const struct sq_own *own;
	size_t length, lead, vocab, seqs;
	struct sq_writer writer;
	struct sq_forward f;
	struct sq_head head;
	struct sq_kvcache cache;
	struct sq_kvseq seq[SEQS];
	struct sq_feed feed[SEQS];
	float *logits, *lse;		/* [seqs][vocab], [seqs] */
	uint32_t next[SEQS];
};

/* As many side by side as the memory allows. */
static size_t
seqs_of(const struct sq_own *own, size_t samples)
{
	const struct sq_config *c = &own->teacher->config;
	uint64_t one = 2 * c->layers * c->kv_heads * c->head_dim *
	    (own->prec == SQ_PREC_F32 ? 4 : 1) * own->length;
	uint64_t n = own->memory == 0 ? SEQS : own->memory / one;

	n = n < 1 ? 1 : n < SEQS ? n : SEQS;
	return samples < n ? samples : (size_t)n;
}

static int
open_work(struct work *k, size_t samples, char *err)
{
	const struct sq_own *own = k->own;
	const struct sq_config *c = &own->teacher->config;
	struct sq_kv kv = { .type = sq_forward_kv_type(own->prec),
	    .heads = (size_t)c->kv_heads, .dim = (size_t)c->head_dim,
	    .page = PAGE };
	const struct sq_model *writer = own->teacher;
	size_t i, n = k->seqs = seqs_of(own, samples);
	size_t tokens = (k->length + PAGE - 1) / PAGE * PAGE;

	k->logits = malloc(n * (k->vocab + 1) * sizeof(*k->logits));
	if (k->logits == NULL)
		return sq_fail(err, "out of memory");
	k->lse = k->logits + n * k->vocab;
	if (own->prec != SQ_PREC_F32) {
		if (sq_writer_init(&k->writer, writer, own->ctx, err) < 0)
			return -1;
		writer = &k->writer.model;
		kv.k.grid = kv.v.grid = SQ_PAGE_INT8;
	}
	if (sq_head_init(&k->head, writer, own->ctx, own->prec, 0, NULL,
	    err) < 0 ||
	    sq_forward_init(&k->f, writer, own->ctx, own->prec,
	    n * k->lead, err) < 0 ||
	    sq_kvcache_init(&k->cache, &kv, own->ctx->kern->mem,
	    (size_t)c->layers, n * tokens, err) < 0)
		return -1;
	for (i = 0; i < n; i++)
		if (sq_kvseq_init(&k->seq[i], &k->cache, k->length, err) < 0)
			return -1;
	return 0;
}

static void
close_work(struct work *k)
{
	size_t i;

	for (i = 0; i < k->seqs; i++)
		sq_kvseq_release(&k->seq[i]);
	sq_kvcache_release(&k->cache);
	sq_forward_release(&k->f);
	sq_head_release(&k->head);
	sq_writer_release(&k->writer);
	free(k->logits);
}

/* Somewhere in the text. */
static const uint32_t *
lead_of(const struct work *k, uint64_t sample)
{
	const struct sq_tokens *t = k->own->text;
	struct sq_rng rng = { sample + 1 };

	return t->id + sq_rng_next(&rng) % (t->count - k->lead + 1);
}

/* The tokens of n samples that follow those that were fed. */
static int
draw(struct work *k, size_t n, size_t fed, uint64_t seed, char *err)
{
	struct sq_mat all = { k->logits, SQ_F32, n, k->vocab, k->vocab };
	const struct sq_redraw how = { 1, seed };
	struct sq_mat one;
	size_t i;

	for (i = 0; i < n && fed > 1; i++) {
		one = all;
		one.p = k->logits + i * k->vocab;
		one.rows = 1;
		if (sq_head_logits(&k->head, &k->f, (i + 1) * fed - 1, 1,
		    &one, err) < 0)
			return -1;
	}
	if (fed == 1 && sq_head_logits(&k->head, &k->f, 0, n, &all, err) < 0)
		return -1;
	if (sq_nll(k->own->ctx, &all, NULL, k->lse, NULL) != 0)
		return sq_no_kernel(err, SQ_OP_nll);
	sq_redraw(&how, k->own->ctx->pool, &all, k->lse, 0, k->next);
	return 0;
}

/* n samples from the one of that number on, token by token. */
static int
write_some(struct work *k, uint32_t *id, size_t n, uint64_t sample, char *err)
{
	size_t i, at, fed;

	for (i = 0; i < n; i++) {
		sq_kvseq_clear(&k->seq[i]);
		memcpy(id + i * k->length, lead_of(k, sample + i),
		    k->lead * sizeof(*id));
	}
	for (at = 0; at < k->length - 1; at += fed) {
		fed = at == 0 ? k->lead : 1;
		for (i = 0; i < n; i++) {
			if (sq_kvseq_reserve(&k->seq[i], fed, err) < 0)
				return -1;
			k->feed[i] = (struct sq_feed){ &k->seq[i],
			    id + i * k->length + at, fed };
		}
		if (sq_forward(&k->f, k->feed, n, err) < 0 || draw(k, n, fed,
		    sample * k->length + at + fed, err) < 0)
			return -1;
		for (i = 0; i < n; i++)
			id[i * k->length + at + fed] = k->next[i];
		if (k->own->progress != NULL)
			sq_progress_add(k->own->progress, n * fed);
	}
	return 0;
}

int
sq_own_write(const struct sq_own *own, uint32_t *id, size_t samples, char *err)
{
	struct work k = { .own = own, .length = own->length,
	    .vocab = (size_t)own->teacher->config.vocab };
	size_t i, n;
	int r;

	k.lead = k.length > 2 * LEAD ? LEAD : 1;
	r = open_work(&k, samples, err);
	for (i = 0; r == 0 && i < samples; i += n) {
		n = samples - i < k.seqs ? samples - i : k.seqs;
		r = write_some(&k, id + i * k.length, n, i, err);
	}
	close_work(&k);
	return r;
}
