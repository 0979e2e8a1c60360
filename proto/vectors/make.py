#!/usr/bin/python3
"""Writes proto/vectors/frames.jsonl and bad.jsonl: frames as bytes, for the tests of every language.

usage: make.py [DIRECTORY]          (needs python3-msgpack; run it when messages.def has changed, and commit the result)

The encoder is python3-msgpack's, not ours: what our codec writes is held against it. Committed vectors of a released
protocol version do not change.

frames.jsonl, one object a line:
  name      of the vector
  message   name of the message
  link      who sends it to whom, the first of messages.def's
  hex       the frame, its length prefix included
  type, exec, decoded   what it says; JSON texts stay strings
  same_as   only where the bytes are not what our encoders write (wider numbers, other order, unknown keys): the vector
            that says the same
bad.jsonl: frames to be refused.
  name, hex
  at        open: refused before the type is known; decode: the message is known and wrong; type: not a message
  why       what our C codec says
"""
import json
import os
import struct
import sys

import msgpack

HERE = os.path.dirname(os.path.abspath(__file__))
NUMBERS, LINKS = {}, {}
with open(os.path.join(HERE, "..", "messages.def")) as messages:
    for line in messages:
        words = line.split()
        if line.startswith("message "):
            NUMBERS[words[1]] = int(words[2])
            LINKS[words[1]] = words[3].split(",")[0]

TASKS = [{"name": "greet"}, {"name": "resize", "queue": "media", "options": '{"max_attempts": 5, "timeout": "2m"}'}]
RUN = {"id": "42", "task": "greet", "attempt": 1, "token": "731.1763712345678.7212345678901234567",
       "event": {"name": "pgconductor.invoke", "payload": '{"name":"World"}'}}
ITEMS = [{"exec": 7, **{key: RUN[key] for key in ("id", "attempt", "token", "event")}},
         {"exec": 4294967296, "id": "9007199254740993", "attempt": 2, "token": "732.1763712345678.7",
          "event": {"name": "order.paid", "payload": '{"id": 7}', "at": "2030-01-31T09:00:00.000Z", "kind": "event"},
          "deadline_ms": 120000, "metadata": '{"tenant": 7}',
          "trace": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}]
STEPS = [{"key": "charge", "result": '{"charge": 12.50}'}, {"key": "nap"},
         {"key": "greet#1", "error": '{"code": "app", "message": "no"}'}]
CHILD = {"key": "thumb", "task": "resize", "queue": "media", "payload": '{"w": 100}', "priority": -5, "timeout_ms": 60000,
         "metadata": '{"tenant": "acme"}'}
PROGRAM = {"name": "app", "argv": ["node", "worker.js"], "env": [], "processes": 1, "credit": 0, "max_runs": 0,
           "memory": 0, "idle_timeout_ms": 0, "rlimits": [], "discover": False}
FULL_PROGRAM = {"name": "resize", "argv": ["./resize.sh"], "directory": "/srv/app",
                "env": [{"key": "PATH", "value": "/usr/bin:/bin"}, {"key": "EMPTY", "value": ""}], "processes": 2,
                "credit": 4, "max_runs": 10000, "memory": 536870912, "idle_timeout_ms": 60000, "user": "media",
                "group": "media", "rlimits": [{"key": "nofile", "value": "1024:4096"}], "discover": True,
                "command_task": "resize"}

