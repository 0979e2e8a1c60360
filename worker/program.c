/*
 * A program as SETUP describes it, made ready once so that starting it is a handful of system calls. Worker.
 * Users and groups are looked up here, not in the child.
 */
#include "config.h"

#include <sys/stat.h>

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/xmalloc.h"
#include "worker/internal.h"

#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"

static const struct {
	const char	*name;
	int		 resource;
} limit_names[] = {
	{ "as", RLIMIT_AS },
	{ "core", RLIMIT_CORE },
	{ "cpu", RLIMIT_CPU },
	{ "data", RLIMIT_DATA },
	{ "fsize", RLIMIT_FSIZE },
	{ "memlock", RLIMIT_MEMLOCK },
	{ "msgqueue", RLIMIT_MSGQUEUE },
	{ "nice", RLIMIT_NICE },
	{ "nofile", RLIMIT_NOFILE },
	{ "nproc", RLIMIT_NPROC },
	{ "rss", RLIMIT_RSS },
	{ "rtprio", RLIMIT_RTPRIO },
	{ "rttime", RLIMIT_RTTIME },
	{ "sigpending", RLIMIT_SIGPENDING },
	{ "stack", RLIMIT_STACK },
};

static char *
text_of(struct pstr s)
{
	return s.p != NULL ? xstrndup(s.p, s.len) : NULL;
}

static void
set_error(struct program *p, char *error)
{
	if (p->error == NULL)
		p->error = error;
	else
		free(error);
}

static void
copy_argv(struct program *p, const struct msg_program *m)
{
	p->argv = xcalloc(m->argv_n + 1, sizeof(*p->argv));
	p->shell_argv = xcalloc(m->argv_n + 2, sizeof(*p->shell_argv));
	p->shell_argv[0] = xstrdup("/bin/sh");
	for (size_t i = 0; i < m->argv_n; i++) {
		p->argv[i] = text_of(m->argv[i]);
		p->shell_argv[i + 1] = p->argv[i];
	}
	if (m->argv_n == 0 || p->argv[0][0] == '\0')
		set_error(p, xstrdup("it has no command"));
}

static void
add_env(struct program *p, char *setting)
{
	p->env[p->env_n++] = setting;
}

/* What the worker says about itself is not for the configuration to change. */
static bool
is_workers(struct pstr name)
{
	static const char *const own[] = { "FD", "PROTO", "QUEUE", "ID", "TASK", "ATTEMPT", "DEADLINE_MS", "EVENT",
		"PROCESS", "SOCKET", "TOKEN", "TRACEPARENT" };
	const size_t prefix = strlen("PGCONDUCTOR_");

	if (name.len <= prefix || memcmp(name.p, "PGCONDUCTOR_", prefix) != 0)
		return false;
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (strlen(own[i]) == name.len - prefix && memcmp(name.p + prefix, own[i], name.len - prefix) == 0)
			return true;
	return false;
}

static void
copy_env(struct program *p, const struct msg_program *m, const char *queue)
{
	p->env = xcalloc(m->env_n + PROGRAM_ENV_ROOM + 1, sizeof(*p->env));
	for (size_t i = 0; i < m->env_n; i++)
		if (!is_workers(m->env[i].key))
			add_env(p, xasprintf("%.*s=%.*s", (int)m->env[i].key.len, m->env[i].key.p,
			    (int)m->env[i].value.len, m->env[i].value.p));
	if (!p->discover)
		add_env(p, xasprintf("PGCONDUCTOR_QUEUE=%s", queue));
	if (p->command_task == NULL) {
		add_env(p, xasprintf("PGCONDUCTOR_FD=%d", MASTER_FD));
		add_env(p, xstrdup("PGCONDUCTOR_PROTO=1"));
	}
}

static const char *
env_get(const struct program *p, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < p->env_n; i++)
		if (strncmp(p->env[i], name, len) == 0 && p->env[i][len] == '=')
			return p->env[i] + len + 1;
	return NULL;
}

