/*
 * Requests to an HTTP endpoint, through libcurl; see load_http.h.  It is loaded
 * when it is needed, so that a tool starts where it is missing.
 */
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "eval/load_http.h"
#include "formats/fmt_json.h"

#define MAX_LINE	((size_t)16 << 20)	/* of an answer */
#define CONNECTIONS	4096L

#define FUNCTIONS(F)							\
	F(easy_init) F(easy_setopt) F(easy_perform) F(easy_getinfo)	\
	F(easy_cleanup) F(easy_strerror) F(multi_init) F(multi_setopt)	\
	F(multi_add_handle) F(multi_remove_handle) F(multi_perform)	\
	F(multi_info_read) F(multi_poll) F(multi_cleanup)		\
	F(multi_strerror) F(slist_append) F(slist_free_all) F(global_init)

#define F(name)	__typeof__(curl_##name) *name;
static struct {
	FUNCTIONS(F)
} curl;
#undef F

static const char *missing;		/* what was not found, or NULL */

static void
find_curl(void)
{
	void *so = dlopen("libcurl.so.4", RTLD_NOW);

	if (so == NULL) {
		missing = "libcurl.so.4";
		return;
	}
#define F(name)								\
	*(void **)&curl.name = dlsym(so, "curl_" #name);		\
	if (curl.name == NULL)						\
		missing = "curl_" #name;
	FUNCTIONS(F)
#undef F
	if (missing == NULL && curl.global_init(CURL_GLOBAL_DEFAULT) != 0)
		missing = "a libcurl that starts";
}

static int
load_curl(char *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, find_curl);
	return missing == NULL ? 0 : sq_fail(err, "an endpoint needs %s",
	    missing);
}

/* One request: what has come of its answer, up to the end of a line. */
struct talk {
	struct sq_load *load;
	size_t i;
	CURL *curl;
	char *body;			/* what is sent */
	char *line;
	size_t n, cap;
	size_t made;			/* what the server says, or 0 */
	int done;			/* it said that it has finished */
	char why[SQ_ERR];
};

int
sq_is_url(const char *s)
{
	return strncmp(s, "http://", 7) == 0 || strncmp(s, "https://", 8) == 0;
}

/* ---- what is received ---- */

static const char *
text_of(const json_t *choice)
{
	const char *s = json_string_value(json_object_get(choice, "text"));
	const json_t *delta = json_object_get(choice, "delta");

	if (s == NULL)
		s = json_string_value(json_object_get(delta, "content"));
	if (s == NULL || *s == '\0')	/* thoughts are tokens too */
		s = json_string_value(json_object_get(delta,
		    "reasoning_content"));
	return s;
}

/* One event of the stream. */
static void
event(struct talk *t, const char *data, size_t len)
{
	struct sq_load_request *q = &t->load->request[t->i];
	char err[SQ_ERR];
	json_t *j, *choice, *usage, *bad;
	const char *s;

	if (len >= 6 && strncmp(data, "[DONE]", 6) == 0) {
		t->done = 1;
		return;
	}
	if ((j = sq_json_object(data, len, err)) == NULL) {
		sq_fail(t->why, "the stream is not JSON: %s", err);
		return;
	}
	if ((bad = json_object_get(j, "error")) != NULL) {
		s = json_string_value(json_object_get(bad, "message"));
		sq_fail(t->why, "%s", s != NULL ? s : "an error in the stream");
	}
	choice = json_array_get(json_object_get(j, "choices"), 0);
	if ((s = text_of(choice)) != NULL && *s != '\0')
		sq_load_tokens(t->load, t->i, 1);
	if (json_is_string(json_object_get(choice, "finish_reason")))
		t->done = 1;
	usage = json_object_get(j, "usage");
	if (json_is_integer(json_object_get(usage, "prompt_tokens")))
		q->in = (size_t)json_integer_value(json_object_get(usage,
		    "prompt_tokens"));
	if (json_is_integer(json_object_get(usage, "completion_tokens")))
		t->made = (size_t)json_integer_value(json_object_get(usage,
		    "completion_tokens"));
	json_decref(j);
}

static void
take_line(struct talk *t, const char *line, size_t len)
{
	while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == '\n'))
		len--;
	if (len < 5 || strncmp(line, "data:", 5) != 0)
		return;
	for (line += 5, len -= 5; len > 0 && *line == ' '; len--)
		line++;
	event(t, line, len);
}

