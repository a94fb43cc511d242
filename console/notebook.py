"""A campaign from Python: open it, run it, look at it. Made for notebooks; the command line does the same.

campaign = Campaign.from_file("campaign.yaml")
campaign.run()
campaign.to_dataframe()
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from athanor.console import overview

if TYPE_CHECKING:
    import pandas
    import plotly.graph_objects

    from athanor.agents.spec import Spec
    from athanor.memory.ledger import Ledger

EMBER, SLATE = "#c2491d", "#8b9099"


class Campaign:
    """One campaign in a ledger.

    Whoever runs a campaign with `policy: {autonomy: auto_within_limits}` grants it, in the name of the account, for
    the ranges and the budget of its file; with `approve_each` it pauses at every experiment until `athanor approve`.
    """

    def __init__(self, ledger: Ledger, campaign_id: str) -> None:
        self.ledger = ledger
        self.id = ledger.campaign(campaign_id).id

    @classmethod
    def from_file(
        cls,
        file: str | Path,
        *,
        ledger: str | Path | None = None,
        data: str | Path | None = None,
        seed: int | None = None,
        budget: int | None = None,
    ) -> Campaign:
        """Open a new campaign from its YAML file. Nothing moves yet.

        Args:
            file: the campaign file.
            ledger: the ledger's file; else ATHANOR_LEDGER, else `ledger.db` in the user's data folder.
            data: CSV of earlier measurements, units in the column heads.
            seed, budget: replace the file's own.

        Raises:
            SpecError, DataError: naming file, line, field and remedy.
        """
        return cls._open(Path(file), ledger, data, seed, budget)

    @classmethod
    def from_laboratory(
        cls, name: str, *, ledger: str | Path | None = None, seed: int | None = None, budget: int | None = None
    ) -> Campaign:
        """Open the ready campaign of a simulated laboratory.

        Raises:
            UnknownLaboratory: there is none of that name; lists those that exist.
            ValueError: it is a real instrument, which has no ready campaign.
        """
        from athanor.instruments import laboratory

        ready = getattr(laboratory.load(name), "campaign_file", None)
        if ready is None:
            raise ValueError(f"{name} is a real instrument and has no ready campaign; write one with `athanor new`")
        return cls._open(ready(), ledger, None, seed, budget)

    @classmethod
    def from_spec(cls, spec: Spec, *, ledger: str | Path | None = None) -> Campaign:
        """Open a new campaign from a spec built in Python."""
        return cls._open(spec, ledger, None, None, None)

    @classmethod
    def _open(
        cls,
        source: Spec | Path,
        ledger: str | Path | None,
        data: str | Path | None,
        seed: int | None,
        budget: int | None,
    ) -> Campaign:
        from athanor.agents.campaign import open_campaign
        from athanor.console.cli.context import open_ledger

        opened = open_ledger(str(ledger) if ledger is not None else None, create=True)
        earlier = Path(data) if data is not None else None
        return cls(opened, open_campaign(source, opened, data=earlier, seed=seed, budget=budget))

    def run(self) -> str:
        """Run, or go on, until the campaign ends or pauses; return its state. Interrupt the kernel to pause cleanly.

        Raises:
            CampaignOver, CampaignBusy, InstrumentUnavailable: as the loop says; nothing moved.
        """
        from athanor.console.cli import drive

        return drive.follow(self.ledger, self.id)

    @property
    def state(self) -> str:
        """`queued`, `running`, `paused`, `succeeded`, `failed` or `cancelled`."""
        return self.ledger.campaign(self.id).state

    def results(self) -> dict[str, Any]:
        """Everything as plain data, the same as `athanor results --json`."""
        from athanor.agents.campaign import results

        return results(self.ledger, self.id)

    def best(self) -> pandas.DataFrame:
        """The best points: settings, measured and predicted outcomes, the first objective's best first."""
        import pandas

        rows = []
        for item in self.results()["best"]:
            row = dict(item["values"])
            for name, entry in item["measured"].items():
                row[name] = entry["mean"]
            for name, entry in item["predicted"].items():
                row[f"{name} model"] = entry["mean"]
                row[f"{name} sd"] = entry["sd"]
            rows.append(row)
        return pandas.DataFrame(rows)

    def hypotheses(self) -> pandas.DataFrame:
        """Every hypothesis with prior, e-values for and against, and verdict."""
        import pandas

        columns = ["id", "statement", "prior", "state", "log_e_support", "log_e_refute", "blocks", "reason"]
        return pandas.DataFrame(self.results()["hypotheses"], columns=columns).set_index("id")

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per experiment: settings, outcomes with their standard errors, state, source, run and why."""
        import pandas

        view = self._look()
        rows = []
        for item in self.results()["experiments"]:
            row = {"experiment": item["id"], **item["values"]}
            for name in view.problem.outcomes:
                entry = item["outcomes"].get(name) or {}
                row[name] = entry.get("mean")
                row[f"{name} sem"] = entry.get("sem")
            why = item["why"]
            row |= {"state": item["state"], "source": item["source"], "purpose": item["purpose"], "run": item["run"]}
            row["why"] = why.get("detail") if isinstance(why, dict) else why
            rows.append(row)
        return pandas.DataFrame(rows).set_index("experiment") if rows else pandas.DataFrame()

    def plot(self) -> plotly.graph_objects.Figure:
        """The measurements: two objectives against each other, or one over the experiments with the best so far."""
        import plotly.graph_objects as go

        view = self._look()
        table = self.to_dataframe()
        names = [objective.name for objective in view.problem.objectives]
        labels = [f"{name} [{unit}]" if (unit := view.problem.unit(name)) else name for name in names]
        numbers = [str(name).rpartition(".")[2] for name in table.index]
        figure = go.Figure(layout={"template": "plotly_white", "width": 760, "height": 440})
        if len(names) > 1:
            best = {item.experiment for item in view.best}
            colours = [EMBER if name in best else SLATE for name in table.index]
            marker = {"color": colours, "size": 9}
            figure.add_scatter(x=table[names[0]], y=table[names[1]], mode="markers", text=numbers, marker=marker)
            figure.update_layout(xaxis_title=labels[0], yaxis_title=labels[1], title="Measured trade-offs")
        else:
            error = {"array": table[f"{names[0]} sem"], "thickness": 1}
            figure.add_scatter(
                x=numbers, y=table[names[0]], error_y=error, mode="markers", name="measured", marker={"color": SLATE}
            )
            sign = 1.0 if view.problem.objectives[0].goal == "maximize" else -1.0
            if view.problem.objectives[0].target is None:
                line = {"color": EMBER, "shape": "hv"}
                best_so_far = [sign * value for value in view.trace]
                figure.add_scatter(x=numbers[-len(best_so_far) :], y=best_so_far, mode="lines", name="best", line=line)
            figure.update_layout(xaxis_title="experiment", yaxis_title=labels[0], title="Measured")
        return figure

    def report(self, file: str | Path) -> Path:
        """Write the HTML report and return its path."""
        from athanor.console.report import write_report

        return write_report(self.ledger, self.id, Path(file))

    def _look(self) -> overview.Overview:
        return overview.look(self.ledger, self.ledger.campaign(self.id))

    def _repr_html_(self) -> str:
        from athanor.console.report.markup import join, tag

        view = self._look()
        words = f"{view.campaign.state}, {view.used} of {view.budget} experiments"
        return str(join(tag("b", view.campaign.name), f" ({self.id}): {words}"))
