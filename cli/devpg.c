/*
 * The private PostgreSQL of `pgconductor dev`: its programs, and the keeper, a process of its own that starts it and
 * shuts it down when the dev server has ended. The keeper does nothing else.
 */
#include "config.h"

#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/devdb.h"
#include "common/xmalloc.h"

#define VERSIONS	"/usr/lib/postgresql"
#define STOP_MS		10000
#define READY_MS	120000
#define LEFTOVER_MS	30000

extern char **environ;

static void
pause_ms(long ms)
{
	const struct timespec t = { ms / 1000, ms % 1000 * 1000 * 1000 };

	nanosleep(&t, NULL);
}

static bool
has_initdb(const char *dir)
{
	char *path = xasprintf("%s/initdb", dir);
	bool has = access(path, X_OK) == 0;

	free(path);
	return has;
}

static char *
ask_pg_config(void)
{
	FILE *f = popen("pg_config --bindir 2>/dev/null", "re");
	char line[4096] = "";

	if (f == NULL)
		return NULL;
	if (fgets(line, sizeof(line), f) == NULL)
		line[0] = '\0';
	pclose(f);
	line[strcspn(line, "\n")] = '\0';
	return line[0] != '\0' && has_initdb(line) ? xstrdup(line) : NULL;
}

/* The newest version that Debian's packages have put beside each other. */
static char *
look_in_versions(void)
{
	struct dirent *e;
	DIR *d = opendir(VERSIONS);
	char *found = NULL, *path;
	long best = 0, version;

	while (d != NULL && (e = readdir(d)) != NULL) {
		version = strtol(e->d_name, NULL, 10);
		path = xasprintf(VERSIONS "/%s/bin", e->d_name);
		if (version > best && has_initdb(path)) {
			best = version;
			free(found);
			found = path;
		} else {
			free(path);
		}
	}
	if (d != NULL)
		closedir(d);
	return found;
}

char *
devpg_find_bindir(void)
{
	char *dir = ask_pg_config();

	if (dir == NULL)
		dir = look_in_versions();
	if (dir == NULL)
		cli_fail(EX_UNAVAILABLE, "PostgreSQL's initdb was not found, neither by pg_config nor below " VERSIONS
		    "; install PostgreSQL 14 or newer (Debian: postgresql)");
	return dir;
}

/* In a child: become PostgreSQL's user, with nothing of the caller's database settings. */
static void
become(const struct devdb *d)
{
	char **e = environ, *name;

	if (geteuid() == 0 && (setgroups(0, NULL) == -1 || setresgid(d->gid, d->gid, d->gid) == -1 ||
	    setresuid(d->uid, d->uid, d->uid) == -1))
		_exit(EX_NOPERM);
	umask(077);
	while (*e != NULL) {
		name = xstrndup(*e, strcspn(*e, "="));
		if (strncmp(name, "PG", 2) == 0 || strncmp(name, "LC_", 3) == 0) {
			unsetenv(name);
			e = environ;
		} else {
			e++;
		}
		free(name);
	}
	if (chdir("/") == -1)
		_exit(EX_NOPERM);
}

static int
open_log(const struct devdb *d)
{
	char *path = xasprintf("%s/postgres.log", d->dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	if (fd == -1)
		cli_fail(EX_CANTCREAT, "%s: %s", path, strerror(errno));
	free(path);
	return fd;
}

static void
redirect(int log)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	dup2(null, STDIN_FILENO);
	dup2(log, STDOUT_FILENO);
	dup2(log, STDERR_FILENO);
}

/* The end of the log mostly tells why. */
static void
put_log_end(const struct devdb *d)
{
	char *path = xasprintf("%s/postgres.log", d->dir), text[1024];
	FILE *f = fopen(path, "re");
	size_t n = 0;

	if (f != NULL && fseek(f, -(long)sizeof(text), SEEK_END) == -1)
		rewind(f);
	if (f != NULL) {
		n = fread(text, 1, sizeof(text), f);
		fclose(f);
	}
	fprintf(stderr, "%.*s%s", (int)n, text, n > 0 && text[n - 1] != '\n' ? "\n" : "");
	free(path);
}

