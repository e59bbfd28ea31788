/* The side that computes; see handoff.h. */
#include <stdlib.h>
#include <string.h>

#include "engine/handoff.h"
#include "kv/kvprefix.h"
#include "schema/kv_schema.h"

static int
put(struct sq_sender *s, enum sq_kvtype type, json_t *desc,
    const struct sq_piece *p, size_t n)
{
	if (sq_kvout_put(&s->out, type, desc, p, n) < 0)
		return sq_fail(s->err, "%s", s->out.err);
	return 0;
}

int
sq_sender_head(struct sq_sender *s)
{
	const struct sq_kvcache *c = sq_batcher_prefill_cache(s->b->engine);
	const struct sq_config *f = &s->b->model->config;
	char text[SQ_KV_TEXT];

	if (s->b->ctx.kern->mem->device)
		return sq_fail(s->err, "a KV stream is for the CPU");
	sq_kv_policy_text(&c->policy, text);
	return put(s, SQ_KVR_HEAD, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, "
	    "s:o}", "model", s->b->digest, "policy", text, "layers",
	    (json_int_t)f->layers, "kv_heads", (json_int_t)f->kv_heads,
	    "head_dim", (json_int_t)f->head_dim, "page",
	    (json_int_t)c->kv.page, "schema", sq_kv_quant_schema(f,
	    &c->policy)), NULL, 0);
}

int
sq_sender_error(struct sq_sender *s, uint64_t id, const char *why)
{
	s->n.sequences++;
	return put(s, SQ_KVR_SEQ, json_pack("{s:I, s:I, s:s}", "id",
	    (json_int_t)id, "tokens", (json_int_t)0, "error", why), NULL, 0);
}

/* Where there is a way back: what the other side wants; else all that a
 * sequence needs. */
static int
wanted(struct sq_sender *s, const struct sq_kvseq *q, unsigned char *want)
{
	size_t b, first = sq_kvprefix_window(q->cache, q->length);
	int r;

	for (b = 0; b < q->nblocks; b++)
		want[b] = (unsigned char)(1 | (q->cache->near_bytes > 0 &&
		    b >= first ? 2 : 0) | (b == 0 && q->cache->sink_bytes >
		    0 ? 4 : 0));
	if (s->back.fd < 0)
		return 0;
	if ((r = sq_kvin_next(&s->back)) <= 0)
		return sq_fail(s->err, "%s", r < 0 ? s->back.err :
		    "the other end has gone");
	if (s->back.type != SQ_KVR_WANT || s->back.size != q->nblocks)
		return sq_fail(s->err, "the other end does not say what it "
		    "wants");
	for (b = 0; b < q->nblocks; b++)
		want[b] &= s->back.payload[b];
	return 0;
}

static int
put_block(struct sq_sender *s, uint64_t id, const struct sq_kvseq *q,
    size_t b, unsigned char want)
{
	const struct sq_kvcache *c = q->cache;
	const struct sq_kvblock *k = c->block + q->id[b];
	size_t tokens = q->length - b * c->kv.page;
	struct sq_piece p[3] = {
		{ k->page, want & 1 ? c->page_bytes : 0 },
		{ k->near, want & 2 ? c->near_bytes : 0 },
		{ k->sink, want & 4 ? c->sink_bytes : 0 },
	};

	tokens = tokens < c->kv.page ? tokens : c->kv.page;
	return put(s, SQ_KVR_BLOCK, json_pack("{s:I, s:I, s:I, s:i, s:i, s:i}",
	    "id", (json_int_t)id, "block", (json_int_t)b, "tokens",
	    (json_int_t)tokens, "pages", want & 1, "near", want >> 1 & 1,
	    "sink", want >> 2 & 1), p, 3);
}

int
sq_sender_seq(struct sq_sender *s, uint64_t id, struct sq_kvseq *q,
    const uint32_t *ids, size_t n, json_t *request)
{
	size_t full = (n - 1) / q->cache->kv.page, b;
	unsigned char *hash = malloc(full * SQ_KV_HASH + 1), root[SQ_KV_HASH];
	unsigned char *want = calloc(1, q->nblocks + 1);
	struct sq_piece p[2] = { { ids, n * sizeof(*ids) },
	    { hash, full * SQ_KV_HASH } };
	char text[SQ_KV_TEXT];
	json_t *desc;
	int r = -1;

	if (hash == NULL || want == NULL) {
		sq_fail(s->err, "out of memory");
		goto out;
	}
	sq_kv_policy_text(&q->cache->policy, text);
	sq_kvprefix_root(root, s->b->digest, text);
	sq_kvprefix_hash(root, ids, q->cache->kv.page, full, hash);
	desc = json_pack("{s:I, s:I}", "id", (json_int_t)id, "tokens",
	    (json_int_t)n);
	if (desc != NULL && request != NULL)
		json_object_set(desc, "request", request);
	if (put(s, SQ_KVR_SEQ, desc, p, 2) < 0 || wanted(s, q, want) < 0)
		goto out;
	for (b = 0; b < q->nblocks; b++) {
		s->n.sent += want[b] & 1;
		s->n.had += !(want[b] & 1);
		if (want[b] != 0 && put_block(s, id, q, b, want[b]) < 0)
			goto out;
	}
	s->n.blocks += q->nblocks;
	s->n.sequences++;
	r = put(s, SQ_KVR_READY, json_pack("{s:I}", "id", (json_int_t)id),
	    NULL, 0);
out:
	free(hash);
	free(want);
	return r;
}

int
sq_sender_end(struct sq_sender *s)
{
	return put(s, SQ_KVR_END, json_pack("{s:I, s:I}", "sequences",
	    (json_int_t)s->n.sequences, "blocks", (json_int_t)s->n.blocks),
	    NULL, 0);
}
