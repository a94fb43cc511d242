"""Print the OpenAPI file: `python -m athanor.console.api > docs/openapi.json`."""

from __future__ import annotations

import json
import sys

from fastapi import FastAPI

from athanor.console.api.app import describe

sys.stdout.write(json.dumps(describe(FastAPI()).openapi(), indent=1, sort_keys=True) + "\n")
