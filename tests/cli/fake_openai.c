/*
 * An endpoint that says what the test wants: fake_openai GAP TOKENS prints its
 * port, and answers each POST with TOKENS events, GAP ms apart; a prompt with
 *	FAIL	gets status 500
 *	CUT	a stream that ends early
 *	PAIR	half as many events, with two tokens in each
 */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNKED	"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"	\
	"Connection: close\r\n\r\n"

static void
say(int s, const char *text)
{
	if (write(s, text, strlen(text)) < 0)
		exit(1);
}

/* The request, up to the length that its header tells. */
static char *
hear(int s)
{
	static char buf[1 << 20];
	size_t n = 0, want = 0;
	char *body = NULL, *len;
	ssize_t r;

	while (body == NULL || n < want) {
		if ((r = read(s, buf + n, sizeof(buf) - 1 - n)) <= 0)
			exit(0);
		n += (size_t)r;
		buf[n] = '\0';
		if (body == NULL && (body = strstr(buf, "\r\n\r\n")) != NULL) {
			len = strcasestr(buf, "Content-Length:");
			want = (size_t)(body + 4 - buf) + (len == NULL ? 0 :
			    strtoul(len + 15, NULL, 10));
		}
	}
	return buf;
}

static void
stream(int s, const char *request, long gap, long tokens)
{
	struct timespec t = { gap / 1000, gap % 1000 * 1000000 };
	long pair = strstr(request, "PAIR") != NULL ? 2 : 1, i;
	int chat = strstr(request, "/chat/completions") != NULL;
	char text[256];

	say(s, CHUNKED);
	for (i = 0; i < tokens; i += pair) {
		nanosleep(&t, NULL);
		say(s, chat ? "data: {\"choices\":[{\"delta\":{\"content\":"
		    "\" a\"},\"finish_reason\":null}]}\n\n" :
		    "data: {\"choices\":[{\"text\":\" a\","
		    "\"finish_reason\":null}]}\n\n");
	}
	if (strstr(request, "CUT") != NULL)
		return;
	snprintf(text, sizeof(text), "data: {\"choices\":[],\"usage\":{"
	    "\"prompt_tokens\":7,\"completion_tokens\":%ld}}\n\n", tokens);
	say(s, text);
	say(s, "data: [DONE]\n\n");
}

static void
answer(int s, long gap, long tokens)
{
	const char *q = hear(s);

	if (strncmp(q, "GET /v1/models ", 15) == 0)
		say(s, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
		    "{\"data\":[{\"id\":\"fake\"}]}");
	else if (strstr(q, "FAIL") != NULL)
		say(s, "HTTP/1.1 500 No\r\nConnection: close\r\n\r\nsorry");
	else if (strncmp(q, "POST /v1/completions ", 21) == 0 ||
	    strncmp(q, "POST /v1/chat/completions ", 26) == 0)
		stream(s, q, gap, tokens);
	else
		say(s, "HTTP/1.1 404 No\r\nConnection: close\r\n\r\n");
	exit(0);
}

int
main(int argc, char *argv[])
{
	struct sockaddr_in a = { .sin_family = AF_INET,
	    .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM, 0), s;

	if (argc != 3 || bind(l, (struct sockaddr *)&a, len) < 0 ||
	    listen(l, 64) < 0 ||
	    getsockname(l, (struct sockaddr *)&a, &len) < 0)
		return 1;
	printf("%d\n", ntohs(a.sin_port));
	fflush(stdout);
	signal(SIGCHLD, SIG_IGN);
	while ((s = accept(l, NULL, NULL)) >= 0) {
		if (fork() == 0)
			answer(s, atol(argv[1]), atol(argv[2]));
		close(s);
	}
	return 1;
}
