"""The ways to search: in memory, in a run folder, or by ask and tell.

result = Search("cifar100", budget=50).run()                    # in memory, nothing is written
result = start(config)                                          # a run folder, checkpoints, memory
result = resume(folder)                                         # goes on where it was stopped

search = Search(Task("mine", "..."), space=MySpace())           # the caller measures
for proposal in search.ask():
    search.tell(proposal, my_training(proposal.architecture))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nas_agent import roles
from nas_agent.config import Config, make_config
from nas_agent.continuation import events_in_checkpoint, finished_result, readable, refuse_other_terms
from nas_agent.engine import Engine, Reviewer
from nas_agent.errors import ConfigError
from nas_agent.graphs.services import Recollection
from nas_agent.graphs.state import first_state
from nas_agent.idle import refuse_idle
from nas_agent.preparation import (
    carried_out,
    check_generator,
    evaluation_of,
    from_anywhere,
    frozen,
    imported_principles,
    packed,
    space_of,
)
from nas_agent.principles.principle import Change
from nas_agent.principles.review import Answer
from nas_agent.records import Failed, Measured, Outcome, Proposal, Task
from nas_agent.result import Result
from nas_agent.spaces import Space, load_space
from nas_agent.told import CALLER, NoTestSplit, Told
from nas_agent.tools.benchmarks.registry import named_space
from nas_agent.tools.curves import check_curves
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.event_log import EventLog, read_events
from nas_agent.tools.executors import check_executor, make_executor
from nas_agent.tools.fidelities import own_rungs
from nas_agent.tools.home import home
from nas_agent.tools.inspection import equipped
from nas_agent.tools.journal import Journal, Listener
from nas_agent.tools.principle_files import Imported
from nas_agent.tools.run_folder import RunFolder, create, register
from nas_agent.tools.surrogates.code import check_embedder, greet_embedder
from nas_agent.version import __version__

if TYPE_CHECKING:
    from nas_agent.agents.chat import ChatModel, Models
    from nas_agent.graphs.search import Graph


class Search:
    """One search in memory; `start` and `resume` give it a folder.

    Args:
        task: a name that the command line knows, or a Task of your own (then measure by ask and tell,
            or pass an `evaluation`).
        space: a name that the command line knows, or a Space; "auto" is the one in which the task was measured.
        evaluation: what measures, instead of the one that the configuration names.
        model: a chat model for every role, instead of those that `llm` names.
        memory: where to recall from and what to hand the finished search to; with one, it decides what is
            recalled, and `source` must be empty.
        listeners: are called with each new event.
        settings: the fields of `nas_agent.config.Config`.

    """

    def __init__(
        self,
        task: str | Task = "cifar100",
        *,
        space: str | Space = "auto",
        evaluation: Evaluation | None = None,
        model: ChatModel | None = None,
        memory: Recollection | None = None,
        listeners: Sequence[Listener] = (),
        **settings: Any,
    ) -> None:
        name = task if isinstance(task, str) else task.name
        space_name = named_space(space, name) if isinstance(space, str) else space.name
        config = make_config({"task": name, "space": space_name, **settings})
        built = load_space(space_name) if isinstance(space, str) else space
        refuse_idle(config, model=model is not None)
        roles.check_space(config, built, asks=model is not None)
        check_generator(config, built)
        if evaluation is None and isinstance(task, str):
            evaluation = evaluation_of(config, built)
        built = equipped(built, evaluation, sandbox=config.confinement)
        pool = built.enumerate() if evaluation is None else evaluation.evaluator.pool()
        self._told = Told(pool)
        self._measures_itself = evaluation is not None
        if evaluation is None:
            assert isinstance(task, Task)
            rungs = own_rungs(config.fidelities) if config.fidelities else None
            evaluation = Evaluation(task, self._told, NoTestSplit(), CALLER, rungs=rungs)
        greet_embedder(config, built)
        memory = _recollection(config, evaluation.task, built, memory)
        models = roles.models(config) if model is None else roles.playing(config, model)
        self._engine = Engine(
            config,
            built,
            evaluation,
            EventLog(),
            models=roles.capped(models, config),
            memory=memory,
            listeners=listeners,
            imported=imported_principles(config, built),
        )
        self._asked: dict[str, Proposal] = {}
        self._graph: Graph | None = None

    @property
    def journal(self) -> Journal:
        """Everything that has happened: events, outcomes, principles."""
        return self._engine.journal

    @property
    def best(self) -> Measured | None:
        """The best outcome so far."""
        return self.journal.archive.best

    def run(self) -> Result:
        """Search until the budget is spent."""
        if self._graph is not None:
            raise ConfigError("this search is driven by ask and tell; make a new Search to run one in a single call")
        if self.journal.result is not None:
            return self._engine.result()
        if not self._measures_itself:
            raise ConfigError("a Task of your own needs an `evaluation`, or ask and tell, to be measured")
        with closing(make_executor(self._engine.config, self._engine.evaluation.evaluator)) as executor:
            self._engine.services.executor = executor
            return self._engine.run()

    def ask(self) -> tuple[Proposal, ...]:
        """Return what to measure next, each at its fidelity `at` where there are several; empty at the end.

        Asking twice gives the same answer.
        """
        from nas_agent.graphs.checkpoints import THREAD, pausing_graph

        if self._engine.config.most_under_way > 1:
            raise ConfigError(
                "ask hands out one round at a time; leave `ahead`, `workers` and `executor` out, set `batch`"
            )
        if self._asked:
            return tuple(self._asked.values())
        if self.journal.result is not None:
            return ()
        state: Any = None
        if self._graph is None:
            self._engine.measured_by(Evaluation(self._engine.services.task, self._told, NoTestSplit(), CALLER))
            self._graph, state = pausing_graph(), first_state()
            self._engine.begin()
        self._graph.invoke(state, THREAD, context=self._engine.services, durability="exit")
        snapshot = self._graph.get_state(THREAD)
        if "evaluate" not in snapshot.next:
            return ()
        proposals = [Proposal.from_dict(data) for data in snapshot.values["shortlist"]]
        self._asked = {proposal.architecture.id: proposal for proposal in proposals}
        return tuple(proposals)

    def tell(self, proposal: Proposal, outcome: float | Outcome) -> None:
        """Hand over a measurement: a value of the task's metric, or a Measured or Failed."""
        architecture = proposal.architecture
        if architecture.id not in self._asked:
            raise ConfigError(f"{architecture.text} was not asked for; tell what the last ask() returned")
        if not isinstance(outcome, Measured | Failed):
            if not math.isfinite(outcome):
                raise ConfigError(
                    f"expected a finite value for {architecture.text}, got {outcome}; tell a Failed instead"
                )
            seed, at = self._engine.config.seed, self._asked[architecture.id].at
            how = self._told.fidelity if at is None else f"{at}, {self._told.fidelity}"
            outcome = Measured(architecture, float(outcome), how, 0.0, seed, self._told.name, at=at)
        if outcome.architecture.id != architecture.id:
            raise ConfigError(f"expected an outcome of {architecture.text}, got one of {outcome.architecture.text}")
        del self._asked[architecture.id]
        # The level of a sandbox asks for a second measurement, which is the caller's affair here.
        self._told.outcomes[architecture.id] = replace(outcome, sandbox=None)

    def result(self) -> Result:
        """Return what has been found so far."""
        return self._engine.result()


