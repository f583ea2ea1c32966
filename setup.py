"""Builds the engine. Everything else about the package is in pyproject.toml.

LBCORE_SANITIZE=address,undefined builds it with these sanitizers (see tools/test-sanitized).
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

SOURCES = sorted(str(path) for path in Path("csrc").rglob("*.c"))
HEADERS = sorted(str(path) for path in Path("csrc").rglob("*.h"))
SANITIZERS = os.environ.get("LBCORE_SANITIZE", "")

compile_args = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-fvisibility=hidden", "-Wall", "-Wextra"]
link_args: list[str] = ["-ldl", "-pthread"]
if SANITIZERS:
    compile_args += [
        "-O1",
        "-fno-omit-frame-pointer",
        f"-fsanitize={SANITIZERS}",
        "-fno-sanitize-recover=undefined",
    ]
    link_args += [f"-fsanitize={SANITIZERS}"]

engine = Extension(
    "lbcore._engine",
    ["lbcore/_engine.pyx", *SOURCES],
    depends=[*HEADERS, "lbcore/_lb.pxd"],
    include_dirs=["csrc"],
    extra_compile_args=compile_args,
    extra_link_args=link_args,
)

setup(
    ext_modules=cythonize([engine], compiler_directives={"language_level": "3", "freethreading_compatible": True}),
    cffi_modules=["lbcore/_layout_build.py:ffi"],
)
