/*
 * The SQL-only ceiling: what PostgreSQL gives when nothing but pgconductor's own statements run.
 *
 * One process, one thread, two connections in pipeline mode: the reader polls every lane of a queue by cursor, the
 * writer settles what was read in batches. No master, no worker, no handler. The figures of `make bench` are ratios
 * against this.
 *
 * usage: ceiling [-b BATCH] [-k] [-q QUEUE] CONNINFO JOBS
 *   -k  keep history (without it the rows are deleted and nothing is written)
 * Prints one line of JSON.
 */
#include <endian.h>
#include <err.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define OID_INT4 23
#define OID_INT8 20
#define OID_BOOL 16
#define OID_JSON 114
#define OID_XID8 5069
#define OID_BOOLARRAY 1000
#define OID_INT4ARRAY 1007
#define OID_INT8ARRAY 1016
#define OID_XID8ARRAY 271
#define OID_JSONARRAY 199

#define MAX_SHARDS 64
#define BATCHES_AHEAD 8		/* the reader stops when so many batches wait to be settled */
#define SETTLES_AHEAD 2		/* one runs, one waits in the socket */

/* A one-dimensional array in PostgreSQL's binary format. */
struct array {
	uint8_t	*data;
	size_t	 len, cap;
	int	 n;
};

struct run {
	uint64_t id, xid;
};

static int64_t	 shards[MAX_SHARDS];
static int	 shards_n;
static struct run cursors[MAX_SHARDS];
static bool	 exhausted[MAX_SHARDS];

static struct run *ring;
static size_t	 ring_size, ring_head, ring_tail;

static PGconn	*reader, *writer;
static bool	 poll_sent;
static int	 settles_sent;
static size_t	 batch = 1000;
static bool	 keep;
static uint64_t	 rows_read, bytes_read, rows_settled, polls, settles;

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (ts.tv_sec + ts.tv_nsec / 1e9);
}

static void
put(struct array *a, const void *p, size_t n)
{
	if (a->len + n > a->cap) {
		a->cap = (a->len + n) * 2;
		if ((a->data = realloc(a->data, a->cap)) == NULL)
			err(71, "realloc");
	}
	memcpy(a->data + a->len, p, n);
	a->len += n;
}

static void
put32(struct array *a, uint32_t v)
{
	v = htobe32(v);
	put(a, &v, sizeof(v));
}

static void
array_start(struct array *a, uint32_t element, int n)
{
	a->len = 0;
	a->n = n;
	put32(a, 1);		/* dimensions */
	put32(a, 1);		/* may have nulls */
	put32(a, element);
	put32(a, (uint32_t)n);
	put32(a, 1);		/* lower bound */
}

static void
add_int4(struct array *a, int32_t v)
{
	put32(a, 4);
	put32(a, (uint32_t)v);
}

static void
add_int8(struct array *a, uint64_t v)
{
	v = htobe64(v);
	put32(a, 8);
	put(a, &v, sizeof(v));
}

static uint32_t
get32(const char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return (be32toh(v));
}

static uint64_t
get64(const char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return (be64toh(v));
}

static PGresult *
expect(PGconn *conn, PGresult *res, ExecStatusType status)
{
	if (PQresultStatus(res) != status)
		errx(70, "%s", PQerrorMessage(conn));
	return (res);
}

static PGconn *
session(const char *conninfo, const char *role)
{
	const char *values[1] = { role };
	PGconn *conn = PQconnectdb(conninfo);

	if (PQstatus(conn) != CONNECTION_OK)
		errx(69, "%s", PQerrorMessage(conn));
	PQclear(expect(conn, PQexecParams(conn, "select pgconductor.setup_session($1, 10000)", 1, NULL, values, NULL,
	    NULL, 0), PGRES_TUPLES_OK));
	return (conn);
}

static void
find_shards(const char *queue)
{
	PGresult *res;
	int i;

	res = expect(reader, PQexecParams(reader, "select id from pgconductor.shards where queue = $1 order by id", 1, NULL,
	    &queue, NULL, NULL, 0), PGRES_TUPLES_OK);
	shards_n = PQntuples(res);
	if (shards_n == 0 || shards_n > MAX_SHARDS)
		errx(70, "queue %s has %d shards", queue, shards_n);
	for (i = 0; i < shards_n; i++)
		shards[i] = atoll(PQgetvalue(res, i, 0));
	PQclear(res);
}

