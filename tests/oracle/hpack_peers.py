"""HPACK by others, to compare csrc/h2 with: pip's hpack, and libnghttp2 through ctypes (nghttp2.h: nghttp2_hd_*)."""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import TYPE_CHECKING, Protocol

import hpack

if TYPE_CHECKING:
    from collections.abc import Sequence

Field = tuple[bytes, bytes]
LIBRARY = "libnghttp2.so.14"
_FINAL, _EMIT = 1, 2


class Peer(Protocol):
    """Both directions of HPACK, each with its own table."""

    def encode(self, fields: Sequence[Field], *, secret: bool = False) -> bytes:
        """A header block. secret: no field may be indexed."""

    def decode(self, block: bytes) -> list[Field]:
        """The fields of a block; ValueError where it is faulty."""

    def resize(self, table_bytes: int) -> None:
        """Change the size of the encoder's table; the next block says so."""


class Pip:
    """The package hpack."""

    def __init__(self) -> None:
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder(max_header_list_size=1 << 30)

    def encode(self, fields: Sequence[Field], *, secret: bool = False) -> bytes:
        kind = hpack.NeverIndexedHeaderTuple if secret else hpack.HeaderTuple
        block: bytes = self._encoder.encode([kind(*field) for field in fields])
        return block

    def decode(self, block: bytes) -> list[Field]:
        try:
            return [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except hpack.HPACKError as error:
            raise ValueError(str(error)) from error

    def resize(self, table_bytes: int) -> None:
        self._encoder.header_table_size = table_bytes


class _Pair(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("value", ctypes.c_char_p),
        ("name_length", ctypes.c_size_t),
        ("value_length", ctypes.c_size_t),
        ("flags", ctypes.c_uint8),
    )


class _Found(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.POINTER(ctypes.c_char)),
        ("value", ctypes.POINTER(ctypes.c_char)),
        ("name_length", ctypes.c_size_t),
        ("value_length", ctypes.c_size_t),
        ("flags", ctypes.c_uint8),
    )


class Nghttp2:
    """libnghttp2; raises OSError where it is not installed."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(LIBRARY)
        self._library.nghttp2_hd_deflate_hd.restype = ctypes.c_ssize_t
        self._library.nghttp2_hd_inflate_hd2.restype = ctypes.c_ssize_t
        self._deflater, self._inflater = ctypes.c_void_p(), ctypes.c_void_p()
        assert self._library.nghttp2_hd_deflate_new(ctypes.byref(self._deflater), ctypes.c_size_t(4096)) == 0
        assert self._library.nghttp2_hd_inflate_new(ctypes.byref(self._inflater)) == 0

    def __del__(self) -> None:
        if hasattr(self, "_inflater"):
            self._library.nghttp2_hd_deflate_del(self._deflater)
            self._library.nghttp2_hd_inflate_del(self._inflater)

    def encode(self, fields: Sequence[Field], *, secret: bool = False) -> bytes:
        pairs = (_Pair * len(fields))(*((name, value, len(name), len(value), int(secret)) for name, value in fields))
        room = ctypes.create_string_buffer(sum(len(name) + len(value) + 32 for name, value in fields) + 64)
        written = self._library.nghttp2_hd_deflate_hd(
            self._deflater, room, ctypes.c_size_t(len(room)), pairs, ctypes.c_size_t(len(fields))
        )
        assert written >= 0
        return room.raw[:written]

    def decode(self, block: bytes) -> list[Field]:
        found, at, pair = [], 0, _Found()
        data = ctypes.create_string_buffer(block, len(block))
        while True:
            flags = ctypes.c_int(0)
            used = self._library.nghttp2_hd_inflate_hd2(
                self._inflater,
                ctypes.byref(pair),
                ctypes.byref(flags),
                ctypes.byref(data, at),
                ctypes.c_size_t(len(block) - at),
                ctypes.c_int(1),
            )
            if used < 0:
                raise ValueError(f"nghttp2: {used}")
            at += used
            if flags.value & _EMIT:
                found.append((pair.name[: pair.name_length], pair.value[: pair.value_length]))
            if flags.value & _FINAL:
                self._library.nghttp2_hd_inflate_end_headers(self._inflater)
                return found
            if used == 0 and not flags.value & _EMIT:
                raise ValueError("nghttp2: cut off")

    def resize(self, table_bytes: int) -> None:
        self._library.nghttp2_hd_deflate_change_table_size(self._deflater, ctypes.c_size_t(table_bytes))


PEERS: dict[str, type[Pip] | type[Nghttp2]] = {"hpack": Pip, "libnghttp2": Nghttp2}
