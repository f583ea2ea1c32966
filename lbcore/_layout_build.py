"""Makes lbcore/_layout.py: what processes share, as cffi sees it, from the headers that the C compiler reads."""

from pathlib import Path

from cffi import FFI

SOURCES = Path(__file__).resolve().parent.parent / "csrc"

ffi = FFI()
ffi.set_source("lbcore._layout", None)  # no C module: processes without the engine read the segment too
for header in ("shm_layout.h", "tls_layout.h", "note_layout.h"):
    ffi.cdef((SOURCES / header).read_text())

if __name__ == "__main__":
    ffi.emit_python_code(str(Path(__file__).with_name("_layout.py")))
