"""Makes lbcore/_layout.py: what processes share, as cffi sees it, from the headers that the C compiler reads."""

from pathlib import Path

from cffi import FFI

SOURCES = Path(__file__).resolve().parent.parent / "csrc" / "layout"

ffi = FFI()
ffi.set_source("lbcore._layout", None)  # no C module: processes without the engine read the segment too
for header in ("words.h", "segment.h", "figures.h", "tls.h", "notes.h"):
    ffi.cdef((SOURCES / header).read_text())

if __name__ == "__main__":
    ffi.emit_python_code(str(Path(__file__).with_name("_layout.py")))