static void
prepare(void)
{
	static const Oid poll_types[] = { OID_INT4ARRAY, OID_INT4ARRAY, OID_INT4ARRAY, OID_XID8ARRAY, OID_INT8ARRAY,
	    OID_XID8ARRAY, OID_INT4ARRAY };
	static const Oid settle_types[] = { OID_INT8ARRAY, OID_XID8ARRAY, OID_JSONARRAY, OID_BOOLARRAY, OID_INT4ARRAY,
	    OID_INT4 };

	PQclear(expect(reader, PQprepare(reader, "poll",
	    "select entry, id, ready_xid, attempt, task, payload, payload_len, metadata, event, shard, lane"
	    " from pgconductor.poll($1, $2, $3, $4, $5, $6, $7)", 7, poll_types), PGRES_COMMAND_OK));
	PQclear(expect(writer, PQprepare(writer, "settle", "select pgconductor.settle_plain($1, $2, $3, $4, $5, $6)", 6,
	    settle_types), PGRES_COMMAND_OK));
	if (!PQenterPipelineMode(reader) || !PQenterPipelineMode(writer))
		errx(70, "no pipeline mode");
	PQsetnonblocking(reader, 1);
	PQsetnonblocking(writer, 1);
}

static size_t
ring_used(void)
{
	return (ring_head - ring_tail);
}

static void
send_query(PGconn *conn, const char *name, struct array *args, int n)
{
	const char *values[8];
	int lengths[8], formats[8], i;

	for (i = 0; i < n; i++) {
		values[i] = (const char *)args[i].data;
		lengths[i] = (int)args[i].len;
		formats[i] = 1;
	}
	if (!PQsendQueryPrepared(conn, name, n, values, lengths, formats, 1) || !PQpipelineSync(conn))
		errx(70, "%s", PQerrorMessage(conn));
}

/* Ask for up to a batch, shared among the lanes that may have more; false when none has. */
static bool
send_poll(void)
{
	static struct array a[7];
	int i, open = 0;

	for (i = 0; i < shards_n; i++)
		open += !exhausted[i];
	if (open == 0)
		return (false);
	array_start(&a[0], OID_INT4, shards_n);
	for (i = 0; i < shards_n; i++)
		add_int4(&a[0], (int32_t)shards[i]);
	array_start(&a[1], OID_INT4, open);
	array_start(&a[2], OID_INT4, open);
	array_start(&a[3], OID_XID8, open);
	array_start(&a[4], OID_INT8, open);
	array_start(&a[5], OID_XID8, open);
	array_start(&a[6], OID_INT4, open);
	for (i = 0; i < shards_n; i++) {
		if (exhausted[i])
			continue;
		add_int4(&a[1], (int32_t)shards[i]);
		add_int4(&a[2], 0);
		add_int8(&a[3], cursors[i].xid);
		add_int8(&a[4], cursors[i].id);
		add_int8(&a[5], UINT64_MAX);
		add_int4(&a[6], (int32_t)((batch + open - 1) / open));
	}
	send_query(reader, "poll", a, 7);
	poll_sent = true;
	polls++;
	return (true);
}

static void
take_rows(const PGresult *res)
{
	size_t counts[MAX_SHARDS + 1] = { 0 };
	int open[MAX_SHARDS + 1], entry, i, k = 0, rows = PQntuples(res);

	for (i = 0; i < shards_n; i++)
		if (!exhausted[i])
			open[++k] = i;
	for (i = 0; i < rows; i++) {
		struct run run;

		entry = (int)get32(PQgetvalue(res, i, 0));
		if (entry < 1)
			continue;
		run.id = get64(PQgetvalue(res, i, 1));
		run.xid = get64(PQgetvalue(res, i, 2));
		bytes_read += (uint64_t)PQgetlength(res, i, 5);
		cursors[open[entry]] = run;
		counts[entry]++;
		ring[ring_head++ % ring_size] = run;
		rows_read++;
	}
	for (i = 1; i <= k; i++)
		if (counts[i] < (batch + (size_t)k - 1) / (size_t)k)
			exhausted[open[i]] = true;
}

