/*
 * The socket for calls within commands: where it is, and who comes. Worker.
 *
 * It is in a directory of its own, open to nobody else, directly in /tmp: the path of a socket may be no longer than 107
 * bytes, which TMPDIR need not leave room for. A worker that was killed cannot remove it; the next one of this user does.
 */
#include "config.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "worker/internal.h"

#define BASE		"/tmp"
#define PREFIX		"pgconductor-"
#define NAME		"ctx"
#define NEW_NAME	"new"		/* not yet listening */
#define BACKLOG		512
#define ACCEPTS		32		/* at once: the rest in the next pass */
#define PAUSE_MS	100		/* when there are no descriptors left */
#define MAKING_S	60		/* a directory without a socket is not older than that */

/* What others have left */

static struct sockaddr_un
address(const char *directory, const char *name)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%.80s/%s", directory, name);
	return sun;
}

/* Nobody listens there, and nobody is about to. */
static bool
is_dead(const char *directory, const struct stat *st)
{
	struct sockaddr_un sun = address(directory, NAME);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc, err;

	if (fd == -1)
		return false;
	rc = connect(fd, (struct sockaddr *)&sun, sizeof(sun));
	err = errno;
	close(fd);
	if (rc == 0)
		return false;
	return err == ECONNREFUSED || (err == ENOENT && time(NULL) - st->st_mtime > MAKING_S);
}

static void
remove_directory(const char *directory)
{
	unlink(address(directory, NAME).sun_path);
	unlink(address(directory, NEW_NAME).sun_path);
	if (rmdir(directory) == -1)
		log_warn("removing %s", directory);
}

static void
sweep(void)
{
	DIR *dir = opendir(BASE);
	struct dirent *d;
	struct stat st;
	char *path;

	if (dir == NULL)
		return;
	while ((d = readdir(dir)) != NULL) {
		if (strncmp(d->d_name, PREFIX, strlen(PREFIX)) != 0 || strlen(d->d_name) != strlen(PREFIX "XXXXXX"))
			continue;
		path = xasprintf(BASE "/%s", d->d_name);
		if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() && is_dead(path, &st)) {
			log_debug("removing %s, which a worker has left", path);
			remove_directory(path);
		}
		free(path);
	}
	closedir(dir);
}

/* Who comes */

static void
on_pause(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;

	(void)fd;
	(void)what;
	event_add(&w->listener.ev, NULL);
}

static void
on_accept(evutil_socket_t listening, short what, void *arg)
{
	struct worker *w = arg;
	struct timeval tv = worker_tv(PAUSE_MS);
	int fd;

	(void)what;
	for (int i = 0; i < ACCEPTS; i++) {
		fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd != -1) {
			caller_new(w, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			event_del(&w->listener.ev);
			event_add(&w->listener.pause, &tv);
		}
		return;
	}
}

/* Beginning and end */

/* It has its name only once somebody listens there: one that refuses is dead. */
static int
open_socket(const char *directory)
{
	struct sockaddr_un sun = address(directory, NEW_NAME);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd == -1)
		return -1;
	if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) == -1 || listen(fd, BACKLOG) == -1 ||
	    rename(sun.sun_path, address(directory, NAME).sun_path) == -1) {
		close(fd);
		return -1;
	}
	return fd;
}

void
listen_open(struct worker *w)
{
	struct listener *l = &w->listener;
	char path[] = BASE "/" PREFIX "XXXXXX";

	if (l->tried)
		return;
	l->tried = true;
	sweep();
	if (mkdtemp(path) == NULL) {
		log_warn("%s: commands cannot use `pgconductor ctx`", path);
		return;
	}
	if ((l->fd = open_socket(path)) == -1) {
		log_warn("a socket in %s: commands cannot use `pgconductor ctx`", path);
		remove_directory(path);
		return;
	}
	l->directory = xstrdup(path);
	l->env = xasprintf("PGCONDUCTOR_SOCKET=%s/" NAME, path);
	TAILQ_INIT(&l->strangers);
	event_assign(&l->ev, w->base, l->fd, EV_READ | EV_PERSIST, on_accept, w);
	evtimer_assign(&l->pause, w->base, on_pause, w);
	event_add(&l->ev, NULL);
}

void
listen_close(struct worker *w)
{
	struct listener *l = &w->listener;

	if (l->fd == -1)
		return;
	while (!TAILQ_EMPTY(&l->strangers))
		caller_free(TAILQ_FIRST(&l->strangers));
	event_del(&l->ev);
	event_del(&l->pause);
	close(l->fd);
	l->fd = -1;
	remove_directory(l->directory);
	free(l->directory);
	free(l->env);
	l->directory = l->env = NULL;
}
