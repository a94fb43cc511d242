"""Refuse a core dependency whose installed metadata names a copyleft licence."""

from __future__ import annotations

import re
import sys
from importlib import metadata

# Weak copyleft that the design allows in the core none; optional extras are listed in docs/licences.md.
COPYLEFT = re.compile(r"\b(A?GPL|LGPL|GNU (Affero |Lesser )?General Public)", re.IGNORECASE)


def needed(name: str, seen: set[str]) -> None:
    """Collect the installed distributions that `name` needs without extras."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen:
        return
    try:
        requires = metadata.requires(key) or []
    except metadata.PackageNotFoundError:
        return
    seen.add(key)
    for line in requires:
        if "extra ==" not in line:
            needed(re.split(r"[\s<>=!~;\[(]", line, maxsplit=1)[0], seen)


def licence(name: str) -> str:
    """What the installed metadata says: expression first, then classifiers, then the first line of the field."""
    meta = metadata.metadata(name)
    if expression := meta.get("License-Expression"):
        return str(expression)
    classifiers = [value for key, value in meta.items() if key == "Classifier" and value.startswith("License ::")]
    return "; ".join(classifiers) or (meta.get("License") or "unknown").strip().splitlines()[0]


def main() -> int:
    """Print the offenders; return 1 when there is one."""
    core: set[str] = set()
    needed("athanor-lab", core)
    bad = {name: text for name in sorted(core) if COPYLEFT.search(text := licence(name)) and " OR " not in text}
    for name, text in bad.items():
        print(f"copyleft licence in the core: {name}: {text}", file=sys.stderr)
    print(f"licences: {len(core)} core distributions, {len(bad)} copyleft")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