def start(
    config: Config,
    listeners: Sequence[Listener] = (),
    *,
    evaluation: Evaluation | None = None,
    made: Callable[[RunFolder], None] = lambda folder: None,
    ask: Reviewer | None = None,
) -> Result:
    """Make a run folder and search in it; `made` hears of the folder before anything is measured.

    Under review, `ask` is asked before principles take effect; without it the run stops there (`Result.pending`).
    """
    from nas_agent.tools.recollection import check_source

    check_embedder(config)
    check_executor(config)
    refuse_idle(config)
    config = carried_out(roles.settled(from_anywhere(config)))
    roles.go_offline(config)
    space = load_space(config.space)
    roles.check_space(config, space)
    check_generator(config, space)
    imported = imported_principles(config, space)
    given, evaluation = evaluation, evaluation or evaluation_of(config, space)
    check_curves(config, evaluation.evaluator)
    space = equipped(space, evaluation, sandbox=config.confinement)
    if given is None:
        config, evaluation = packed(frozen(config, evaluation), evaluation, space)
    models = roles.models(config, prepared=True)
    greet_embedder(config, space)
    check_source(config, evaluation.task, space)
    with closing(make_executor(config, evaluation.evaluator)) as executor:
        folder = create(config, __version__)
        with folder.locked():
            register(home(), folder)
            made(folder)
            log = EventLog(folder.events)
            run = _with_folder(config, folder, space, evaluation, models, log, listeners, imported, ask)
            run.services.executor = executor
            return run.run()