FRAMES = [
    ("hello-minimal", "HELLO", 0, {"protocols": [1], "tasks": []}),
    ("hello-full", "HELLO", 0, {"protocols": [1, 2, 300], "sdk": "c", "version": "0.1.0",
                                "capabilities": ["cancel", "drain"], "credit": 500, "concurrency": 4, "window": 1048576,
                                "tasks": TASKS}),
    ("hello-triggers", "HELLO", 0, {"protocols": [1], "tasks": [
        {"name": "report", "triggers": '[{"invocable": true}, {"cron": "0 9 * * *", "name": "daily"}]'}]}),
    ("hello-schemas", "HELLO", 0, {"protocols": [1], "tasks": [
        {"name": "report", "payload_schema": '{"type": "object"}', "returns_schema": "true"}],
        "events": [{"name": "order.paid", "schema": '{"required": ["id"]}'}, {"name": "order.lost"}]}),
    ("hello-queues", "HELLO", 0, {"protocols": [1], "tasks": [], "queues": [{"name": "fast", "concurrency": 5, "fetch_batch": 50, "poll_ms": 500}, {"name": "slow"}]}),
    ("welcome", "WELCOME", 0, {"protocol": 1, "queue": "default", "max_frame": 17825792, "max_payload": 16777216,
                               "capabilities": ["cancel"]}),
    ("welcome-discovery", "WELCOME", 0, {"protocol": 1, "queue": "", "max_frame": 17825792, "max_payload": 16777216}),
    ("run-minimal", "RUN", 1, RUN),
    ("run-schedule", "RUN", 1, RUN | {"event": {"name": "daily", "payload": "null", "at": "2030-01-31T09:00:00.000Z"}}),
    ("run-event", "RUN", 1, RUN | {"event": {"name": "order.paid", "payload": '{"id": 7}', "at": "2030-01-31T09:00:00.000Z", "kind": "event",
                                             "parts": True}}),
    ("run-full", "RUN", 4294967296, {**RUN, "attempt": 3, "deadline_ms": 120000, "metadata": '{"tenant": 7}',
                                     "trace": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}),
    ("run-exact-text", "RUN", 127, {**RUN, "event": {"name": "pgconductor.invoke",
                                                     "payload": ' {"b":1,"a":12.50, "a":9223372036854775808, "n":1e400, "s":"\\u0000\\ud800"} '}}),
    ("run-unicode", "RUN", 128, {**RUN, "task": "grüße", "event": {"name": "public.users.insert", "payload": '"€ 😀"'}}),
    ("run-long-strings", "RUN", 65535, {**RUN, "event": {"name": "n" * 31, "payload": '"' + "p" * 298 + '"'},
                                        "metadata": '"' + "m" * 30 + '"'}),
    ("done-null", "DONE", 1, {}),
    ("done", "DONE", 255, {"result": '{"greeting": "Hello, World!"}'}),
    ("fail-minimal", "FAIL", 256, {"code": "app", "message": "no such file"}),
    ("fail-full", "FAIL", 65536, {"code": "bad_payload", "message": "not a picture", "type": "ValueError",
                                  "stack": "Traceback (most recent call last):\n  File \"x.py\", line 1\n", "retry": False,
                                  "after_ms": 90000, "data": '{"bytes": [137, 80]}'}),
    ("fail-retry", "FAIL", 2, {"code": "app", "message": "", "retry": True, "after_ms": 0}),
    ("reject", "REJECT", 0, {"reason": "no protocol version in common"}),
    ("credit", "CREDIT", 0, {"credit": 0}),
    ("cancel", "CANCEL", 7, {"reason": "timeout", "grace_ms": 5000}),
    ("drain", "DRAIN", 0, {"deadline_ms": 30000}),
    ("bye", "BYE", 0, {}),
    ("log-process", "LOG", 0, {"level": "info", "message": "started"}),
    ("log-execution", "LOG", 9, {"level": "warn", "message": "slow", "fields": '{"ms": 1200}'}),
    ("hello-beat", "HELLO", 0, {"protocols": [1], "capabilities": ["step", "suspend", "call", "progress", "beat"],
                                "beat_ms": 30000, "tasks": []}),
    ("hello-call", "HELLO", 0, {"protocols": [1], "tasks": [], "run": "42", "token": RUN["token"], "keys": ["charge", ""]}),
    ("run-unnamed", "RUN", 3, {**RUN, "more_steps": True, "unnamed": 2}),
    ("run-items", "RUN", 0, {"task": "greet", "items": ITEMS}),
    ("run-one-item", "RUN", 0, {"task": "greet", "items": ITEMS[:1]}),
    ("hello-batch", "HELLO", 0, {"protocols": [1], "tasks": [
        {"name": "mail", "batch": {"size": 100, "timeout_ms": 250}}, {"name": "index", "batch": {"size": 1}}]}),
    ("run-steps", "RUN", 3, {**RUN, "steps": STEPS}),
    ("run-more-steps", "RUN", 3, {**RUN, "steps": STEPS[:1], "more_steps": True}),
    ("step", "STEP", 3, {"key": "charge", "result": '{"charge": 12.50}'}),
    ("step-null", "STEP", 3, {"key": "größe"}),
    ("step-ok", "STEP_OK", 3, {"key": "charge"}),
    ("suspend-none", "SUSPEND", 3, {"waits": []}),
    ("suspend-timer", "SUSPEND", 3, {"waits": [{"key": "nap", "timer_ms": 31536000000}]}),
    ("suspend-children", "SUSPEND", 4, {"waits": [{"key": "greet#1", "task": "greet"}, CHILD], "any": True,
                                        "timeout_ms": 5000}),
    ("suspend-event", "SUSPEND", 3, {"waits": [{"key": "paid", "event": "order.paid", "filter": "payload->>'id' = '7'",
                                               "since": "start", "timeout_ms": 5}, {"key": "any", "event": "e"}]}),
    ("suspend-change", "SUSPEND", 3, {"waits": [{"key": "new", "change": '{"table": "users", "operation": "insert", "columns": "id"}',
                                                "timeout_ms": 60000}]}),
    ("suspend-all", "SUSPEND", 4, {"waits": [CHILD, {"key": "late", "timer_ms": 0}], "any": False}),
    ("call", "CALL", 3, {"call": 1, "name": "cancel", "args": '{"id": "42", "reason": "no longer needed"}'}),
    ("return", "RETURN", 3, {"call": 1, "result": "true"}),
    ("return-error", "RETURN", 3, {"call": 300, "error": '{"code": "PC001", "message": "no such task"}'}),
    ("progress", "PROGRESS", 3, {"percent": 40, "note": "page 4 of 10"}),
    ("progress-nothing", "PROGRESS", 3, {}),
    ("beat", "BEAT", 0, {}),
    ("journal", "JOURNAL", 3, {"after": 1000}),
    ("steps", "STEPS", 3, {"steps": STEPS, "more_steps": True}),
    ("steps-event", "STEPS", 3, {"steps": [{"key": "paid", "result": '{"id": 7}', "event": "order.paid"}]}),
    ("steps-last", "STEPS", 3, {"steps": []}),
    ("setup-minimal", "SETUP", 0, {"queue": "default", "concurrency": 10, "max_payload": 16777216,
                                   "kill_grace_ms": 5000, "terminal": False, "programs": []}),
    ("setup-full", "SETUP", 0, {"queue": "media", "concurrency": 2, "max_payload": 16777216, "kill_grace_ms": 0,
                                "terminal": True, "programs": [PROGRAM, FULL_PROGRAM]}),
    ("announce", "ANNOUNCE", 0, {"pool": 0, "program": "app", "sdk": "c 0.1.0", "tasks": TASKS}),
    ("announce-many", "ANNOUNCE", 0, {"pool": 1, "program": "app", "tasks": [{"name": f"t{i}"} for i in range(17)]}),
    ("events", "EVENTS", 0, {"schemas": [{"event": "order.paid", "program": "code:shop", "schema": '{"required": ["id"]}'}]}),
    ("events-none", "EVENTS", 0, {"schemas": []}),
    ("slots", "SLOTS", 0, {"pool": 0, "slots": 500}),
    ("slots-fewer", "SLOTS", 0, {"pool": 0, "slots": -1}),
    ("slots-much-fewer", "SLOTS", 0, {"pool": 200, "slots": -33}),
    ("slots-int16", "SLOTS", 0, {"pool": 0, "slots": -129}),
    ("slots-int32", "SLOTS", 0, {"pool": 0, "slots": -32769}),
    ("slots-int64", "SLOTS", 0, {"pool": 0, "slots": -2147483649}),
    ("started", "STARTED", 0, {"execs": [1, 128, 65536, 4294967296], "pid": 4321, "pool": 0}),
    ("started-many", "STARTED", 0, {"execs": list(range(120, 140)), "pid": 1, "pool": 3}),
    ("returned", "RETURNED", 0, {"execs": [5], "reason": "the handler exited"}),
    ("deferred", "DEFERRED", 12, {"message": "exit status 75"}),
    ("broken", "BROKEN", 0, {"pool": 2, "reason": "No such file or directory"}),
]


