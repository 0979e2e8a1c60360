"""A handler from scratch that does all that the protocol offers, for tests/integration/test_conform.py.

    conform_handler.py [--wrong CASE]

With --wrong it goes wrong in what that case of `pgconductor conform` is about, and in nothing else. It is started
thousands of times, so it imports little: msgpack is its own, and JSON is handed on as text where that will do.
"""

import os
import select
import sys
import time

WRONG = sys.argv[2] if sys.argv[1:2] == ["--wrong"] else None
FD = int(os.environ["PGCONDUCTOR_FD"])
QUEUE = os.environ.get("PGCONDUCTOR_QUEUE")
HELLO, WELCOME, RUN, DONE, FAIL, REJECT, CANCEL, DRAIN, BYE, LOG = 1, 2, 3, 4, 5, 6, 8, 9, 10, 11
STEP, STEP_OK, SUSPEND, CALL, RETURN, PROGRESS, BEAT, JOURNAL, STEPS = 12, 13, 14, 15, 16, 17, 18, 19, 20
CHECKPOINT = 0               # what an execution at one waits for
CREDIT = 8
CONCURRENCY = 1 if WRONG == "prefetch-order" else 4
BEAT_MS = 1500 if WRONG in (None, "beat") else None
LASTING = ["conform.steps", "conform.wait", "conform.child", "conform.start", "conform.progress", "conform.checkpoint",
           "conform.event", "conform.change", "conform.emit", "conform.schedule", "conform.unschedule"]
DEFAULT = ["conform.echo", "conform.null", "conform.fail", "conform.sleep", "conform.print", "conform.log", "conform.repeat",
           *LASTING]
OTHER = ["conform.elsewhere"]


def wrong(case):
    return WRONG == case


def hang():
    """What a handler does that does not end."""
    time.sleep(3600)


# ---- msgpack

def pack(value):
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return bytes([value]) if value < 128 else b"\xcf" + value.to_bytes(8, "big")
    if isinstance(value, str):
        data = value.encode()
        return b"\xdb" + len(data).to_bytes(4, "big") + data
    if isinstance(value, list):
        return b"\xdd" + len(value).to_bytes(4, "big") + b"".join(map(pack, value))
    parts = [pack(key) + pack(item) for key, item in value.items()]
    return b"\xdf" + len(parts).to_bytes(4, "big") + b"".join(parts)


SIZED = {0xd9: ("str", 1), 0xda: ("str", 2), 0xdb: ("str", 4), 0xc4: ("bin", 1), 0xc5: ("bin", 2), 0xc6: ("bin", 4),
         0xdc: ("list", 2), 0xdd: ("list", 4), 0xde: ("map", 2), 0xdf: ("map", 4)}


def unpack(data, at=0):
    """The value at this place, and where the next one is."""
    head = data[at]
    at += 1
    if head < 0x80:
        return head, at
    if head >= 0xe0:
        return head - 256, at
    if head in (0xc0, 0xc2, 0xc3):
        return {0xc0: None, 0xc2: False, 0xc3: True}[head], at
    if head in (0xca, 0xcb):
        return "a float", at + (4 if head == 0xca else 8)
    if 0xcc <= head <= 0xd3:
        size = 1 << (head & 3)
        return int.from_bytes(data[at:at + size], "big", signed=head >= 0xd0), at + size
    if head in SIZED:
        kind, size = SIZED[head]
        count = int.from_bytes(data[at:at + size], "big")
        at += size
    else:
        kind, count = ("map", head & 15) if head < 0x90 else ("list", head & 15) if head < 0xa0 else ("str", head & 31)
    if kind == "str":
        return data[at:at + count].decode(), at + count
    if kind == "bin":
        return data[at:at + count], at + count
    items = []
    for _ in range(count * 2 if kind == "map" else count):
        item, at = unpack(data, at)
        items.append(item)
    return (dict(zip(items[::2], items[1::2])) if kind == "map" else items), at


# ---- JSON: the C part of Python's parser, without what is around it

class Reading:
    strict, object_hook, object_pairs_hook, parse_constant = True, None, None, None
    parse_float, parse_int, memo = float, int, {}


def parse(text):
    import _json
    return _json.make_scanner(Reading)(text.strip(), 0)[0]


def text_of(value):
    import json
    return json.dumps(value, ensure_ascii=False)


# ---- executions that last

