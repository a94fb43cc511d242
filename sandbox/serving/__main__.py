"""The process that serves a laboratory: `python -m athanor.sandbox.serving NAME --protocol PROTOCOL`."""

from __future__ import annotations

import sys

from athanor.sandbox.serving.process import main

if __name__ == "__main__":
    sys.exit(main())
