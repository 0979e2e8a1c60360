"""Handlers that break the protocol, or themselves: only they suffer.

Each test has a healthy handler beside the broken one, which must not notice.
"""

import json
import os
import struct

import pytest

from support.fakemaster import FakeMaster
from support.wait import wait_for

GOOD = """
h = Handler(credit=4, tasks=[{"name": "good"}])
@h.task("good")
def good(run): return run.payload
h.serve()
"""

# HELLO first, then `misbehave(x)` at each RUN.
BAD = """
h = Handler(credit=4, concurrency=2, tasks=[{"name": "bad"}])
def frame(body, length=None):
    h.send_raw(struct.pack(">I", len(body) if length is None else length) + body)
def array(*parts): return bytes([0x90 + len(parts)]) + b"".join(parts)
h.say_hello()
runs = []
while True:
    name, x, fields = h.receive()
    if name == "RUN":
        runs.append(x)
        if len(runs) == 3: misbehave(x)
"""


def with_bad(m, misbehave, **fields):
    source = "import msgpack\ndef misbehave(x):\n    " + misbehave.replace("\n", "\n    ") + "\n" + BAD
    m.setup(m.program("bad", source, **fields), m.program("good", GOOD))
    m.ready(4, 0)
    m.ready(4, 1)
    for x in (1, 2, 3):
        m.run(x, "bad")


def good_is_well(m, execution=1000):
    m.run(execution, "good", '"still here"', pool=1)
    assert m.done(execution) == '"still here"'
    m.wait_slots(4, 1)


def suffers(m, reason):
    """The two it was running have crashed, the one behind them goes back, and it is replaced."""
    for x in (1, 2):
        assert reason in m.failed(x, "crash")["message"]
    assert m.final(3)[0] == "RETURNED"
    m.wait_slots(4, 0)
    good_is_well(m)


PROTOCOL_ERRORS = {
    "garbage": "frame(b'\\xc1' * 50)",
    "empty": "frame(b'')",
    "not an array": "frame(b'\\x83')",
    "two elements": "frame(array(b'\\x04', b'\\x01'))",
    "map is no map": "frame(array(b'\\x04', b'\\x01', b'\\x01'))",
    "bytes after the end": "frame(array(b'\\x04', b'\\x01', b'\\x80') + b'\\x00')",
    "announces more than it sends": "frame(array(b'\\x04', b'\\x01', b'\\xdf\\xff\\xff\\xff\\xff'))",
    "string beyond the end": "frame(array(b'\\x04', b'\\x01', b'\\x81\\xa6result\\xdb\\xff\\xff\\xff\\xf0abc'))",
    "deep": "frame(array(b'\\x04', b'\\x01', b'\\x81\\xa1x' + b'\\x91' * 100000 + b'\\xc0'))",
    "bomb": "frame(array(b'\\x04', b'\\x01', b'\\x81\\xa1x' + b'\\xdd\\x7f\\xff\\xff\\xff' * 12))",
    "oversized": "frame(b'', 0xffffffff)",
    "just over the limit": "frame(b'', (16 << 20) + (1 << 20) + 1)",
    "result is a number": "h.send('DONE', x, {'result': 5})",
    "result is not UTF-8": "frame(array(b'\\x04', bytes([x]), b'\\x81\\xa6result\\xa2\\xff\\xfe'))",
    "fail without message": "h.send('FAIL', x, {'code': 'app'})",
    "a key twice": "frame(array(b'\\x04', bytes([x]), b'\\x82\\xa6result\\xa11\\xa6result\\xa12'))",
    "unknown type": "h.send(63, 0, {})",
    "a worker's message": "h.send('RUN', 9, {})",
    "a master's message": "h.send('SETUP', 0, {})",
    "hello again": "h.say_hello()",
    "nobody's exec": "h.send('DONE', 12345, {})",
    "exec 0": "h.send('DONE', 0, {})",
}


@pytest.mark.parametrize("what", PROTOCOL_ERRORS)
def test_protocol_error(what):
    with FakeMaster() as m:
        with_bad(m, PROTOCOL_ERRORS[what])
        suffers(m, "protocol error")
        m.logged("protocol error")


