"""What carries evaluations out: `make_executor` gives this process, local workers, or a Ray cluster."""

from __future__ import annotations

from nas_agent.config import Config
from nas_agent.errors import ConfigError
from nas_agent.tools.evaluators.base import Evaluator
from nas_agent.tools.executors.base import Executor, Work

__all__ = ["Executor", "Work", "make_executor"]


def check_executor(config: Config) -> None:
    """Refuse what does not go together; ConfigError."""
    kind = config.executor_kind
    if kind == "inline" and config.workers not in (None, 1):
        raise ConfigError(
            f"--workers {config.workers}: --executor inline is one worker, this process; take --executor pool or ray"
        )
    if kind != "ray" and config.ray_address is not None:
        raise ConfigError(f"--ray-address {config.ray_address}: expected --executor ray beside it, got {kind}; add it")
    if kind == "ray" and config.inherit != "none":
        raise ConfigError(
            "--executor ray: with --inherit trained weights lie in the run folder on this machine, and a worker of a "
            "cluster may be on another; take --executor pool, or leave --inherit out"
        )


def make_executor(config: Config, evaluator: Evaluator) -> Executor:
    """Return what carries the evaluations of a search out; close it when the search has ended."""
    check_executor(config)
    if config.executor_kind == "inline":
        from nas_agent.tools.executors.inline import InlineExecutor

        return InlineExecutor(evaluator)
    from nas_agent.tools.executors.pool import PoolExecutor, cores, places, slots

    if config.executor_kind == "ray":
        from nas_agent.tools.executors.ray_cluster import RayExecutor

        return RayExecutor(
            evaluator,
            config.ray_address or "auto",
            config.workers if isinstance(config.workers, int) else None,
            most=max(config.most_under_way, config.batch),
            threads=config.train_threads,
            gpu=config.device.startswith("cuda"),
            local_cpus=cores(),
        )
    return PoolExecutor(slots(evaluator, places(config)))
