"""Cron expressions and their next tick, held against croniter (what an expression means on the wall) and zoneinfo (which
moment that is)."""

import random
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import psycopg
import pytest
from croniter import CroniterBadDateError, croniter

from support.sqlnode import one

ZONES = ["UTC", "Europe/Berlin", "Europe/London", "Europe/Dublin", "America/New_York", "America/Los_Angeles",
         "America/St_Johns", "America/Sao_Paulo", "America/Santiago", "America/Caracas", "Asia/Kolkata", "Asia/Kathmandu",
         "Asia/Tehran", "Asia/Tokyo", "Asia/Gaza", "Africa/Casablanca", "Australia/Lord_Howe", "Australia/Sydney",
         "Pacific/Apia", "Pacific/Chatham"]


def bits(db, expression):
    return one(db, "select (c).* from (select pgconductor.parse_cron('test', %s) c) x", expression)


def next_tick(db, expression, zone, after):
    return one(db, "select pgconductor.next_tick(pgconductor.parse_cron('test', %s), %s, %s)", expression, zone, after)[0]


def ticks(db, expression, zone, after, n):
    found = []
    for _ in range(n):
        after = next_tick(db, expression, zone, after)
        found.append(after)
    return found


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


# ---- reading expressions ----

NOTATIONS = [
    ("@hourly", "0 * * * *"), ("@daily", "0 0 * * *"), ("@midnight", "0 0 * * *"), ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"), ("@yearly", "0 0 1 1 *"), ("@ANNUALLY", "0 0 1 1 *"),
    ("0 9 * * mon-fri", "0 0 9 * * 1-5"), ("0 0 * JAN,dec *", "0 0 * 1,12 *"), ("0 0 * * 7", "0 0 * * sun"),
    ("0 0 * * 5-7", "0 0 * * 0,5,6"), ("0 0 * * sat-sun", "0 0 * * 6,0"), ("*/20 * * * *", "0,20,40 * * * *"),
    ("5/20 * * * *", "5,25,45 * * * *"), ("10-30/10 * * * *", "10,20,30 * * * *"), ("  1\t2   3 4 5 ", "1 2 3 4 5"),
    ("0 0 1/10 * *", "0 0 1,11,21,31 * *"), ("0 0 * * */3", "0 0 * * 0,3,6"), ("00 08 * * *", "0 8 * * *"),
]


def test_notations(db):
    for expression, same in NOTATIONS:
        assert bits(db, expression)[:6] == bits(db, same)[:6], expression


ERRORS = [
    ("60 * * * *", "minute: '60': not between 0 and 59"),
    ("* 24 * * *", "hour: '24': not between 0 and 23"),
    ("* * 0 * *", "day of month: '0': not between 1 and 31"),
    ("* * * 13 *", "month: '13': not between 1 and 12"),
    ("* * * * 8", "day of week: '8': not between 0 and 7"),
    ("60 * * * * *", "second: '60': not between 0 and 59"),
    ("* * * foo *", "month: 'foo': not one of jan, feb"),
    ("* * * * mo", "day of week: 'mo': neither"),
    ("* sun * * *", "hour: 'sun': not one of the numbers 0 to 23"),
    ("5-1 * * * *", "minute: '5-1': the range ends before it begins"),
    ("*/0 * * * *", "minute: '*/0': the step is not between 1 and 59"),
    ("* */24 * * *", "hour: '*/24': the step is not between 1 and 23"),
    ("1,,2 * * * *", "minute: '': neither"), ("1, * * * *", "minute: '': neither"), ("-1 * * * *", "minute: '-1': neither"),
    ("? * * * *", "minute: '?': neither"), ("* * L * *", "day of month: 'L': neither"),
    ("* * * * 5#2", "day of week: '5#2': neither"),
    ("* * * *", "5 fields are needed"), ("* * * * * * *", "5 fields are needed"), ("", "5 fields are needed"),
    (None, "5 fields are needed"), ("@reboot", "'@reboot': not one of @yearly"), ("@", "'@': not one of"),
    ("0 0 31 2 *", "day of month: there is no such day"), ("0 0 30 2 *", "there is no such day"),
    ("0 0 31 4,6,9,11 *", "there is no such day"),
]


def test_errors_name_the_field(db):
    for expression, why in ERRORS:
        with pytest.raises(psycopg.Error) as caught:
            bits(db, expression)
        assert caught.value.sqlstate == "PC012", expression
        assert caught.value.diag.message_primary.startswith("test: cron: ")
        assert why in caught.value.diag.message_primary, expression


