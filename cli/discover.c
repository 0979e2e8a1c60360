/*
 * Asking a program which tasks it has: plays the master to a worker of its own, for the length of one announcement.
 * The cli process only; blocking.
 */
#include "config.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/discover.h"
#include "common/conf.h"
#include "common/xmalloc.h"
#include "proto/declared.h"
#include "proto/messages.h"

#define WORKER_FD	3
#define PATIENCE_MS	30000
#define MAX_FRAME	(64u << 20)

struct discovery {
	const struct conf_handler	*handler;
	discover_task			 found;
	void				*arg;
	bool				 announced;
};

static pid_t
start_worker(int fd)
{
	pid_t parent = getpid(), child = fork();

	if (child == -1)
		cli_fail(EX_OSERR, "fork: %s", strerror(errno));
	if (child != 0)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_DFL);
	if (getppid() != parent || dup2(fd, WORKER_FD) == -1)
		_exit(EX_OSERR);
	close_range(WORKER_FD + 1, ~0U, 0);
	execl("/proc/self/exe", "pgconductor", "_worker", "", "warn", "text", (char *)NULL);
	_exit(EX_OSERR);
}

static struct msg_pair *
pairs_of(const struct conf_pairs *from)
{
	struct msg_pair *v = xcalloc(from->n + 1, sizeof(*v));

	for (size_t i = 0; i < from->n; i++) {
		v[i].key = pstr(from->v[i].name);
		v[i].value = pstr(from->v[i].value);
	}
	return v;
}

static void
send_setup(int fd, const struct conf *conf, const struct conf_handler *h)
{
	struct pstr *words = xcalloc(h->command.n + 1, sizeof(*words));
	struct conf_pairs env;
	struct msg_program program = {
		.name = pstr(h->name), .argv = words, .argv_n = h->command.n, .directory = pstr(h->directory), .processes = 1,
		.discover = true,
	};
	struct msg_setup setup = {
		.queue = pstr(""), .concurrency = 1, .max_payload = (uint64_t)conf->max_payload, .kill_grace_ms = 1000,
		.programs = &program, .programs_n = 1,
	};
	struct buf out;

	for (size_t i = 0; i < h->command.n; i++)
		words[i] = pstr(h->command.v[i]);
	conf_program_env(conf, NULL, h, &env);
	program.env = pairs_of(&env);
	program.env_n = env.n;
	buf_init(&out);
	msg_setup_encode(&out, 0, &setup);
	for (ssize_t n; out.len > 0; buf_drain(&out, (size_t)n))
		if ((n = send(fd, buf_ptr(&out), out.len, MSG_NOSIGNAL)) <= 0)
			cli_fail(EX_OSERR, "%s: the worker did not start", h->name);
	buf_free(&out);
	free(program.env);
	free(words);
	conf_pairs_free(&env);
}

static char *
copy(struct pstr s)
{
	return s.p != NULL ? xstrndup(s.p, s.len) : NULL;
}

static void
on_announce(struct discovery *d, struct msg *m)
{
	struct msg_announce a;
	const char *why;
	char *name, *queue, *options, *triggers;

	if (msg_announce_decode(m, &a, &why) == -1)
		cli_fail(EX_PROTOCOL, "%s: %s", d->handler->name, why);
	for (size_t i = 0; i < a.tasks_n; i++) {
		name = copy(a.tasks[i].name);
		queue = copy(a.tasks[i].queue);
		options = declared_options(&a.tasks[i]);
		triggers = copy(a.tasks[i].triggers);
		d->found(&(struct discovered){ name, queue, options, triggers }, d->arg);
		free(name);
		free(queue);
		free(options);
		free(triggers);
	}
	d->announced = true;
}

static void
on_broken(const struct discovery *d, struct msg *m)
{
	struct msg_broken b;
	const char *why;

	if (msg_broken_decode(m, &b, &why) == -1)
		cli_fail(EX_PROTOCOL, "%s: %s", d->handler->name, why);
	cli_fail(EX_UNAVAILABLE, "%s does not start: %.*s", d->handler->name, (int)b.reason.len, b.reason.p);
}

/* True when the worker has said all it has to say. */
static bool
on_frame(struct discovery *d, struct msg *m, const uint8_t *body, size_t len)
{
	const char *why;

	if (msg_open(m, body, len, &why) == -1)
		cli_fail(EX_PROTOCOL, "%s: %s", d->handler->name, why);
	if (m->type == MSG_ANNOUNCE)
		on_announce(d, m);
	else if (m->type == MSG_BROKEN)
		on_broken(d, m);
	return m->type == MSG_BYE || d->announced;
}

static void
read_more(struct buf *in, int fd, const struct discovery *d)
{
	struct pollfd p = { fd, POLLIN, 0 };
	ssize_t n;

	if (poll(&p, 1, PATIENCE_MS) <= 0)
		cli_fail(EX_UNAVAILABLE, "%s has not announced its tasks in time", d->handler->name);
	n = read(fd, buf_reserve(in, 65536), 65536);
	if (n <= 0)
		cli_fail(EX_UNAVAILABLE, "%s has ended without announcing its tasks", d->handler->name);
	buf_grew(in, (size_t)n);
}

static void
listen_to(struct discovery *d, int fd)
{
	struct buf in;
	struct msg m;
	size_t need;
	bool done = false;

	buf_init(&in);
	msg_init(&m);
	while (!done) {
		need = in.len >= MSG_HEAD ? msg_length(buf_ptr(&in)) : 0;
		if (need > MAX_FRAME)
			cli_fail(EX_PROTOCOL, "%s: a frame of %zu bytes", d->handler->name, need);
		if (in.len < MSG_HEAD || in.len < MSG_HEAD + need) {
			read_more(&in, fd, d);
			continue;
		}
		done = on_frame(d, &m, buf_ptr(&in) + MSG_HEAD, need);
		buf_drain(&in, MSG_HEAD + need);
	}
	msg_free(&m);
	buf_free(&in);
}

void
discover_tasks(const struct conf *conf, const struct conf_handler *handler, discover_task found, void *arg)
{
	struct discovery d = { .handler = handler, .found = found, .arg = arg };
	int fds[2];
	pid_t worker;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == -1)
		cli_fail(EX_OSERR, "socketpair: %s", strerror(errno));
	worker = start_worker(fds[1]);
	close(fds[1]);
	send_setup(fds[0], conf, handler);
	listen_to(&d, fds[0]);
	/* The worker ends when its master's side is closed. */
	close(fds[0]);
	while (waitpid(worker, NULL, 0) == -1 && errno == EINTR)
		continue;
}
