"""Makes lbcore/_layout.py: the shared segment's layout as cffi sees it, from the very header that the C compiler reads."""

from pathlib import Path

from cffi import FFI

HEADER = Path(__file__).resolve().parent.parent / "csrc" / "shm_layout.h"

ffi = FFI()
ffi.set_source("lbcore._layout", None)  # no C module: processes without the engine read the segment too
ffi.cdef(HEADER.read_text())

if __name__ == "__main__":
    ffi.emit_python_code(str(Path(__file__).with_name("_layout.py")))
