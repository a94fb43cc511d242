"""Regular two-level fractions 2^(k-p) of a factorial: generators found by search, resolution and aliasing.

Box and Hunter, "The 2^(k-p) fractional factorial designs", Technometrics 3 (1961); fewest shortest words: Fries and
Hunter, "Minimum aberration 2^(k-p) designs", Technometrics 22 (1980). A factor's column is a bit mask of the basic
factors whose product it is; factors whose masks add up to zero (exclusive or) are a word of the defining relation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

NODES = 3_000
"""Columns tried for one resolution; enough for every design in the textbooks' tables up to 128 runs."""

ROMAN = ("0", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV")


@dataclass(frozen=True)
class Fraction:
    """A fraction of 2^basic runs; `columns` has a mask per factor, the basic factors first."""

    basic: int
    columns: tuple[int, ...]
    resolution: int

    def signs(self) -> NDArray[np.int64]:
        """Return the runs, (2^basic, factors), each entry -1 or 1; the generators all have a positive sign."""
        basic = 2 * (np.arange(1 << self.basic)[:, None] >> np.arange(self.basic) & 1) - 1
        return np.stack([basic[:, _bits(column)].prod(axis=1) for column in self.columns], axis=1)

    def words(self, length: int) -> Iterator[tuple[int, ...]]:
        """Yield the words of that length in the defining relation, each as the indices of its factors."""
        for chosen in combinations(range(len(self.columns)), length):
            if not np.bitwise_xor.reduce([self.columns[i] for i in chosen]):
                yield chosen

    def generators(self, names: Sequence[str]) -> list[str]:
        """Return the generators as equations between names of factors."""
        return [
            f"{name} = {'·'.join(names[i] for i in _bits(column))}"
            for name, column in list(zip(names, self.columns, strict=True))[self.basic :]
        ]

    def describe(self) -> str:
        """Say what the resolution means for whoever reads the effects."""
        meaning = {
            3: "main effects clear of each other, but some of them aliased with two-factor interactions",
            4: "main effects clear of two-factor interactions, some of which are aliased with each other",
        }.get(self.resolution, "main effects and two-factor interactions clear of each other")
        name = ROMAN[self.resolution] if self.resolution < len(ROMAN) else str(self.resolution)
        return f"resolution {name}: {meaning}"


@lru_cache(maxsize=32)
def fraction(factors: int, basic: int) -> Fraction:
    """Return a fraction of 2^basic runs for that many factors, of the highest resolution that the search finds.

    Among those of that resolution that are tried it has the fewest words of the shortest length.

    Raises:
        ValueError: if the factors are not more than the basic ones, or main effects could not be told apart.
    """
    extra = factors - basic
    if extra < 1 or factors >= 1 << basic:
        raise ValueError(f"there is no fraction of {1 << basic} runs for {factors} factors")
    # The 2^extra - 1 words of the defining relation have this length on average (Plotkin's bound).
    # No word is longer than a generator's: a product of all basic factors, and the factor that it names.
    highest = min((factors << (extra - 1)) // ((1 << extra) - 1), basic + 1)
    for resolution in range(highest, 2, -1):
        found = _Search(basic, extra, resolution).run()
        if found is not None:
            return Fraction(basic, (*(1 << i for i in range(basic)), *found), resolution)
    raise AssertionError("columns that differ always give resolution III")


class _Search:
    """Depth first through increasing columns, none the sum of fewer than resolution - 1 others; keeps the best."""

    def __init__(self, basic: int, extra: int, resolution: int) -> None:
        self.extra, self.resolution = extra, resolution
        self.nodes = 0
        self.best: tuple[int, ...] | None = None
        self.fewest = np.inf
        self.masks = np.arange(1 << basic)
        # sums[j, m]: how many sets of j columns add up to m.
        self.sums = np.zeros((resolution, 1 << basic), dtype=np.int64)
        self.sums[0, 0] = 1
        for i in range(basic):
            self.sums = self._with(self.sums, 1 << i)

    def run(self) -> tuple[int, ...] | None:
        self._descend(self.sums, (), 0)
        return self.best

    def _with(self, sums: NDArray[np.int64], column: int) -> NDArray[np.int64]:
        more = sums.copy()
        more[1:] += sums[:-1, self.masks ^ column]
        return more

    def _descend(self, sums: NDArray[np.int64], chosen: tuple[int, ...], words: int) -> None:
        if len(chosen) == self.extra:
            self.best, self.fewest = chosen, words
            return
        free = np.flatnonzero(~sums[: self.resolution - 1].any(axis=0))
        free = free[free > (chosen[-1] if chosen else 0)]
        for column in free[: len(free) - (self.extra - len(chosen) - 1)].tolist():
            self.nodes += 1
            more = words + int(sums[self.resolution - 1, column])
            if self.nodes > NODES:
                return
            if more < self.fewest:
                self._descend(self._with(sums, column), (*chosen, column), more)


def _bits(mask: int) -> list[int]:
    return [i for i in range(mask.bit_length()) if mask >> i & 1]