class Execution:
    """What a task has of its execution; and what it waits for, once it is one that lasts."""

    def __init__(self, number, fields):
        self.number = number
        self.saved = {}
        self.more = bool(fields.get("more_steps")) and not (wrong("step-journal-only") and not fields.get("steps"))
        self.awaits = None   # the type of a frame, and the key of a step or None
        self.task = None     # a generator, which is sent the fields of what it waits for
        self.add(fields)

    def add(self, fields):
        self.piece = fields.get("steps") or []
        for step in self.piece:
            self.saved[step["key"]] = step


# ---- the session

class Handler:
    def __init__(self):
        self.lasting = {}        # exec -> Execution
        self.suspended = 0
        self.batched = False     # it has had a batch
        self.known = {}          # of a handler that mixes up executions: key -> result
        self.beaten = time.monotonic()
        self.input = bytearray()
        self.output = bytearray()
        self.waiting = []        # (exec, fields, body)
        self.sleeping = {}       # exec -> (when it is over, what it returns)
        self.welcome = None
        self.draining = False
        self.last = None         # the last failure

    def send(self, kind, execution, fields):
        body = b"\x93" + pack(kind) + pack(execution) + pack(fields)
        self.output += len(body).to_bytes(4, "big") + body

    def hello(self):
        tasks = [{"name": name} for name in DEFAULT] if QUEUE in (None, "default") else []
        if QUEUE in (None, "default"):
            tasks.append({"name": "conform.batch", "batch": {"size": 8, "timeout_ms": 100}})
        tasks += [{"name": name, "queue": "other"} for name in OTHER] if QUEUE in (None, "other") else []
        capabilities = ["call", "cancel", "credit", "drain", "log", "progress", "step", "suspend"]
        fields = {"protocols": [1], "sdk": "test", "version": "1", "capabilities": capabilities, "credit": CREDIT,
                  "concurrency": CONCURRENCY, "beat_ms": BEAT_MS, "tasks": tasks}
        if BEAT_MS is not None:
            capabilities.append("beat")
        if wrong("hello-in-time"):
            hang()
        if wrong("hello-first"):
            self.send(LOG, 0, {"level": "info", "message": "hello?"})
        if wrong("hello-fields"):
            fields["credit"] = "8"
        if wrong("hello-protocols"):
            fields["protocols"] = [2]
        if wrong("hello-tasks") and QUEUE == "default":
            tasks[:] = [task for task in tasks if task["name"] != "conform.null"]
        if wrong("hello-queue") and QUEUE == "default":
            tasks.append({"name": "conform.elsewhere", "queue": "other"})
        if wrong("queue-other") and QUEUE == "other":
            tasks += [{"name": name} for name in DEFAULT]
        if wrong("queue-none") and QUEUE not in (None, "default", "other"):
            tasks += [{"name": name} for name in DEFAULT]
        if wrong("discovery") and QUEUE is None:
            tasks[:] = [task for task in tasks if "queue" not in task]
        self.send(HELLO, 1 if wrong("hello-session") else 0, fields)

    def ended(self):
        """The socket has been closed, or the worker's side of it."""
        poll = select.poll()
        poll.register(FD, 0)
        closed = any(events & select.POLLHUP for _, events in poll.poll(0))
        if self.welcome is None:
            state = "closed-early"
        elif self.sleeping:
            state = "closed-running"
        elif self.input:
            state = "closed-mid-frame"
        else:
            state = "closed-idle" if closed else "shut"
        if wrong(state) and QUEUE == "default":
            hang()
        if wrong("leaves-nothing") and not closed and os.fork() == 0:
            hang()
        sys.exit(0)

    def read(self):
        data = os.read(FD, 1 << 18)
        if not data:
            self.ended()
        self.input += data
        start = 0
        while len(self.input) >= start + 4:
            end = start + 4 + int.from_bytes(self.input[start:start + 4], "big")
            if len(self.input) < end:
                break
            body = bytes(self.input[start + 4:end])
            start = end
            (kind, execution, fields), _ = unpack(body)
            if kind == WELCOME and wrong("welcome-and-run"):
                start = len(self.input)
            self.dispatch(kind, execution, fields, body)
        del self.input[:start]
        if wrong("split-frames") and 0 < len(self.input) < 200 and len(data) < 200:
            sys.exit("a short read")

    def dispatch(self, kind, execution, fields, body):
        if kind == WELCOME:
            self.welcome = fields
            if wrong("welcome-keys") and "x_map" in fields or wrong("welcome-minimal") and not fields.get("capabilities"):
                sys.exit("what a WELCOME!")
            if wrong("hello-once"):
                self.hello()
        elif kind == REJECT:
            if wrong("reject"):
                hang()
            sys.exit(fields["reason"])
        elif kind == RUN and fields.get("items"):
            self.batch(fields["items"])
        elif kind == RUN:
            self.waiting.append((execution, fields, body))
        elif kind == CANCEL:
            self.cancel(execution, fields["reason"])
        elif kind == DRAIN:
            self.draining = True
            for number, execution in list(self.lasting.items()):
                if execution.awaits == (CHECKPOINT, None):
                    self.advance(number, CHECKPOINT, {})
        elif kind in (STEP_OK, RETURN, STEPS):
            if wrong("step-late") and fields.get("key") == "late" and execution not in self.lasting:
                sys.exit("a STEP_OK of what?")
            if wrong("call-late") and kind == RETURN and execution not in self.lasting:
                sys.exit("a RETURN of what?")
            self.advance(execution, kind, fields)
        elif wrong("unknown-types"):
            sys.exit(f"a frame of type {kind}")

    # ---- executions

    def done(self, execution, result):
        if result is not None and len(result) > self.welcome["max_payload"] - wrong("max-payload") and not wrong("oversize"):
            self.fail(execution, {"code": "oversize", "message": "the result is too long", "retry": False})
            return
        self.send(DONE, execution, {"result": result})

    def fail(self, execution, fields):
        self.send(FAIL, execution, {"code": "app", "type": "Error"} | fields)

    def cancel(self, execution, reason):
        waiting = [run for run in self.waiting if run[0] == execution]
        lasting = self.lasting.pop(execution, None)
        if lasting is not None and (wrong("step-lost") and lasting.awaits[1] == "not acknowledged" or
                                    wrong("call-lost") and lasting.awaits[0] == RETURN and reason == "lost" or
                                    wrong("checkpoint-cancel") and lasting.awaits[0] == CHECKPOINT):
            sys.exit("what a CANCEL!")
        if waiting and wrong("cancel-at-once") or execution in self.sleeping and wrong("cancel") and len(self.sleeping) == 1:
            return
        if waiting or lasting or execution in self.sleeping or wrong("cancel-late") or wrong("suspend-late"):
            self.waiting = [run for run in self.waiting if run[0] != execution]
            self.sleeping.pop(execution, None)
            self.fail(execution, {"code": "cancelled", "message": reason})
        for other in list(self.sleeping) if wrong("cancel-one") or wrong("batch-cancel") and self.batched else []:
            self.cancel(other, reason)

    def batch(self, items):
        """All at once, and none of them waits for its turn."""
        payloads = [parse(item["event"]["payload"]) for item in items]
        numbers = [item["exec"] for item in items]
        self.batched = True
        if wrong("batch") and len(items) == 4:
            numbers.reverse()
        if wrong("batch-credit"):
            numbers = numbers[:7]
        failed = None
        if any("short" in payload for payload in payloads) and not wrong("batch-mismatch"):
            failed = "a result too few"
        if (wrong("batch-error") and any("fail" in payload for payload in payloads) or wrong("batch-of-one") and len(items) == 1 or
                wrong("batch-full") and "trace" in items[0]):
            failed = "what a batch!"
        for number, payload in zip(numbers, payloads):
            if failed or "fail" in payload:
                self.fail(number, {"message": failed or payload["fail"]})
            elif "ms" in payload:
                self.sleeping[number] = (time.monotonic() + payload["ms"] / 1000, text_of(payload["value"]))
            else:
                self.done(number, text_of(payload.get("value")))

    def start(self):
        """Begins what waits, as it came."""
        most = 1 if wrong("several-at-once") else CONCURRENCY
        while self.waiting and len(self.sleeping) + len(self.lasting) < most:
            execution, fields, body = self.waiting.pop(-1 if wrong("prefetch-order") else 0)
            self.run(execution, fields, body)

    def run(self, execution, fields, body):
        task, text = fields["task"], fields["event"]["payload"]
        if refused(task, fields, body):
            self.fail(execution, {"message": "what an execution!"})
        elif task == "conform.echo":
            self.echo(execution, text)
        elif task == "conform.null":
            self.done(execution, '""' if wrong("null-result") else None)
        elif task in LASTING:
            self.last_long(task, Execution(execution, fields), parse(text))
        elif task in DEFAULT:
            getattr(self, task.replace("conform.", "task_"))(execution, parse(text))
        elif wrong("unknown-task"):
            self.done(execution, None)
        else:
            self.fail(execution, {"message": f"there is no task {task}"})

    def echo(self, execution, text):
        if wrong("exec-order") and "in no order" in text:
            execution = self.last = max(execution, self.last or 0)
        if wrong("exec-wide"):
            execution &= 0xffffffff
        result = spoiled(text)
        if wrong("slow-reader") and text.startswith('"www'):
            self.done(execution, result)
            os.write(FD, self.output)
            sys.exit(0)
        self.done(execution, result)
        if wrong("credit") and text == '{"nth": 3, "filling": "ffffffff"}':
            self.done(execution, result)

    def task_fail(self, execution, payload):
        if not isinstance(payload, dict):
            if wrong("bad-payload"):
                sys.exit("what a payload!")
            payload = {"message": "the payload is no object"}
        fields = {"message": payload["message"]}
        if "retry" in payload and not wrong("fail-for-good") or wrong("fail-retry") and "after_ms" not in payload:
            fields["retry"] = payload.get("retry", False)
        if "after_ms" in payload and not wrong("fail-after"):
            fields["after_ms"] = payload["after_ms"]
        if wrong("fail-code"):
            fields["code"] = "crash"
        if wrong("fail-message") and payload["message"].isascii():
            fields["message"] = "error: " + payload["message"]
        if wrong("fail-unicode"):
            fields["message"] = payload["message"].encode("ascii", "replace").decode()
        self.fail(execution, fields)

    def task_sleep(self, execution, payload):
        self.sleeping[execution] = (time.monotonic() + payload["ms"] / 1000, str(payload["ms"]))

    def task_print(self, execution, payload):
        print(payload["text"], flush=not wrong("print"))
        self.done(execution, None)

    def task_log(self, execution, payload):
        self.send(LOG, 0 if wrong("log") else execution, payload)
        self.done(execution, None)

    def task_repeat(self, execution, payload):
        self.done(execution, '"' + payload["text"] * payload["times"] + '"')

    # ---- those that last: where they wait for an answer they are generators, which yield its type, and the key of a step

    def last_long(self, task, execution, payload):
        execution.task = getattr(self, task.replace("conform.", "lasting_"))(execution, payload)
        if execution.task is not None:
            self.lasting[execution.number] = execution
            self.advance(execution.number, None, None)

    def advance(self, number, kind, fields):
        execution = self.lasting.get(number)
        if execution is None or kind is not None and execution.awaits != (kind, fields.get("key")):
            return  # late, or of a step that is on its way with others
        try:
            execution.awaits = execution.task.send(fields)
        except StopIteration:
            del self.lasting[number]

    def suspend(self, execution, *waits):
        self.send(SUSPEND, execution.number, {"waits": list(waits)})
        self.suspended += 1
        if wrong("suspend-credit") and self.suspended == CREDIT and waits[0]["key"] == "one of many":
            while self.output:
                self.write()
            sys.exit("all of the credit is used up")

    def read_on(self, execution, key):
        """Asks for saved steps until this one is there, or that is all."""
        while key not in execution.saved and execution.more:
            after = len(execution.piece) if wrong("step-journal") else len(execution.saved)
            self.send(JOURNAL, execution.number, {"after": after})
            fields = yield STEPS, None
            execution.more = fields.get("more_steps")
            execution.add(fields)

    def lasting_steps(self, execution, payload):
        used, results, held = set(), [], None
        if wrong("step-unused") and execution.saved.keys() - {key for key, _ in payload["steps"]}:
            self.fail(execution.number, {"message": "what is this step?"})
            return
        for key, value in payload["steps"]:
            if key in used:
                code = "app" if wrong("step-twice") and not execution.saved else "nondeterminism"
                self.fail(execution.number, {"code": code, "message": f"the key {key} is used twice", "retry": False})
                return
            yield from self.read_on(execution, key)
            saved = execution.saved.get(key)
            if wrong("step-replay-empty") and saved is not None and saved.get("result") in (None, "null"):
                saved = None
            if wrong("step-apart"):
                saved = saved or self.known.get(key)
            if saved is None or not wrong("step-twice-saved"):
                used.add(key)
            anew = saved is None or wrong("step-replay") and key == "beta"
            result = text_of(value) if anew else saved.get("result") or "null"
            results.append(result)
            if saved is not None:
                continue
            self.known[key] = {"result": result}
            fields = {"key": key[:255] if wrong("step-keys") else key, "result": result}
            if wrong("step") and key == "first" or wrong("step-values") and value is False:
                fields["result"] = None
            if wrong("step-order") and key == "3":
                held = fields
                continue
            self.send(STEP, execution.number, fields)
            if held:
                self.send(STEP, execution.number, held)
                held = None
            if not payload["piped"] and not (wrong("step-awaited") and key == "one"):
                yield STEP_OK, key
        self.done(execution.number, "[" + ", ".join(results) + "]")

    def lasting_wait(self, execution, payload):
        key, ms = payload["key"], payload["ms"]
        if key in execution.saved and not (wrong("suspend-resume") and key == "rest"):
            self.done(execution.number, '"waited"')
        else:
            ms = ms // 1000 if wrong("suspend-timer") and key == "nap" else ms
            key = key + "#2" if wrong("suspend-early") and execution.saved else key
            self.suspend(execution, {"key": key, "timer_ms": ms})

    def lasting_child(self, execution, payload):
        saved = execution.saved.get(payload["key"])
        if saved is None:
            wait = {"key": payload["key"], "task": payload["task"], "payload": text_of(payload["payload"])}
            if wrong("suspend-child") and not payload["payload"]:
                del wait["payload"]
            if not wrong("child-timeout"):
                wait["timeout_ms"] = payload.get("timeout_ms")
            self.suspend(execution, wait)
        elif saved.get("error") is not None:
            message = "Child execution failed: " + parse(saved["error"])["message"]
            self.fail(execution.number, {"message": message} | ({} if wrong("child-error") else {"retry": False}))
        else:
            result = saved.get("result")
            self.done(execution.number, None if wrong("child-result") and result in ("0", "false") else result)

    def call(self, execution, name, args, error_case):
        """The result; None: it has failed."""
        self.send(CALL, execution.number, {"call": 7, "name": name, "args": text_of(args)})
        answer = yield RETURN, None
        error = answer.get("error")
        if error is None:
            return answer.get("result")
        if error_case and wrong(error_case):
            self.done(execution.number, None)
        else:
            self.fail(execution.number, {"message": parse(error)["message"]})
        return None

    def lasting_start(self, execution, payload):
        result = yield from self.call(execution, "invoke", payload, "call-error")
        if result is not None:
            self.done(execution.number, result.strip('"') if wrong("call") else result)

    def lasting_event(self, execution, payload):
        saved = execution.saved.get(payload["key"])
        if saved is None:
            wait = {"key": payload["key"], "event": payload["event"]}
            if wrong("event-wait") and payload["key"] == "payment":
                wait["event"] = "orders"
            if not wrong("event-filter"):
                wait["filter"] = payload.get("when")
            if not wrong("event-since"):
                wait["since"] = payload.get("since")
            if not wrong("event-timeout"):
                wait["timeout_ms"] = payload.get("timeout_ms")
            self.suspend(execution, wait)
        elif saved.get("error") is not None:
            message = f"waiting for {payload['event']}: {parse(saved['error'])['message']}"
            self.fail(execution.number, {"message": message} | ({} if wrong("event-late") else {"retry": False}))
        else:
            result = saved.get("result")
            self.done(execution.number, None if wrong("event-payload") and result == "0" else result)

    def lasting_change(self, execution, payload):
        if wrong("event-change"):
            payload["change"]["table"] = payload["change"]["table"].lower()
        self.suspend(execution, {"key": payload["key"], "change": text_of(payload["change"])})

    def lasting_emit(self, execution, payload):
        if wrong("emit") and payload["payload"] == 0:
            del payload["payload"]
        result = yield from self.call(execution, "emit", payload, "emit-error")
        if result is not None:
            self.done(execution.number, result)

    def lasting_schedule(self, execution, payload):
        if wrong("schedule") and payload["name"] == "daily":
            del payload["timezone"]
        result = yield from self.call(execution, "schedule", payload, "schedule-error")
        if result is not None:
            self.done(execution.number, result)

    def lasting_unschedule(self, execution, payload):
        result = yield from self.call(execution, "unschedule", payload, None)
        self.done(execution.number, "true" if wrong("unschedule") else result)

    def lasting_progress(self, execution, payload):
        fields = {"percent": payload.get("percent"), "note": payload.get("note")}
        if wrong("progress") and fields["percent"] is not None:
            fields["note"] = None
        self.send(PROGRESS, execution.number, fields)
        self.done(execution.number, None)

    def lasting_checkpoint(self, execution, _):
        if not self.draining:
            yield CHECKPOINT, None
        if wrong("checkpoint-drain"):
            self.fail(execution.number, {"message": "it was interrupted"})
        else:
            self.suspend(execution)

    # ---- the loop

    def beat(self):
        if BEAT_MS is not None and self.welcome and not (wrong("beat") and self.sleeping):
            if time.monotonic() - self.beaten >= BEAT_MS / 5000:
                self.beaten = time.monotonic()
                self.send(BEAT, 0, {})

    def wake(self):
        now = time.monotonic()
        for execution, (when, result) in list(self.sleeping.items()):
            if when <= now:
                del self.sleeping[execution]
                self.done(execution, result)

    def drain(self):
        running = self.sleeping or self.waiting or self.lasting
        if self.draining and (not running or wrong("drain-running")):
            if not wrong("drain-bye"):
                self.send(BYE, 0, {})
            if wrong("drain-last"):
                self.send(LOG, 0, {"level": "info", "message": "one more thing"})
            while self.output:
                self.write()
            os._exit(3 if wrong("drain-exit") else 0)

    def write(self):
        try:
            del self.output[:os.write(FD, self.output)]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self.output.clear()

    def serve(self):
        os.set_blocking(FD, False)
        self.hello()
        while True:
            timeout = min((when for when, _ in self.sleeping.values()), default=None)
            timeout = None if timeout is None else max(0, timeout - time.monotonic())
            if BEAT_MS is not None:
                timeout = min(BEAT_MS / 10000, BEAT_MS if timeout is None else timeout)
            readable, writable, _ = select.select([FD], [FD] if self.output else [], [], timeout)
            if writable:
                self.write()
            if readable:
                self.read()
            self.wake()
            self.start()
            self.beat()
            self.drain()