def test_answers_for_anothers_execution():
    with FakeMaster() as m:
        flag = m.directory + "/flag"
        victim = f"""
h = Handler(credit=4, tasks=[{{"name": "good"}}])
@h.task("good")
def good(run):
    while not os.path.exists({flag!r}): time.sleep(0.01)
    return run.payload
h.serve()
"""
        source = "def misbehave(x): h.send('DONE', 77, {'result': '\"stolen\"'})\n" + BAD
        m.setup(m.program("bad", source), m.program("good", victim))
        m.ready(4, 0)
        m.ready(4, 1)
        m.run(77, "good", '"mine"', pool=1)
        m.started(77)
        for x in (1, 2, 3):
            m.run(x, "bad")
        for x in (1, 2):
            assert "execution 77" in m.failed(x, "crash")["message"]
        assert m.final(3)[0] == "RETURNED"
        open(flag, "w").close()
        assert m.done(77) == '"mine"'


def test_truncated_frame_and_exit():
    with FakeMaster() as m:
        with_bad(m, "frame(b'\\x93\\x04', 100)\nos._exit(7)")
        suffers(m, "exited with status 7")


def test_closes_its_socket_and_stays():
    with FakeMaster(kill_grace_ms=100) as m:
        with_bad(m, "h.sock.close()\ntime.sleep(1000)")
        suffers(m, "closed its socket")


