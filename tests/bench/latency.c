/*
 * The client of the latency rows: one invoke each interval, its payload the time just before; and half an interval
 * later a bare commit (one row into a table of its own), whose duration is printed.
 *
 * usage: latency CONNINFO INTERVAL_MS SAMPLES
 * Prints the bare commits' nanoseconds, one to a line.
 */
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <libpq-fe.h>

static uint64_t
clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ((uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec);
}

static void
sleep_until(uint64_t ns)
{
	struct timespec ts = { .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) != 0)
		;
}

static void
check(PGconn *conn, PGresult *res)
{
	if (PQresultStatus(res) != PGRES_COMMAND_OK && PQresultStatus(res) != PGRES_TUPLES_OK)
		errx(70, "%s", PQerrorMessage(conn));
	PQclear(res);
}

int
main(int argc, char *argv[])
{
	PGconn *conn;
	const char *values[1];
	char payload[64];
	uint64_t interval, next, start;
	int i, samples;

	if (argc != 4)
		errx(64, "usage: latency CONNINFO INTERVAL_MS SAMPLES");
	interval = strtoull(argv[2], NULL, 10) * 1000000;
	samples = atoi(argv[3]);
	conn = PQconnectdb(argv[1]);
	if (PQstatus(conn) != CONNECTION_OK)
		errx(69, "%s", PQerrorMessage(conn));
	check(conn, PQexec(conn, "set client_min_messages = warning"));
	check(conn, PQexec(conn, "create table if not exists bare (a int)"));
	check(conn, PQprepare(conn, "invoke", "select pgconductor.invoke('noop', $1::text)", 1, NULL));
	check(conn, PQprepare(conn, "bare", "insert into bare values (1)", 0, NULL));
	next = clock_ns(CLOCK_MONOTONIC);
	for (i = 0; i < samples; i++) {
		sleep_until(next += interval);
		snprintf(payload, sizeof(payload), "{\"t\":%ju}", (uintmax_t)clock_ns(CLOCK_REALTIME));
		values[0] = payload;
		check(conn, PQexecPrepared(conn, "invoke", 1, values, NULL, NULL, 0));
		sleep_until(next + interval / 2);
		start = clock_ns(CLOCK_MONOTONIC);
		check(conn, PQexecPrepared(conn, "bare", 0, NULL, NULL, NULL, 0));
		printf("%ju\n", (uintmax_t)(clock_ns(CLOCK_MONOTONIC) - start));
	}
	PQfinish(conn);
	return (0);
}
