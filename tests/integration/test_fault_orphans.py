"""What a killed worker leaves behind: its handlers die with it, and so does what they had started."""

import os

from support import processes

CONFIG = """
task "grow" {{
	exec = "sleep 1000 & echo $! >{pids}; setsid sleep 1000 & echo $! >>{pids}; wait"
	max_attempts = 1
}}
"""


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return processes.state_of(pid) != "Z"


def test_nothing_outlives_a_killed_worker(db, server, wait_for, short_tmp):
    pids = f"{short_tmp}/pids"
    one = server(config=CONFIG.format(pids=pids))
    one.wait_log("shard .* taken")
    execution = db.execute("select pgconductor.invoke('grow')").fetchone()[0]

    def started():
        try:
            with open(pids, encoding="utf-8") as file:
                found = [int(line) for line in file]
        except FileNotFoundError:
            return None
        return found if len(found) == 2 else None

    grown = wait_for(started, 10, "the command has started its children")
    os.kill(one.worker(), 9)
    wait_for(lambda: not any(alive(pid) for pid in grown), 5, "they have ended")
    # An attempt that counts, and it was the only one: it may have done anything.
    state = wait_for(lambda: db.execute("select state, error ->> 'code' from pgconductor.executions_all where id = %s"
                                        " and state = 'failed'", [execution]).fetchone(), 10, "it has failed")
    assert state == ("failed", "crash")
    assert one.worker() and one.running()
