/* A stream becomes an artifact; see pack.h and sqa(5). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/fmt_json.h"
#include "formats/fmt_records.h"
#include "formats/fmt_sqa.h"
#include "model/inventory.h"
#include "model/pack.h"
#include "model/stored.h"
#include "schema/kv_schema.h"

#define PIECE	((size_t)1 << 20)

struct packer {
	struct sq_pack *p;
	struct sq_in *in;
	struct sq_sqa_out *out;
	struct sq_inventory inv;
	struct sq_profile_made made;
	struct sq_mask_seen masks;
	struct sq_profile profile;
	json_t *tensors, *provenance;
	json_t *layouts;		/* of stored tensors: text to number */
	char model[SQ_DIGEST];
	unsigned char *piece;
};

/* Where a part of a tensor lives: sqa(5), Members. */
void
sq_pack_member_name(char name[2 * SQ_NAME], const char *part, const char *tensor)
{
	const char *dir = part;

	if (strcmp(part, "data") == 0 || strcmp(part, "codes") == 0)
		dir = "weights";
	else if (strcmp(part, "mask") == 0)
		dir = "masks";
	snprintf(name, 2 * SQ_NAME, "%s/%s", dir, tensor);
}

static int
add_text(struct packer *k, const char *name, char *text, char *err)
{
	int r;

	if (text == NULL)
		return sq_fail(err, "out of memory");
	r = sq_sqa_add(k->out, name, text, strlen(text), err);
	free(text);
	return r;
}

/* Members that are made here: no file of the model may take their place. */
static const char *const made[] = {
	"tensors.json", "kernel_meta.json", "kv_schema.json", "profile.yaml",
	"provenance.json", "preset.json", "MANIFEST",
};

static int
add_blob(struct packer *k, const char *name, const void *data, uint64_t n,
    char *err)
{
	size_t i;

	for (i = 0; i < sizeof(made) / sizeof(made[0]); i++)
		if (strcmp(made[i], name) == 0)
			return sq_fail(err, "the model has a file '%s', which "
			    "an artifact has too", name);
	return sq_sqa_add(k->out, name, data, (size_t)n, err);
}

/* config.json is the first member, whatever its place in the stream. */
static int
pack_header(struct packer *k, char *err)
{
	const unsigned char *config;
	struct sq_files f;
	size_t size;
	int i, r = -1;

	if (sq_files_read(&f, k->in) < 0)
		return sq_fail(err, "%s", k->in->err);
	config = sq_files_find(&f, "config.json", &size);
	memcpy(k->model, f.h.model, sizeof(k->model));
	k->p->progress->tensors = f.h.tensors;
	if (sq_inventory_init(&k->inv, (const char *)config, size, err) < 0 ||
	    sq_pack_check_model(k->p, &k->inv.config, err) < 0 ||
	    sq_sqa_add(k->out, "config.json", config, size, err) < 0)
		goto done;
	for (i = 0; i < f.h.nblobs; i++)
		if (f.data[i] != config && add_blob(k, f.h.blob[i].name,
		    f.data[i], f.h.blob[i].length, err) < 0)
			goto done;
	r = 0;
done:
	sq_files_release(&f);
	return r;
}

static int
add_bytes(struct packer *k, const char *name, const void *p, uint64_t n,
    char *err)
{
	if (sq_sqa_begin(k->out, name, n, 1, err) < 0 ||
	    sq_sqa_write(k->out, p, (size_t)n, err) < 0)
		return -1;
	return sq_sqa_end(k->out, err);
}

static int
pack_part(struct packer *k, const struct sq_tensor *t,
    const struct sq_part *part, char *err)
{
	char name[2 * SQ_NAME];
	uint64_t left = part->length;
	size_t n;

	sq_pack_member_name(name, part->name, t->name);
	if (sq_sqa_begin(k->out, name, left, 1, err) < 0)
		return -1;
	for (; left > 0; left -= n) {
		n = left < PIECE ? (size_t)left : PIECE;
		if (sq_in_read(k->in, k->piece, n) < 0)
			return sq_fail(err, "%s", k->in->err);
		if (sq_sqa_write(k->out, k->piece, n, err) < 0)
			return -1;
		sq_progress_add(k->p->progress, n);
	}
	return sq_sqa_end(k->out, err);
}

/* A tensor with a mask, whose payload is at p: values and index in the place of
 * values and mask. */
static int
add_stored(struct packer *k, const struct sq_tensor *t,
    const struct sq_stored *s, const unsigned char *p, char *err)
{
	char name[2 * SQ_NAME];
	int i;

	for (i = 0; i < t->nparts; i++) {
		if (strcmp(t->part[i].name, "mask") == 0)
			continue;
		sq_pack_member_name(name, t->part[i].name, t->name);
		if (add_bytes(k, name, i == 0 ? s->values : p +
		    t->part[i].offset, i == 0 ? s->values_size :
		    t->part[i].length, err) < 0)
			return -1;
	}
	sq_pack_member_name(name, "index", t->name);
	return add_bytes(k, name, s->index, s->index_size, err);
}

