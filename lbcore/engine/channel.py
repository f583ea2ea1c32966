"""The channel to a worker: notes over a SOCK_SEQPACKET pair, a descriptor with some (csrc/core/channel.h)."""

from __future__ import annotations

import socket
from array import array

from lbcore.engine import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SEND_ROOM = 1 << 20
"""Bytes of notes that may wait for a worker, as the kernel counts them; net.core.wmem_max says how many are given."""


class Channel:
    """Our end of the pair to a worker. Never waits."""

    def __init__(self) -> None:
        self.ours: socket.socket
        self.theirs: socket.socket
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.setblocking(False)
        # a worker that has not begun to read is told of all listeners and of the TLS of all pools
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_ROOM)
        self.theirs.setblocking(False)

    def send(self, kind: int, id: int = 0, value: int = 0, descriptor: int | None = None) -> bool:
        """Send a note; False when the worker is gone or does not listen."""
        ancillary = []
        if descriptor is not None:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor]))]
        try:
            self.ours.sendmsg([notes.packed(kind, id, value)], ancillary, socket.MSG_NOSIGNAL)
        except OSError:
            return False
        return True

    def notes(self) -> Iterator[notes.Note | None]:
        """What has arrived; None at the end when the worker is gone."""
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self.ours, notes.MOST_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            if not data:
                yield None
                return
            yield notes.unpacked(data, descriptors[0] if descriptors else None)

    def close(self) -> None:
        """Close both ends."""
        self.ours.close()
        self.theirs.close()

    @classmethod
    def over(cls, ours: socket.socket) -> Channel:
        """A channel whose other end is a worker's already."""
        made = cls.__new__(cls)
        made.ours = made.theirs = ours
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_ROOM)
        return made


def move_sessions(old: Channel | None, new: Channel) -> None:
    """Have the sessions of datagrams go from one worker to another, which then reads their sockets."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    with ours, theirs:
        new.send(notes.SUCCEED, descriptor=theirs.fileno())
        if old is not None:
            old.send(notes.MOVE, descriptor=ours.fileno())
