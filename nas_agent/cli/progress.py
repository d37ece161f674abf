"""What a search is doing, while it does it: a small live panel on a terminal, plain lines elsewhere.

`Progress` is a listener of the journal. It only reads events, so it can be brought up to date with the past of
a run that is resumed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nas_agent.cli.curve_report import announced as curves_told
from nas_agent.cli.fidelity_report import announced as fidelities_told
from nas_agent.cli.gate_report import changed, embedder_told
from nas_agent.cli.objectives_report import limits_told
from nas_agent.cli.transfer_report import announced, left
from nas_agent.cli.wording import duration, number, plural
from nas_agent.tools.source_story import follow

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

Json = dict[str, Any]
EVERY = 10  # evaluations between two plain lines when nothing improves
REFRESH = 5  # pictures a second


class Progress:
    """Counts events and shows them; use it as a context manager around the search."""

    def __init__(self, console: Console, *, live: bool | None = None) -> None:
        self._console = console
        self._wants_live = console.is_terminal if live is None else live
        self._live: Live | None = None
        self._shown = True  # False once nobody reads stderr any more
        self._begun: float | None = None  # when this process had its first outcome
        self._past, self._past_spent = 0, 0.0  # evaluations that an earlier process made, and their cost
        self.started: Json = {}
        self.task: Json = {}
        self.sources: dict[str, Json] = {}
        self.header = "starting"
        self.budget = 0
        self.done = 0
        self.spent = 0.0  # in full trainings: with one fidelity, the evaluations
        self.best: Json | None = None
        self.best_at = 0
        self.failed = 0
        self.stopped = 0  # trainings, by their learning curves
        self.under_way: list[int] = []  # evaluations that were begun and have no outcome
        self.offered = 0  # proposals of this round, from which the surrogate chooses
        self.surrogate = ""
        self.principles: dict[str, Json] = {}
        self.last_change = ""
        self.refused = 0  # proposals that break a limit
        self.calls = self.tokens = self.model_failures = 0
        self.cost = 0.0

    # -- what happened ------------------------------------------------------------------------------

    def catch_up(self, events: Iterable[Json]) -> None:
        """Take in the past of a run that is resumed, without showing it."""
        for event in events:
            self._take(event)
        self._past, self._past_spent, self._begun = self.done, self.spent, None

    def __call__(self, event: Json) -> None:
        """Take in one event and show what it changed."""
        better = self._take(event)
        if event["type"] == "started":
            self._print(self.header)
            self._print(event["note"])
            for line in [*fidelities_told(event), *curves_told(event), *limits_told(event)]:
                self._print(line)
            self._tell_imported(event.get("imported"))
        elif event["type"] == "recalled":
            self._tell_recalled(event)
        elif event["type"] == "sources":
            for name in event["dropped"]:
                self._print(left(name, event["why"], event["evaluations"]))
        elif event["type"] == "gate":
            self._print(changed(event))
        elif event["type"] in {"embedder_failure", "truncated"}:
            self._print(embedder_told(event))
        if self._live is not None:
            return  # redrawn by its own clock
        whole = not self.started.get("fidelities") and self.done == self.budget
        last = event["type"] == "finished" and self.started.get("fidelities")  # the budget's last part may be left
        if last or (event["type"] == "outcome" and (better or self.done % EVERY == 0 or whole)):
            self._print(self.line())

    def _tell_imported(self, imported: Json | None) -> None:
        if imported is None:
            return
        self._print(f"started from {plural(len(imported['principles']), 'principle')} of {imported['file']}")
        for note in imported["notes"]:
            self._print(f"note: {note}")

    def _tell_recalled(self, event: Json) -> None:
        for source in self.sources.values():
            self._print(announced(source))
        kinds = [item["kind"] for item in event["items"]]
        counted = [plural(kinds.count(kind), kind) for kind in ("architecture", "principle") if kind in kinds]
        if counted:
            self._print(f"recalled {' and '.join(counted)}; nas-agent show says which and why")
        if event["problem"]:
            self._print(f"nothing was recalled: {event['problem']}")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Take the panel away while somebody is asked."""
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self.__enter__()

    def _take(self, event: Json) -> bool:
        match event["type"]:
            case "recalled" | "sources":
                follow(self.sources, event, self.started)
            case "started":
                self.started = event
                self.task, self.budget = event["task"], event["budget"]
                unit = "full training" if event.get("fidelities") else "evaluation"
                self.header = (
                    f"{self.task['name']} on {event['space_name']}: {plural(event['budget'], unit)}, "
                    f"{event['evaluator']} ({event['provenance']}, {event['fidelity']})"
                )
            case "refused":
                self.refused += len(event["architectures"])
            case "proposed":
                self.offered = event["proposals"]
            case "proposal":
                self.under_way.append(event["evaluation"])
                self._chosen(event)
            case "outcome":
                self.done = event["evaluation"]
                self.spent += self._cost(event["outcome"])
                self.under_way = [number for number in self.under_way if number > self.done]
                self._begun = self._begun or time.monotonic()
                return self._better(event["outcome"])
            case "principle":
                principle = event["principle"]
                self.principles[principle["id"]] = principle
                if event["action"] != "credited":
                    self.last_change = f"{principle['id']} {event['action']} at {event['evaluations']}: {event['why']}"
            case "model_call":
                self.calls += 1
                self.tokens += event["input_tokens"] + event["output_tokens"]
                self.cost += event["cost_usd"] or 0.0
            case "model_failure":
                self.model_failures += 1
        return False

    def _cost(self, outcome: Json) -> float:
        rungs = self.started.get("fidelities") or []
        return float(next((rung["cost"] for rung in rungs if rung["at"] == outcome.get("at")), 1.0))

    def _chosen(self, event: Json) -> None:
        expected = event.get("expected")
        self.surrogate = ""
        if event.get("surrogate") is None or not expected:
            return  # the first architectures: no surrogate was asked
        did = {"rejected": "rejected this one", "order": "stands back"}
        self.surrogate = f"{event['surrogate']} {did.get(event.get('choice', ''), f'chose 1 of {self.offered:,}')}"
        if expected.get("mean") is not None:
            self.surrogate += f", expects {expected['mean']:+.2f} sd"
        if expected.get("gain") is not None:
            self.surrogate += f", gain {expected['gain']:.2g}"

    def _better(self, outcome: Json) -> bool:
        if outcome["kind"] == "failed":
            self.failed += 1
            return False
        if "expected" in outcome:
            self.stopped += 1
            return False
        sign = 1 if self.task.get("maximise", True) else -1
        rungs = self.started.get("fidelities")
        if rungs and outcome["at"] != rungs[-1]["at"]:
            return False  # the best is of the full fidelity
        if self.best is not None and sign * outcome["value"] <= sign * self.best["value"]:
            return False
        self.best, self.best_at = outcome, self.done
        return True

    # -- what is shown ------------------------------------------------------------------------------

    def _best(self) -> str:
        if self.best is None:
            return "none yet"
        value = number(self.best["value"], str(self.task.get("unit", "")))
        return f"{value} {self.best['provenance']} (evaluation {self.best_at})"

    def _counts(self) -> str:
        statuses = [principle["status"] for principle in self.principles.values()]
        counts = [f"{statuses.count(s)} {s}" for s in ("active", "candidate", "retired") if s in statuses]
        return ", ".join(counts) or "none yet"

    def _agreement(self) -> str:
        """Say how far each source agrees with this task's outcomes, where that is known; 1 is as far as can be."""
        told = []
        for source in self.sources.values():
            if source["refused"] or source["dropped"] is not None:
                told.append(f"{source['name']} {'refused' if source['refused'] else 'dropped'}")
            elif source["agreement"] is not None:
                told.append(f"{source['name']} agrees {source['agreement']:.2f}")
        return ", ".join(told)

    def _model(self) -> str:
        text = f"{plural(self.calls, 'call')}, {self.tokens:,} tokens"
        if self.cost:
            text += f", {self.cost:.4f} USD"
        return text + (f", {self.model_failures} failed" if self.model_failures else "")

    def _left(self) -> str:
        here = self.done - self._past
        if here < 2 or self._begun is None:  # the first evaluation also waits for everything to be loaded
            return ""
        worth = (self.spent - self._past_spent) / here * (here - 1)  # of all but the first one here
        return duration((time.monotonic() - self._begun) / worth * max(self.budget - self.spent, 0.0)) + " left"

    def line(self) -> str:
        """Write everything as one line of a log."""
        parts = [f"best {self._best()}", f"principles {self._counts()}"]
        if self.surrogate:
            parts.insert(1, f"surrogate {self.surrogate}")
        if len(self.under_way) > 1:
            parts.append(f"{len(self.under_way)} under way")
        if self.stopped:
            parts.append(f"{self.stopped} stopped early")
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.refused:
            parts.append(f"{self.refused} refused by limits")
        if self.calls or self.model_failures:
            parts.append(f"model {self._model()}")
        if self._left() and self.spent < self.budget:
            parts.append(self._left())
        if self.started.get("fidelities"):
            parts.insert(0, plural(self.done, "evaluation"))
        return f"[{self._shown_spent():>{len(str(self.budget))}}/{self.budget}] " + "; ".join(parts)

    def _shown_spent(self) -> str:
        return f"{self.spent:.1f}" if self.started.get("fidelities") else str(self.done)

    def panel(self) -> RenderableType:
        """Build the picture of a terminal: no line longer than the terminal is wide."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        if not self.budget:
            return Text("loading ...", style="dim")
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=self.budget, completed=self.spent, width=32),
            Text(f"{self._shown_spent()}/{self.budget}", style="bold"),
            Text(self._left(), style="dim"),
        )
        rows = [("best", self._best()), ("surrogate", self.surrogate), ("sources", self._agreement())]
        rows.append(("principles", self._counts()))
        rows.append(("", self.last_change))
        if len(self.under_way) > 1:
            first, last = self.under_way[0], self.under_way[-1]
            rows.append(("under way", f"{plural(len(self.under_way), 'evaluation')}, {first} to {last}"))
        if self.calls or self.model_failures:
            rows.append(("model", self._model()))
        if self.refused:
            rows.append(("refused", f"{plural(self.refused, 'proposal')} over a limit, not measured"))
        if self.stopped:
            rows.append(("stopped", f"{plural(self.stopped, 'training')} by their learning curves"))
        if self.failed:
            rows.append(("failed", f"{plural(self.failed, 'evaluation')}, each with its reason in the log"))
        grid = Table.grid(padding=(0, 1))
        grid.add_column(style="dim", min_width=10, no_wrap=True)
        grid.add_column(no_wrap=True, overflow="ellipsis")
        for name, text in rows:
            if text:
                grid.add_row(name, Text(text, no_wrap=True, overflow="ellipsis"))
        return Group(bar, grid)

    def _print(self, text: str) -> None:
        if not self._shown:
            return
        try:
            if self._live is not None:
                self._console.print(text)  # above the panel
                return
            self._console.file.write(text + "\n")
            self._console.file.flush()
        except BrokenPipeError:
            self._shown = False  # a search does not end because nobody watches it
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._console.file.fileno())

    def __enter__(self) -> Self:
        """Show the panel, on a terminal."""
        if self._wants_live:
            from rich.live import Live

            self._live = Live(
                console=self._console,
                get_renderable=self.panel,
                refresh_per_second=REFRESH,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=True,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the panel away; the report follows."""
        if self._live is not None:
            self._live.stop()
            self._live = None