static size_t
received(char *p, size_t size, size_t n, void *arg)
{
	struct talk *t = arg;
	size_t cap = t->cap, start, i;
	char *q;

	n *= size;
	if (t->n + n > MAX_LINE)
		return 0;
	if (t->n + n > cap) {
		for (cap = cap == 0 ? 4096 : cap; cap < t->n + n; cap *= 2)
			;
		if ((q = realloc(t->line, cap)) == NULL)
			return 0;
		t->line = q;
		t->cap = cap;
	}
	memcpy(t->line + t->n, p, n);
	t->n += n;
	for (start = i = 0; i < t->n; i++)
		if (t->line[i] == '\n') {
			take_line(t, t->line + start, i - start);
			start = i + 1;
		}
	t->n -= start;
	memmove(t->line, t->line + start, t->n);
	return n;
}

/* ---- what is sent ---- */

static json_t *
messages(const struct sq_load_request *q)
{
	return json_pack("[{s:s, s:s}]", "role", "user", "content", q->text);
}

static json_t *
prompt(const struct sq_load_request *q)
{
	json_t *a;
	size_t i;

	if (q->ids == NULL)
		return json_string(q->text);
	a = json_array();
	for (i = 0; i < q->prompt; i++)
		json_array_append_new(a, json_integer(q->ids[i]));
	return a;
}

static char *
body(const struct sq_load_http *h, const struct sq_load_request *q)
{
	json_t *j = json_pack("{s:s, s:i, s:i, s:b, s:b, s:{s:b}}", "model",
	    h->model, "max_tokens", (int)q->generate, "temperature", 0,
	    "stream", 1, "ignore_eos", 1, "stream_options", "include_usage",
	    1);
	char *text;

	if (j == NULL)
		return NULL;
	json_object_set_new(j, h->chat ? "messages" : "prompt", h->chat ?
	    messages(q) : prompt(q));
	text = sq_json_text(j);
	json_decref(j);
	return text;
}

/* A handle with what all requests share. */
static CURL *
handle(const struct sq_load_http *h, const char *url, struct talk *t)
{
	CURL *c = curl.easy_init();

	if (c == NULL)
		return NULL;
	curl.easy_setopt(c, CURLOPT_URL, url);
	curl.easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl.easy_setopt(c, CURLOPT_TCP_NODELAY, 1L);
	curl.easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)(1e3 * h->how.timeout));
	curl.easy_setopt(c, CURLOPT_HTTPHEADER, h->headers);
	curl.easy_setopt(c, CURLOPT_WRITEFUNCTION, received);
	curl.easy_setopt(c, CURLOPT_WRITEDATA, t);
	curl.easy_setopt(c, CURLOPT_PRIVATE, t);
	return c;
}

static int
send_request(void *arg, struct sq_load *l, size_t i, char *err)
{
	struct sq_load_http *h = arg;
	struct talk *t = &h->talk[i];

	t->load = l;
	t->i = i;
	t->body = body(h, &l->request[i]);
	t->curl = handle(h, h->url, t);
	if (t->body == NULL || t->curl == NULL)
		return sq_fail(err, "out of memory");
	curl.easy_setopt(t->curl, CURLOPT_POSTFIELDS, t->body);
	curl.multi_add_handle(h->multi, t->curl);
	return 0;
}

static void
hang_up(struct sq_load_http *h, struct talk *t)
{
	if (t->curl != NULL) {
		curl.multi_remove_handle(h->multi, t->curl);
		curl.easy_cleanup(t->curl);
	}
	free(t->body);
	free(t->line);
	t->curl = NULL;
	t->body = t->line = NULL;
}

static void
finish(struct sq_load_http *h, struct talk *t, CURLcode code)
{
	struct sq_load_request *q = &t->load->request[t->i];
	long status = 0;

	curl.easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
	if (code != CURLE_OK)
		sq_fail(t->why, "%s", curl.easy_strerror(code));
	else if (status != 200)
		sq_fail(t->why, "HTTP status %ld: %.*s", status, t->n > 120 ?
		    120 : (int)t->n, t->n == 0 ? "" : t->line);
	else if (t->why[0] == '\0' && !t->done)
		sq_fail(t->why, "the stream ended early");
	/* a part may hold several tokens: the server has counted */
	if (t->made > 0 && q->out > 0)
		q->out = t->made;
	sq_load_ended(t->load, t->i, t->why[0] == '\0' ? NULL : t->why);
	hang_up(h, t);
}

static int
await(void *arg, struct sq_load *l, double seconds, char *err)
{
	struct sq_load_http *h = arg;
	struct talk *t;
	CURLMsg *m;
	CURLMcode r;
	int running, left;

	(void)l;
	if ((r = curl.multi_perform(h->multi, &running)) == CURLM_OK &&
	    (m = curl.multi_info_read(h->multi, &left)) == NULL)
		r = curl.multi_poll(h->multi, NULL, 0, (int)(1e3 * seconds) +
		    1, NULL);
	else
		for (; r == CURLM_OK && m != NULL;
		    m = curl.multi_info_read(h->multi, &left))
			if (m->msg == CURLMSG_DONE) {
				curl.easy_getinfo(m->easy_handle,
				    CURLINFO_PRIVATE, (char **)&t);
				finish(h, t, m->data.result);
			}
	return r == CURLM_OK ? 0 : sq_fail(err, "%s", curl.multi_strerror(r));
}

