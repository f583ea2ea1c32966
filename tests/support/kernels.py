"""What the kernel of this machine offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lbcore.control import offload

if TYPE_CHECKING:
    pass


needs_kernel = pytest.mark.skipif(bool(offload.refusal()), reason=f"offload: {offload.refusal()}")