static void __attribute__((noreturn))
log_failed(const struct devdb *d, int status, const char *what)
{
	put_log_end(d);
	cli_fail(status, "%s; see %s/postgres.log", what, d->dir);
}

static int
run_initdb(const struct devdb *d, const char *data, const char *locale)
{
	char *program = xasprintf("%s/initdb", d->bindir), *where = xasprintf("--pgdata=%s", data);
	int log = open_log(d), status;
	pid_t child = fork();

	if (child == -1)
		cli_fail(EX_OSERR, "fork: %s", strerror(errno));
	if (child == 0) {
		redirect(log);
		become(d);
		/* Its own path: by a bare name it looks for itself, and for postgres, in PATH alone. */
		execl(program, program, where, "--username=postgres", "--auth=trust", "--encoding=UTF8", locale, (char *)NULL);
		_exit(127);
	}
	close(log);
	free(program);
	free(where);
	while (waitpid(child, &status, 0) == -1 && errno == EINTR)
		continue;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void
remove_tree(const char *path)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		execlp("rm", "rm", "-rf", "--", path, (char *)NULL);
		_exit(127);
	}
	while (child > 0 && waitpid(child, &status, 0) == -1 && errno == EINTR)
		continue;
}

/* Made beside and renamed: what an interrupted one has left is never taken for a database. */
void
devpg_initdb(const struct devdb *d)
{
	char *fresh = xasprintf("%s/data.new", d->base);

	remove_tree(fresh);
	if (mkdir(fresh, 0700) == -1 || (geteuid() == 0 && lchown(fresh, d->uid, d->gid) == -1))
		cli_fail(EX_CANTCREAT, "%s: %s", fresh, strerror(errno));
	fprintf(stderr, "pgconductor: dev: making a private PostgreSQL in %s\n", d->base);
	if (run_initdb(d, fresh, "--locale=C.UTF-8") != 0 && run_initdb(d, fresh, "--no-locale") != 0)
		log_failed(d, EX_CANTCREAT, "initdb failed");
	if (rename(fresh, d->data) == -1)
		cli_fail(EX_CANTCREAT, "%s: %s", d->data, strerror(errno));
	free(fresh);
}

static pid_t
start_postgres(const struct devdb *d)
{
	char *program = xasprintf("%s/postgres", d->bindir), *sockets = xasprintf("unix_socket_directories=%s", d->socket_dir);
	pid_t keeper = getpid(), child;
	int log = open_log(d);

	if ((child = fork()) == 0) {
		redirect(log);
		become(d);
		/* After the change of user, which would clear it: a fast shutdown if the keeper is killed. */
		prctl(PR_SET_PDEATHSIG, SIGINT);
		if (getppid() != keeper)
			_exit(1);
		execl(program, program, "-D", d->data, "-p", "5432", "-c", "listen_addresses=", "-c", sockets, "-c",
		    "unix_socket_permissions=0700", (char *)NULL);
		_exit(127);
	}
	close(log);
	free(program);
	free(sockets);
	return child;
}

static bool
reaped(pid_t child, long patience_ms)
{
	for (; patience_ms > 0; patience_ms -= 20) {
		if (waitpid(child, NULL, WNOHANG) != 0)
			return true;
		pause_ms(20);
	}
	return false;
}

