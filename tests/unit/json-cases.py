#!/usr/bin/python3
"""Writes tests/unit/json.cases: byte strings, each with what PostgreSQL's json type says of it ("1 hex" or "0 hex").

usage: json-cases.py CONNINFO [SEED] > json.cases        (a database of encoding UTF8; needs python3-psycopg)
       json-cases.py CONNINFO [SEED] --check LIBRARY

The unit test holds json_check against that file. With --check, far more cases than are worth keeping are compared at
once; LIBRARY is a shared object that contains json_check.
"""
import ctypes
import random
import sys

import psycopg

SEEDS = [
    b'null', b'true', b'false', b'0', b'-0', b'1', b'-1', b'12.50', b'1e400', b'-1.5E-10', b'9223372036854775808',
    b'""', b'"a"', b'"\\u0000"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9"',
    b'"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"', b'"\x7f"', b'"\xef\xbb\xbf"', b'"\xf4\x8f\xbf\xbf"', b'"\xed\x9f\xbf"',
    b'[]', b'{}', b'[1,2,3]', b'{"a":1}', b'{"a":1,"a":2}', b'{"":{}}', b' [ 1 , { "a" : [ ] } ] ', b'\t\n\r 1\t\n\r ',
    b'[[[[[[]]]]]]', b'{"a":{"b":{"c":[null,true,false]}}}', b'[{"a":[{"b":[{}]}]},[],{}]',
    b'{"name":"World","n":12.50,"list":[1,2,3],"nested":{"deep":"value with some text in it to pass eight bytes"}}',
]
BAD = [
    b'', b' ', b'nul', b'nulll', b'True', b'NaN', b'Infinity', b'-', b'+1', b'01', b'-01', b'1.', b'.5', b'1e', b'1e+',
    b'0x10', b'1 2', b'1a', b'1_0', b'"', b'"a', b'"\\', b'"\\"', b'"\\a"', b'"\\u"', b'"\\u12"', b'"\\u12g4"', b"'a'",
    b'"\\U0041"', b'"\x01"', b'"\n"', b'"\t"', b'"\x1f"', b'[', b']', b'[1', b'[1,', b'[1,]', b'[,1]', b'[1 2]', b'[1;2]',
    b'{', b'}', b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,', b'{"a":1,}', b'{,}', b'{a:1}', b'{1:1}', b'{"a" 1}', b'{"a":}',
    b'{"a":1 "b":2}', b'[1}', b'{"a":1]', b'[]]', b'{}}', b'[] []', b'/**/1', b'//\n1', b'1//', b'\x0b1', b'\x0c1',
    b'\xc2\xa01', b'\xef\xbb\xbf1', b'"\xff"', b'"\xc0\x80"', b'"\xc1\xbf"', b'"\xe0\x80\x80"', b'"\xed\xa0\x80"',
    b'"\xf0\x80\x80\x80"', b'"\xf4\x90\x80\x80"', b'"\xf5\x80\x80\x80"', b'"\x80"', b'"\xc3"', b'"\xe2\x82"', b'"\xf0\x9f\x98"',
    b'\xc3\xa9', b'true_', b'true1', b'true\xc3\xa9', b'1\xc3\xa9', b'null"a"', b'"a""b"', b'1"a"', b'[true"a"]', b'[1"a"]',
    b'\x001', b'1\x00', b'"\x00"', b'"a\x00', b'[1,\x00]', b'--1', b'-a', b'-.5', b'1..5', b'1.5.5', b'1e5.5', b'1ee5', b'0e', b'00',
    b'{"a":1}x', b'tru', b'fals', b'"\\u123', b'"\\u1234', b'"' + b'a' * 7 + b'\x01"', b'"' + b'a' * 8 + b'\x1f' + b'a' * 9 + b'"',
    b'"' + b'a' * 9 + b'\x80' + b'a' * 9 + b'"', b'"' + b'a' * 5 + b'\\q' + b'a' * 9 + b'"',
]
ATOMS = [b'"', b'\\', b'[', b']', b'{', b'}', b',', b':', b' ', b'\n', b'0', b'1', b'9', b'-', b'+', b'.', b'e', b'E',
         b'null', b'true', b'false', b'"a"', b'\\u', b'\\u0000', b'\\ud83d', b'\\n', b'\x00', b'\x01', b'\x1f', b'\x7f', b'\x80',
         b'\xbf', b'\xc2', b'\xe2\x82\xac', b'\xf0\x9f\x98\x80', b'\xed\xa0\x80', b'_', b'a', b'/', b"'", b'12345678', b'abcdefgh']


