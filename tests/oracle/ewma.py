"""The peak EWMA of a backend's latency, by which the policy ewma compares (Twitter's Finagle).

Written apart from csrc/table/policy.c.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

TAU_S = 10
"""As Finagle has it; here and ten times the latency, so that responses that take long are remembered."""


@dataclass
class Peak:
    """The peak EWMA of one backend's latencies: a slow response counts at once, and is forgotten by and by."""

    us: float = 0
    at_s: float = 0
    long_run_us: int = 0
    """Its mean, of which an eighth is new each time."""

    def left(self, at_s: float) -> float:
        """The share of it that is not forgotten."""
        return math.exp(-max(0, at_s - self.at_s) / (TAU_S + 10 * self.long_run_us / 1e6))

    def saw(self, latency_us: int, at_s: float) -> None:
        """Take a latency in."""
        self.long_run_us = (7 * self.long_run_us + latency_us) // 8 if self.us else latency_us
        left = self.left(at_s)
        self.us = latency_us if latency_us >= left * self.us else left * self.us + (1 - left) * latency_us
        self.at_s = at_s
