"""A simulated laboratory: physics in a controller process of its own, reached through Ophyd devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from athanor.instruments.laboratory import Challenge, Devices, InstrumentLost, ProcessFailed, Reference
from athanor.instruments.profile import Profile, load_profile
from athanor.sandbox.options import Options
from athanor.sandbox.physics import Physics, Readings, Value, generator

if TYPE_CHECKING:
    from athanor.memory.places import InstrumentPlace

LABORATORIES = Path(__file__).parent / "laboratories"


class SimulatedLaboratory:
    """One simulated laboratory, found by name through the entry point group `athanor.laboratories`.

    Its files `<name>.profile.yaml` and `<name>.campaign.yaml` lie in `folder`, with `-` in the name written as `_`.

    Args:
        physics: The equations.
        devices: Device family that the worker gets: "async" (ophyd-async) or "classic" (ophyd).
        challenge: What the laboratory is for.
        reference: Gives the documented reference optimum.
        recompute: Finds it again by global optimisation (slow); None when `reference` itself does.
        folder: Where the profile and the campaign lie.
    """

    def __init__(
        self,
        physics: Physics,
        *,
        devices: Literal["async", "classic"],
        challenge: Challenge,
        reference: Callable[[], Reference],
        recompute: Callable[[], Reference] | None = None,
        folder: Path = LABORATORIES,
    ) -> None:
        self.name = physics.name
        self.physics = physics
        self.devices = devices
        self.challenge = challenge
        self._documented = reference
        self._recompute = recompute
        self._folder = folder

    def __repr__(self) -> str:
        return f"SimulatedLaboratory({self.name!r}, devices={self.devices!r})"

    def profile(self) -> Profile:
        """The instrument's profile. Raises the profile's own typed error when the file is not right."""
        return self._profile

    @cached_property
    def _profile(self) -> Profile:
        return load_profile(self._file("profile"))

    def campaign_file(self) -> Path:
        """The ready campaign of this laboratory."""
        return self._file("campaign")

    def _file(self, kind: str) -> Path:
        return self._folder / f"{self.name.replace('-', '_')}.{kind}.yaml"

    # -- the instrument ------------------------------------------------------------------------------------------------

    def start(self, place: InstrumentPlace, options: Mapping[str, Any]) -> None:
        """Start the controller process unless it runs, and give it these options. Returns when it answers.

        Raises:
            OptionError: An option cannot be used.
            InstrumentUnavailable: The controller does not start, or is moving under other options.
        """
        from athanor.sandbox.process import ensure_controller

        ensure_controller(place, self.name, Options.parse(options, self.physics))

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Check options before anything starts. Raises OptionError, which names what exists instead."""
        Options.parse(options, self.physics)

    def shutdown(self, place: InstrumentPlace) -> None:
        """End the controller process; nothing happens when there is none."""
        from athanor.sandbox.process import end_controller

        end_controller(place)

    def connect(self, place: InstrumentPlace, options: Mapping[str, Any]) -> Devices:
        """Connect devices to the running controller. A RunEngine must exist in this process.

        Raises:
            InstrumentUnavailable: Nothing answers on the controller's socket.
        """
        parsed = Options.parse(options, self.physics)
        if self.devices == "classic":
            from athanor.sandbox.classic import connect
        else:
            from athanor.sandbox.devices import connect
        return connect(place, self.physics, self.profile(), parsed)

    def witness(self, place: InstrumentPlace, intent: str) -> list[dict[str, Any]] | None:
        """What the controller has logged of one run: from its beginning until the next one's. None without a log."""
        from athanor.sandbox.witness import read_witness

        path = place.directory / "controller.jsonl"
        if not path.exists():
            return None
        found: list[dict[str, Any]] = []
        is_of_run = False
        for line in read_witness(path):
            if line["kind"] == "run":
                is_of_run = line.get("intent") == intent
            if is_of_run:
                found.append(line)
        return found

    # -- in process ----------------------------------------------------------------------------------------------------

    def truth(self, values: Mapping[str, Value]) -> dict[str, float]:
        """Outcomes without noise; axes not given stay at rest. Raises ProcessFailed where the process fails."""
        return self.physics.truth(self._complete(values))

    def simulate(
        self,
        values: Mapping[str, Value],
        seed: int,
        ordinal: int,
        replicates: int = 1,
        options: Mapping[str, Any] | None = None,
    ) -> dict[str, tuple[float, float | None]]:
        """What a run with this seed and ordinal reduces to, computed here, bit for bit equal.

        Args:
            values: One value per axis; axes that are not given stay at rest.
            seed: Seed of the campaign.
            ordinal: Ordinal of the experiment.
            replicates: Measurements in the run, >= 1.
            options: As for `start`; motion and dwell time play no part here.

        Returns:
            Outcome → (mean, standard error or None).

        Raises:
            ProcessFailed: The process, or a scheduled fault, fails the run.
            InstrumentLost: A scheduled fault drops the connection: the outcome is unknown.
            ReductionFailed: The readings cannot be reduced (such as a NaN reading).
        """
        parsed = Options.parse(options or {}, self.physics)
        complete = self._complete(values)
        for axis in self.physics.axes:
            if axis.name in values and parsed.faults.is_active("stuck", ordinal, axis.name):
                raise ProcessFailed(f"{axis.name} is stuck")
        if parsed.faults.is_active("disconnect", ordinal):
            raise InstrumentLost(f"{self.name}: the connection dropped during the run")
        if parsed.faults.is_active("dropout", ordinal):
            raise ProcessFailed("the detector did not answer")
        readings = [measure(self.physics, complete, seed, ordinal, n, parsed) for n in range(replicates)]
        return self.reduce(complete, readings)

    def reduce(
        self, values: Mapping[str, Value], readings: Sequence[Readings]
    ) -> dict[str, tuple[float, float | None]]:
        """Outcome → (mean, standard error or None) of a run's readings. Raises ReductionFailed."""
        from athanor.instruments.reductions import reduce

        profile = self.profile()
        return dict(reduce(profile.reduction, _documents(values, readings), profile.outcomes).outcomes)

    def reference(self) -> Reference:
        """The reference optimum, with how it was computed."""
        return self._documented()

    def recompute_reference(self) -> Reference:
        """The reference optimum found anew, to be compared with the documented one; takes seconds to minutes."""
        return (self._recompute or self._documented)()

    def _complete(self, values: Mapping[str, Value]) -> dict[str, Value]:
        names = [axis.name for axis in self.physics.axes]
        for name in values:
            if name not in names:
                raise KeyError(f"{self.name} has no axis {name!r}; its axes are {', '.join(names)}")
        return {axis.name: values.get(axis.name, axis.rest) for axis in self.physics.axes}


