"""The segment: what is foreign, torn or of another version is refused; C and cffi agree on every byte."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lbcore import _engine
from lbcore._layout import ffi
from lbcore.config.settings import PoolSettings
from lbcore.engine.segment import COUNTERS, Segment, SegmentError, make_memory, map_shared
from lbcore.table import Table, TableFull

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMITS = {"listeners": 2, "pools": 2, "backends": 8, "workers": 2}


@pytest.fixture
def table() -> Iterator[Table]:
    table = Table(name="t", version="1.2.3", workers=2, max_backends=8, datapath="auto")
    yield table
    table.close()


def test_another_process_reads_it_without_the_engine(table: Table) -> None:
    code = (
        "import sys; from lbcore.engine.segment import Segment, text\n"
        "from lbcore.observe import lines, status, why\n"
        "segment = Segment.attach(sys.argv[1])\n"
        "assert status.document(segment)['name'] == 't' and why.decisions(segment) == []\n"
        "assert text(segment.head.name) == 't' and text(segment.head.version) == '1.2.3'\n"
        "assert 'lbcore._engine' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, f"/proc/{os.getpid()}/fd/{table.fd}"], check=True, timeout=60)


def test_it_can_be_neither_shrunk_nor_grown(table: Table) -> None:
    for size in (0, 1 << 30):
        with pytest.raises(PermissionError):
            os.ftruncate(table.fd, size)


@pytest.mark.parametrize("content", [b"", b"x", bytes(320), bytes(1 << 16), os.urandom(1 << 16)])
def test_foreign_memory_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "foreign"
    file.write_bytes(content)
    with pytest.raises((SegmentError, ValueError)):
        Segment.attach(str(file))


def test_damaged_heads_are_refused_by_c_and_python() -> None:
    """Every field of the head that says how large or where something is: changed, it is refused, never followed."""
    chance = random.Random(3)
    size = _engine.segment_bytes(**LIMITS)
    changing = {"started_ms", "control_pid", "datapath", "name", "version", "generation", "row_generation", "cuts"}
    changing |= {
        "loop",
        "loop_reason",
        "draining",
        "rows_used",
        "routes",
        "sections",
        "log_every",
        "trace_every",
        "log_written",
        "log_lost",
        "log_texts",
        "client_key",
        "not_ready",
        "pad0",
        "pad1",
        "hanging",
        "counts",
        "spent",
    }
    for name, field in ffi.typeof("struct lb_head").fields:
        if name in changing:
            continue
        fd = make_memory(size)
        memory = map_shared(fd)
        os.close(fd)
        writer = _engine.TableWriter(memory, create=tuple(LIMITS.values()))
        writer.release()
        width = ffi.sizeof(field.type)
        memory[field.offset : field.offset + width] = chance.randbytes(width)
        with pytest.raises(OSError, match="engine"):
            _engine.TableWriter(memory)
        memory.close()


def test_sizes_and_version_are_named(table: Table) -> None:
    head = ffi.cast("struct lb_head *", ffi.from_buffer(table.memory))
    for field, value, says in (("layout", 99, "layout 99"), ("pool_size", 7, "lb_pool_row has 7 bytes"), ("magic", 1, "magic")):
        before = getattr(head, field)
        setattr(head, field, value)
        with pytest.raises(SegmentError, match=says):
            Segment.attach(f"/proc/self/fd/{table.fd}")
        setattr(head, field, before)
    Segment.attach(f"/proc/self/fd/{table.fd}").close()


@pytest.mark.parametrize(
    "limits", [{"workers": 0}, {"workers": 65}, {"backends": 0}, {"backends": 1_000_001}, {"pools": 0}, {"listeners": 0}]
)
def test_impossible_limits(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="no segment has"):
        _engine.segment_bytes(**(LIMITS | limits))


def test_rows_out_of_range_are_refused() -> None:
    fd = make_memory(_engine.segment_bytes(**LIMITS))
    memory = map_shared(fd)
    os.close(fd)
    writer = _engine.TableWriter(memory, create=tuple(LIMITS.values()))
    for call in (
        lambda: writer.state(8, 2, b""),
        lambda: writer.weight(8, 2),
        lambda: writer.load(8, 2.0),
        lambda: writer.free(8),
        lambda: writer.in_flight(8),
        lambda: writer.publish(2),
        lambda: writer.pool(2, bytes(ffi.sizeof("struct lb_pool_row"))),
        lambda: writer.listener(2, bytes(ffi.sizeof("struct lb_listener_row"))),
        lambda: writer.bury(2),
        lambda: _engine.Picker(writer, 2),
    ):
        with pytest.raises(IndexError):
            call()
    for call in (lambda: writer.pool(0, b"short"), lambda: writer.listener(0, b"short")):
        with pytest.raises(ValueError, match="not a"):
            call()
    with pytest.raises(OSError, match="too long"):
        writer.routes(bytes((1 << 24) + 1))
    writer.release()
    with pytest.raises(ValueError, match="closed"):
        writer.state(0, 2, b"")
    memory.close()


def test_every_counter_is_in_the_status_document_and_the_metrics(table: Table) -> None:
    from lbcore.observe.families import COUNTED
    from lbcore.observe.metrics import render
    from lbcore.observe.status import document

    status = document(table.segment)
    assert set(COUNTERS) <= set(status["workers"][0])
    assert set(COUNTED) == set(COUNTERS)
    text = render(status).decode()
    for family in COUNTED.values():
        assert f"lbcore_{family.name}" in text


def test_texts_are_cut_to_their_field(table: Table) -> None:
    table.set_pool(PoolSettings(name="p"))
    row = table.add("p", "127.0.0.1:1", source="api", reason="r" * 1000)
    assert table.segment.texts(table.segment.backend(row.index))[2] == "r" * 191


def test_a_backend_for_a_pool_that_is_gone_costs_no_row(table: Table) -> None:
    for _ in range(20):
        with pytest.raises(KeyError):
            table.add("gone", "127.0.0.1:1", source="api")
    table.set_pool(PoolSettings(name="p"))
    for port in range(1, 9):
        table.add("p", f"127.0.0.1:{port}", source="api")
    with pytest.raises(TableFull):
        table.add("p", "127.0.0.1:9", source="api")
