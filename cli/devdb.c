/*
 * The private PostgreSQL of `pgconductor dev`: where it lives, whether it runs, and finding it. The cli process only.
 */
#include "config.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/devdb.h"
#include "common/xmalloc.h"

#define ELSEWHERE	"/var/lib/pgconductor"
#define SOCKET_PREFIX	"pgconductor-"
/* Room in sun_path for the directory: 108 less "/.s.PGSQL.5432" and its end. */
#define SOCKET_DIR_MAX	(108 - 15)
#define LOCK_WAIT_MS	20000
#define START_WAIT_MS	60000

static char *
read_line(FILE *f)
{
	char *line = NULL;
	size_t size = 0;

	if (getline(&line, &size, f) == -1) {
		free(line);
		return xstrdup("");
	}
	line[strcspn(line, "\n")] = '\0';
	return line;
}

/* The lines of the state file; all empty without one. */
static void
read_state(const char *dir, char **url, char **socket_dir)
{
	char *path = xasprintf("%s/" DEVDB_STATE, dir);
	FILE *f = fopen(path, "re");

	free(path);
	*url = f != NULL ? read_line(f) : xstrdup("");
	*socket_dir = f != NULL ? read_line(f) : xstrdup("");
	if (f != NULL)
		fclose(f);
}

static void
write_state(const struct devdb *d, const char *url)
{
	char *path = xasprintf("%s/" DEVDB_STATE, d->dir), *temporary = xasprintf("%s.new", path);
	FILE *f = fopen(temporary, "we");

	if (f == NULL || fprintf(f, "%s\n%s\n", url, d->own_socket_dir ? d->socket_dir : "") < 0 ||
	    fclose(f) != 0 || rename(temporary, path) == -1)
		cli_fail(EX_CANTCREAT, "%s: %s", path, strerror(errno));
	free(temporary);
	free(path);
}

static bool
is_locked(int lock)
{
	if (flock(lock, LOCK_SH | LOCK_NB) == -1)
		return errno == EWOULDBLOCK;
	flock(lock, LOCK_UN);
	return false;
}

char *
devdb_find(bool *running)
{
	const struct timespec pause = { 0, 50 * 1000 * 1000 };
	char *url, *socket_dir;
	struct stat st;
	int fd = open(DEVDB_DIRECTORY "/lock", O_RDONLY | O_CLOEXEC);

	*running = false;
	if (fd == -1)
		return NULL;
	/* Somebody else's directory must not be able to say where this user's payloads go. */
	if (fstat(fd, &st) == -1 || (geteuid() != 0 && st.st_uid != geteuid() && st.st_uid != 0)) {
		close(fd);
		return NULL;
	}
	for (int waited = 0;; waited += 50) {
		*running = is_locked(fd);
		read_state(DEVDB_DIRECTORY, &url, &socket_dir);
		free(socket_dir);
		if (!*running || *url != '\0' || waited >= START_WAIT_MS)
			break;
		free(url);
		nanosleep(&pause, NULL);
	}
	*running = *running && *url != '\0';
	close(fd);
	return url;
}

/* The process that serves here, or 0. A record lock is its own: the keeper does not inherit it. */
static pid_t
owner_of(int lock)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(lock, F_GETLK, &l) == 0 && l.l_type != F_UNLCK ? l.l_pid : 0;
}

/* One server for a directory. That of a killed process is still being shut down by its keeper: wait for it. */
static void
take_lock(struct devdb *d)
{
	char *path = xasprintf("%s/lock", d->dir);
	const struct timespec pause = { 0, 50 * 1000 * 1000 };
	struct flock own = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	d->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (d->lock == -1)
		cli_fail(EX_CANTCREAT, "%s: %s", path, strerror(errno));
	free(path);
	for (int waited = 0; flock(d->lock, LOCK_EX | LOCK_NB) == -1; waited += 50) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			cli_fail(EX_OSERR, "%s: cannot be locked: %s", d->dir, strerror(errno));
		if (owner_of(d->lock) != 0)
			cli_fail(EX_UNAVAILABLE, "a dev server runs in this directory already, as process %ld", (long)owner_of(d->lock));
		if (waited >= LOCK_WAIT_MS)
			cli_fail(EX_UNAVAILABLE, "the PostgreSQL of an earlier dev server in this directory does not stop");
		nanosleep(&pause, NULL);
	}
	if (fcntl(d->lock, F_SETLK, &own) == -1)
		cli_fail(EX_OSERR, "%s: cannot be locked: %s", d->dir, strerror(errno));
}