def measure(
    physics: Physics, values: Mapping[str, Value], seed: int, ordinal: int, replicate: int, options: Options
) -> Readings:
    """One replicate's raw readings with noise and altered by faults: the one place where both ways of running meet.

    Raises:
        ProcessFailed: The process gives nothing measurable at these values.
    """
    readings = physics.readings(values, generator(seed, ordinal, replicate), options.noise)
    return options.faults.alter(readings, ordinal)


def _documents(values: Mapping[str, Value], readings: Sequence[Readings]) -> list[tuple[str, dict[str, Any]]]:
    """The documents of a run, as far as a reduction reads them."""
    run, stream = "simulated", "primary"
    keys = {**values, **readings[0]}
    documents: list[tuple[str, dict[str, Any]]] = [
        ("start", {"uid": run, "time": 0.0, "simulated": True, "plan_name": "measure"}),
        (
            "descriptor",
            {
                "uid": stream,
                "run_start": run,
                "name": stream,
                "time": 0.0,
                "data_keys": {k: _data_key(v) for k, v in keys.items()},
            },
        ),
    ]
    for n, reading in enumerate(readings):
        data = {**values, **reading}
        stamps = dict.fromkeys(data, 0.0)
        body = {
            "uid": f"{run}-{n}",
            "descriptor": stream,
            "seq_num": n + 1,
            "time": 0.0,
            "data": data,
            "timestamps": stamps,
        }
        documents.append(("event", body))
    stop = {
        "uid": f"{run}-stop",
        "run_start": run,
        "time": 0.0,
        "exit_status": "success",
        "num_events": {stream: len(readings)},
    }
    documents.append(("stop", stop))
    return documents


def _data_key(value: object) -> dict[str, Any]:
    if isinstance(value, list):
        return {"source": "sandbox", "dtype": "array", "shape": [len(value)]}
    return {"source": "sandbox", "dtype": "string" if isinstance(value, str) else "number", "shape": []}
