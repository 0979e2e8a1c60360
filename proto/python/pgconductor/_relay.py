"""What the server of a test runs as its handler: it hands its socket over to the process of the test, which does the work there.

    python3 -I _relay.py SOCKET          started by pgconductor; see pytest.py

It stays until the test is done with the socket, as a handler that has gone is replaced by another. It must not import
anything of the package: it is run by itself.
"""

import os
import socket
import sys


def main() -> None:
    handed = int(os.environ["PGCONDUCTOR_FD"])
    with socket.socket(socket.AF_UNIX) as test:
        test.connect(sys.argv[1])
        socket.send_fds(test, [os.environ.get("PGCONDUCTOR_QUEUE", "").encode() or b"\0"], [handed])
        os.close(handed)
        test.recv(1)


if __name__ == "__main__":
    main()
