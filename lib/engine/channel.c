/* Connections; see channel.h. */
#include <stdio.h>
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "engine/channel.h"

#define TRIES		100		/* of PAUSE each */
#define PAUSE		100000000L	/* nanoseconds */

struct address {
	struct sockaddr_storage a;
	socklen_t len;
	int family;
};

static int
unix_address(const char *path, struct address *a, char *err)
{
	struct sockaddr_un *u = (struct sockaddr_un *)&a->a;

	if (*path == '\0' || strlen(path) >= sizeof(u->sun_path))
		return sq_fail(err, "'%s': not a path for a socket", path);
	memset(a, 0, sizeof(*a));
	u->sun_family = a->family = AF_UNIX;
	snprintf(u->sun_path, sizeof(u->sun_path), "%s", path);
	a->len = sizeof(*u);
	return 0;
}

static int
tcp_address(const char *name, struct address *a, char *err)
{
	struct addrinfo hint = { .ai_socktype = SOCK_STREAM }, *list;
	const char *port = strrchr(name, ':');
	char host[256];
	int r;

	if (port == NULL || (size_t)(port - name) >= sizeof(host))
		return sq_fail(err, "'tcp:%s': not tcp:HOST:PORT", name);
	memcpy(host, name, (size_t)(port - name));
	host[port - name] = '\0';
	r = getaddrinfo(*host == '\0' ? NULL : host, port + 1, &hint, &list);
	if (r != 0)
		return sq_fail(err, "'tcp:%s': %s", name, gai_strerror(r));
	memcpy(&a->a, list->ai_addr, list->ai_addrlen);
	a->len = list->ai_addrlen;
	a->family = list->ai_family;
	freeaddrinfo(list);
	return 0;
}

static int
find_address(const char *name, struct address *a, char *err)
{
	if (strncmp(name, "unix:", 5) == 0)
		return unix_address(name + 5, a, err);
	if (strncmp(name, "tcp:", 4) == 0)
		return tcp_address(name + 4, a, err);
	return sq_fail(err, "'%s': not unix:PATH or tcp:HOST:PORT", name);
}

static void
no_delay(int fd, const struct address *a)
{
	int on = 1;

	if (a->family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

int
sq_channel_listen(const char *name, char *err)
{
	struct address a;
	int fd, one = -1, on = 1;

	if (find_address(name, &a, err) < 0)
		return -1;
	if ((fd = socket(a.family, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0)
		return sq_fail_errno(err, "'%s'", name);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&a.a, a.len) < 0) {
		sq_fail_errno(err, "'%s'", name);
	} else {
		if (listen(fd, 1) == 0)
			one = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		if (one < 0)
			sq_fail_errno(err, "'%s'", name);
		else
			no_delay(one, &a);
		if (a.family == AF_UNIX)
			unlink(name + 5);
	}
	close(fd);
	return one;
}

int
sq_channel_connect(const char *name, char *err)
{
	const struct timespec pause = { .tv_nsec = PAUSE };
	struct address a;
	int fd, i;

	if (find_address(name, &a, err) < 0)
		return -1;
	for (i = 0; i < TRIES; i++) {
		fd = socket(a.family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0)
			break;
		if (connect(fd, (struct sockaddr *)&a.a, a.len) == 0) {
			no_delay(fd, &a);
			return fd;
		}
		close(fd);
		if (errno != ECONNREFUSED && errno != ENOENT)
			break;
		nanosleep(&pause, NULL);
	}
	return sq_fail_errno(err, "'%s'", name);
}

int
sq_channel_open(const char *connect, const char *listen, char *err)
{
	return connect != NULL ? sq_channel_connect(connect, err) :
	    sq_channel_listen(listen, err);
}
