"""Calls of grpcio to whoever passes them on, each kind of them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE = bytes(range(256)) * 1200
"""More than four windows of 65,535 bytes."""


@contextlib.contextmanager
def channel(address: str, *, retries: int = 0) -> Iterator[Any]:
    """A channel with a connection of its own, that takes messages of any size. retries=0: and tries nothing again."""
    grpc = pytest.importorskip("grpc")
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", retries),
        ("grpc.max_receive_message_length", -1),
    ]
    with grpc.insecure_channel(address, options) as made:
        yield made


def called_in_all_ways(address: str, name: bytes) -> int:
    """Unary calls, small and large, a stream, and one that fails, of the methods Name, Echo and Fail. How many there were."""
    grpc = pytest.importorskip("grpc")
    sent = [b"%d" % at for at in range(100)]
    with channel(address) as made:
        unary = made.unary_unary("/a.B/Name")
        for _ in range(50):
            assert unary(b"hi", timeout=20) == name + b":hi"
        assert unary(LARGE * 4, timeout=20) == name + b":" + LARGE * 4
        assert list(made.stream_stream("/a.B/Echo")(iter(sent), timeout=20)) == sent
        with pytest.raises(grpc.RpcError) as caught:
            made.unary_unary("/a.B/Fail")(b"NOT_FOUND", timeout=20)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    return 53