def refused(task, fields, body):
    """Is this execution failed without a reason?"""
    text, event = fields["event"]["payload"], fields["event"]
    return {
        "run-keys": "x_map" in fields,
        "run-nil": "deadline_ms" in fields and fields["deadline_ms"] is None,
        "run-order": next(iter(fields)) != "id",
        "run-numbers": body[1] in (0xcf, 0xd3),
        "run-heads": body[0] == 0xdd,
        "run-full": fields.get("trace") is not None,
        "run-event": event["name"] != "pgconductor.invoke",
        "run-id": len(fields["id"]) > 15,
        "deadline": task == "conform.sleep" and fields.get("deadline_ms") is not None,
        "json-blanks": text[0] == " ",
        "json-deep": text.startswith("[[[["),
    }.get(WRONG, False)


def spoiled(text):
    """The result of conform.echo: the text, unless that is what goes wrong."""
    exactly = {"echo": ('{"name": "World", "list": [1, 2, 3]}', "null"), "json-empty": ("0", "null"),
               "json-containers": ("{}", "[]"), "json-integers": ("9007199254740991", "9007199254740992"),
               "fail-then-run": ('"after a failure"', "null"), "many": ('{"nth": 200}', '{"nth": 199}')}
    parts = {"json-fractions": ("12.50", "12"), "json-unicode": ("😀", "?"), "json-escapes": ("\\u00e9", "?"),
             "json-nul": ("\\u0000", "")}
    if WRONG in exactly:
        return exactly[WRONG][1] if text == exactly[WRONG][0] else text
    if WRONG in parts:
        return text.replace(*parts[WRONG])
    cut = text.startswith('"lll') if wrong("large") else text.startswith('"sss') and len(text) == 65536
    if cut and WRONG in ("string-lengths", "large"):
        return text[:-2] + '"'
    if wrong("slow-reader-many") and text.startswith('{"nth": 5, ') and len(text) > 100000:
        return "null"
    return text


if wrong("term"):
    import _signal
    _signal.signal(_signal.SIGTERM, _signal.SIG_IGN)
Handler().serve()
