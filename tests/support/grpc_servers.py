"""grpcio servers, each a process of its own that can be stopped or killed, and what a channel is told."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from harness import PATIENCE_S

if TYPE_CHECKING:
    from types import TracebackType

_PROGRAM = r"""
import signal, sys, time
from concurrent import futures
import grpc

name = sys.argv[1].encode()


def fail(request, context):
    context.abort(grpc.StatusCode[request.decode()], "as asked: \u00e9")


def count(request, context):
    for number in range(int(request)):
        yield b"%d" % number


def wait(request, context):
    while context.is_active():
        time.sleep(0.01)
    return b""


def metadata(request, context):
    context.send_initial_metadata([("x-first", "1"), ("x-bin", b"\0\1")])
    context.set_trailing_metadata([("x-last", dict(context.invocation_metadata()).get("x-asked", ""))])
    return name


METHODS = {
    "Name": grpc.unary_unary_rpc_method_handler(lambda request, context: name + b":" + request),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Sum": grpc.stream_unary_rpc_method_handler(lambda requests, context: b"%d" % sum(map(len, requests))),
    "Echo": grpc.stream_stream_rpc_method_handler(lambda requests, context: requests),
    "Wait": grpc.unary_unary_rpc_method_handler(wait),
    "Metadata": grpc.unary_unary_rpc_method_handler(metadata),
}


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return METHODS.get(details.method.rpartition("/")[2])


server = grpc.server(futures.ThreadPoolExecutor(32))
server.add_generic_rpc_handlers((Handler(),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(server.stop(10)))
print(port, flush=True)
while not stopped:
    signal.pause()
stopped[0].wait()
"""


class GrpcServer:
    """A server on a port of its own. Its methods are those of any service: Name, Fail, Count, Sum, Echo, Wait, Metadata."""

    def __init__(self, name: str) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", _PROGRAM, name], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.address: str = f"127.0.0.1:{int(self._process.stdout.readline())}"

    def stop(self) -> None:
        """Begin to stop, as an operator does: calls under way are finished."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """As if the machine had failed."""
        self._process.kill()

    def __enter__(self) -> GrpcServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_S)
        assert self._process.stdout
        self._process.stdout.close()
