"""A program in a terminal of its own: what it shows, keys for it, and how it leaves the terminal."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading

from . import processes
from .server import clean_environment
from .wait import wait_for

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]")


class Terminal:
    """with Terminal([program, argument…]) as t: t.wait("ready"); t.send("q"); t.wait_exit()"""

    def __init__(self, argv, env=None, rows=24, columns=80, **options):
        self.master, slave = pty.openpty()
        self.slave = slave
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.raw = b""
        die = processes.die_with_parent()

        def prepare():
            die()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        streams = {"stdin": slave, "stdout": slave, "stderr": slave} | options
        self.process = subprocess.Popen(argv, start_new_session=True, preexec_fn=prepare,
                                        env=clean_environment({"TERM": "xterm"} | (env or {})), **streams)
        self.pid = self.process.pid
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reading = True
        self.idle = 0
        self.reader.start()

    def _read(self):
        while self.reading:
            if not select.select([self.master], [], [], 0.05)[0]:
                self.idle += 1
                continue
            try:
                self.raw += os.read(self.master, 65536)
            except OSError:
                return

    def __enter__(self):
        return self

    def __exit__(self, *what):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        self.reading = False
        self.reader.join(5)
        os.close(self.master)
        os.close(self.slave)

    @property
    def output(self):
        """All that was written so far."""
        return self.raw.decode(errors="replace").replace("\r\n", "\n")

    @property
    def text(self):
        """The same without colours and the like."""
        return ESCAPE.sub("", self.output)

    @property
    def screen(self):
        """The lines of what was drawn last from the top, by a program that draws the whole screen each time."""
        return ESCAPE.sub("", self.output.rsplit("\x1b[H", 1)[-1]).split("\n")

    def wait(self, pattern, timeout=15.0):
        """Wait until the text has this regular expression; returns the match."""
        return wait_for(lambda: re.search(pattern, self.text, re.M), timeout, f"the terminal shows {pattern!r}")

    def wait_screen(self, pattern, timeout=15.0):
        """Wait until one line of the screen has it; returns the match."""
        def look():
            return next((found for found in (re.search(pattern, line) for line in self.screen) if found), None)
        return wait_for(look, timeout, f"the screen shows {pattern!r}")

    def send(self, keys):
        os.write(self.master, keys.encode())

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_exit(self, timeout=15.0):
        """The exit status (negative: the signal). All that it wrote is in output then."""
        wait_for(lambda: self.process.poll() is not None, timeout, "the program has ended")
        idle = self.idle
        # The one after the next began when it had ended.
        wait_for(lambda: self.idle > idle + 1 or not self.reader.is_alive(), 5, "what it wrote is read")
        return self.process.returncode

    def is_as_before(self):
        """Echo, whole lines, signals: as it was when the program was started."""
        return termios.tcgetattr(self.slave) == self.before