def test_either_day_or_both(db):
    """Vixie's rule: an asterisk in front of one of the two day fields, with a step too, means that both must be right."""
    assert [t.day for t in ticks(db, "0 0 13 * fri", "UTC", utc("2026-11-01"), 6)] == [6, 13, 20, 27, 4, 11]
    assert [(t.month, t.day) for t in ticks(db, "0 0 * * fri", "UTC", utc("2026-11-10"), 2)] == [(11, 13), (11, 20)]
    assert [t.day for t in ticks(db, "0 0 */2 * mon", "UTC", utc("2026-11-01"), 3)] == [9, 23, 7]
    assert [t.day for t in ticks(db, "0 0 13 * */5", "UTC", utc("2026-11-01"), 2)] == [13, 13]


def test_days_that_are_rare(db):
    assert next_tick(db, "0 0 29 2 *", "UTC", utc("2096-03-01")) == utc("2104-02-29")
    # A Sunday; the next one is 28 years later.
    assert ticks(db, "0 12 29 2 */7", "UTC", utc("2026-01-01"), 2) == [utc("2032-02-29 12:00"), utc("2060-02-29 12:00")]
    assert next_tick(db, "59 59 23 31 12 *", "UTC", utc("2026-12-31 23:59:59")) == utc("2027-12-31 23:59:59")


def test_seconds(db):
    assert ticks(db, "*/25 * * * * *", "UTC", utc("2026-11-01 00:00:24.999999"), 3) \
        == [utc(f"2026-11-01 00:0{t}") for t in ("0:25", "0:50", "1:00")]


# ---- clocks that are put forward and back ----

JUMPS = [
    # Skipped: once, at the moment of the jump, however many ticks there were.
    ("30 2 * * *", "Europe/Berlin", "2026-03-28 02:00", ["2026-03-29 01:00", "2026-03-30 00:30"]),
    ("*/10 2 * * *", "Europe/Berlin", "2026-03-29 00:50", ["2026-03-29 01:00", "2026-03-30 00:00"]),
    ("*/30 * * * *", "Europe/Berlin", "2026-03-29 00:00",
     ["2026-03-29 00:30", "2026-03-29 01:00", "2026-03-29 01:30", "2026-03-29 02:00"]),
    ("0 3 * * *", "Europe/Berlin", "2026-03-29 00:30", ["2026-03-29 01:00", "2026-03-30 01:00"]),
    ("0 0 * * *", "America/Santiago", "2026-09-05 12:00", ["2026-09-06 04:00", "2026-09-07 03:00"]),
    ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00", ["2026-10-03 15:30", "2026-10-04 15:15"]),
    # A whole day.
    ("0 12 30 12 *", "Pacific/Apia", "2011-12-01 00:00", ["2011-12-30 10:00", "2012-12-29 22:00"]),
    # Twice: the first.
    ("30 2 * * *", "Europe/Berlin", "2026-10-24 12:00", ["2026-10-25 00:30", "2026-10-26 01:30"]),
    ("*/30 * * * *", "Europe/Berlin", "2026-10-24 23:45",
     ["2026-10-25 00:00", "2026-10-25 00:30", "2026-10-25 02:00", "2026-10-25 02:30"]),
    # Asked between the two.
    ("30 2 * * *", "Europe/Berlin", "2026-10-25 01:10", ["2026-10-26 01:30"]),
    ("0 3 * * *", "Europe/Berlin", "2026-10-25 01:10", ["2026-10-25 02:00"]),
    ("0 3 * * *", "Europe/Berlin", "2026-10-25 00:59:59", ["2026-10-25 02:00"]),
    ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04 12:00", ["2026-04-04 14:45", "2026-04-05 15:15"]),
]


def test_jumps(db):
    for expression, zone, after, expected in JUMPS:
        got = ticks(db, expression, zone, utc(after), len(expected))
        assert got == [utc(e) for e in expected], (expression, zone, after)


# ---- the oracle ----

def offset_at(zone, moment):
    """Seconds; moment: an aware datetime or one in UTC without zone."""
    return int(moment.replace(tzinfo=timezone.utc).astimezone(zone).utcoffset().total_seconds())


def jumps_of(zone, low, high):
    """Moments (naive UTC) at which the offset of a zone changes, looked for by day and then by halves."""
    found = []
    while low < high:
        then = low + timedelta(days=1)
        if offset_at(zone, low) != offset_at(zone, then):
            a, b = low, then
            while b - a > timedelta(seconds=1):
                middle = a + (b - a) / 2
                middle = middle.replace(microsecond=0)
                a, b = (middle, b) if offset_at(zone, middle) == offset_at(zone, low) else (a, middle)
            found.append(b)
        low = then
    return found


