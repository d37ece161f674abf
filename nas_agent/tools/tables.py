"""Benchmark tables: what was measured for each architecture of a space, for one task.

`BenchmarkTable` keeps one row of each isomorphism class, that of its cheapest measured member. Published tables are
read in `tools/benchmarks`, a user's own by `load_user_table`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas_agent.errors import ConfigError, DataError, InvalidArchitecture
from nas_agent.records import Architecture, Provenance, Task
from nas_agent.spaces.base import Space
from nas_agent.tools.home import home
from nas_agent.tools.table_files import Columns, mode_of, read_columns, shown
from nas_agent.wording import plural


@dataclass(frozen=True, slots=True)
class Row:
    """What a table says about one architecture. Only a test split may read `test`."""

    architecture: Architecture  # the measured one
    value: float
    test: float | None
    seconds: float
    params: float | None


class BenchmarkTable:
    """The usable rows of one table for one task, one for each isomorphism class."""

    def __init__(
        self,
        task: Task,
        space: Space,
        source: Path,
        columns: Columns,
        *,
        fidelity: str,
        provenance: Provenance = "measured",
        about: str = "",
    ) -> None:
        """Parse every row; raise DataError for a row that is no architecture or contradicts another one."""
        self.task, self.source, self.fidelity, self.provenance = task, source, fidelity, provenance
        self._about = about  # what the user must know of the whole table, for its note
        self.simulated = "seconds" in columns.numbers
        _check_signs(source, columns)
        kept, self.left_out, self.duplicates = _usable(source, space, columns)
        if not kept:
            raise DataError(
                f"table {source} has no row with a value for {task.name}: "
                f"{plural(self.left_out, 'row')}, all without one; "
                "choose another task or another file"
            )
        self.rows = len(kept)
        self._columns = columns
        self._kept = tuple(kept.values())
        self._by_id = _representatives(space, columns, kept)
        self._pool = tuple(architecture for architecture, _ in self._by_id.values())

    def pool(self) -> Sequence[Architecture]:
        """Return the cheapest measured member of each isomorphism class, in the order of the table."""
        return self._pool

    def row(self, architecture: Architecture) -> Row | None:
        """Return the row of the architecture's class, or None where the table has none."""
        found = self._by_id.get(architecture.id)
        if found is None:
            return None
        member, index = found
        return self._read(member, index)

    def representatives(self) -> Iterator[Row]:
        """Yield the row of each isomorphism class, in the order of the table."""
        return (self._read(architecture, index) for architecture, index in self._by_id.values())

    def members(self) -> Iterator[Row]:
        """Yield every usable row, isomorphic ones too: what a regressor is fitted on."""
        return (self._read(architecture, index) for architecture, index in self._kept)

    def _read(self, architecture: Architecture, index: int) -> Row:
        numbers = {name: float(column[index]) for name, column in self._columns.numbers.items()}
        return Row(
            architecture=architecture,
            value=numbers["val"],
            test=_finite(numbers.get("test")),
            seconds=_finite(numbers.get("seconds")) or 0.0,
            params=_finite(numbers.get("params")),
        )

    @property
    def length(self) -> int:
        """How many rows the file has, usable or not."""
        return len(self._columns.texts)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns of numbers."""
        return tuple(self._columns.numbers)

    @property
    def places(self) -> dict[str, int]:
        """The row of the file that answers for each class, by canonical id."""
        return {key: index for key, (_, index) in self._by_id.items()}

    def column(self, name: str) -> dict[str, float] | None:
        """Return what a column says of each class, where it says something; None without such a column."""
        values = self._columns.numbers.get(name)
        if values is None:
            return None
        return {key: float(values[row]) for key, row in self.places.items() if np.isfinite(values[row])}

    def pairs(self, name: str) -> list[tuple[float, float]]:
        """Return value and cost of every usable row that has the cost, isomorphic ones too."""
        costs, values = self._columns.numbers.get(name), self._columns.numbers["val"]
        rows = [] if costs is None else [row for _, row in self._kept if np.isfinite(costs[row])]
        return [(float(values[row]), float(costs[row])) for row in rows] if costs is not None else []

    def optimum(self) -> float:
        """Return the best validation value among the representatives."""
        values = self._columns.numbers["val"][[index for _, index in self._by_id.values()]]
        return float(values.max() if self.task.maximise else values.min())

    @property
    def note(self) -> str:
        """Say in one line what was read and what was left out."""
        parts = [self._about] if self._about else []
        parts.append(
            f"{plural(self.rows, 'row')}, {plural(len(self._by_id), 'different architecture')}, {self.fidelity}"
        )
        if self.provenance == "predicted":
            parts.append("every value is predicted, not measured")
        parts.append(f"{'maximise' if self.task.maximise else 'minimise'} {self.task.metric}")
        if self.left_out:
            parts.append(f"{plural(self.left_out, 'row')} without a value for {self.task.name} left out")
        if self.duplicates:
            parts.append(f"{plural(self.duplicates, 'repeated row')} dropped")
        if self.simulated:
            parts.append("seconds are simulated: read from the table, not from a clock")
        return f"table {self.source.name} ({'; '.join(parts)})"


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def _check_signs(source: Path, columns: Columns) -> None:
    """Refuse a negative cost, of training or of use."""
    for name, column in columns.numbers.items():
        below = np.flatnonzero(column < 0)
        if len(below) and name not in {"val", "test"}:
            row = int(below[0])
            raise DataError(
                f"table {source}, {columns.place(row)}: '{name}' must not be negative, "
                f"got {column[row]:g}; correct it or leave it empty"
            )


def _usable(source: Path, space: Space, columns: Columns) -> tuple[dict[str, tuple[Architecture, int]], int, int]:
    """Return text -> (architecture, row), how many rows had no value, and how many repeated another one."""
    kept: dict[str, tuple[Architecture, int]] = {}
    left_out = duplicates = 0
    usable = np.isfinite(columns.numbers["val"])
    for row, text in enumerate(columns.texts):
        try:
            architecture = space.parse(text)
        except InvalidArchitecture as error:
            raise DataError(
                f"table {source}, {columns.place(row)}: no architecture of space '{space.name}': {error}"
            ) from error
        if not usable[row]:
            left_out += 1
            continue
        known = kept.setdefault(architecture.text, (architecture, row))
        if known[1] == row:
            continue
        for name, column in columns.numbers.items():
            if not np.array_equal(column[known[1]], column[row], equal_nan=True):
                raise DataError(
                    f"table {source}: {columns.place(known[1])} and {columns.place(row)} are the same architecture "
                    f"{architecture.text!r} with different '{name}' ({column[known[1]]} and {column[row]}); "
                    "keep one of them, or their mean"
                )
        duplicates += 1
    return kept, left_out, duplicates


def _representatives(
    space: Space, columns: Columns, kept: Mapping[str, tuple[Architecture, int]]
) -> dict[str, tuple[Architecture, int]]:
    """Choose for each class its smallest measured member; among equals the space's own choice, then the first."""
    params = columns.numbers.get("params")
    best: dict[str, tuple[tuple[float, bool, int], Architecture, int]] = {}
    for architecture, row in kept.values():
        size = _finite(None if params is None else float(params[row]))
        other = architecture.text != space.canonical(architecture).text
        key = (float("inf") if size is None else size, other, row)
        known = best.get(architecture.id)
        if known is None or key < known[0]:
            best[architecture.id] = (key, architecture, row)
    return {id_: (architecture, row) for id_, (_, architecture, row) in best.items()}


