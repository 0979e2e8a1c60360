"""What a trigger of ours costs whoever writes to the table it is on."""

import json
import time

from harness import ROUNDS, median, quantity
from rows_client import SLICES, pgbench

COLUMNS = "id,email,name"
TABLE = ("create table users (id bigint generated always as identity primary key, email text, name text, balance numeric(12,2),"
         " created_at timestamptz not null default now())")
# What anybody would write to keep a history of a table.
AUDIT = """create table audit (id bigint generated always as identity primary key, at timestamptz not null, tg_table text not null,
    tg_op text not null, old jsonb, new jsonb);
create function audit() returns trigger language plpgsql as $$
begin
    insert into audit (at, tg_table, tg_op, new) values (now(), tg_table_name, tg_op, to_jsonb(new));
    return null;
end $$;
create trigger audit after insert on users for each row execute function audit()"""
INSERT = "insert into users (email, name, balance) values ('ann@example.com', 'Ann Example', 12.50);\n"
MANY = 20000


def watched(conn):
    """The trigger as a program's, and what keeps its node from being told."""
    conn.execute("select pgconductor.declare_task('noop')")
    conn.execute("select pgconductor.declare_triggers('code:bench', 'noop', %s)",
                 (json.dumps([{"table": "users", "operation": "insert", "columns": COLUMNS}]),))
    conn.execute("select pgconductor.keep_watches()")
    if conn.execute("select count(*) from pg_trigger where tgname like 'pgconductor%'").fetchone()[0] != 1:
        raise RuntimeError("the trigger was not made")


def many(conn):
    """Rows per second of one statement."""
    start = time.monotonic()
    conn.execute(f"insert into users (email, name, balance) select 'ann@example.com', 'Ann Example', 12.50"
                 f" from generate_series(1, {MANY})")
    return MANY / (time.monotonic() - start)


def trigger(b, rows):
    """Row trigger: inserts of users from 8 clients, and of many rows in a statement, against those with an audit trigger."""
    pairs, figures = {"one": [], "many": []}, {"one": [], "many": []}
    for _ in range(ROUNDS):
        names = {"ours": b.database()}
        names["audit"] = b.database(keep=(names["ours"],))
        connections = {kind: b.connect(name) for kind, name in names.items()}
        for kind, conn in connections.items():
            conn.execute(TABLE)
            if kind == "ours":
                watched(conn)
            else:
                conn.execute(AUDIT)
        rates = {(kind, how): [] for kind in names for how in pairs}
        for number in range(SLICES):
            for kind in ("ours", "audit") if number % 2 == 0 else ("audit", "ours"):
                rates[kind, "one"].append(pgbench(b, names[kind], INSERT))
                rates[kind, "many"].append(many(connections[kind]))
        noted, said = (connections[kind].execute(f"select count(*) from {log}, (select count(*) as n from users) u"
                       " having count(*) = max(u.n)").fetchone() for kind, log in (("ours", "pgconductor.events"), ("audit", "audit")))
        if noted is None or said is None:
            raise RuntimeError("a row was not noted")
        for how in pairs:
            ours, audit = (sum(rates[kind, how]) / SLICES for kind in ("ours", "audit"))
            pairs[how].append(audit / ours)
            figures[how].append((ours, audit))
        for conn in connections.values():
            conn.close()
    ours, audit = (median([f[i] for f in figures["one"]]) for i in (0, 1))
    b.report("trigger", "time of a user's insert, against an audit trigger", median(pairs["one"]), 1.3, at_least=False,
             detail=f"{quantity(ours)}/s, audit {quantity(audit)}/s")
    ours, audit = (median([f[i] for f in figures["many"]]) for i in (0, 1))
    b.note(f"of {MANY} in one statement {median(pairs['many']):.2f}: {quantity(ours)}/s, audit {quantity(audit)}/s")
