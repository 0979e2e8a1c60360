/*
 * dev --watch: a process beside the server that sends it HUP when a program's file has changed, upon which it replaces its handlers.
 * It does nothing else, and ends with the server.
 */
#include "config.h"

#include <sys/inotify.h>
#include <sys/prctl.h>

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/watch.h"
#include "common/conf.h"
#include "common/xmalloc.h"

#define EVENTS		(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_ATTRIB | IN_ONLYDIR)
/* Editors and compilers write several files, and one of them several times. */
#define SETTLED_MS	200

struct watch {
	int	  fd;
	char	**paths;	/* by watch descriptor */
	size_t	  paths_n;
	bool	  full;		/* said that there are too many */
};

/* What is made by others, and hidden. */
static bool
is_left_out(const char *name)
{
	return name[0] == '.' || strcmp(name, "node_modules") == 0 || strcmp(name, "__pycache__") == 0;
}

/* A program writes files too, which must not restart it: only what looks like a part of one counts. */
static bool
is_source(const char *directory, const char *name)
{
	static const char *const endings[] = {
		"py", "js", "mjs", "cjs", "ts", "mts", "cts", "tsx", "rb", "pl", "pm", "php", "lua", "sh", "conf",
	};
	const char *dot = strrchr(name, '.');
	struct stat st;
	char *path;
	bool is;

	if (dot != NULL)
		for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
			if (strcmp(dot + 1, endings[i]) == 0)
				return true;
	path = xasprintf("%s/%s", directory, name);
	is = stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & S_IXUSR) != 0;
	free(path);
	return is;
}

static void
add(struct watch *w, const char *path)
{
	int wd = inotify_add_watch(w->fd, path, EVENTS);

	if (wd == -1) {
		if (errno == ENOSPC && !w->full) {
			cli_warn("--watch: %s and more: too many directories (fs.inotify.max_user_watches)", path);
			w->full = true;
		}
		return;
	}
	if ((size_t)wd >= w->paths_n) {
		w->paths = xreallocarray(w->paths, (size_t)wd + 1, sizeof(*w->paths));
		memset(w->paths + w->paths_n, 0, ((size_t)wd + 1 - w->paths_n) * sizeof(*w->paths));
		w->paths_n = (size_t)wd + 1;
	}
	free(w->paths[wd]);
	w->paths[wd] = xstrdup(path);
}

/* With all below it; links are not followed. */
static void
add_tree(struct watch *w, const char *path)
{
	const struct dirent *d;
	char *below;
	DIR *dir;

	add(w, path);
	if ((dir = opendir(path)) == NULL)
		return;
	while ((d = readdir(dir)) != NULL) {
		if (is_left_out(d->d_name) || (d->d_type != DT_DIR && d->d_type != DT_UNKNOWN))
			continue;
		below = xasprintf("%s/%s", path, d->d_name);
		add_tree(w, below);
		free(below);
	}
	closedir(dir);
}

/* Reads what has happened; whether a program may have changed. */
static bool
take(struct watch *w)
{
	char buf[16 * (sizeof(struct inotify_event) + NAME_MAX + 1)] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n = read(w->fd, buf, sizeof(buf));
	const struct inotify_event *e;
	bool changed = false;
	char *path;

	for (ssize_t at = 0; at < n; at += (ssize_t)(sizeof(*e) + e->len)) {
		e = (const struct inotify_event *)(buf + at);
		if ((e->mask & IN_Q_OVERFLOW) != 0) {
			changed = true;
			continue;
		}
		if (e->len == 0 || e->wd < 0 || (size_t)e->wd >= w->paths_n || is_left_out(e->name))
			continue;
		if ((e->mask & IN_ISDIR) != 0) {
			if ((e->mask & (IN_CREATE | IN_MOVED_TO)) == 0)
				continue;
			path = xasprintf("%s/%s", w->paths[e->wd], e->name);
			add_tree(w, path);
			free(path);
			changed = true;
		} else if ((e->mask & IN_CREATE) == 0 && is_source(w->paths[e->wd], e->name)) {
			changed = true;
		}
	}
	return changed;
}

static void
look(struct watch *w, pid_t server)
{
	struct pollfd p = { .fd = w->fd, .events = POLLIN };
	bool changed = false;

	for (;;) {
		if (poll(&p, 1, changed ? SETTLED_MS : -1) > 0) {
			changed = take(w) || changed;
		} else if (changed) {
			if (kill(server, SIGHUP) == -1)
				_exit(0);
			changed = false;
		}
	}
}

void
watch_start(const struct conf *conf)
{
	struct watch w = { .fd = inotify_init1(IN_CLOEXEC) };
	pid_t server = getpid(), child;

	if (w.fd == -1)
		cli_fail(EX_OSERR, "--watch: %s", strerror(errno));
	/* What changes before the server knows this signal is read by what it starts. */
	signal(SIGHUP, SIG_IGN);
	add_tree(&w, ".");
	for (size_t i = 0; i < conf->handlers_n; i++)
		if (conf->handlers[i]->directory != NULL)
			add_tree(&w, conf->handlers[i]->directory);
	if ((child = fork()) == -1)
		cli_fail(EX_OSERR, "fork: %s", strerror(errno));
	if (child == 0) {
		/* What the terminal sends is for the server. */
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != server)
			_exit(0);
		/* The keeper of the database knows by a pipe when the server is gone. */
		w.fd = dup2(w.fd, STDERR_FILENO + 1);
		close_range(STDERR_FILENO + 2, ~0U, 0);
		look(&w, server);
	}
	close(w.fd);
	for (size_t i = 0; i < w.paths_n; i++)
		free(w.paths[i]);
	free(w.paths);
}
