/*
 * libpgconductor, for `pgconductor ctx` only: one call within a one-shot command, on a connection of its own. It is a
 * handler of a run that others, before and beside it, handle too. May wait: there is nothing else to do.
 */
#include "config.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/c/join.h"
#include "proto/c/private.h"

struct joined {
	pgc_task_fn	*fn;
	void		*arg;
	bool		 called;
	int		 verdict;
};

static int
call_once(struct pgc_run *run, void *arg)
{
	struct joined *j = arg;

	j->called = true;
	j->verdict = j->fn(run, j->arg);
	/* It is not for us to finish. */
	return PGC_LATER;
}

static int
connect_to(struct pgc *c, const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(sun.sun_path)) {
		pgc_lose(c, "%s: the path of a socket is not as long", path);
		return -1;
	}
	strcpy(sun.sun_path, path);
	if ((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) == -1 ||
	    connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == -1 || fcntl(fd, F_SETFL, O_NONBLOCK) == -1) {
		pgc_lose(c, "%s: %s", path, strerror(errno));
		if (fd != -1)
			close(fd);
		return -1;
	}
	return fd;
}

/* Waits for something to read, or to be written, and does that. */
static void
turn(struct pgc *c)
{
	struct pollfd p = { .fd = c->fd, .events = pgc_events(c) };

	pgc_flush(c);
	p.events = pgc_events(c);
	if (poll(&p, 1, -1) == -1 && errno != EINTR)
		pgc_lose(c, "poll: %s", strerror(errno));
	pgc_read(c);
}

/* It came, and was over before it could be begun. */
static bool
ended_before(const struct pgc *c)
{
	return c->serials != 0 && c->waiting.n == 0 && c->running.n == 0;
}

/* The worker closes the connection when it has read BYE; and after a suspend when the command has ended. */
static void
finish(struct pgc *c, bool over)
{
	static const struct msg_bye none;

	if (!over)
		msg_bye_encode(&c->out, 0, &none);
	while (!c->lost)
		turn(c);
}

int
pgc_join(struct pgc *c, const struct pgc_join *how, pgc_task_fn *fn, void *arg)
{
	struct joined j = { .fn = fn, .arg = arg };

	c->join = how;
	pgc_task(c, "", call_once, &j);
	if ((c->fd = connect_to(c, how->socket)) == -1)
		return -1;
	pgc_hello(c);
	while (!j.called && !c->lost && !ended_before(c)) {
		turn(c);
		run_start_waiting(c);
	}
	if (c->lost)
		return j.called && j.verdict == PGC_OVER ? PGC_OVER : -1;
	if (!j.called)
		j.verdict = PGC_OVER;
	finish(c, j.verdict == PGC_OVER);
	return j.verdict;
}

const char *
pgc_turn(struct pgc_run *r, char *buf, size_t size)
{
	snprintf(buf, size, "%s#%u", pgc_task_name(r), ++journal_of(r)->unnamed);
	return buf;
}

size_t
pgc_max_payload(const struct pgc_run *r)
{
	return r->c->max_payload;
}
