"""A private PostgreSQL in a short temporary directory, on a Unix socket only.

PostgreSQL refuses to run as root, so for root it runs as user postgres (or nobody). Everybody on the machine who can
reach the socket's directory is trusted; the directory is closed to other users.
"""

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile

import psycopg

from .processes import alive, children_of, die_with_parent
from .wait import wait_for

# Safe when PostgreSQL is killed, not when the machine is.
FAST = {"fsync": "off", "full_page_writes": "off"}


def bindir():
    """Where initdb, pg_ctl and postgres are: PGC_PG_BINDIR, else pg_config's, else the newest below /usr/lib."""
    named = os.environ.get("PGC_PG_BINDIR")
    if named:
        return named
    candidates = []
    pg_config = shutil.which("pg_config")
    if pg_config:
        candidates.append(subprocess.run([pg_config, "--bindir"], stdout=subprocess.PIPE, text=True).stdout.strip())
    base = "/usr/lib/postgresql"
    if os.path.isdir(base):
        versions = sorted((v for v in os.listdir(base) if v.isdigit()), key=int, reverse=True)
        candidates += [f"{base}/{v}/bin" for v in versions]
    for directory in candidates:
        if os.access(f"{directory}/initdb", os.X_OK):
            return directory
    raise FileNotFoundError("no initdb found: install postgresql, or set PGC_PG_BINDIR")


def unprivileged():
    """The user that PostgreSQL runs as: None for the caller."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise KeyError("neither a user postgres nor nobody")


class Cluster:
    """One private server. Start it with start(); stop() removes everything.

    like, prepare: where the data of a server is kept, to which prepare(cluster) was done once; it is copied, which takes a
    tenth of initdb's time. All that are copied have the same system identifier.
    """

    def __init__(self, settings=None, parent=None, like=None, prepare=None):
        self.settings = dict(FAST if settings is None else settings)
        self.like, self.prepare = like, prepare
        self.bindir = bindir()
        self.user = unprivileged()
        self.dir = tempfile.mkdtemp(prefix="pgc-", dir=parent or os.environ.get("PGC_TMPDIR", "/tmp"))
        self.data = f"{self.dir}/data"
        self.log = f"{self.dir}/postgres.log"
        self.port = 5432
        self.process = self._session = None
        if self.user:
            os.chown(self.dir, self.user.pw_uid, self.user.pw_gid)

    def _command(self, program, *args):
        """What subprocess needs to run one of PostgreSQL's programs as the user it accepts."""
        options = {"cwd": "/", "stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
        options["env"] = {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"LC_ALL": "C.UTF-8", "TZ": "UTC"}
        if self.user:
            options |= {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        return {"args": [f"{self.bindir}/{program}", *args], **options}

    def _initdb(self):
        args = ["-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
        if self.settings.get("fsync") == "off":
            args.append("--no-sync")
        done = subprocess.run(**self._command("initdb", *args), stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"initdb exited with {done.returncode}:\n{done.stdout}")

    def _keep(self):
        """Make what is kept. Several tests may be at it; the first one's stays."""
        made = tempfile.mkdtemp(prefix="initdb-made-", dir=os.path.dirname(self.like))
        one = Cluster()
        try:
            one.start()
            self.prepare(one)
            one.stop("fast")
            _copy(one.data, f"{made}/data")
            os.rename(f"{made}/data", self.like)
        except OSError:
            if not os.path.exists(self.like):
                raise
        finally:
            one.remove()
            shutil.rmtree(made)

    def init(self):
        if self.like:
            if not os.path.exists(self.like):
                self._keep()
            _copy(self.like, self.data)
        else:
            self._initdb()
        fixed = {"listen_addresses": "", "unix_socket_directories": self.dir, "port": self.port}
        # The last line with a name counts.
        with open(f"{self.data}/postgresql.conf", "a", encoding="utf-8") as conf:
            for name, value in (fixed | self.settings).items():
                conf.write(f"{name} = '{value}'\n")

    def start(self, timeout=60):
        """Start the server as a child (so that a killed one is reaped here), and wait until it answers."""
        if not os.path.exists(f"{self.data}/PG_VERSION"):
            self.init()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(**self._command("postgres", "-D", self.data), stdout=log,
                                            preexec_fn=die_with_parent(signal.SIGINT), start_new_session=True)

        def ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"postgres exited with {self.process.returncode}:\n{self.log_text()[-4000:]}")
            try:
                self.connect().close()
                return True
            except psycopg.OperationalError:
                return False
        wait_for(ready, timeout, "PostgreSQL answers")
        return self

    def stop(self, mode="immediate"):
        """Shut down: smart, fast or immediate."""
        if self._session:
            self._session.close()
        if self.pid():
            self.process.send_signal({"smart": signal.SIGTERM, "fast": signal.SIGINT}.get(mode, signal.SIGQUIT))
            self.process.wait(60)

    def remove(self):
        try:
            self.stop()
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)

    def restart(self, mode="fast"):
        self.stop(mode)
        self.start()

    def pid(self):
        """The postmaster's pid, or None when it does not run."""
        return self.process.pid if self.process and self.process.poll() is None else None

    def kill9(self):
        """Kill the postmaster, and wait until its children have noticed and let go of the shared memory."""
        children = children_of(self.process.pid)
        self.process.kill()
        self.process.wait(10)
        for child in children:
            try:
                os.kill(child, signal.SIGQUIT)
            except ProcessLookupError:
                pass
        wait_for(lambda: not any(alive(p) for p in children), 10, "the killed server's processes are gone")

    def crash_backend(self, pid):
        """Kill one backend, so that PostgreSQL goes through its crash recovery while the postmaster stays."""
        os.kill(pid, signal.SIGKILL)

    def log_text(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def dsn(self, dbname="postgres", **options):
        parts = {"host": self.dir, "port": self.port, "user": "postgres", "dbname": dbname} | options
        return " ".join(f"{k}={_quote(v)}" for k, v in parts.items())

    def connect(self, dbname="postgres", autocommit=True, **options):
        keep = {k: options.pop(k) for k in ("row_factory", "prepare_threshold", "cursor_factory") if k in options}
        return psycopg.connect(self.dsn(dbname, **options), autocommit=autocommit, **keep)

    def _maintain(self, statement):
        """On a connection that is kept: most tests make a database and drop it, and a new session has to learn a lot for that."""
        if self._session:
            try:
                self._session.execute(statement)
                return
            except psycopg.OperationalError:
                # That of a server that was killed meanwhile.
                if not self._session.closed:
                    raise
        self._session = self.connect()
        self._session.execute(statement)

    def create_database(self, name, template=None):
        clause = f' template "{template}"' if template else ""
        # Where nothing waits for the disk, logging the copy block by block takes longer, and leaves out what the first
        # session would have to prepare again.
        if template and self.settings.get("fsync") == "off" and self.version() >= 15:
            clause += " strategy file_copy"
        self._maintain(f'create database "{name}"{clause}')

    def drop_database(self, name):
        self._maintain(f'drop database if exists "{name}" with (force)')

    def version(self):
        """The major one of its data."""
        with open(f"{self.data}/PG_VERSION", encoding="ascii") as file:
            return int(file.read())

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.remove()


def _copy(source, target):
    """With owners and permissions, which PostgreSQL insists on."""
    subprocess.run(["cp", "-a", source, target], check=True)


def _quote(value):
    text = str(value)
    if text and re.fullmatch(r"[\w./@:+-]+", text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