# -- where tables lie ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """A folder in which tables are looked for, and who named it."""

    folder: Path
    named_by: str  # "--data", "NAS_AGENT_DATA" or "the user's data folder"


def data_folders(explicit: Path | None) -> list[Place]:
    """List where tables are looked for, in this order: --data, NAS_AGENT_DATA, the user's data folder."""
    places = []
    if explicit is not None:
        mode = mode_of(explicit)
        if mode is None or not stat.S_ISDIR(mode):
            what = "there is no such folder" if mode is None else "it is no folder"
            raise ConfigError(f"--data {shown(explicit)}: expected a folder of benchmark tables, but {what}")
        places.append(Place(explicit, "--data"))
    if os.environ.get("NAS_AGENT_DATA"):
        named = Path(os.environ["NAS_AGENT_DATA"])
        try:
            places.append(Place(named.expanduser(), "NAS_AGENT_DATA"))
        except RuntimeError as error:  # ~name, and no such user
            raise ConfigError(
                f"NAS_AGENT_DATA={shown(named)}: expected a folder ({error}); write it in full"
            ) from error
    return [*places, Place(home() / "data", "the user's data folder")]


def find_table(explicit: Path | None, name: str) -> Path | None:
    """Return the first file of this name among the data folders, or None."""
    files = (place.folder / name for place in data_folders(explicit))
    return next((file for file in files if stat.S_ISREG(mode_of(file) or 0)), None)


# -- the user's own table ----------------------------------------------------------------------------


def load_user_table(path: Path, space: Space) -> BenchmarkTable:
    """Read a user's table. The task is named by the file alone, so that memory knows it again in another folder."""
    columns = read_columns(path)
    task = Task(
        name=f"table:{path.name}",
        description=f"{columns.metric} on validation data, as listed in the table {path.name}",
        metric=columns.metric,
        unit=columns.unit,
        maximise=columns.maximise,
    )
    return BenchmarkTable(task, space, path, columns, fidelity="as listed")
