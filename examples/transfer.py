"""What another task teaches: the same search twice, from nothing and from the best 50 cells on CIFAR-10.

    python examples/transfer.py

Without benchmark tables the values are those of the embedded benchmark, and predicted; with NAS_AGENT_DATA set they
are measured. The second run is what `nas-agent run --task cifar100 --from cifar10 --set memory=false` does: it leaves
a run folder in `runs/`, and nothing in memory.
"""

from __future__ import annotations

from nas_agent import Result, Search
from nas_agent.config import make_config
from nas_agent.run import start


def tell(how: str, result: Result) -> None:
    assert result.best is not None
    found = f"{result.best.value:.2f} % {result.best.provenance}, at evaluation {result.best_evaluation}"
    print(f"{how:<13} {found} of {len(result.outcomes)}: {result.best.architecture.text}")


def main() -> None:
    tell("from nothing", Search("cifar100", budget=20).run())
    config = make_config({"task": "cifar100", "budget": 20, "source": "cifar10", "memory": False})
    result = start(config)
    tell("from CIFAR-10", result)
    print(f"what was taken over, and from where: nas-agent show {result.run}")


if __name__ == "__main__":
    main()
