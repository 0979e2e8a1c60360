/*
 * The handler's process as docs/protocol.md says a worker starts one, for conform. The cli process only: a worker
 * starts its programs in a way of its own (worker/process.c), which serves many of them at once.
 */
#include "config.h"

#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/conform.h"
#include "common/xmalloc.h"

#define HANDLER_FD	3
#define STATUS_FD	4
#define SPARE_FD	10		/* what is made here is numbered from this: below is the program's */

static int
out_of_the_way(int fd)
{
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, SPARE_FD);

	if (fd == -1 || moved == -1)
		cli_fail(EX_OSERR, "descriptors: %s", strerror(errno));
	close(fd);
	return moved;
}

static void
make_pair(int fds[2], bool sockets)
{
	if ((sockets ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) : pipe2(fds, O_CLOEXEC)) == -1)
		cli_fail(EX_OSERR, "%s: %s", sockets ? "socketpair" : "pipe", strerror(errno));
	fds[0] = out_of_the_way(fds[0]);
	fds[1] = out_of_the_way(fds[1]);
}

static void __attribute__((noreturn))
give_up(void)
{
	int err = errno;

	if (write(STATUS_FD, &err, sizeof(err)) == -1)
		_exit(126);
	_exit(127);
}

/* In the child, after fork. */
static void __attribute__((noreturn))
become(int null, int output, int sock, int status, pid_t parent)
{
	sigset_t none;

	sigemptyset(&none);
	if (dup3(status, STATUS_FD, O_CLOEXEC) == -1)
		_exit(126);
	if (setpgid(0, 0) == -1 || dup2(null, 0) == -1 || dup2(output, 1) == -1 || dup2(output, 2) == -1 ||
	    dup2(sock, HANDLER_FD) == -1 || close_range(STATUS_FD + 1, ~0U, 0) == -1)
		give_up();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 || prctl(PR_SET_PDEATHSIG, SIGKILL) == -1)
		give_up();
	if (getppid() != parent)
		_exit(127);
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(cli_words[0], cli_words);
	give_up();
}

static void
set_environment(const char *queue)
{
	char fd[16];

	snprintf(fd, sizeof(fd), "%d", HANDLER_FD);
	setenv("PGCONDUCTOR_FD", fd, 1);
	setenv("PGCONDUCTOR_PROTO", "1", 1);
	if (queue != NULL)
		setenv("PGCONDUCTOR_QUEUE", queue, 1);
	else
		unsetenv("PGCONDUCTOR_QUEUE");
}

/* Waits until it was executed; what it writes to the pipe is why it was not. */
static void
await_exec(struct session *s, int status)
{
	char why[256];
	ssize_t n;
	int err;

	while ((n = read(status, &err, sizeof(err))) == -1 && errno == EINTR)
		continue;
	close(status);
	if (n <= 0)
		return;
	waitpid(s->pid, NULL, 0);
	s->pid = 0;
	snprintf(why, sizeof(why), "cannot execute %s: %s", cli_words[0], strerror(err));
	conform_broken(why);
}

void
process_start(struct session *s, const char *queue)
{
	int null = out_of_the_way(open("/dev/null", O_RDONLY | O_CLOEXEC)), output[2], sock[2], status[2];
	pid_t parent = getpid();

	/* What it leaves behind becomes ours to count, and to bury. */
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	make_pair(output, false);
	make_pair(status, false);
	make_pair(sock, true);
	set_environment(queue);
	s->pid = fork();
	if (s->pid == 0)
		become(null, output[1], sock[1], status[1], parent);
	if (s->pid == -1)
		cli_fail(EX_OSERR, "fork: %s", strerror(errno));
	close(null);
	close(output[1]);
	close(sock[1]);
	close(status[1]);
	s->output = output[0];
	s->fd = sock[0];
	fcntl(s->fd, F_SETFL, O_NONBLOCK);
	fcntl(s->output, F_SETFL, O_NONBLOCK);
	await_exec(s, status[0]);
	if ((s->pidfd = pidfd_open(s->pid, 0)) == -1)
		cli_fail(EX_OSERR, "pidfd_open: %s", strerror(errno));
}

void
process_look(struct session *s)
{
	if (s->pid != 0 && !s->exited && waitpid(s->pid, &s->status, WNOHANG) == s->pid)
		s->exited = true;
}

void
process_end(struct session *s)
{
	if (s->pid == 0)
		return;
	kill(-s->pid, SIGKILL);
	while (!s->exited && waitpid(s->pid, &s->status, 0) == -1 && errno == EINTR)
		continue;
	s->exited = true;
}

bool
process_left_some(const struct session *s)
{
	while (waitpid(-s->pid, NULL, WNOHANG) > 0)
		continue;
	return kill(-s->pid, 0) == 0;
}

const char *
process_fate(const struct session *s)
{
	static char text[96];

	if (!s->exited)
		return "it still runs";
	if (WIFSIGNALED(s->status))
		snprintf(text, sizeof(text), "it was killed by signal %d (%s)", WTERMSIG(s->status), strsignal(WTERMSIG(s->status)));
	else
		snprintf(text, sizeof(text), "it exited with status %d", WEXITSTATUS(s->status));
	return text;
}
