from collections.abc import Sequence
from typing import Any

def segment_bytes(*, listeners: int, pools: int, backends: int, workers: int) -> int: ...

class Pen:
    def __init__(self, memory: Any, *, create: tuple[int, int, int, int] | None = None) -> None: ...
    def release(self) -> None: ...
    def head(self, *, name: bytes, version: bytes, started_ms: int, control_pid: int, datapath: int) -> None: ...
    def draining(self, draining: bool) -> None: ...
    def listener(
        self,
        index: int,
        *,
        state: int,
        mode: int = 0,
        pool: int = 0,
        idle_timeout_ms: int = 0,
        half_closed_timeout_ms: int = 0,
        name: bytes = b"",
        address: bytes = b"",
    ) -> None: ...
    def pool(
        self,
        index: int,
        *,
        state: int,
        policy: int = 0,
        connect_timeout_ms: int = 0,
        retries: int = 0,
        budget_percent: int = 0,
        budget_floor: int = 0,
        fail_after: int = 0,
        keepalive_s: int = 0,
        user_timeout_ms: int = 0,
        name: bytes = b"",
    ) -> None: ...
    def put(
        self,
        index: int,
        *,
        pool: int,
        weight: int,
        family: int,
        ip: bytes,
        port: int,
        scope: int,
        address: bytes,
        source: bytes,
    ) -> int: ...
    def state(self, index: int, state: int, reason: bytes) -> None: ...
    def weight(self, index: int, weight: int) -> None: ...
    def load(self, index: int, load: float) -> None: ...
    def free(self, index: int) -> None: ...
    def publish(self, pool: int) -> int: ...
    def in_flight(self, index: int) -> int: ...
    def bury(self, worker: int) -> None: ...

class Picker:
    def __init__(self, pen: Pen, pool: int, seed: int = 1) -> None: ...
    def pick(self, tried: Sequence[int] = ()) -> int | None: ...
    def picks(self, count: int) -> dict[int, int]: ...
    def spin(self, count: int) -> int: ...

def run_worker(
    memory: Any,
    *,
    worker: int,
    channel: int,
    max_sessions: int,
    max_buffers: int,
    max_pipes: int,
    own_process: bool = False,
) -> None: ...
