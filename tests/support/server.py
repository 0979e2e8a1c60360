"""Running the built pgconductor as a server, with its log captured."""

import os
import re
import shlex
import signal
import subprocess

from . import processes
from .paths import PGCONDUCTOR
from .wait import wait_for

SANITIZER = re.compile(r"(Address|Leak|Memory|Thread|UndefinedBehavior)Sanitizer|: runtime error: ")


def clean_environment(extra=None):
    """The caller's environment without any PG* variable that would lead to another database."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PG") and k != "DATABASE_URL"}
    # Handlers are stopped by TERM and KILL on purpose; a leak that a killed process reports is none.
    env.setdefault("ASAN_OPTIONS", "detect_leaks=0:abort_on_error=0")
    return env | (extra or {})


class Server:
    """One `pgconductor run`. Its standard output and error go to one file; log is its text so far."""

    def __init__(self, dsn, log_path, config=None, cmd=None, args=(), env=None, cwd=None, command="run"):
        self.dsn = dsn
        self.log_path = log_path
        self.argv = [PGCONDUCTOR, command]
        if dsn is not None:
            self.argv += ["--db", dsn]
        if config is not None:
            self.config_path = f"{log_path}.conf"
            with open(self.config_path, "w", encoding="utf-8") as file:
                file.write(config)
            self.argv += ["-c", self.config_path]
        self.argv += list(args)
        if cmd is not None:
            self.argv += ["--", *(shlex.split(cmd) if isinstance(cmd, str) else cmd)]
        with open(log_path, "ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=cwd,
                                            env=clean_environment(env), start_new_session=True,
                                            preexec_fn=processes.die_with_parent())
        self.pid = self.process.pid

    @property
    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def set_config(self, text):
        """Rewrite the configuration file; send SIGHUP to have it read."""
        with open(self.config_path, "w", encoding="utf-8") as file:
            file.write(text)

    def running(self):
        return self.process.poll() is None

    def wait_log(self, pattern, timeout=10.0, count=1):
        """Wait until the log has this regular expression, so many times; returns the last match."""
        def look():
            found = list(re.finditer(pattern, self.log, re.M))
            if len(found) >= count:
                return found[-1]
            if not self.running():
                raise RuntimeError(f"the server has ended with {self.process.returncode}")
            return None
        return wait_for(look, timeout, f"the log has {pattern!r}" + (f" {count} times" if count > 1 else ""))

    def wait_exit(self, timeout=30.0):
        """Wait for the end; returns the exit status (negative: the signal)."""
        wait_for(lambda: self.process.poll() is not None, timeout, "the server has ended")
        return self.process.returncode

    def signal(self, sig):
        self.process.send_signal(sig)

    def hup(self):
        self.signal(signal.SIGHUP)

    def stop(self, timeout=30.0):
        """Drain: SIGTERM, and wait for the end. A paused server is let go on first."""
        if self.running():
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        return self.wait_exit(timeout)

    def kill9(self):
        """SIGKILL to the master alone: what it started must find that out by itself."""
        if self.running():
            self.process.kill()
        self.process.wait(10)

    def pause(self):
        """SIGSTOP to the master, and wait until it has stopped."""
        self.signal(signal.SIGSTOP)
        wait_for(lambda: processes.state_of(self.pid) == "T", 5, "the master has stopped")

    def resume(self):
        self.signal(signal.SIGCONT)

    def workers(self):
        """Queue name -> pid of the workers that run now."""
        found = {}
        for pid in processes.children_of(self.pid):
            argv = processes.argv_of(pid)
            if len(argv) >= 2 and argv[1] == "_worker":
                found[argv[2] if len(argv) > 2 else ""] = pid
        return found

    def worker(self, queue="default", timeout=10.0):
        return wait_for(lambda: self.workers().get(queue), timeout, f"a worker of queue {queue}")

    def handlers(self, queue="default"):
        """Pids of the handler processes of a queue."""
        worker = self.workers().get(queue)
        return processes.children_of(worker) if worker else []

    def tree(self):
        """Every process below the master."""
        return processes.descendants_of(self.pid)

    def sanitizer_lines(self):
        return [line for line in self.log.splitlines() if SANITIZER.search(line)]


def run_cli(*args, dsn=None, input=None, env=None, cwd=None, timeout=60, check=False):
    """Run one pgconductor command to its end: CompletedProcess with returncode, stdout, stderr as text."""
    argv = [PGCONDUCTOR, *args]
    if dsn is not None:
        argv[2:2] = ["--db", dsn]
    done = subprocess.run(argv, input=input, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd,
                          env=clean_environment(env), timeout=timeout)
    assert not SANITIZER.search(done.stderr), done.stderr
    if check:
        assert done.returncode == 0, f"{shlex.join(argv)} exited with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done