/* Can this user use the directory? Only that user's own process can tell. */
static bool
reachable(const struct devdb *d, const char *path)
{
	pid_t child;
	int status;

	if (geteuid() != 0)
		return access(path, R_OK | W_OK | X_OK) == 0;
	if ((child = fork()) == -1)
		cli_fail(EX_OSERR, "fork: %s", strerror(errno));
	if (child == 0) {
		if (setgroups(0, NULL) == -1 || setresgid(d->gid, d->gid, d->gid) == -1 || setresuid(d->uid, d->uid, d->uid) == -1)
			_exit(1);
		_exit(access(path, R_OK | W_OK | X_OK) == 0 ? 0 : 1);
	}
	while (waitpid(child, &status, 0) == -1 && errno == EINTR)
		continue;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void
make_directory(const char *path, mode_t mode)
{
	if (mkdir(path, mode) == -1 && errno != EEXIST)
		cli_fail(EX_CANTCREAT, "%s: %s", path, strerror(errno));
}

/* A directory for PostgreSQL's user alone. */
static void
make_private(const struct devdb *d, const char *path)
{
	make_directory(path, 0700);
	if (geteuid() == 0 && lchown(path, d->uid, d->gid) == -1)
		cli_fail(EX_CANTCREAT, "%s: %s", path, strerror(errno));
}

static bool
initialised(const char *base, struct stat *st)
{
	char *version = xasprintf("%s/data/PG_VERSION", base);
	bool is = stat(version, st) == 0;

	free(version);
	return is;
}

/* FNV-1a: names this directory where many directories share one place. */
static uint64_t
hash(const char *s)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (; *s != '\0'; s++)
		h = (h ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
	return h;
}

/* PostgreSQL refuses to run as root. */
static void
choose_user(struct devdb *d, const char *elsewhere)
{
	const struct passwd *pw;
	struct stat st;

	d->uid = geteuid();
	d->gid = getegid();
	if (d->uid != 0)
		return;
	if ((initialised(d->dir, &st) || initialised(elsewhere, &st)) && st.st_uid != 0) {
		d->uid = st.st_uid;
		d->gid = st.st_gid;
		return;
	}
	if ((pw = getpwnam("postgres")) == NULL && (pw = getpwnam("nobody")) == NULL)
		cli_fail(EX_NOUSER, "PostgreSQL does not run as root, and there is no user postgres or nobody here");
	d->uid = pw->pw_uid;
	d->gid = pw->pw_gid;
}

/*
 * Data stands in .pgconductor itself, or below /var/lib/pgconductor when root works in a directory that is closed to
 * the user that PostgreSQL runs as. Data that is there stays where it is.
 */
static void
choose_base(struct devdb *d)
{
	char *elsewhere = xasprintf(ELSEWHERE "/%016" PRIx64, hash(d->dir)), *probe = xasprintf("%s/data", d->dir);
	struct stat st;
	bool here;

	choose_user(d, elsewhere);
	if (initialised(d->dir, &st)) {
		here = true;
		if (st.st_uid != d->uid || !reachable(d, probe))
			cli_fail(EX_NOPERM, "%s belongs to another user; run this as that user or as root, or remove %s", probe, d->dir);
	} else if (geteuid() != 0) {
		here = true;
	} else if (initialised(elsewhere, &st)) {
		here = false;
	} else {
		make_private(d, probe);
		here = reachable(d, probe);
		if (rmdir(probe) == -1 && errno != ENOTEMPTY)
			cli_fail(EX_CANTCREAT, "%s: %s", probe, strerror(errno));
	}
	d->base = here ? xstrdup(d->dir) : elsewhere;
	if (here) {
		free(elsewhere);
	} else {
		make_directory(ELSEWHERE, 0755);
		make_private(d, d->base);
	}
	d->data = xasprintf("%s/data", d->base);
	free(probe);
}

/* Nothing that PostgreSQL's lists of directories or a shell would take for more than a name. */
static bool
plain_path(const char *s)
{
	return s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./@+:=-")] == '\0';
}

static void
choose_socket_dir(struct devdb *d)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char *beside = xasprintf("%s/run", d->base);

	if (strlen(beside) <= SOCKET_DIR_MAX && plain_path(beside)) {
		make_private(d, beside);
		d->socket_dir = beside;
		return;
	}
	free(beside);
	if (runtime == NULL || geteuid() == 0 || strlen(runtime) > SOCKET_DIR_MAX - 24 || !plain_path(runtime) ||
	    access(runtime, W_OK) == -1)
		runtime = "/tmp";
	d->socket_dir = xasprintf("%s/" SOCKET_PREFIX "XXXXXX", runtime);
	if (mkdtemp(d->socket_dir) == NULL)
		cli_fail(EX_CANTCREAT, "%s: %s", d->socket_dir, strerror(errno));
	make_private(d, d->socket_dir);
	d->own_socket_dir = true;
}

