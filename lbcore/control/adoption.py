"""What a control plane that is gone has left: workers that go on, the segment that they hold, and their listening sockets.

Each such worker waits at a socket of its own (csrc/worker/adoption_socket.h) for somebody who takes its old one's place.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import struct
import time

from lbcore.control.runtime import segment_descriptor
from lbcore.engine import notes
from lbcore.engine.channel import Channel
from lbcore.errors import LbcoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TALK_S = 5.0
"""How long a worker may take to say what it serves."""

BEGIN_S = 0.5
"""How long a worker may take from bind to listen."""

_REFUGE = re.compile(r"\.worker-(\d+)\.sock")


def adoption_path(stem: str, number: int) -> str:
    """Where a worker waits when it is an orphan. stem: the runtime directory and the balancer's name."""
    return f"{stem}.worker-{number}.sock"


class Orphan:
    """A worker without a control plane, taken up.

    number: its section. sockets: what it listens on, by listener row; descriptors, ours to close.
    """

    def __init__(self, number: int, pid: int, channel: Channel, sockets: dict[int, int]) -> None:
        self.number: int = number
        self.pid: int = pid
        self.channel: Channel = channel
        self.sockets: dict[int, int] = sockets


class Adoption:
    """All that was found. segment: a descriptor of the shared memory; ours to close, unless a table has taken it."""

    def __init__(self, orphans: list[Orphan], segment: int) -> None:
        self.orphans: dict[int, Orphan] = {orphan.number: orphan for orphan in orphans}
        self.segment: int = segment

    def sockets(self, row: int) -> dict[int, int]:
        """A listener row's sockets, by the section of the worker that has it."""
        return {number: orphan.sockets[row] for number, orphan in self.orphans.items() if row in orphan.sockets}

    @property
    def rows(self) -> set[int]:
        """The listener rows that some worker serves."""
        return {row for orphan in self.orphans.values() for row in orphan.sockets}

    def has(self, section: int, row: int) -> bool:
        """Does the worker of this section serve a listener row?"""
        return section in self.orphans and row in self.orphans[section].sockets

    def take_segment(self) -> int:
        """The descriptor of the memory, the caller's from now on."""
        segment, self.segment = self.segment, -1
        return segment

    def release(self, *, keep_channels: bool = False) -> None:
        """Close what nobody has taken over. keep_channels: the workers are somebody's already."""
        for orphan in self.orphans.values():
            for fd in orphan.sockets.values():
                with contextlib.suppress(OSError):
                    os.close(fd)
            orphan.sockets.clear()
            if not keep_channels:
                orphan.channel.close()
        if self.segment >= 0:
            os.close(self.segment)
            self.segment = -1


def find(stem: str, log: Callable[[str], None]) -> Adoption | None:
    """What a balancer of that name left, or None. A worker that does not answer in time is left alone, and said so."""
    directory, name = os.path.split(stem)
    orphans = []
    for file in sorted(os.listdir(directory)):
        if file.startswith(name) and (found := _REFUGE.fullmatch(file, len(name))):
            path = os.path.join(directory, file)
            orphan = _take_up(path, int(found[1]), log)
            if orphan is not None:
                orphans.append(orphan)
    if not orphans:
        return None
    try:
        return Adoption(orphans, segment_descriptor(orphans[0].pid))
    except OSError as error:
        Adoption(orphans, -1).release()
        raise LbcoreError(f"{name}: workers run on, but their memory cannot be had: {error.strerror}") from None


def _take_up(path: str, number: int, log: Callable[[str], None]) -> Orphan | None:
    """Connect to an orphan and hear what it serves. What only a dead worker left is removed."""
    ours = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(TALK_S)
    if not _connect(ours, path):
        ours.close()
        with contextlib.suppress(OSError):
            os.unlink(path)
        return None
    pid = struct.unpack("3i", ours.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    channel = Channel.over(ours)
    sockets = _hear(channel)
    if sockets is None:
        log(f"worker {number} (process {pid}) runs on without a control plane and does not respond: it is left alone")
        channel.close()
        return None
    return Orphan(number, pid, channel, sockets)


def _connect(ours: socket.socket, path: str) -> bool:
    """A worker that has bound its socket, and does not listen yet, refuses as a dead one does: it is asked again."""
    deadline = time.monotonic() + BEGIN_S
    while True:
        try:
            ours.connect(path)
            return True
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        except OSError:
            return False


def _hear(channel: Channel) -> dict[int, int] | None:
    """The descriptors that a worker sends before it says that it is ready; None when it does not say so."""
    sockets: dict[int, int] = {}
    deadline = time.monotonic() + TALK_S
    while (rest := deadline - time.monotonic()) > 0 and select.select([channel.ours], [], [], rest)[0]:
        for note in channel.notes():
            if note is None:
                break
            if note.kind == notes.READY:
                return sockets
            if note.kind == notes.LISTENING and note.descriptor is not None:
                sockets[note.id] = note.descriptor
        else:
            continue
        break
    for fd in sockets.values():
        os.close(fd)
    return None