static int
add_parts(struct packer *k, const struct sq_tensor *t, const unsigned char *p,
    char *err)
{
	char name[2 * SQ_NAME];
	int i;

	for (i = 0; i < t->nparts; i++) {
		sq_pack_member_name(name, t->part[i].name, t->name);
		if (add_bytes(k, name, p + t->part[i].offset,
		    t->part[i].length, err) < 0)
			return -1;
	}
	return 0;
}

static void
count_layout(struct packer *k, const struct sq_weight *w)
{
	char text[64];
	json_int_t n;

	snprintf(text, sizeof(text), "%zu%c%zu", w->n,
	    w->layout == SQ_NM ? ':' : 'x', w->m);
	n = json_integer_value(json_object_get(k->layouts, text));
	json_object_set_new(k->layouts, text, json_integer(n + 1));
}

/* The whole payload at once, as the mask comes last. */
static int
pack_masked(struct packer *k, const struct sq_tensor *t, int may_store,
    json_t *desc, char *err)
{
	const struct sq_part *mask = sq_tensor_part(t, "mask");
	unsigned char *p = malloc(t->length);
	struct sq_stored s = { .kept = 0 };
	int r = -1, stored = 0;

	if (p == NULL)
		return sq_fail(err, "out of memory");
	if (sq_in_read(k->in, p, t->length) < 0) {
		sq_fail(err, "%s", k->in->err);
		goto done;
	}
	sq_progress_add(k->p->progress, t->length);
	sq_mask_seen_tensor(&k->masks, t);
	sq_mask_seen_add(&k->masks, p + mask->offset, mask->length);
	if (sq_tensor_check_data(t, p, err) < 0 ||
	    (may_store && (stored = sq_store(&s, t, p, err)) < 0))
		goto done;
	if (!stored) {
		k->p->after += t->length;
		r = add_parts(k, t, p, err);
		goto done;
	}
	k->p->stored++;
	k->p->after += t->length - t->part[0].length - mask->length +
	    s.values_size + s.index_size;
	count_layout(k, &s.w);
	json_object_set_new(desc, "stored", sq_stored_describe(&s.w));
	r = add_stored(k, t, &s, p, err);
done:
	sq_stored_release(&s);
	free(p);
	return r;
}

static int
pack_parts(struct packer *k, const struct sq_tensor *t, char *err)
{
	uint64_t at = 0;
	int i;

	for (i = 0; i < t->nparts; i++) {
		if (sq_in_gap(k->in, at, t->part[i].offset) < 0)
			return sq_fail(err, "%s", k->in->err);
		if (pack_part(k, t, &t->part[i], err) < 0)
			return -1;
		at = t->part[i].offset + t->part[i].length;
	}
	k->p->after += t->length;
	return 0;
}

static int
pack_tensor(struct packer *k, char *err)
{
	const struct sq_slot *slot;
	struct sq_tensor t;
	json_t *desc;
	int r;

	if (sq_tensor_parse(&t, k->in->desc, k->in->length, err) < 0 ||
	    sq_inventory_add(&k->inv, &t, &slot, err) < 0)
		return -1;
	if (t.grid == SQ_GRIDS)
		return sq_fail(err, "tensor '%s': on a grid that is not known "
		    "here", t.name);
	if (sq_pack_check_tensor(k->p, &t, slot, err) < 0)
		return -1;
	sq_progress_tensor(k->p->progress);
	desc = sq_tensor_describe(&t);
	r = sq_tensor_part(&t, "mask") != NULL ? pack_masked(k, &t,
	    slot != NULL && slot->linear, desc, err) : pack_parts(k, &t, err);
	json_array_append_new(k->tensors, desc);
	if (r < 0)
		return -1;
	k->p->tensors++;
	k->p->quantized += t.grid != SQ_DENSE;
	k->p->before += sq_tensor_count(&t) * sq_dtype_size(t.type);
	sq_profile_made_add(&k->made, &t, slot);
	return 0;
}

static int
pack_record(struct packer *k, char *err)
{
	switch (k->in->type) {
	case SQ_HEADER:
		return pack_header(k, err);
	case SQ_TENSOR:
		return pack_tensor(k, err);
	case SQ_PROVENANCE:
		json_array_append(k->provenance, k->in->desc);
		return 0;
	default:
		k->p->dropped++;
		return 0;
	}
}

static char *
kv_schema(const struct packer *k)
{
	const struct sq_profile *p = &k->profile;
	char *spec = sq_profile_kv_spec(p, 0), *text = NULL;
	struct sq_kv_policy policy;
	char err[SQ_ERR];
	json_t *o;

	sq_kv_policy_plain(&policy, p->kv.format == SQ_KV_FP16 ? SQ_F16 :
	    SQ_BF16);
	if (spec == NULL || sq_kv_policy_parse(&policy, spec, err) == 0) {
		o = sq_kv_schema(&k->inv.config, &policy);
		text = sq_json_pretty(o);
		json_decref(o);
	}
	free(spec);
	return text;
}

