"""A backend in a process of its own, to be killed: `python -m integrity.origin`. Prints its port; what is wrong goes to stderr.

A client says its number (4 bytes), then sends its stream; the backend's stream goes the other way, until the client finishes.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading

from harness import read_exactly

from integrity.pattern import Stream, Wrong

NUMBER = 4
CHUNK = 1 << 16


def _pour(connection: socket.socket, stream: Stream, over: threading.Event) -> None:
    at = 0
    with contextlib.suppress(OSError):
        while not over.is_set():
            at += connection.send(stream.piece(at, CHUNK))
        connection.shutdown(socket.SHUT_WR)


def _serve(connection: socket.socket) -> None:
    with connection:
        number = int.from_bytes(read_exactly(connection, NUMBER), "big")
        theirs, ours = Stream(2 * number, f"client {number}"), Stream(2 * number + 1)
        over, at = threading.Event(), 0
        pouring = threading.Thread(target=_pour, args=(connection, ours, over), daemon=True)
        pouring.start()
        try:
            while data := connection.recv(CHUNK):
                theirs.check(at, data)
                at += len(data)
        except (OSError, Wrong) as fault:
            print(repr(fault), file=sys.stderr, flush=True)
        over.set()
        pouring.join()


def main() -> None:
    """Serve until killed."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            threading.Thread(target=_serve, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    main()
