"""What to do after a run: commands that work as they stand."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from rich.console import RenderableType

from nas_agent.cli.layout import heading
from nas_agent.cli.output import short
from nas_agent.cli.run_document import handle, resume_command

if TYPE_CHECKING:
    from nas_agent.cli.story import Story


def obeyed_by_best(story: Story) -> list[str]:
    """Return the references of the principles that the winner obeyed when it was proposed."""
    event = None if story.best is None else story.proposal(story.best.architecture.id)
    return [] if event is None else list(event["proposal"]["principles"])


# -- the lines of a report ------------------------------------------------------------------------------


def next_steps(story: Story) -> list[RenderableType]:
    """Suggest commands that work as they stand."""
    run = handle(story.folder)
    commands = [] if story.finished is not None else [resume_command(story)]
    if commands and story.pending:
        commands.insert(0, f"nas-agent principles review {run}")
    if story.best is not None:
        commands.append(f"nas-agent show {run} best")
        if story.config.generator == "code":
            commands.append(f"nas-agent archive {run} --html archive.html")
    told = [reference.partition("@")[0] for reference in obeyed_by_best(story)]
    told += [p.id for p in story.principles.values() if p.status == "active"] + list(story.principles)
    if told:
        commands.append(f"nas-agent principles trace {told[0]} --run {run}")
    siblings = _tasks_of(story.config.space)
    if story.finished is not None and siblings:
        others = [name for name in siblings if name != story.task.name]
        data = "" if story.config.data is None else f" --data {short(story.config.data)}"
        if story.task.name in siblings and others and story.config.memory:
            commands += [
                "# another task: it recalls what this run has taught",
                f"nas-agent run --task {others[0]}{_space_flag(story, others[0])}{data}",
            ]
        if {story.config.llm, story.config.llm_learner, story.config.llm_generator} <= {"none", None}:
            needs = "" if os.environ.get("OPENAI_API_KEY") else " (needs OPENAI_API_KEY)"
            task = shlex.quote(story.config.task)
            commands += [
                f"# with a language model{needs}",
                f"nas-agent run --task {task}{_space_flag(story, story.task.name)}{data} --llm openai:gpt-4o-mini",
            ]
    return ["", heading("Next"), *(f"  {command}" for command in commands)] if commands else []


def _tasks_of(space: str) -> tuple[str, ...]:
    """List the tasks of published benchmarks that were measured in a space of this name."""
    from nas_agent.tools.benchmarks.registry import BENCHMARKS

    return tuple(dict.fromkeys(task.name for b in BENCHMARKS if b.space == space for task in b.tasks))


def _space_flag(story: Story, task: str) -> str:
    """Name the run's space where the task alone would mean another one."""
    from nas_agent.tools.benchmarks.registry import named_space

    space = story.config.space
    return "" if named_space("auto", task) == space else f" --space {shlex.quote(space)}"
