"""Whether this machine has io_uring for us."""

from __future__ import annotations

import pytest

from lbcore.control import loops

needs_ring = pytest.mark.skipif(bool(loops.refusal()), reason=f"io_uring: {loops.refusal()}")
