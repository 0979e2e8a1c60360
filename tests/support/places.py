"""Places, of which there are as many as may run at once: for handlers of tests of limits.

A place is a lock of the kernel's on a file, which is gone when the process that holds it is, however it ends: so it shows what
runs at that moment.
"""

import fcntl
import os


def take(path, places):
    """A descriptor that holds one of so many files, PATH0, PATH1, …; None if there is none."""
    for i in range(places):
        fd = os.open(f"{path}{i}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            os.close(fd)
    return None
