"""One search, wired: services and graph made from a configuration, driven to the end, and its result."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from nas_agent.config import Config
from nas_agent.errors import ConfigError
from nas_agent.graphs.services import Recollection, Services
from nas_agent.graphs.state import first_state
from nas_agent.parts import generator_of, keep_weights, structure_alone, weighed
from nas_agent.principles.review import Answer
from nas_agent.records import Json
from nas_agent.result import Result, gather
from nas_agent.spaces import Space
from nas_agent.spaces.inspection import Inspected
from nas_agent.tools.costs.wishes import make_wishes
from nas_agent.tools.curves import check_curves
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.event_log import EventLog
from nas_agent.tools.executors import Executor
from nas_agent.tools.executors.arrivals import Arrivals
from nas_agent.tools.executors.inline import InlineExecutor
from nas_agent.tools.journal import Journal, Listener
from nas_agent.tools.principle_files import Imported
from nas_agent.tools.proxies.screens import make_screen
from nas_agent.tools.run_folder import RunFolder
from nas_agent.tools.surrogates.base import Surrogate
from nas_agent.version import __version__

if TYPE_CHECKING:
    from nas_agent.agents.chat import Models
    from nas_agent.graphs.search import Graph
    from nas_agent.tools.embeddings import Embedder


# Asks a person about `journal.pending`; an answer that is missing stops the run until it is resumed.
Reviewer = Callable[[Journal], Mapping[str, Answer]]


class Engine:
    """Services and graph of one search, wired once. `Search`, `start` and `resume` are thin users of it."""

    def __init__(
        self,
        config: Config,
        space: Space,
        evaluation: Evaluation,
        log: EventLog,
        *,
        folder: RunFolder | None = None,
        models: Models | None = None,
        memory: Recollection | None = None,
        listeners: Sequence[Listener] = (),
        imported: Imported | None = None,
        ask: Reviewer | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.started = time.perf_counter()
        self.config, self.folder, self.evaluation, self.imported = config, folder, evaluation, imported
        self.models = models
        journal = Journal.begin(evaluation.task, space, log)
        journal.listeners.extend(listeners)
        journal.review, self._ask = config.review, ask
        if config.review and folder is None:
            raise ConfigError("review needs a run folder in which to wait; search by `start`, or without review")
        if config.inherit != "none":
            keep_weights(evaluation.evaluator, folder)
        self._rungs = evaluation.rungs
        if config.fidelities and self._rungs is None:
            raise ConfigError(f"fidelities: the evaluator '{evaluation.evaluator.name}' has only one; leave them out")
        if self._rungs is not None and config.objectives:
            raise ConfigError("fidelities and objectives: promotion goes by the metric alone; leave out one of the two")
        check_curves(config, evaluation.evaluator)
        wishes = make_wishes(config, space, evaluation)
        pool = evaluation.evaluator.pool()
        self._listed = space.enumerate() if pool is None else pool
        if wishes is not None:
            wishes.remember(log.everything())
        self.services = Services(
            config=config,
            task=evaluation.task,
            space=space,
            evaluator=evaluation.evaluator,
            test_split=evaluation.test_split,
            journal=journal,
            generator=generator_of(config, space, evaluation.task),
            executor=executor or InlineExecutor(evaluation.evaluator),
            arrivals=Arrivals(None if folder is None else folder.arrivals),
            pool=self._listed if wishes is None else wishes.admitted(self._listed, space, config.seed),
            wishes=wishes,
            screen=make_screen(config.screen, evaluation, seed=config.seed),
            memory=memory,
            finished=self.write_result if folder is not None else None,
        )
        self._add_surrogate(config, space)
        self._add_learners(config, space)

    @property
    def journal(self) -> Journal:
        """The events and what follows from them."""
        return self.services.journal

    def measured_by(self, evaluation: Evaluation) -> None:
        """Measure by something else; before anything has begun."""
        self.evaluation = evaluation
        self.services.evaluator, self.services.test_split = evaluation.evaluator, evaluation.test_split
        self.services.executor = InlineExecutor(evaluation.evaluator)

    def begin(self) -> None:
        """Write the first event, unless the log has it."""
        if not self.journal.log.events:
            begun = self.journal.log.ahead("started")  # then it says what the file of principles held
            imported = None if self.imported is None else self.imported.to_dict()
            models = {} if self.models is None else self.models.about()
            terms = self.terms()
            if begun is not None:
                imported = begun.get("imported")
            if imported is not None:
                terms["imported"] = imported
            terms |= self._wished()
            self.journal.emit("started", version=__version__, note=self.evaluation.note, models=models, **terms)

    def terms(self) -> Json:
        """Return what must be the same for outcomes of two processes to stand in one log."""
        evaluator = self.evaluation.evaluator
        return {
            "task": self.services.task.to_dict(),
            "space": self.config.space,
            "space_name": self.services.space.name,
            "evaluator": evaluator.name,
            "provenance": evaluator.provenance,
            "fidelity": evaluator.fidelity,
            "candidates": None if self.services.pool is None else len(self.services.pool),
            **self._predictor(),
            "limits": list(self.config.limits),
            "objectives": list(self.config.objectives),
            "budget": self.config.budget,
            "seed": self.config.seed,
            **({} if self.services.screen is None else {"screen": self.services.screen.name}),
            **({} if self._rungs is None else {"fidelities": self._rungs.to_list(), "eta": self.config.eta}),
            **({"stop_curves": True} if self.config.stop_curves else {}),
            **({"ahead": self.config.most_under_way} if self.config.most_under_way > 1 else {}),
            # What it proposes follows from the outcomes and its weights.
            **({"generator": self.services.generator.name} if self.config.generator in {"vq", "code"} else {}),
            **({} if self.config.inherit == "none" else {"inherit": self.config.inherit}),
            **self._archive(),
        }

    def run(self) -> Result:
        """Drive the graph to its end, from the last checkpoint where there is one."""
        from nas_agent.graphs.checkpoints import THREAD, graph_in
        from nas_agent.graphs.search import build

        self.services.executor.begin(self.services.arrivals.add)
        if self.folder is None:
            self.begin()
            build().invoke(first_state(), context=self.services)
            return self.result()
        with graph_in(self.folder.checkpoints) as graph:
            state: Any = None if graph.get_state(THREAD).values else first_state()
            try:
                self.begin()
                graph.invoke(state, THREAD, context=self.services, durability="sync")
                if self._ask is not None:
                    self._review(graph, self._ask)
            finally:
                self.journal.log.close()
        return self.result()

    def _review(self, graph: Graph, ask: Reviewer) -> None:
        """Ask about what waits, and go on, until nothing waits or somebody leaves a question open."""
        from nas_agent.graphs.checkpoints import THREAD
        from nas_agent.graphs.review import hand_over

        while self.journal.result is None and self.journal.pending:
            wanted = len(self.journal.pending)
            answers = ask(self.journal)
            if answers:
                hand_over(graph, answers, self.services, THREAD)
            if len(answers) < wanted:
                return

    def result(self) -> Result:
        """Gather what the journal says."""
        seconds = time.perf_counter() - self.started
        folder = None if self.folder is None else str(self.folder.path)
        return gather(self.journal, folder, self.config.space, self.evaluation.evaluator.name, seconds)

    def write_result(self, journal: Journal) -> None:
        """Leave the result and the winner's source in the run folder."""
        assert self.folder is not None
        if journal.archive.best is not None:
            winner = journal.archive.best.architecture
            self.folder.write(self.folder.best_source, self.services.space.module_source(winner))
        self._write_archive(self.folder, journal)
        self.folder.write(self.folder.best_json, json.dumps(self.result().to_dict(), indent=2) + "\n")

    def _archive(self) -> Json:
        """Say what networks are binned by, where they are: ranges are fixed before the search."""
        if self.config.generator != "code":
            return {}
        from nas_agent.agents.generators.quality_diversity import CodeGenerator

        assert isinstance(self.services.generator, CodeGenerator)
        return {"axes": [axis.to_dict() for axis in self.services.generator.axes]}

    def _write_archive(self, folder: RunFolder, journal: Journal) -> None:
        """Leave the best of each kind in the run folder, where the generator keeps them."""
        if self.config.generator != "code":
            return
        from nas_agent.agents.generators.quality_diversity import CodeGenerator, as_csv, document

        assert isinstance(self.services.generator, CodeGenerator)
        state = self.services.generator.state(journal.tried.items)
        about = {"run": folder.path.name, "task": journal.task.name, "space": self.services.space.name}
        archive = document(state.networks, state.members, about)
        folder.write(folder.path / "archive.json", json.dumps(archive, indent=1) + "\n")
        folder.write(folder.path / "archive.csv", as_csv(archive))

    def _add_surrogate(self, config: Config, space: Space) -> None:
        from nas_agent.tools.surrogates import make_surrogate

        use = self.services

        def make(kind: str, embedder: Embedder | None = None) -> Surrogate | None:
            return weighed(make_surrogate(kind, space, use.pool, seed=config.seed, embedder=embedder), use)

        if config.surrogate != "joint":
            use.surrogate = make(config.surrogate)
            return
        use.substitute = partial(structure_alone, make)
        if self.journal.embedder_failure is not None:  # nothing is asked of what failed before this process began
            use.surrogate = use.substitute()
            return
        from nas_agent.tools.surrogates.code import code_embedder

        use.embedder = code_embedder(config, space)
        use.surrogate = make("joint", embedder=use.embedder)

    def _wished(self) -> Json:
        """Say what limits leave of the candidates, and where costs are known from."""
        use = self.services
        if use.wishes is None:
            return {}
        listed = None if use.pool is None or self._listed is None else (len(self._listed), len(use.pool))
        return use.wishes.about(listed, use.wishes.most(use.pool))

    def _predictor(self) -> Json:
        """Name the surrogate, and what reads code for it, where it does."""
        use = self.services
        if self.journal.embedder_failure is not None:
            begun = self.journal.log.events[0]
            return {key: begun[key] for key in ("surrogate", "embedder")}
        named: Json = {"surrogate": None if use.surrogate is None else use.surrogate.name}
        return named if use.embedder is None else {**named, "embedder": use.embedder.name}

    def _add_learners(self, config: Config, space: Space) -> None:
        if config.principles:
            from nas_agent.principles.statistics import StatisticalLearner

            self.services.statistics = StatisticalLearner()
        models = self.models
        if models is None or (models.learner is None and models.generator is None):
            return
        from nas_agent.agents.disguise import Disguise, Lens
        from nas_agent.agents.generators.language_model import LanguageModelGenerator
        from nas_agent.agents.learner import LanguageModelLearner

        lens = Disguise(space, config.seed) if config.anonymise else Lens(space)
        if models.learner is not None:
            self.services.model_learner = LanguageModelLearner(models.learner, space, lens=lens)
        if models.generator is not None and isinstance(space, Inspected) and config.generator == "code":
            from nas_agent.agents.operators import LanguageModelOperators, Rules

            self.services.model_operators = LanguageModelOperators(
                models.generator, self.services.task, Rules.of(space.shape), space.parse, edits=config.edits
            )
        elif models.generator is not None:
            self.services.model_generator = LanguageModelGenerator(models.generator, lens)
