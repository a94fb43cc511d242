"""The part of a campaign file that names a pool of candidates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class PoolSpec(BaseModel):
    """A file whose rows are all that can be made or measured. Short form: its path.

    `label` names the column that says which vial, well or sample a row is. With `repeats: allowed` a row may be
    measured more than once. `sha256` and `rows` of the file are written down when the campaign begins, which does not
    go on with another; who states the digest themselves is told at once when the file is another one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]
    label: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    repeats: Literal["allowed", "refused"] = "refused"
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    rows: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        return {"file": data} if isinstance(data, str) else data

    def at(self, path: Path) -> PoolSpec:
        """Return the same with the full path of its file."""
        return self.model_copy(update={"file": str(path)})

    def __str__(self) -> str:
        """The pool in a line."""
        said = [f"{self.rows:,} rows"] if self.rows is not None else []
        said += [f"named by {self.label}"] if self.label else []
        said.append("each as often as is worth it" if self.repeats == "allowed" else "each once at most")
        return f"{Path(self.file).name}, {', '.join(said)}"