/* The directories of the program's own PATH, joined with the command's name; as execvp(3) would try them. */
static void
list_paths(struct program *p)
{
	const char *path = env_get(p, "PATH"), *end;
	size_t n = 0;

	if (p->error != NULL)
		return;
	if (path == NULL)
		path = DEFAULT_PATH;
	p->paths = xcalloc(strlen(path) + 2, sizeof(*p->paths));
	if (strchr(p->argv[0], '/') != NULL) {
		p->paths[0] = xstrdup(p->argv[0]);
		return;
	}
	for (;; path = end + 1) {
		end = strchrnul(path, ':');
		if (end == path)
			p->paths[n++] = xasprintf("./%s", p->argv[0]);
		else
			p->paths[n++] = xasprintf("%.*s/%s", (int)(end - path), path, p->argv[0]);
		if (*end == '\0')
			break;
	}
}

/* The binary that this is; NULL when it cannot be told. It may have been replaced by another of its name. */
static char *
own_binary(void)
{
	static const char gone[] = " (deleted)";
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	size_t len = n > 0 ? (size_t)n : 0;

	if (len > strlen(gone) && memcmp(path + len - strlen(gone), gone, strlen(gone)) == 0)
		len -= strlen(gone);
	path[len] = '\0';
	return len > 0 && access(path, X_OK) == 0 ? xstrdup(path) : NULL;
}

/* The first pgconductor of a PATH is that binary. */
static bool
finds(const char *path, const char *binary)
{
	struct stat own, found;
	bool same = false;
	const char *end;
	char *name;

	if (stat(binary, &own) == -1)
		return false;
	for (;; path = end + 1) {
		end = strchrnul(path, ':');
		name = xasprintf("%.*s/pgconductor", (int)(end - path), path);
		if (stat(name, &found) == 0 && S_ISREG(found.st_mode)) {
			same = found.st_dev == own.st_dev && found.st_ino == own.st_ino;
			free(name);
			return same;
		}
		free(name);
		if (*end == '\0')
			return false;
	}
}

/* A command's script says `pgconductor ctx`: that is to be this binary, wherever it is installed. */
static void
lead_to_own_binary(struct program *p)
{
	const char *path = env_get(p, "PATH"), *slash;
	char *binary = own_binary(), *setting;

	if (path == NULL)
		path = DEFAULT_PATH;
	if (binary == NULL || (slash = strrchr(binary, '/')) == NULL || strcmp(slash, "/pgconductor") != 0 ||
	    finds(path, binary)) {
		free(binary);
		return;
	}
	setting = xasprintf("PATH=%.*s:%s", (int)(slash - binary), binary, path);
	for (size_t i = 0; i < p->env_n; i++)
		if (strncmp(p->env[i], "PATH=", 5) == 0) {
			free(p->env[i]);
			p->env[i] = setting;
			setting = NULL;
			break;
		}
	if (setting != NULL)
		add_env(p, setting);
	free(binary);
}

static bool
parse_limit(const char *s, const char *end, rlim_t *out)
{
	char *stop;

	if (strncmp(s, "unlimited", (size_t)(end - s)) == 0 && end - s == 9) {
		*out = RLIM_INFINITY;
		return true;
	}
	errno = 0;
	*out = strtoull(s, &stop, 10);
	return errno == 0 && stop == end && s[0] >= '0' && s[0] <= '9';
}

