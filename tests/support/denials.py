"""Processes that may not call everything: what containers' seccomp profiles do to a program."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

SETUP = 425
"""io_uring_setup, of all machines."""

# linux/filter.h, linux/seccomp.h, linux/prctl.h
_LOAD, _JUMP_IF, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_SET_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2


def deny(call: int, error: int) -> None:
    """From now on, this call fails with this errno in this process and in all that it starts. Raises OSError."""
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (_LOAD, 0, 0, 0),  # the call's number
            (_JUMP_IF, 0, 1, call),
            (_RETURN, 0, 0, _ERRNO | error),
            (_RETURN, 0, 0, _ALLOW),
        )
    )
    code = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_SECCOMP, _FILTER, described, 0, 0) == 0:  # by root, who needs to give up nothing for it
        return
    if libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_SET_SECCOMP, _FILTER, described, 0, 0):
        raise OSError(ctypes.get_errno(), "the filter is refused")


def without_rings(error: str, *command: str) -> list[str]:
    """A command line that runs this one where io_uring_setup fails so ("EPERM")."""
    return [sys.executable, os.path.abspath(__file__), error, *command]


if __name__ == "__main__":
    deny(SETUP, getattr(errno, sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
