/*
 * pgconductor run and dev: bringing the schema up to date, then becoming the server. Blocking until then.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/devdb.h"
#include "cli/migrate.h"
#include "cli/watch.h"
#include "common/conf.h"
#include "common/notify.h"
#include "common/xmalloc.h"
#include "master/server.h"

#define PATIENCE_S	60

static const char *conf_path;
static bool want_drain, no_migrate, want_url, want_watch;

static const struct cli_option run_options[] = {
	{ "config", 'c', CLI_TEXT, &conf_path, "FILE", "the configuration (else " CONF_DEFAULT_PATH " if it is there)" },
	{ "drain", 0, CLI_FLAG, &want_drain, NULL, "end when nothing is ready, running or due any more: 0, or 1 if something failed" },
	{ "no-migrate", 0, CLI_FLAG, &no_migrate, NULL, "do not install or upgrade the schema" },
	{ .name = NULL }
};

static const struct cli_option dev_options[] = {
	{ "config", 'c', CLI_TEXT, &conf_path, "FILE", "the configuration" },
	{ "watch", 0, CLI_FLAG, &want_watch, NULL, "replace the handlers when a file of theirs changes" },
	{ "url", 0, CLI_FLAG, &want_url, NULL, "only print the URL of the one that runs in this directory" },
	{ .name = NULL }
};

/* Whether waiting may help: nobody answers, the database is starting up, or is about to be promoted. */
static bool
may_pass(const char *conninfo, const char *why)
{
	PGPing ping = PQping(conninfo);

	return ping == PQPING_REJECT || ping == PQPING_NO_RESPONSE || strstr(why, "read-only") != NULL ||
	    strstr(why, "standby") != NULL;
}

/*
 * A server often starts beside its database: for a minute it tries again. What does not get better by waiting (a wrong
 * password, no such database) ends it at once.
 */
static PGconn *
connect_patiently(const char *conninfo, time_t until)
{
	PGconn *conn;
	bool said = false;
	int refused = 0;
	char *why;

	while ((conn = cli_try_connect(conninfo, &why)) == NULL) {
		/* It may have come up between the attempt and this look: what is really refused is refused twice. */
		refused = may_pass(conninfo, why) ? 0 : refused + 1;
		if (time(NULL) >= until || refused > 1)
			cli_fail(EX_UNAVAILABLE, "database: %s", why);
		if (!said && refused == 0) {
			cli_warn("database: %s; trying again", why);
			said = true;
		}
		notify_send("STATUS=waiting for the database: %s", why);
		free(why);
		nanosleep(&(struct timespec){ 0, 300 * 1000 * 1000 }, NULL);
	}
	return conn;
}

/* A database that goes away in the middle of it is waited for as well. */
static PGconn *
migrate_patiently(const char *conninfo, struct migrate_status *status)
{
	time_t until = time(NULL) + PATIENCE_S;
	PGconn *conn;
	int rc;

	for (;;) {
		conn = connect_patiently(conninfo, until);
		if ((rc = no_migrate ? migrate_look(conn, status) : migrate_apply(conn, status)) == 0)
			return conn;
		if (PQstatus(conn) != CONNECTION_BAD || time(NULL) >= until)
			exit(rc);
		PQfinish(conn);
	}
}

/* Brings the schema up to date; with a configuration, also declares its tasks. */
static void
prepare(const char *conninfo, const struct conf *conf)
{
	struct migrate_status status;
	PGconn *conn = migrate_patiently(conninfo, &status);

	if (no_migrate && status.installed > status.known)
		cli_fail(EX_CONFIG, "the schema has version %d, this program knows %d", status.installed, status.known);
	if (no_migrate && status.installed < status.known)
		cli_fail(EX_CONFIG, "the schema has version %d of %d; bring it up to date with `pgconductor migrate`",
		    status.installed, status.known);
	if (conf != NULL)
		register_configured(conn, conf);
	PQfinish(conn);
}

/* Before any database is asked for it. */
static void
need_something(const struct conf *conf)
{
	if (cli_words_n > 0 || conf_has_programs(conf))
		return;
	if (conf->path == NULL)
		cli_usage("nothing to serve: give a configuration with -c, or a command behind --");
	cli_fail(EX_CONFIG, "%s: nothing to serve: no task has an exec and no queue a handler, and there is no command behind --",
	    conf->path);
}

static int
serve(struct conf *conf, const char *conninfo)
{
	struct server_options options = {
		.conf = conf,
		.conf_path = conf->path != NULL ? xstrdup(conf->path) : NULL,
		.conninfo = conninfo,
		.argv = cli_words,
		.argc = cli_words_n,
		.drain = want_drain,
		.terminal = isatty(STDERR_FILENO) != 0,
	};
	int rc;

	if (cli_words_n > 0)
		conf_set_command(conf, cli_words);
	rc = server_run(&options);
	free((char *)(uintptr_t)options.conf_path);
	return rc;
}

static int
run(int argc, char **argv)
{
	struct conf *conf;
	const char *conninfo;

	if (argc > 1)
		cli_usage("%s: unexpected argument; a command to serve stands behind --", argv[1]);
	notify_init();
	conf = cli_load_conf(conf_path, cli_words_n == 0);
	need_something(conf);
	conninfo = cli_conninfo(conf);
	prepare(conninfo, NULL);
	return serve(conf, conninfo);
}

static int
print_url(void)
{
	bool running;
	char *url = devdb_find(&running);

	if (url == NULL || !running)
		cli_fail(EX_UNAVAILABLE, "no dev server runs in this directory");
	printf("%s\n", url);
	free(url);
	return cli_done(EX_OK);
}

static int
run_dev(int argc, char **argv)
{
	struct devdb db;
	struct conf *conf;
	char *url;
	int rc;

	if (argc > 1)
		cli_usage("%s: unexpected argument; a command to serve stands behind --", argv[1]);
	if (want_url)
		return print_url();
	notify_init();
	conf = cli_load_conf(conf_path, false);
	conf->inherit_env = true;
	need_something(conf);
	devdb_start(&db);
	url = xstrdup(db.url);
	/* Whoever sees the URL, or waits for it in this directory, can invoke these tasks: the server is not as quick. */
	prepare(url, conf);
	devdb_announce(&db);
	printf("database: %s\n", url);
	cli_done(EX_OK);
	if (want_watch)
		watch_start(conf);
	rc = serve(conf, url);
	devdb_stop(&db);
	free(url);
	return rc;
}

const struct cli_command cmd_run = {
	.name = "run",
	.arguments = "[-c FILE] [--drain] [--no-migrate] [--db URL] [-- CMD…]",
	.summary = "serve tasks",
	.details = "Serves the tasks of the configuration. With -- CMD, serves every task that CMD announces.\n"
	    "TERM and INT let running executions end within shutdown_timeout, a second one stops at once;\n"
	    "HUP reads the configuration again.\n",
	.options = run_options,
	.takes_command = true,
	.run = run,
};

const struct cli_command cmd_dev = {
	.name = "dev",
	.arguments = "[-c FILE] [--watch] [-- CMD…] | --url",
	.summary = "serve tasks on a private PostgreSQL made for this directory",
	.details = "Needs no set-up: makes and starts a PostgreSQL below .pgconductor/, prints its URL, serves, and stops\n"
	    "it again at the end. Other commands run in this directory find it by themselves.\n"
	    "With --watch, programs and the configuration may be edited meanwhile: sources and executables below this directory\n"
	    "and those of the handlers are watched; what runs goes on with what it has begun with.\n",
	.options = dev_options,
	.takes_command = true,
	.no_database = true,
	.run = run_dev,
};