def moment_of(zone, wall):
    """The first moment (naive UTC) at which the clock shows this, or has jumped over it. By trying, without fold."""
    candidates = []
    for hours in range(-30, 31, 6):
        offset = offset_at(zone, wall + timedelta(hours=hours))
        moment = wall - timedelta(seconds=offset)
        if offset_at(zone, moment) == offset:
            candidates.append(moment)
    if candidates:
        return min(candidates)
    for jump in jumps_of(zone, wall - timedelta(days=2), wall + timedelta(days=2)):
        before = jump + timedelta(seconds=offset_at(zone, jump - timedelta(seconds=1)))
        if before <= wall < jump + timedelta(seconds=offset_at(zone, jump)):
            return jump
    raise AssertionError(f"{wall} is nowhere in {zone}")


def expected_tick(expression, zone, after):
    """By what croniter says of clocks that are never put forward or back, from well before on."""
    fields = expression.split()
    if len(fields) == 6:
        # croniter has seconds at the end.
        expression = " ".join(fields[1:] + fields[:1])
    wall = (after + timedelta(seconds=offset_at(zone, after))).replace(microsecond=0)
    back = timedelta(0)
    # What the clock has shown before may come once more: the walk begins before it, where it would be short enough.
    for jump in jumps_of(zone, after - timedelta(days=2), after + timedelta(days=2)):
        back = max(back, timedelta(seconds=abs(offset_at(zone, jump) - offset_at(zone, jump - timedelta(seconds=1)))))
    walk = croniter(expression, wall - back - timedelta(seconds=1))
    while True:
        tick = moment_of(zone, walk.get_next(datetime))
        if tick > after:
            return tick


def values(rng, low, high):
    a, b = sorted((rng.randint(low, high), rng.randint(low, high)))
    return rng.choice([lambda: "*", lambda: str(a), lambda: f"{a}-{b}", lambda: f"{a},{b}" if a != b else str(a),
                       lambda: f"*/{rng.randint(1, max(1, (high - low) // 2))}",
                       lambda: f"{a}-{b}/{rng.randint(1, max(1, b - a))}"])()


def random_expression(rng):
    minute = rng.choice([values(rng, 0, 59), values(rng, 0, 59), str(rng.choice([0, 15, 30, 45]))])
    hour = rng.choice([values(rng, 0, 23), str(rng.randint(0, 3)), "*"])
    # What is an asterisk to croniter is one that stands alone, and also what has all values: see test_either_day_or_both.
    day = rng.choice(["*", "*", values(rng, 2, 31).replace("*/", "2-31/"), str(rng.randint(1, 28))])
    month = rng.choice(["*", "*", values(rng, 1, 12), rng.choice(["mar", "OCT", "jan,jul"])])
    weekday = rng.choice(["*", "*", values(rng, 1, 6).replace("*/", "1-6/"), rng.choice(["sun", "mon-fri", "SAT"])])
    seconds = rng.choice(["", "", "", str(rng.randint(0, 59)) + " ", f"*/{rng.randint(7, 29)} "])
    return f"{seconds}{minute} {hour} {day} {month} {weekday}"


def possible(expression):
    """It means a day at all; that it may not is tested above."""
    try:
        return croniter(" ".join(expression.split()[-5:]), datetime(2000, 1, 1)).get_next() > 0
    except CroniterBadDateError:
        return False


def random_moment(rng, jumps):
    """Half of them on the day of a jump."""
    if jumps and rng.random() < 0.5:
        moment = rng.choice(jumps) + timedelta(seconds=rng.randint(-90000, 90000))
    else:
        moment = datetime(2005, 1, 1) + timedelta(seconds=rng.randint(0, 40 * 365 * 86400))
    return moment + rng.choice([timedelta(0), timedelta(microseconds=rng.randint(1, 999999))])


def test_against_the_oracle(db, seed, scale):
    """Random expressions and moments, half of them around clock changes."""
    rng = random.Random(seed)
    zones = {z: ZoneInfo(z) for z in ZONES}
    jumps = {z: jumps_of(info, datetime(2005, 1, 1), datetime(2036, 1, 1)) for z, info in zones.items()}
    cases = []
    while len(cases) < scale(1000, 100000):
        name = rng.choice(ZONES)
        expression, after = random_expression(rng), random_moment(rng, jumps[name])
        if possible(expression):
            cases.append((expression, name, after))
    with db.cursor() as cursor:
        cursor.execute("create temp table cases (n int, expression text, zone text, after timestamptz)")
        with cursor.copy("copy cases from stdin") as copy:
            for n, (expression, name, after) in enumerate(cases):
                copy.write_row((n, expression, name, after.replace(tzinfo=timezone.utc)))
        cursor.execute("""select n, pgconductor.next_tick(pgconductor.parse_cron('test', expression), zone, after) from cases
            order by n""")
        answers = cursor.fetchall()
    for (expression, name, after), (_, got) in zip(cases, answers):
        expected = expected_tick(expression, zones[name], after)
        assert got.replace(tzinfo=None) == expected, (expression, name, after)