static void
send_settle(void)
{
	static struct array a[6];
	int i, n = (int)(ring_used() < batch ? ring_used() : batch);

	array_start(&a[0], OID_INT8, n);
	array_start(&a[1], OID_XID8, n);
	array_start(&a[2], OID_JSON, n);
	array_start(&a[3], OID_BOOL, n);
	array_start(&a[4], OID_INT4, n);
	for (i = 0; i < n; i++) {
		const struct run *run = &ring[ring_tail++ % ring_size];

		add_int8(&a[0], run->id);
		add_int8(&a[1], run->xid);
		put32(&a[2], UINT32_MAX);	/* null */
		put32(&a[3], 1);
		put(&a[3], &keep, 1);
		add_int4(&a[4], 0);
	}
	a[5].len = 0;
	put32(&a[5], 0);
	send_query(writer, "settle", a, 6);
	settles_sent++;
	settles++;
}

/* Hand every complete result to the caller's function; the sync that follows each is swallowed. */
static void
drain_results(PGconn *conn, void (*take)(const PGresult *))
{
	PGresult *res;

	if (!PQconsumeInput(conn))
		errx(69, "%s", PQerrorMessage(conn));
	while (!PQisBusy(conn)) {
		if ((res = PQgetResult(conn)) == NULL) {
			/* the end of one statement; two in a row, when nothing is on its way */
			if ((res = PQisBusy(conn) ? NULL : PQgetResult(conn)) == NULL)
				return;
		}
		switch (PQresultStatus(res)) {
		case PGRES_TUPLES_OK:
			take(res);
			break;
		case PGRES_PIPELINE_SYNC:
			break;
		default:
			errx(70, "%s", PQresultErrorMessage(res));
		}
		PQclear(res);
	}
}

static void
take_poll(const PGresult *res)
{
	take_rows(res);
	poll_sent = false;
}

static void
take_settle(const PGresult *res)
{
	rows_settled += get32(PQgetvalue(res, 0, 0));
	settles_sent--;
}

static void
loop(uint64_t jobs)
{
	struct pollfd fds[2] = { { .fd = PQsocket(reader) }, { .fd = PQsocket(writer) } };
	bool more = true;

	while (rows_settled < jobs) {
		if (more && !poll_sent && ring_used() < BATCHES_AHEAD * batch)
			more = send_poll();
		while (settles_sent < SETTLES_AHEAD && (ring_used() >= batch || (ring_used() > 0 && !more)))
			send_settle();
		if (!more && !poll_sent && settles_sent == 0 && ring_used() == 0)
			errx(70, "%ju of %ju jobs settled, nothing left to read", (uintmax_t)rows_settled, (uintmax_t)jobs);
		fds[0].events = POLLIN | (PQflush(reader) > 0 ? POLLOUT : 0);
		fds[1].events = POLLIN | (PQflush(writer) > 0 ? POLLOUT : 0);
		if (poll(fds, 2, 10000) <= 0)
			errx(70, "no answer within 10 s");
		if (fds[0].revents & POLLIN)
			drain_results(reader, take_poll);
		if (fds[1].revents & POLLIN)
			drain_results(writer, take_settle);
	}
}

int
main(int argc, char *argv[])
{
	const char *queue = "default";
	double start, took;
	uint64_t jobs;
	int ch;

	while ((ch = getopt(argc, argv, "b:kq:")) != -1) {
		switch (ch) {
		case 'b': batch = (size_t)atoi(optarg); break;
		case 'k': keep = true; break;
		case 'q': queue = optarg; break;
		default: errx(64, "usage: ceiling [-b BATCH] [-k] [-q QUEUE] CONNINFO JOBS");
		}
	}
	if (argc - optind != 2 || batch < 1)
		errx(64, "usage: ceiling [-b BATCH] [-k] [-q QUEUE] CONNINFO JOBS");
	jobs = strtoull(argv[optind + 1], NULL, 10);
	ring_size = (BATCHES_AHEAD + 2) * (batch + MAX_SHARDS);
	if ((ring = calloc(ring_size, sizeof(*ring))) == NULL)
		err(71, "calloc");
	reader = session(argv[optind], "reader");
	writer = session(argv[optind], "writer");
	find_shards(queue);
	prepare();
	start = now();
	loop(jobs);
	took = now() - start;
	printf("{\"jobs\": %ju, \"seconds\": %.6f, \"rate\": %.0f, \"polls\": %ju, \"settles\": %ju, \"bytes\": %ju}\n",
	    (uintmax_t)rows_settled, took, (double)rows_settled / took, (uintmax_t)polls, (uintmax_t)settles,
	    (uintmax_t)bytes_read);
	PQfinish(reader);
	PQfinish(writer);
	free(ring);
	return (0);
}