def body(message, execution, fields):
    return msgpack.packb([NUMBERS[message], execution, fields])


def swapped(fields):
    return dict(reversed(list(fields.items())))


EXTRA = {**RUN, "later": {"a": [1, -1, 1.5, None, True, b"bytes", msgpack.ExtType(5, b"ext"), {"b": {}}]}, "x" * 40: 0}
NILS = {**RUN, "deadline_ms": None, "metadata": None, "trace": None}
FRAMES_SAME = [
    ("run-other-order", "RUN", 1, body("RUN", 1, swapped(RUN)), "run-minimal"),
    ("run-unknown-keys", "RUN", 1, body("RUN", 1, EXTRA), "run-minimal"),
    ("run-items-nils", "RUN", 0, body("RUN", 0, {"task": "greet", "items": ITEMS, "id": None, "attempt": None, "event": None}),
     "run-items"),
    ("run-nil-optionals", "RUN", 1, body("RUN", 1, NILS), "run-minimal"),
    ("credit-wide", "CREDIT", 0, b"\xdc\x00\x03\xcd\x00\x07\xd3" + b"\0" * 8 + b"\xdf\0\0\0\1\xdb\0\0\0\6credit\xd2\0\0\0\0", "credit"),
    ("done-str32", "DONE", 255, b"\x93\x04\xcc\xff\x81\xd9\x06result\xdb\0\0\0\x1d" + b'{"greeting": "Hello, World!"}', "done"),
    ("bye-unknown-keys", "BYE", 0, body("BYE", 0, {"reason": "done"}), "bye"),
]


