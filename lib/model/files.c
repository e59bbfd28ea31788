/* A model's small files; see files.h. */
#include "formats/fmt_json.h"
#include "model/files.h"

struct sq_tokenizer *
sq_files_tokenizer(const struct sq_files *f, char *err)
{
	struct sq_tokenizer *t;
	const unsigned char *json;
	char why[SQ_ERR];
	size_t size;

	if ((json = sq_files_find(f, "tokenizer.json", &size)) == NULL) {
		sq_fail(err, "the model has no tokenizer.json");
		return NULL;
	}
	if ((t = sq_tokenizer_new(json, size, why)) == NULL)
		sq_fail(err, "tokenizer.json: %s", why);
	return t;
}

static size_t
add(uint32_t eos[SQ_MAX_EOS], size_t n, const json_t *v)
{
	size_t i;

	if (!json_is_integer(v) || json_integer_value(v) < 0 ||
	    json_integer_value(v) > UINT32_MAX || n == SQ_MAX_EOS)
		return n;
	for (i = 0; i < n; i++)
		if (eos[i] == (uint32_t)json_integer_value(v))
			return n;
	eos[n] = (uint32_t)json_integer_value(v);
	return n + 1;
}

size_t
sq_files_eos(const struct sq_files *f, const struct sq_config *c,
    uint32_t eos[SQ_MAX_EOS])
{
	const unsigned char *text;
	char err[SQ_ERR];
	const json_t *v;
	json_t *o = NULL;
	size_t i, n = 0, size;

	if (c->eos >= 0)
		eos[n++] = (uint32_t)c->eos;
	text = sq_files_find(f, "generation_config.json", &size);
	if (text != NULL)
		o = sq_json_object((const char *)text, size, err);
	v = json_object_get(o, "eos_token_id");
	n = add(eos, n, v);
	for (i = 0; i < json_array_size(v); i++)
		n = add(eos, n, json_array_get(v, i));
	json_decref(o);
	return n;
}
