"""Builds the engine. Everything else about the package is in pyproject.toml.

LBCORE_SANITIZE=address,undefined builds it with these sanitizers (see tests/engine/test_sanitized.py).
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

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


class BuildAtOnce(build_ext):
    """Compiles the sources of an extension side by side: build_ext's own `parallel` is for whole extensions."""

    def build_extension(self, ext):
        compile_these = self.compiler.compile

        def side_by_side(sources, **options):
            with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
                made = pool.map(lambda source: compile_these([source], **options), sources)
                return [path for paths in made for path in paths]

        self.compiler.compile = side_by_side
        try:
            super().build_extension(ext)
        finally:
            self.compiler.compile = compile_these


setup(
    cmdclass={"build_ext": BuildAtOnce},
    ext_modules=cythonize([engine], compiler_directives={"language_level": "3", "freethreading_compatible": True}),
    cffi_modules=["lbcore/_layout_build.py:ffi"],
)
