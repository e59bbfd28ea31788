/* The tensors of a block; see block.h. */
#include <stdlib.h>

#include "calib/block.h"

int
sq_input_of(const struct sq_slot *s)
{
	if (s == NULL || !s->linear)
		return -1;
	if (s->expert >= 0)
		return SQ_INPUTS + 2 * (int)s->expert + (s->role == SQ_DOWN);
	switch (s->role) {
	case SQ_O:
		return SQ_IN_O;
	case SQ_GATE:
	case SQ_UP:
		return SQ_IN_FFN;
	case SQ_DOWN:
		return SQ_IN_DOWN;
	default:
		return SQ_IN_QKV;
	}
}

size_t
sq_input_channels(const struct sq_config *c, int input)
{
	switch (input) {
	case SQ_IN_O:
		return (size_t)(c->heads * c->head_dim);
	case SQ_IN_DOWN:
		return (size_t)c->ffn;
	default:
		return (size_t)(input > SQ_INPUTS &&
		    (input - SQ_INPUTS) % 2 == 1 ? c->expert_ffn : c->dim);
	}
}

int
sq_payload_bind(struct sq_model *m, const struct sq_tensor *t,
    const unsigned char *payload, char *err)
{
	const void *part[SQ_PARTS];
	int i;

	for (i = 0; i < t->nparts; i++)
		part[i] = payload + t->part[i].offset;
	return sq_model_bind(m, t, part, err);
}

int
sq_payload_put(struct sq_out *out, const struct sq_tensor *t,
    const void *payload, char *err)
{
	if (sq_out_tensor(out, t) < 0 ||
	    sq_out_write(out, payload, (size_t)t->length) < 0 ||
	    sq_out_end(out) < 0)
		return sq_fail(err, "%s", out->err);
	return 0;
}

int
sq_block_hold(struct sq_block *b, struct sq_in *in, const struct sq_tensor *t,
    const struct sq_slot *slot, char *err)
{
	struct sq_held *h = b->held;

	if (slot->layer != b->layer)
		return sq_fail(err, "tensor '%s': not in the order of a "
		    "forward pass", t->name);
	if (b->n == b->room) {
		b->room = b->room == 0 ? 24 : 2 * b->room;
		h = realloc(h, (size_t)b->room * sizeof(*h));
		if (h == NULL)
			return sq_fail(err, "out of memory");
		b->held = h;
	}
	h += b->n;
	h->t = *t;
	h->slot = slot;
	h->payload = sq_in_payload(in, SQ_MAX_PAYLOAD);
	if (h->payload == NULL)
		return sq_fail(err, "%s", in->err);
	b->n++;
	return 0;
}

int
sq_block_bind(const struct sq_block *b, struct sq_model *m, char *err)
{
	int i;

	for (i = 0; i < b->n; i++)
		if (sq_payload_bind(m, &b->held[i].t, b->held[i].payload,
		    err) < 0)
			return -1;
	return 0;
}

void
sq_block_drop(struct sq_block *b)
{
	while (b->n > 0)
		free(b->held[--b->n].payload);
	free(b->held);
	b->held = NULL;
	b->room = 0;
}