/* ---- before and after ---- */

static size_t
kept(char *p, size_t size, size_t n, void *arg)
{
	struct talk *t = arg;
	char *q = t->n + n * size > MAX_LINE ? NULL :
	    realloc(t->line, t->n + n * size + 1);

	if (q == NULL)
		return 0;
	t->line = q;
	memcpy(q + t->n, p, n * size);
	t->n += n * size;
	return n * size;
}

/* The first model of GET .../models; base: the URL up to there. */
static int
ask_model(struct sq_load_http *h, const char *base, char *err)
{
	struct talk t = { 0 };
	const char *id = NULL;
	json_t *j = NULL;
	CURLcode code;
	long status = 0;
	CURL *c = NULL;
	char *url;

	if (asprintf(&url, "%s/models", base) < 0)
		return sq_fail(err, "out of memory");
	if ((c = handle(h, url, &t)) == NULL) {
		free(url);
		return sq_fail(err, "out of memory");
	}
	curl.easy_setopt(c, CURLOPT_WRITEFUNCTION, kept);
	code = curl.easy_perform(c);
	curl.easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
	if (code == CURLE_OK && status == 200 &&
	    (j = sq_json_object(t.line, t.n, err)) != NULL)
		id = json_string_value(json_object_get(json_array_get(
		    json_object_get(j, "data"), 0), "id"));
	if (code != CURLE_OK)
		sq_fail(err, "'%s': %s", url, curl.easy_strerror(code));
	else if (id == NULL)
		sq_fail(err, "'%s': status %ld, and no list of models", url,
		    status);
	else if ((h->model = strdup(id)) == NULL)
		sq_fail(err, "out of memory");
	json_decref(j);
	curl.easy_cleanup(c);
	free(t.line);
	free(url);
	return h->model == NULL ? -1 : 0;
}

static int
ends(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && strcmp(s + n - m, end) == 0;
}

/* Where to send to, and where the list of models is. */
static int
address(struct sq_load_http *h, char **base, char *err)
{
	static const char chat[] = "/chat/completions", plain[] =
	    "/completions";
	size_t n;

	if ((*base = strdup(h->how.url)) == NULL)
		return sq_fail(err, "out of memory");
	h->chat = ends(*base, chat);
	for (n = strlen(*base); n > 0 && (*base)[n - 1] == '/'; n--)
		(*base)[n - 1] = '\0';
	if (h->chat || ends(*base, plain))
		(*base)[n - strlen(h->chat ? chat : plain)] = '\0';
	if (asprintf(&h->url, "%s%s", *base, h->chat ? chat : plain) < 0) {
		h->url = NULL;
		return sq_fail(err, "out of memory");
	}
	return 0;
}

int
sq_load_http_open(struct sq_load_http *h, const struct sq_http_how *how,
    struct sq_load *l, char *err)
{
	char *base = NULL;
	size_t i;
	int r;

	memset(h, 0, sizeof(*h));
	h->how = *how;
	h->n = l->n;
	h->server = (struct sq_load_server){ send_request, await, h };
	if (load_curl(err) < 0)
		return -1;
	h->headers = curl.slist_append(NULL, "Content-Type: application/json");
	for (i = 0; i < how->nheaders; i++)
		h->headers = curl.slist_append(h->headers, how->header[i]);
	h->talk = calloc(l->n, sizeof(*h->talk));
	if ((h->multi = curl.multi_init()) == NULL || h->talk == NULL ||
	    h->headers == NULL)
		return sq_fail(err, "out of memory");
	curl.multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS);
	if ((r = address(h, &base, err)) == 0) {
		if (how->model == NULL)
			r = ask_model(h, base, err);
		else if ((h->model = strdup(how->model)) == NULL)
			r = sq_fail(err, "out of memory");
	}
	for (i = 0; r == 0 && h->chat && i < l->n; i++)
		if (l->request[i].ids != NULL)
			r = sq_fail(err, "a chat takes text, not tokens");
	free(base);
	return r;
}

void
sq_load_http_close(struct sq_load_http *h)
{
	size_t i;

	for (i = 0; h->talk != NULL && i < h->n; i++)
		hang_up(h, &h->talk[i]);
	if (missing == NULL) {
		curl.multi_cleanup(h->multi);
		curl.slist_free_all(h->headers);
	}
	free(h->talk);
	free(h->url);
	free(h->model);
	memset(h, 0, sizeof(*h));
}
