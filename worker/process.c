/*
 * Starting a program. Worker.
 *
 * The child is made by vfork: it borrows our memory until it executes, so nothing is copied, and why it could not
 * execute is known when vfork returns, without a pipe. Between the two it makes system calls only: it may not
 * allocate, and what it writes into memory stays written. That is safe because the worker has no signal handlers
 * (signals come through a signalfd, and are blocked) and one thread.
 */
#include "config.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <errno.h>
#include <grp.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "worker/internal.h"

static struct limit inherited = { .resource = -1 };	/* of descriptors; -1: was not changed */

struct launch {
	const struct program	*program;
	char *const		*envp;
	const int		*fds;
	int			 fds_n;
	pid_t			 parent;
	sigset_t		 no_signals;
	/* written by the child */
	volatile int		 err;
	const char *volatile	 what;
};

void
process_init(void)
{
	struct rlimit mine;

	if (getrlimit(RLIMIT_NOFILE, &inherited.value) == -1)
		return;
	mine = inherited.value;
	mine.rlim_cur = mine.rlim_max;
	/* Each command has two pipes here. Programs keep the old limit: some go by select(2). */
	if (mine.rlim_cur != inherited.value.rlim_cur && setrlimit(RLIMIT_NOFILE, &mine) == 0)
		inherited.resource = RLIMIT_NOFILE;
}

static void __attribute__((noreturn))
give_up(struct launch *l, const char *what)
{
	l->err = errno != 0 ? errno : EIO;
	l->what = what;
	_exit(127);
}

/* Raw calls: the library's would tell other threads, of which there are none. */
static void
become_user(struct launch *l, const struct program *p)
{
	if (syscall(SYS_setgroups, p->groups_n, p->groups) == -1)
		give_up(l, "setgroups");
	if (syscall(SYS_setresgid, p->gid, p->gid, p->gid) == -1)
		give_up(l, "setgid");
	if (syscall(SYS_setresuid, p->uid, p->uid, p->uid) == -1)
		give_up(l, "setuid");
}

static void
place_descriptors(struct launch *l)
{
	for (int i = 0; i < l->fds_n; i++)
		if (dup2(l->fds[i], i) == -1)
			give_up(l, "dup2");
	if (close_range((unsigned)l->fds_n, ~0u, 0) == -1)
		give_up(l, "close_range");
}

static void __attribute__((noreturn))
execute(struct launch *l)
{
	const struct program *p = l->program;
	int worst = ENOENT;

	for (char **path = p->paths; *path != NULL; path++) {
		execve(*path, p->argv, l->envp);
		if (errno == ENOEXEC) {
			char *saved = p->shell_argv[1];

			p->shell_argv[1] = *path;
			execve(p->shell_argv[0], p->shell_argv, l->envp);
			p->shell_argv[1] = saved;
		}
		/* What was found and may not be executed says more than that it is not in the next directory. */
		if (errno != ENOENT && errno != ENOTDIR)
			worst = errno;
	}
	errno = worst;
	give_up(l, NULL);
}

static void __attribute__((noreturn, noinline))
run_child(struct launch *l)
{
	const struct program *p = l->program;

	if (setpgid(0, 0) == -1)
		give_up(l, "setpgid");
	place_descriptors(l);
	if (inherited.resource != -1 && setrlimit(inherited.resource, &inherited.value) == -1)
		give_up(l, "setrlimit");
	for (size_t i = 0; i < p->limits_n; i++)
		if (setrlimit(p->limits[i].resource, &p->limits[i].value) == -1)
			give_up(l, "setrlimit");
	if (p->switch_user)
		become_user(l, p);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
		give_up(l, "no_new_privs");
	/* After the change of user, which clears it. If the worker died before, nobody would tell us. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) == -1)
		give_up(l, "pdeathsig");
	if (getppid() != l->parent)
		_exit(127);
	if (p->directory != NULL && chdir(p->directory) == -1)
		give_up(l, "chdir");
	sigprocmask(SIG_SETMASK, &l->no_signals, NULL);
	execute(l);
}

pid_t
process_spawn(const struct program *program, char *const *envp, const int *fds, int fds_n, struct spawn_error *error)
{
	struct launch l = {
		.program = program, .envp = envp, .fds = fds, .fds_n = fds_n, .parent = getpid(),
	};
	pid_t pid;

	sigemptyset(&l.no_signals);
	pid = vfork();
	if (pid == 0)
		run_child(&l);
	if (pid == -1) {
		error->err = errno;
		error->what = "fork";
		return -1;
	}
	if (l.err != 0) {
		while (waitpid(pid, NULL, 0) == -1 && errno == EINTR)
			;
		error->err = l.err;
		error->what = l.what;
		return -1;
	}
	return pid;
}

void
process_kill(pid_t pid, int sig)
{
	if (kill(-pid, sig) == -1 && errno != ESRCH)
		log_warn("kill of process group %d with signal %d", (int)pid, sig);
}

void
process_status(int status, char *text, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(text, size, "was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(text, size, "exited with status %d", WEXITSTATUS(status));
}

void
process_spawn_text(const struct program *p, const struct spawn_error *e, char *text, size_t size)
{
	if (p->error != NULL)
		snprintf(text, size, "%s", p->error);
	else if (e->what == NULL)
		snprintf(text, size, "cannot execute %s: %s", p->argv[0], strerror(e->err));
	else if (strcmp(e->what, "chdir") == 0)
		snprintf(text, size, "cannot change to directory %s: %s", p->directory, strerror(e->err));
	else
		snprintf(text, size, "cannot start %s: %s: %s", p->argv[0], e->what, strerror(e->err));
}