def resume(
    folder: RunFolder,
    listeners: Sequence[Listener] = (),
    *,
    evaluation: Evaluation | None = None,
    ask: Reviewer | None = None,
    by: Mapping[str, Any] | None = None,
) -> Result:
    """Go on with a run that was stopped; of a finished one, return the result.

    `by` names other settings of who carries evaluations out: `executor`, `workers`, `ray_address`.
    """
    config = carried_out(folder.config(), by)
    roles.go_offline(config)
    with folder.locked():
        with readable(folder):
            space = space_of(config, evaluation)
            finished = finished_result(folder, config, space) if folder.best_json.exists() else None
            if finished is not None:
                return finished
            evaluation = evaluation or evaluation_of(config, space)
            known = events_in_checkpoint(folder)
            log = EventLog.reopen(folder.events, known) if folder.events.exists() else EventLog(folder.events)
            # Once begun, the log says what the file held; it may have gone or changed since.
            begun = log.events or log.ahead("started")
            imported = None if begun else imported_principles(config, space)
            models = roles.models(config)
            engine = _with_folder(config, folder, space, evaluation, models, log, listeners, imported, ask)
            refuse_other_terms(folder, engine)
        if engine.journal.result is None:
            config, evaluation = packed(config, evaluation, space, settled=True)
            with closing(make_executor(config, evaluation.evaluator)) as executor:
                engine.services.executor = executor
                return engine.run()
        engine.write_result(engine.journal)
        return engine.result()


def answer(folder: RunFolder, answers: Mapping[str, Answer]) -> tuple[Change, ...]:
    """Say something to the principles that wait in a stopped run; return those that still wait. `resume` goes on."""
    with folder.locked(), readable(folder):
        space = space_of(folder.config())
        events = read_events(folder.events)[0] if folder.events.exists() else []
        log = EventLog.reopen(folder.events, len(events)) if events else EventLog()
        journal = Journal.begin(Task.from_dict(events[0]["task"]), space, log) if events else None
        if journal is None or journal.result is not None or not journal.pending:
            raise ConfigError(f"{folder.path.name}: no principle waits for an answer")
        from nas_agent.graphs.checkpoints import waits_for_review

        if not waits_for_review(folder.checkpoints):  # what the log says may not be all that it would have said
            raise ConfigError(f"{folder.path.name} was stopped before it could ask; resume it first")
        journal.settle(answers)
        log.close()
        return tuple(journal.pending.values())


def _with_folder(
    config: Config,
    folder: RunFolder,
    space: Space,
    evaluation: Evaluation,
    models: Models,
    log: EventLog,
    listeners: Sequence[Listener],
    imported: Imported | None,
    ask: Reviewer | None,
) -> Engine:
    from nas_agent.tools.recollection import RunMemory, open_memory

    memory = RunMemory(config, evaluation.task, space, folder.path, open_memory(), keep=config.memory)
    models = roles.capped(models, config, folder)
    return Engine(
        config, space, evaluation, log,
        folder=folder, models=models, memory=memory, listeners=listeners, imported=imported, ask=ask,
    )  # fmt: skip


def _recollection(config: Config, task: Task, space: Space, memory: Recollection | None) -> Recollection | None:
    """Return what a search in memory recalls from: the caller's memory, or the sources that are named."""
    if not config.source:
        return memory
    if memory is not None:
        raise ConfigError("source and memory: a memory decides itself what is recalled; leave out one of the two")
    from nas_agent.tools.recollection import without_memory

    return without_memory(config, task, space)