def test_closes_its_socket_stays_and_ignores_term():
    with FakeMaster(kill_grace_ms=100) as m:
        with_bad(m, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nh.sock.close()\nwhile True: time.sleep(1)")
        suffers(m, "closed its socket")


@pytest.mark.parametrize("how, text", [("os.kill(os.getpid(), 9)", "was killed by signal 9 (Killed)"),
                                       ("os._exit(3)", "exited with status 3"),
                                       ("os._exit(0)", "exited with status 0")])
def test_crash(how, text):
    with FakeMaster() as m:
        with_bad(m, how)
        suffers(m, text)


def test_what_it_wrote_before_it_died_counts():
    with FakeMaster() as m:
        with_bad(m, "for y in runs: h.send('DONE', y, {'result': json.dumps('x' * 100000)})\nos.kill(os.getpid(), 9)")
        for x in (1, 2, 3):
            assert len(m.done(x)) == 100002
        m.wait_slots(4, 0)


def test_grandchild_keeps_the_socket_open():
    """A process that it left behind holds descriptor 3: the handler has ended all the same."""
    with FakeMaster() as m:
        with_bad(m, "if os.fork() == 0:\n    os.setsid()\n    time.sleep(1000)\nos._exit(4)")
        suffers(m, "exited with status 4")
        wait_for(lambda: len(m.children()) == 2)


def test_bye_with_executions_gives_them_back():
    with FakeMaster() as m:
        with_bad(m, "h.send('BYE')\nos._exit(0)")
        for x in (1, 2, 3):
            assert m.final(x)[0] == "RETURNED"
        m.wait_slots(4, 0)


def test_never_reads():
    source = """
h = Handler(credit=100, concurrency=100, tasks=[{"name": "bad"}])
h.say_hello()
time.sleep(1000)
"""
    with FakeMaster(concurrency=1000, kill_grace_ms=100) as m:
        m.setup(m.program("bad", source), m.program("good", GOOD))
        m.ready(100, 0)
        m.ready(4, 1)
        payload = '"' + "x" * (1 << 20) + '"'
        for x in range(1, 101):
            m.run(x, "bad", payload)
        for x in range(1000, 1050):
            good_is_well(m, x)
        m.wait_slots(0, 0)
        assert resident(m.process.pid) < 80 << 20  # what it does not read is bounded
        # Some went back to where they came from; the rest ends with the handler.
        m.cancel(1, grace_ms=0)
        m.failed(1, "cancelled")
        for x in range(2, 101):
            m.final(x)
        good_is_well(m, 1100)


def resident(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_never_answers():
    source = """
h = Handler(credit=2, concurrency=1, tasks=[{"name": "bad"}])
h.say_hello()
while True: h.receive()
"""
    with FakeMaster(kill_grace_ms=100) as m:
        m.setup(m.program("bad", source), m.program("good", GOOD))
        m.ready(2, 0)
        m.ready(4, 1)
        m.run(1, "bad", deadline_ms=200)
        m.run(2, "bad", deadline_ms=200)
        m.failed(1, "timeout")
        assert m.final(2)[0] == "RETURNED"  # its function had not started
        good_is_well(m)


def test_never_says_hello():
    with FakeMaster(kill_grace_ms=100) as m:
        m.setup(m.program("bad", "time.sleep(1000)\n"), m.program("good", GOOD))
        m.ready(4, 1)
        m.logged("no HELLO within 10 s", 15)
        good_is_well(m)


@pytest.mark.parametrize("hello, reason", [
    ("{'protocols': [2, 3], 'tasks': []}", "version 1"),
    ("{'protocols': [1]}", "tasks"),
    ("{'protocols': [1], 'tasks': [{}]}", "name"),
    ("{'protocols': [1], 'tasks': [{'name': 'a/b'}]}", "not a task name"),
    ("{'protocols': [1], 'tasks': [{'name': 'x' * 129}]}", "not a task name"),
    ("{'protocols': [1], 'tasks': [{'name': 'a'}, {'name': 'b'}, {'name': 'a'}]}", "twice"),
    ("{'protocols': [1], 'tasks': [{'name': 'a', 'options': '{'}]}", "not JSON"),
    ("{'protocols': [1], 'tasks': [{'name': 'a', 'queue': 'A'}]}", "not a queue name"),
    ("{'protocols': [1], 'tasks': [], 'credit': 'much'}", "credit"),
])
def test_hello_is_rejected_with_the_reason(hello, reason):
    source = f"""
h = Handler()
h.send("HELLO", 0, {hello})
name, x, fields = h.receive()
print("got", name, fields["reason"], flush=True)
assert not h.sock.recv(1)
"""
    with FakeMaster() as m:
        m.setup(m.program("bad", source), m.program("good", GOOD))
        m.ready(4, 1)
        m.logged("got REJECT")
        assert reason in [line for line in m.log().splitlines() if "got REJECT" in line][0]
        broken = m.expect(lambda n, x, f: n == "BROKEN")[2]
        assert broken["pool"] == 0 and reason in broken["reason"]
        good_is_well(m)


@pytest.mark.parametrize("first", ["h.send('DONE', 1, {})", "h.send('BYE')", "h.send(200, 0, {})",
                                   "h.send_raw(b'GET / HTTP/1.1\\r\\n\\r\\n')"])
def test_only_hello_is_accepted_first(first):
    with FakeMaster() as m:
        m.setup(m.program("bad", f"h = Handler()\n{first}\ntime.sleep(1000)\n"), m.program("good", GOOD))
        m.ready(4, 1)
        m.logged("protocol error")
        good_is_well(m)


def test_crashes_at_start():
    with FakeMaster() as m:
        m.setup(m.program("bad", "print('cannot work', file=sys.stderr)\nsys.exit(9)\n"), m.program("good", GOOD))
        m.ready(4, 1)
        broken = m.expect(lambda n, x, f: n == "BROKEN")[2]
        assert "exited with status 9" in broken["reason"]
        m.logged("cannot work")
        good_is_well(m)
        # Restarts go on, ever slower, and it is told once.
        begun = m.log().count("exited with status 9")
        m.none(lambda n, x, f: n == "BROKEN", 1.0)
        assert m.log().count("exited with status 9") - begun < 6
        good_is_well(m, 1001)


def test_program_that_does_not_exist_is_told_at_once():
    with FakeMaster() as m:
        m.setup(m.program("bad", argv=["/no/such/program"]), m.program("good", GOOD))
        assert "/no/such/program" in m.expect(lambda n, x, f: n == "BROKEN", 2)[2]["reason"]
        m.ready(4, 1)


def test_recovers_when_the_program_does():
    with FakeMaster() as m:
        flag = m.directory + "/flag"
        m.setup(m.program("app", f"if not os.path.exists({flag!r}): sys.exit(1)\n" + GOOD))
        m.expect(lambda n, x, f: n == "BROKEN")
        open(flag, "w").close()
        m.ready(4)
        m.run(1, "good", "5")
        assert m.done(1) == "5"


def test_what_was_broken_announces_itself_again():
    with FakeMaster() as m:
        flag = m.directory + "/flag"
        m.setup(m.program("app", f"if os.path.exists({flag!r}): sys.exit(1)\n" + GOOD + "\n"))
        m.ready(4)
        open(flag, "w").close()
        os.kill(m.children()[0], 9)
        m.expect(lambda n, x, f: n == "BROKEN")
        assert m.slots[0] == 0
        os.unlink(flag)
        m.ready(4)


def test_floods_stdout():
    source = """
def flood():
    data = b"z" * 100 + b"\\n"
    while True: os.write(1, data * 1000)
threading.Thread(target=flood, daemon=True).start()
""" + GOOD.replace("good", "bad")
    with FakeMaster() as m:
        m.setup(m.program("bad", source), m.program("good", GOOD))
        m.ready(4, 0)
        m.ready(4, 1)
        for x in range(1000, 1200):
            good_is_well(m, x)
        m.run(1, "bad", "1")
        assert m.done(1) == "1"
        m.logged("lines dropped")
        assert os.path.getsize(m.log_path) < 20 << 20


def test_floods_stdout_without_a_newline():
    source = """
def flood():
    while True: os.write(1, b"z" * 65536)
threading.Thread(target=flood, daemon=True).start()
""" + GOOD.replace("good", "bad")
    with FakeMaster() as m:
        m.setup(m.program("bad", source), m.program("good", GOOD))
        m.ready(4, 1)
        for x in range(1000, 1100):
            good_is_well(m, x)
        assert os.path.getsize(m.log_path) < 1 << 20
        assert resident(m.process.pid) < 100 << 20


def test_floods_log_messages():
    with FakeMaster() as m:
        with_bad(m, "for i in range(50000): h.send('LOG', 0, {'level': 'info', 'message': 'noise ' * 10})\n"
                    "h.send('DONE', x, {})")
        m.done(3)
        good_is_well(m)
        assert m.log().count("noise noise") < 20000
        m.logged("lines dropped")


def test_many_bad_handlers_in_a_row():
    """No memory, descriptor or process is left over."""
    with FakeMaster(concurrency=1000) as m:
        source = "def misbehave(x): frame(b'', 0xffffffff)\n" + BAD.replace("== 3", "== 1")
        m.setup(m.program("bad", source), m.program("good", GOOD))
        m.ready(4, 0)
        m.ready(4, 1)
        before = descriptors(m)
        for x in range(1, 9):
            m.run(x, "bad")
            m.failed(x, "crash")
            m.wait_slots(4, 0, 40)
        assert descriptors(m) == before
        good_is_well(m)


def descriptors(m):
    return len(os.listdir(f"/proc/{m.process.pid}/fd"))


@pytest.mark.parametrize("nonsense", [b"\xff\xff\xff\xff", struct.pack(">I", 3) + b"\x93\x03\xc1",
                                      struct.pack(">I", 4) + b"\x93\x43\x00\x80"])
def test_nonsense_from_the_master_ends_the_worker(nonsense):
    m = FakeMaster()
    try:
        m.setup(m.program("good", GOOD))
        m.ready(4)
        m.send_raw(nonsense)
        m.sock.shutdown(1)
        assert m.process.wait(10) in (0, 70)
        wait_for(lambda: m.read(0.1) or m.closed)
    finally:
        m.process.kill()
        m.process.wait()
        m.sock.close()


def test_result_of_the_wrong_kind_among_good_ones():
    """A result that is not JSON costs its execution, not its handler."""
    with FakeMaster() as m:
        with_bad(m, "for y, r in zip(runs, ['1', '[1', '3']): h.send('DONE', y, {'result': r})")
        assert m.done(1) == "1" and m.done(3) == "3"
        m.failed(2, "bad_result")
        m.wait_slots(4, 0)
        assert json.loads("1") == 1