def mutate(rng, s):
    s = bytearray(s)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at = rng.randint(0, len(s))
        what = rng.random()
        if what < 0.4:
            s[at:at] = rng.choice(ATOMS)
        elif what < 0.6 and s:
            del s[at:at + rng.randint(1, 3)]
        elif what < 0.8 and s:
            s[at:at + 1] = rng.choice(ATOMS)
        elif what < 0.9:
            s[at:at] = bytes(s[rng.randint(0, len(s)):rng.randint(0, len(s))])
        elif s:
            s[min(at, len(s) - 1)] = rng.randrange(256)
    return bytes(s)


def grow(rng, depth=0):
    what = rng.random()
    blank = rng.choice([b'', b'', b'', b' ', b'\n\t'])
    if depth > 4 or what < 0.5:
        return blank + rng.choice(SEEDS[:22]) + blank
    parts = [grow(rng, depth + 1) for _ in range(rng.randint(0, 4))]
    if what < 0.75:
        return blank + b'[' + b','.join(parts) + b']' + blank
    return blank + b'{' + b','.join(rng.choice(SEEDS[11:21]) + b':' + p for p in parts) + b'}' + blank


def cases(rng, n):
    yield from SEEDS
    yield from BAD
    for c in range(256):
        yield bytes([c])
        yield b'"' + bytes([c]) + b'"'
        yield b'"\\' + bytes([c]) + b'"'
        yield b'[1' + bytes([c]) + b'2]'
    for _ in range(n):
        s = rng.choice(SEEDS + BAD) if rng.random() < 0.5 else grow(rng)
        yield mutate(rng, s) if rng.random() < 0.8 else s


def verdicts(conn, batch):
    """json of each, in one round trip while all are fine; a NUL cannot even be sent, and is refused."""
    ok = [b'\0' not in s for s in batch]
    with conn.cursor() as cur:
        for i, s in enumerate(batch):
            if not ok[i]:
                continue
            try:
                cur.execute("select cast(%s as json)", (Raw(s),), binary=True)
            except psycopg.Error as e:
                if e.sqlstate not in ("22P02", "22021"):
                    raise
                ok[i] = False
    return ok


class Raw:
    def __init__(self, data):
        self.data = data


class RawDumper(psycopg.adapt.Dumper):
    oid = 0

    def dump(self, obj):
        return obj.data


def main():
    conninfo, rest = sys.argv[1], sys.argv[2:]
    check = rest[rest.index("--check") + 1] if "--check" in rest else None
    rng = random.Random(int(rest[0]) if rest and rest[0].isdigit() else 1)
    conn = psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
    conn.adapters.register_dumper(Raw, RawDumper)
    if conn.execute("show server_encoding").fetchone()[0] != "UTF8":
        sys.exit("the database is not UTF8")
    all_cases = sorted(set(s for s in cases(rng, 60000 if check else 2500) if len(s) <= (4000 if check else 120)))
    ok = verdicts(conn, all_cases)
    if check is None:
        for s, good in zip(all_cases, ok):
            print(int(good), s.hex())
        return
    json_check = ctypes.CDLL(check).json_check
    json_check.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p]
    wrong = [(s, good) for s, good in zip(all_cases, ok) if (json_check(s, len(s), None, None) == 0) != good]
    for s, good in wrong[:20]:
        print("PostgreSQL", "takes" if good else "refuses", s)
    print(f"{len(all_cases)} cases, {sum(ok)} of them valid, {len(wrong)} disagreements")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