static void
add_limit(struct program *p, const char *name, const char *value)
{
	struct limit *l = &p->limits[p->limits_n];
	const char *colon = strchr(value, ':'), *end = value + strlen(value);
	size_t i;

	for (i = 0; i < sizeof(limit_names) / sizeof(limit_names[0]); i++)
		if (strcasecmp(limit_names[i].name, name) == 0)
			break;
	if (i == sizeof(limit_names) / sizeof(limit_names[0])) {
		set_error(p, xasprintf("unknown resource limit \"%s\"", name));
		return;
	}
	l->resource = limit_names[i].resource;
	if (!parse_limit(value, colon != NULL ? colon : end, &l->value.rlim_cur) ||
	    !parse_limit(colon != NULL ? colon + 1 : value, end, &l->value.rlim_max)) {
		set_error(p, xasprintf("resource limit %s: \"%s\" is not a number", name, value));
		return;
	}
	p->limits_n++;
}

static void
copy_limits(struct program *p, const struct msg_program *m)
{
	char *name, *value;

	p->limits = xcalloc(m->rlimits_n + 1, sizeof(*p->limits));
	for (size_t i = 0; i < m->rlimits_n; i++) {
		name = text_of(m->rlimits[i].key);
		value = text_of(m->rlimits[i].value);
		add_limit(p, name, value);
		free(name);
		free(value);
	}
}

static void
list_groups(struct program *p, const char *user)
{
	int n = 32;

	for (;;) {
		p->groups = xreallocarray(p->groups, (size_t)n, sizeof(*p->groups));
		if (getgrouplist(user, p->gid, p->groups, &n) >= 0)
			break;
	}
	p->groups_n = (size_t)n;
}

static void
find_user(struct program *p, const char *user, const char *group)
{
	const struct passwd *pw = NULL;
	const struct group *gr;

	p->uid = geteuid();
	p->gid = getegid();
	if (user != NULL && (pw = getpwnam(user)) == NULL) {
		set_error(p, xasprintf("user \"%s\" does not exist", user));
		return;
	}
	if (pw != NULL) {
		p->uid = pw->pw_uid;
		p->gid = pw->pw_gid;
	}
	if (group != NULL) {
		if ((gr = getgrnam(group)) == NULL) {
			set_error(p, xasprintf("group \"%s\" does not exist", group));
			return;
		}
		p->gid = gr->gr_gid;
	}
	p->switch_user = p->uid != geteuid() || p->gid != getegid();
	if (!p->switch_user)
		return;
	if (geteuid() != 0) {
		set_error(p, xasprintf("only root can run it as %s %s", user != NULL ? "user" : "group",
		    user != NULL ? user : group));
		return;
	}
	if (user != NULL)
		list_groups(p, user);
}

struct program *
program_new(const struct msg_program *m, const char *queue)
{
	struct program *p = xcalloc(1, sizeof(*p));
	char *user = text_of(m->user), *group = text_of(m->group);

	p->refs = 1;
	p->name = text_of(m->name);
	p->directory = text_of(m->directory);
	p->processes = m->processes > 0 ? m->processes : 1;
	p->credit = m->credit < CREDIT_MAX ? m->credit : CREDIT_MAX;
	p->max_runs = m->max_runs;
	p->memory = m->memory;
	p->idle_timeout_ms = m->idle_timeout_ms;
	p->discover = m->discover;
	p->command_task = text_of(m->command_task);
	copy_argv(p, m);
	copy_env(p, m, queue);
	copy_limits(p, m);
	list_paths(p);
	if (p->command_task != NULL)
		lead_to_own_binary(p);
	if (user != NULL || group != NULL)
		find_user(p, user, group);
	free(user);
	free(group);
	return p;
}

static void
free_strings(char **v)
{
	for (size_t i = 0; v != NULL && v[i] != NULL; i++)
		free(v[i]);
	free(v);
}

struct program *
program_ref(struct program *p)
{
	p->refs++;
	return p;
}

void
program_unref(struct program *p)
{
	if (--p->refs > 0)
		return;
	free(p->shell_argv[0]);
	free(p->shell_argv);
	free_strings(p->argv);
	free_strings(p->paths);
	free_strings(p->env);
	free(p->name);
	free(p->directory);
	free(p->limits);
	free(p->groups);
	free(p->command_task);
	free(p->error);
	free(p);
}
