"""The application of litserve: /health by GET, /predict by POST. A file of its own, since its processes import it anew."""

from __future__ import annotations

import sys
import time
from typing import Any

import litserve  # type: ignore[import-not-found,unused-ignore]
from apps import PAUSE_S


class Model(litserve.LitAPI):  # type: ignore[misc,unused-ignore]
    """Takes a moment."""

    def setup(self, device: str) -> None:
        """Nothing to load."""

    def predict(self, x: Any) -> Any:
        """The same to all."""
        time.sleep(PAUSE_S)
        return {"output": 1}


if __name__ == "__main__":
    litserve.LitServer(Model(), accelerator="cpu").run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