static void
stop_postgres(pid_t child)
{
	kill(child, SIGINT);
	if (reaped(child, STOP_MS))
		return;
	kill(child, SIGQUIT);
	if (reaped(child, STOP_MS))
		return;
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/*
 * Waits for the dev server's end. A server that lost its PostgreSQL or the terminal it was started from is told to
 * stop, as Ctrl-C would.
 */
static void
watch(const struct devdb *d, pid_t server, pid_t postgres, int alive, int terminal)
{
	int ended = pidfd_open(postgres, 0);
	struct pollfd fds[] = { { alive, POLLIN, 0 }, { ended, POLLIN, 0 }, { terminal, 0, 0 } };

	for (;;) {
		if (poll(fds, 3, -1) == -1 && errno != EINTR)
			return;
		if (fds[0].revents != 0)
			return;
		if (fds[1].revents != 0) {
			put_log_end(d);
			fprintf(stderr, "pgconductor: dev: PostgreSQL has ended by itself; see %s/postgres.log\n", d->dir);
			kill(server, SIGTERM);
			fds[1].fd = -1;
		}
		if (fds[2].revents != 0) {
			kill(server, SIGTERM);
			fds[2].fd = -1;
		}
	}
}

static void
keeper(const struct devdb *d, pid_t server, int alive)
{
	int terminal = isatty(STDIN_FILENO) ? dup(STDIN_FILENO) : -1;
	char *state = xasprintf("%s/" DEVDB_STATE, d->dir);
	pid_t postgres;

	setsid();
	prctl(PR_SET_NAME, "pgconductor-dev");
	postgres = start_postgres(d);
	if (postgres != -1) {
		watch(d, server, postgres, alive, terminal);
		stop_postgres(postgres);
	}
	unlink(state);
	if (d->own_socket_dir)
		rmdir(d->socket_dir);
	_exit(0);
}

void
devpg_keep(struct devdb *d)
{
	int alive[2], ended[2];
	pid_t server = getpid(), child;

	fflush(NULL);
	if (pipe2(alive, O_CLOEXEC) == -1 || pipe2(ended, O_CLOEXEC) == -1 || (child = fork()) == -1)
		cli_fail(EX_OSERR, "%s", strerror(errno));
	if (child == 0) {
		close(alive[1]);
		close(ended[0]);
		keeper(d, server, alive[0]);
	}
	close(alive[0]);
	close(ended[1]);
	d->alive = alive[1];
	d->ended = ended[0];
}

/* Is this process the server of that data directory? PostgreSQL's working directory is its data directory. */
static bool
is_server_of(pid_t pid, const char *data)
{
	char *link = xasprintf("/proc/%ld/cwd", (long)pid), cwd[4096];
	ssize_t n = readlink(link, cwd, sizeof(cwd) - 1);

	free(link);
	if (n == -1)
		return false;
	cwd[n] = '\0';
	return strcmp(cwd, data) == 0;
}

void
devpg_stop_leftover(const struct devdb *d)
{
	char *path = xasprintf("%s/postmaster.pid", d->data);
	FILE *f = fopen(path, "re");
	long pid = 0, waited;

	free(path);
	if (f == NULL)
		return;
	if (fscanf(f, "%ld", &pid) != 1)
		pid = 0;
	fclose(f);
	if (pid <= 1 || !is_server_of((pid_t)pid, d->data))
		return;
	kill((pid_t)pid, SIGINT);
	for (waited = 0; is_server_of((pid_t)pid, d->data); waited += 50) {
		if (waited >= LEFTOVER_MS)
			cli_fail(EX_UNAVAILABLE, "a PostgreSQL of an earlier run, process %ld, does not stop", pid);
		pause_ms(50);
	}
}

void
devpg_wait_ready(const struct devdb *d)
{
	struct pollfd ended = { d->ended, POLLIN, 0 };
	long waited;

	for (waited = 0; PQping(d->url) != PQPING_OK; waited += 20) {
		if (poll(&ended, 1, 0) > 0)
			log_failed(d, EX_UNAVAILABLE, "PostgreSQL did not start");
		if (waited >= READY_MS)
			log_failed(d, EX_UNAVAILABLE, "PostgreSQL does not answer");
		pause_ms(20);
	}
}
