"""Where the axes of a simulated laboratory are, as a function of time. Pure: the caller says what time it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from athanor.sandbox.physics import AxisModel, Value

LONGEST_S = 1e9


@dataclass
class Motion:
    """One motion of one axis, begun at `started` (seconds of the caller's clock) and over after `duration` seconds."""

    move: int
    origin: Value
    target: Value
    started: float
    duration: float
    is_stuck: bool

    def position(self, now: float) -> Value:
        """Where the axis is at a time; exactly the target once it is over. A stuck axis stops half way."""
        done = 1.0 if self.duration <= 0 else min(1.0, max(0.0, (now - self.started) / self.duration))
        if self.is_stuck:
            done = min(done, 0.5)
        if done >= 1.0:
            return self.target
        if isinstance(self.origin, str) or isinstance(self.target, str):
            return self.origin
        return self.origin + (self.target - self.origin) * done

    def is_over(self, now: float) -> bool:
        """Whether the target is reached (a stuck axis never does)."""
        return not self.is_stuck and now - self.started >= self.duration


@dataclass
class Axis:
    """One axis: its model, where it is, and the motion it is in."""

    model: AxisModel
    position: Value
    motion: Motion | None = None

    def begin(self, move: int, target: Value, now: float, time_scale: float, *, is_stuck: bool) -> Motion:
        """Start a motion from where the axis is now; a choice switches at the end of its motion."""
        if self.model.kind == "number" and (isinstance(target, str) or isinstance(self.position, str)):
            raise TypeError(f"{self.model.name} moves through numbers, not {target!r}")
        duration = self.model.duration(self.position, target) * time_scale
        # An overflowing distance is a very long motion, unless motion takes no time at all (infinity * 0).
        duration = 0.0 if math.isnan(duration) else min(duration, LONGEST_S)
        self.motion = Motion(move, self.position, target, now, duration, is_stuck)
        return self.motion

    def advance(self, now: float) -> Value:
        """Bring the position up to date and return it."""
        if self.motion is not None:
            if self.model.kind == "choice":
                self.position = self.motion.target if self.motion.is_over(now) else self.motion.origin
            else:
                self.position = self.motion.position(now)
        return self.position