/* The name says what is inside, not where it was written. */
static char *
preset(const struct packer *k)
{
	const struct sq_config *c = &k->inv.config;
	const struct sq_profile *p = &k->profile;
	const char *id = p->id == NULL ? "" : p->id;
	char name[SQ_NAME];
	json_t *meta, *o;
	char *text;

	snprintf(name, sizeof(name), "%s-%s%s%.12s", c->arch->name, id,
	    id[0] == '\0' ? "" : "-", k->in->digest);
	meta = json_pack("{s:s,s:s,s:s,s:I,s:I,s:I}",
	    "architecture", c->arch->name, "model_digest", k->model,
	    "stream_digest", k->in->digest,
	    "weight_bytes_before", (json_int_t)k->p->before,
	    "weight_bytes", (json_int_t)k->p->after,
	    "max_sequence_length", (json_int_t)p->max_sequence_length);
	json_object_update_new(meta, json_pack(
	    "{s:s*,s:I,s:I,s:I,s:I,s:f,s:s}",
	    "quant_profile_id", id[0] == '\0' ? NULL : id,
	    "weight_bits", (json_int_t)p->weight_bits,
	    "activation_bits", (json_int_t)p->activation_bits,
	    "kv_bits_prefill", (json_int_t)p->kv_bits_prefill,
	    "kv_bits_decode", (json_int_t)p->kv_bits_decode,
	    "sparsity_ratio", p->sparsity_ratio,
	    "sparsity_pattern", sq_sparsity_names[p->sparsity_pattern]));
	o = json_pack("{s:s,s:i,s:s,s:[{s:s,s:s,s:s,s:o}]}",
	    "name", name, "version", 1,
	    "description", "made by sq", "engines",
	    "name", "sq", "model", ".", "kind", "llm", "metadata", meta);
	text = sq_json_pretty(o);
	json_decref(o);
	return text;
}

static char *
kernel_meta(const struct packer *k)
{
	json_t *o = json_pack("{s:s,s:{}}", "layout", "rows", "prepacked");
	char *text;

	if (k->masks.weights > 0)
		json_object_set_new(o, "sparsity", json_pack("{s:s,s:f}",
		    "pattern", sq_sparsity_names[sq_mask_pattern(&k->masks)],
		    "ratio", sq_mask_ratio(&k->masks)));
	if (k->p->stored > 0) {
		/* one layout for all levels of x86; a device spreads it */
		json_object_set_new(json_object_get(o, "sparsity"), "layouts",
		    json_pack("{s:O,s:s,s:s}", "x86", k->layouts, "cuda",
		    "rows", "ref", "x86"));
	}
	text = sq_json_pretty(o);
	json_decref(o);
	return text;
}

/* What the packer itself adds to the stream's provenance. */
static void
own_provenance(struct packer *k)
{
	json_array_append_new(k->provenance, json_pack("{s:s,s:s,s:{s:s},s:s}",
	    "tool", k->p->tool, "version", k->p->version,
	    "options", "format", "sqa", "input", k->in->digest));
}

static int
pack_rest(struct packer *k, char *err)
{
	if (sq_inventory_complete(&k->inv, err) < 0 ||
	    sq_pack_profile(k->p, &k->profile, &k->made, &k->masks,
	    k->provenance, k->inv.config.context, err) < 0)
		return -1;
	own_provenance(k);
	if (add_text(k, "tensors.json", sq_json_pretty(k->tensors), err) < 0 ||
	    add_text(k, "kernel_meta.json", kernel_meta(k), err) < 0 ||
	    add_text(k, "kv_schema.json", kv_schema(k), err) < 0 ||
	    add_text(k, "profile.yaml", sq_profile_text(&k->profile),
	    err) < 0 ||
	    add_text(k, "provenance.json", sq_json_pretty(k->provenance),
	    err) < 0 ||
	    add_text(k, "preset.json", preset(k), err) < 0)
		return -1;
	return sq_sqa_finish(k->out, err);
}

int
sq_pack_sqa(struct sq_pack *p, struct sq_in *in, int fd, char *err)
{
	struct packer k = { .p = p, .in = in };
	int r = -1, got;

	k.tensors = json_array();
	k.provenance = json_array();
	k.layouts = json_object();
	if ((k.piece = malloc(PIECE)) == NULL) {
		sq_fail(err, "out of memory");
		goto done;
	}
	if ((k.out = sq_sqa_create(fd, err)) == NULL)
		goto done;
	while ((got = sq_in_next(in)) > 0)
		if (pack_record(&k, err) < 0)
			goto done;
	if (got < 0) {
		sq_fail(err, "%s", in->err);
		goto done;
	}
	r = pack_rest(&k, err);
done:
	sq_sqa_out_free(k.out);
	sq_inventory_release(&k.inv);
	sq_profile_made_release(&k.made);
	sq_profile_release(&k.profile);
	json_decref(k.tensors);
	json_decref(k.provenance);
	json_decref(k.layouts);
	free(k.piece);
	return r;
}
