/* A profile as YAML, and the value of one key; see profile.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schema/profile_fields.h"

/* The shortest decimal that reads back as the same number. */
static void
put_real(FILE *f, double v)
{
	char text[32];
	int digits;

	for (digits = 1; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	fputs(text, f);
}

static void
put_quoted(FILE *f, const char *text)
{
	char *q = sq_yaml_quote(text == NULL ? "" : text);

	fputs(q == NULL ? "" : q, f);
	free(q);
}

int
sq_profile_rule_text(const struct sq_profile_rule *r, const char *key,
    char buf[32])
{
	int none = r->format == SQ_WF_NONE;

	if (strcmp(key, "format") == 0)
		return snprintf(buf, 32, "%s", sq_wformat_names[r->format]);
	if (strcmp(key, "bits") == 0)
		return none ? 0 : snprintf(buf, 32, "%d", r->bits);
	if (strcmp(key, "group_size") == 0 &&
	    sq_profile_free_group(r->format))
		return r->group_rows == 0 ? snprintf(buf, 32, "tensor") :
		    snprintf(buf, 32, "%ju", (uintmax_t)r->group_cols);
	if (strcmp(key, "symmetric") == 0 && r->format == SQ_WF_INT)
		return snprintf(buf, 32, "%s", r->symmetric ? "true" :
		    "false");
	if (strcmp(key, "scale") == 0 && !none && r->scale != SQ_SCALE_TOOL)
		return snprintf(buf, 32, "%s", sq_scale_names[r->scale]);
	return 0;
}

static void
put_value(FILE *out, const struct sq_profile *p, const struct sq_field *f)
{
	const void *at = sq_field_in(f, p);
	const int *word = at;
	char buf[32];
	int i;

	switch (f->type) {
	case SQ_FIELD_BITS:
	case SQ_FIELD_UINT:
		fprintf(out, "%ju", (uintmax_t)*(const uint64_t *)at);
		break;
	case SQ_FIELD_REAL:
		put_real(out, *(const double *)at);
		break;
	case SQ_FIELD_BOOL:
		fputs(*word ? "true" : "false", out);
		break;
	case SQ_FIELD_WORD:
		put_quoted(out, f->words[*word]);
		break;
	case SQ_FIELD_TEXT:
		put_quoted(out, *(char *const *)at);
		break;
	case SQ_FIELD_RULE:
		if (sq_profile_rule_text(&p->rule, f->name, buf) > 0)
			fputs(buf, out);
		break;
	case SQ_FIELD_ALGORITHM:
		fputc('[', out);
		for (i = 0; i < p->nalgorithms; i++)
			fprintf(out, "%s%s", i == 0 ? "" : ", ",
			    sq_algorithm_names[p->algorithm[i]]);
		fputc(']', out);
		break;
	default:
		break;
	}
}

static void
put_overrides(FILE *out, const struct sq_profile *p)
{
	static const char *const keys[] = { "format", "bits", "group_size",
	    "symmetric", "scale" };
	const struct sq_profile_override *o = p->override;
	char buf[32];
	size_t i, k;

	if (p->noverrides > 0)
		fputs("  overrides:\n", out);
	for (i = 0; i < p->noverrides; i++) {
		fputs("  - match: ", out);
		put_quoted(out, o[i].match);
		fputc('\n', out);
		for (k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
			if (sq_profile_rule_text(&o[i].rule, keys[k], buf))
				fprintf(out, "    %s: %s\n", keys[k], buf);
	}
}

/* What has no meaning without its like is left out. */
static int
is_idle(const struct sq_profile *p, const struct sq_field *f)
{
	if (strcmp(f->name, "activation") == 0)
		return p->activation_bits == 16;
	return strcmp(f->name, "kv") == 0 && p->kv_bits_prefill == 16 &&
	    p->kv_bits_decode == 16;
}

static void
put_fields(FILE *out, const struct sq_profile *p, const struct sq_field *f,
    const char *indent)
{
	char buf[32];

	for (; f->type != SQ_FIELD_END; f++) {
		if (f->type == SQ_FIELD_OVERRIDES) {
			put_overrides(out, p);
		} else if (f->type == SQ_FIELD_MAP) {
			if (is_idle(p, f))
				continue;
			fprintf(out, "%s%s:\n", indent, f->name);
			put_fields(out, p, f->sub, "    ");
		} else if (f->type != SQ_FIELD_RULE ||
		    sq_profile_rule_text(&p->rule, f->name, buf) > 0) {
			fprintf(out, "%s%s: ", indent, f->name);
			put_value(out, p, f);
			fputc('\n', out);
		}
	}
}

char *
sq_profile_text(const struct sq_profile *p)
{
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	if (out == NULL)
		return NULL;
	put_fields(out, p, sq_spec_fields, "");
	fputs("extensions:\n", out);
	put_fields(out, p, sq_extension_fields, "  ");
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

char *
sq_profile_kv_spec(const struct sq_profile *p, int prefill)
{
	const struct sq_profile_kv *kv = &p->kv;
	int format = prefill ? kv->prefill_format : kv->format;
	char *text;

	if (format == SQ_KV_FP16 || format == SQ_KV_BF16 || asprintf(&text,
	    "%s,sink=%ju,window=%ju,%shadamard", sq_kv_format_names[format],
	    (uintmax_t)kv->sink, (uintmax_t)kv->window,
	    kv->hadamard ? "" : "no-") < 0)
		return NULL;
	return text;
}

/* Lists of words without brackets, texts without quotes: for shells. */
static void
put_plain(FILE *out, const struct sq_profile *p, const struct sq_field *f)
{
	const char *text;
	int i;

	if (f->type == SQ_FIELD_TEXT) {
		text = *(char *const *)sq_field_in(f, p);
		fputs(text == NULL ? "" : text, out);
	} else if (f->type == SQ_FIELD_WORD) {
		fputs(f->words[*(const int *)sq_field_in(f, p)], out);
	} else if (f->type == SQ_FIELD_ALGORITHM) {
		for (i = 0; i < p->nalgorithms; i++)
			fprintf(out, "%s%s", i == 0 ? "" : " ",
			    sq_algorithm_names[p->algorithm[i]]);
	} else {
		put_value(out, p, f);
	}
}

char *
sq_profile_value(const struct sq_profile *p, const char *key)
{
	const struct sq_field *f;
	const char *dot;
	char *text = NULL;
	size_t n;
	FILE *out;

	if (strncmp(key, "extensions.", 11) == 0)
		key += 11;
	if ((f = sq_field_find(sq_spec_fields, key, strlen(key))) == NULL)
		f = sq_field_find(sq_extension_fields, key,
		    strcspn(key, "."));
	dot = strchr(key, '.');
	if (f != NULL && f->type == SQ_FIELD_MAP && dot != NULL)
		f = sq_field_find(f->sub, dot + 1, strlen(dot + 1));
	else if (dot != NULL)
		f = NULL;
	if (f == NULL || f->type == SQ_FIELD_MAP ||
	    f->type == SQ_FIELD_OVERRIDES ||
	    (out = open_memstream(&text, &n)) == NULL)
		return NULL;
	put_plain(out, p, f);
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
