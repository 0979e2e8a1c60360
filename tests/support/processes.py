"""Looking at and signalling processes through /proc."""

import ctypes
import os
import platform
import signal

_libc = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
RT_SIGACTION = {"x86_64": 13, "aarch64": 134}


def die_with_parent(sig=signal.SIGKILL):
    """A preexec_fn: the child gets this signal when the test run dies, however it dies."""
    def apply():
        _libc.prctl(PR_SET_PDEATHSIG, int(sig), 0, 0, 0)
    return apply


def heed_all_signals():
    """Undo what make does to its children: 32 and 33 are ignored there. They are libc's own, which it lets nobody set."""
    call = RT_SIGACTION.get(platform.machine())
    for number in (32, 33) if call else ():
        _libc.syscall(call, number, ctypes.create_string_buffer(64), None, ctypes.c_size_t(8))


def alive(pid):
    """Does the process exist, and is it no zombie?"""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def children_of(pid):
    """Direct children of all threads of a process."""
    found = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                found += [int(p) for p in file.read().split()]
    except OSError:
        pass
    return found


def descendants_of(pid):
    found = []
    todo = [pid]
    while todo:
        for child in children_of(todo.pop()):
            found.append(child)
            todo.append(child)
    return found


def argv_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def state_of(pid):
    """One letter, as ps shows it; None when the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    except OSError:
        return None


def resident_kib(pid):
    """Resident memory: VmRSS, and VmHWM as the highest so far."""
    values = {}
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in ("VmRSS", "VmHWM"):
                values[name] = int(rest.split()[0])
    return values["VmRSS"], values["VmHWM"]


def cpu_seconds(pid):
    """User and system time used so far."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