def nested(depth):
    return b"\x93\x0a\x00\x81\xa1x" + b"\x91" * (depth - 2) + b"\xc0"


def without(fields, key):
    return {k: v for k, v in fields.items() if k != key}


BAD = [
    ("empty", "open", b"", "frame: empty"),
    ("not-an-array", "open", b"\x80", "frame: not an array of three"),
    ("array-of-two", "open", b"\x92\x01\x00", "frame: not an array of three"),
    ("array-of-four", "open", b"\x94\x0a\x00\x80\xc0", "frame: not an array of three"),
    ("type-is-a-string", "open", b"\x93\xa1a\x00\x80", "frame: the type is not a small number"),
    ("type-is-negative", "open", b"\x93\xff\x00\x80", "frame: the type is not a small number"),
    ("type-is-huge", "open", b"\x93\xce\0\1\0\0\x00\x80", "frame: the type is not a small number"),
    ("exec-is-nil", "open", b"\x93\x0a\xc0\x80", "frame: the execution is not a number"),
    ("exec-is-negative", "open", b"\x93\x0a\xd0\xff\x80", "frame: the execution is not a number"),
    ("fields-are-an-array", "open", b"\x93\x0a\x00\x90", "frame: the fields are not a map"),
    ("cut-short", "open", body("RUN", 1, RUN)[:-1], "frame: a length or count beyond the end of the frame"),
    ("cut-in-a-header", "open", b"\x93\x0a\x00\xde\x00", "frame: cut short"),
    ("cut-after-a-key", "open", b"\x93\x0a\x00\x81\xa1x", "frame: cut short"),
    ("trailing-byte", "open", body("BYE", 0, {}) + b"\xc0", "frame: bytes after its end"),
    ("two-values", "open", body("BYE", 0, {}) * 2, "frame: bytes after its end"),
    ("reserved-byte", "open", b"\x93\x0a\x00\x81\xa1x\xc1", "frame: a byte that begins no msgpack value"),
    ("bomb-array", "open", b"\x93\x0a\x00\x81\xa1x\xdd\xff\xff\xff\xff", "frame: a length or count beyond the end of the frame"),
    ("bomb-map", "open", b"\x93\x0a\x00\xdf\xff\xff\xff\xff", "frame: a length or count beyond the end of the frame"),
    ("bomb-string", "open", b"\x93\x0a\x00\x81\xa1x\xdb\xff\xff\xff\xffabc", "frame: a length or count beyond the end of the frame"),
    ("bomb-nested-arrays", "open", b"\x93\x0a\x00\x81\xa1x" + b"\xdc\x00\x20" * 20 + b"\x00" * 64, "frame: nested too deeply"),
    ("too-deep", "open", nested(17), "frame: nested too deeply"),
    ("unknown-type", "type", msgpack.packb([63, 0, {}]), ""),
    ("type-zero", "type", msgpack.packb([0, 0, {}]), ""),
    ("run-without-task", "decode", body("RUN", 1, without(RUN, "task")), "RUN.task: missing"),
    ("run-without-payload", "decode", body("RUN", 1, {**RUN, "event": {"name": "x"}}), "RUN.event.payload: missing"),
    ("run-without-id", "decode", body("RUN", 1, without(RUN, "id")), "RUN.id: missing"),
    ("run-no-items", "decode", body("RUN", 0, {"task": "greet", "items": []}), "RUN.id: missing"),
    ("run-token-is-nil", "decode", body("RUN", 1, {**RUN, "token": None}), "RUN.token: missing"),
    ("run-items-without-task", "decode", body("RUN", 0, {"items": ITEMS}), "RUN.task: missing"),
    ("run-item-without-exec", "decode", body("RUN", 0, {"task": "greet", "items": [ITEMS[0], without(ITEMS[1], "exec")]}),
     "RUN.items[1].exec: missing"),
    ("run-item-without-payload", "decode", body("RUN", 0, {"task": "greet", "items": [{**ITEMS[0], "event": {"name": "x"}}]}),
     "RUN.items[0].event.payload: missing"),
    ("run-items-is-a-map", "decode", body("RUN", 0, {"task": "greet", "items": {}}), "RUN.items: not a list, or too long"),
    ("hello-batch-without-size", "decode", body("HELLO", 0, {"protocols": [1], "tasks": [{"name": "mail", "batch": {}}]}),
     "HELLO.tasks[0].batch.size: missing"),
    ("run-event-is-a-string", "decode", body("RUN", 1, {**RUN, "event": "x"}), "RUN.event: not a map"),
    ("run-task-is-nil", "decode", body("RUN", 1, {**RUN, "task": None}), "RUN.task: not a string of valid UTF-8"),
    ("run-attempt-is-negative", "decode", body("RUN", 1, {**RUN, "attempt": -1}), "RUN.attempt: not an unsigned integer"),
    ("run-attempt-is-a-float", "decode", body("RUN", 1, {**RUN, "attempt": 1.0}), "RUN.attempt: not an unsigned integer"),
    ("run-attempt-twice", "decode", b"\x93\x03\x01\x82\xa7attempt\x01\xa7attempt\x01", "RUN.attempt: given twice"),
    ("run-key-is-a-number", "decode", b"\x93\x03\x01\x81\x01\x01", "RUN: a key is not a string"),
    ("done-result-is-bytes", "decode", body("DONE", 1, {"result": b"1"}), "DONE.result: not a string of valid UTF-8"),
    ("done-result-is-an-object", "decode", body("DONE", 1, {"result": {"a": 1}}), "DONE.result: not a string of valid UTF-8"),
    ("done-bad-utf8", "decode", b"\x93\x04\x01\x81\xa6result\xa3\"\xff\"", "DONE.result: not a string of valid UTF-8"),
    ("done-surrogate", "decode", b"\x93\x04\x01\x81\xa6result\xa5\"\xed\xa0\x80\"", "DONE.result: not a string of valid UTF-8"),
    ("done-nul", "decode", body("DONE", 1, {"result": '"\0"'}), "DONE.result: not a string of valid UTF-8"),
    ("fail-retry-is-a-number", "decode", body("FAIL", 1, {"code": "app", "message": "x", "retry": 0}), "FAIL.retry: not a boolean"),
    ("hello-task-without-name", "decode", body("HELLO", 0, {"protocols": [1], "tasks": [{"name": "a"}, {"queue": "b"}]}),
     "HELLO.tasks[1].name: missing"),
    ("hello-protocols-are-strings", "decode", body("HELLO", 0, {"protocols": ["1"], "tasks": []}),
     "HELLO.protocols: holds what is not an unsigned integer"),
    ("hello-tasks-are-a-map", "decode", body("HELLO", 0, {"protocols": [1], "tasks": {}}), "HELLO.tasks: not a list, or too long"),
    ("run-step-without-key", "decode", body("RUN", 1, {**RUN, "steps": [{"result": "1"}]}), "RUN.steps[0].key: missing"),
    ("step-without-key", "decode", body("STEP", 1, {"result": "1"}), "STEP.key: missing"),
    ("suspend-without-waits", "decode", body("SUSPEND", 1, {"any": True}), "SUSPEND.waits: missing"),
    ("suspend-wait-without-key", "decode", body("SUSPEND", 1, {"waits": [CHILD, {"timer_ms": 5}]}),
     "SUSPEND.waits[1].key: missing"),
    ("slots-beyond-int64", "decode", body("SLOTS", 0, {"pool": 0, "slots": 2 ** 63}), "SLOTS.slots: not an integer"),
    ("setup-env-value-missing", "decode", body("SETUP", 0, {"queue": "q", "programs": [{**PROGRAM, "env": [{"key": "A"}]}]}),
     "SETUP.programs[0].env[0].value: missing"),
]


def frame(data):
    return (struct.pack(">I", len(data)) + data).hex()


def main():
    where = sys.argv[1] if len(sys.argv) > 1 else HERE
    by_name = {}
    with open(os.path.join(where, "frames.jsonl"), "w", encoding="utf-8") as out:
        for name, message, execution, fields in FRAMES:
            by_name[name] = fields
            print(json.dumps({"name": name, "message": message, "link": LINKS[message],
                              "hex": frame(body(message, execution, fields)), "type": NUMBERS[message],
                              "exec": execution, "decoded": fields}, ensure_ascii=False), file=out)
        for name, message, execution, data, same_as in FRAMES_SAME:
            print(json.dumps({"name": name, "message": message, "link": LINKS[message], "hex": frame(data),
                              "type": NUMBERS[message], "exec": execution, "decoded": by_name[same_as],
                              "same_as": same_as}, ensure_ascii=False), file=out)
    with open(os.path.join(where, "bad.jsonl"), "w", encoding="utf-8") as out:
        for name, at, data, why in BAD:
            print(json.dumps({"name": name, "hex": frame(data), "at": at, "why": why}, ensure_ascii=False), file=out)


main()