/* What a killed server and a killed keeper have left. */
static void
clean_up(const struct devdb *d)
{
	char *url, *socket_dir, *path;
	const char *base;

	devpg_stop_leftover(d);
	read_state(d->dir, &url, &socket_dir);
	base = strrchr(socket_dir, '/');
	if (base != NULL && strncmp(base + 1, SOCKET_PREFIX, strlen(SOCKET_PREFIX)) == 0) {
		path = xasprintf("%s/.s.PGSQL.5432", socket_dir);
		unlink(path);
		free(path);
		path = xasprintf("%s/.s.PGSQL.5432.lock", socket_dir);
		unlink(path);
		free(path);
		rmdir(socket_dir);
	}
	path = xasprintf("%s/" DEVDB_STATE, d->dir);
	unlink(path);
	free(path);
	free(url);
	free(socket_dir);
}

static char *
make_url(const char *socket_dir)
{
	char *out = xmalloc(3 * strlen(socket_dir) + 64), *p = stpcpy(out, "postgresql://postgres@localhost/postgres?host=");

	for (; *socket_dir != '\0'; socket_dir++) {
		if (strchr("/_.-", *socket_dir) != NULL || (*socket_dir >= '0' && *socket_dir <= '9') ||
		    (*socket_dir >= 'A' && *socket_dir <= 'Z') || (*socket_dir >= 'a' && *socket_dir <= 'z'))
			*p++ = *socket_dir;
		else
			p += sprintf(p, "%%%02X", (unsigned char)*socket_dir);
	}
	*p = '\0';
	return out;
}

static void
make_state_directory(struct devdb *d)
{
	char *ignore;
	FILE *f;

	make_directory(DEVDB_DIRECTORY, 0755);
	if ((d->dir = realpath(DEVDB_DIRECTORY, NULL)) == NULL)
		cli_fail(EX_CANTCREAT, DEVDB_DIRECTORY ": %s", strerror(errno));
	ignore = xasprintf("%s/.gitignore", d->dir);
	if (access(ignore, F_OK) == -1 && (f = fopen(ignore, "we")) != NULL) {
		fputs("*\n", f);
		fclose(f);
	}
	free(ignore);
}

void
devdb_start(struct devdb *d)
{
	memset(d, 0, sizeof(*d));
	d->bindir = devpg_find_bindir();
	make_state_directory(d);
	take_lock(d);
	choose_base(d);
	clean_up(d);
	if (access(d->data, F_OK) == -1)
		devpg_initdb(d);
	choose_socket_dir(d);
	d->url = make_url(d->socket_dir);
	write_state(d, "");
	devpg_keep(d);
	devpg_wait_ready(d);
}

void
devdb_announce(const struct devdb *d)
{
	write_state(d, d->url);
}

/* The keeper does the work; its end of the pipe closes when all is done. */
void
devdb_stop(struct devdb *d)
{
	char c;

	close(d->alive);
	while (read(d->ended, &c, 1) == -1 && errno == EINTR)
		continue;
	close(d->ended);
	close(d->lock);
	free(d->dir);
	free(d->base);
	free(d->data);
	free(d->socket_dir);
	free(d->bindir);
	free(d->url);
}
