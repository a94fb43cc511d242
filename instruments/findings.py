"""What a check of an instrument finds, and its two verdicts. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["ok", "fault", "not now", "not checked"]
ASKED = frozenset({"building", "connecting", "read-back", "detectors", "exercise"})
"""Steps in which the instrument itself is asked."""

SOUND, FAULTY, NOT_NOW = 0, 1, 2


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    `fault`: it is wrong and stays so until somebody puts it right. `not now`: nothing is wrong, but no experiment can
    run while it is so. `not checked`: nobody looked, and `reason` says why.
    """

    step: str
    status: Status
    device: str = ""
    signal: str = ""
    reason: str = ""
    remedy: str = ""

    @property
    def subject(self) -> str:
        """What it is about."""
        return f"{self.device}.{self.signal}" if self.signal else self.device

    def __str__(self) -> str:
        said = ": ".join(part for part in (self.subject, self.reason) if part)
        return f"{self.step}: {said}" + (f"; {self.remedy}" if self.remedy else "")


@dataclass
class Report:
    """Everything that a check found, in the order in which it looked, and the capability card."""

    instrument: str
    card: Mapping[str, Any] | None = None
    findings: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        """Add what was found."""
        self.findings.append(finding)

    def having(self, status: Status) -> list[Finding]:
        """The findings of one status."""
        return [finding for finding in self.findings if finding.status == status]

    @property
    def is_alive(self) -> bool:
        """Whether the instrument was asked, and everything that was asked answered."""
        asked = [finding for finding in self.findings if finding.step in ASKED]
        return any(one.status == "ok" for one in asked) and not any(one.status == "fault" for one in asked)

    @property
    def can_run(self) -> bool:
        """Whether an experiment could run on it now."""
        return self.is_alive and not self.having("fault") and not self.having("not now")

    @property
    def exit_code(self) -> int:
        """0: sound, and an experiment can run now. 1: there are faults. 2: no fault, but none can run now."""
        if self.having("fault") or not self.is_alive:
            return FAULTY
        return SOUND if self.can_run else NOT_NOW

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return {
            "instrument": self.instrument,
            "alive": self.is_alive,
            "can_run": self.can_run,
            "reasons": [str(finding) for finding in (*self.having("fault"), *self.having("not now"))],
            "findings": [asdict(finding) for finding in self.findings],
            "card": self.card,
        }
