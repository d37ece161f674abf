"""What another task teaches: the same search twice, from nothing and from the best 50 cells on CIFAR-10.

    python examples/transfer.py

Without benchmark tables the values are those of the embedded benchmark, and predicted; with NAS_AGENT_DATA set they
are measured. On the command line the second search is `nas-agent run --task cifar100 --from cifar10 --budget 20`.
"""

from __future__ import annotations

from nas_agent import Search


def tell(how: str, search: Search) -> None:
    result = search.run()
    assert result.best is not None
    found = f"{result.best.value:.2f} % {result.best.provenance}, at evaluation {result.best_evaluation}"
    print(f"{how:<13} {found} of {len(result.outcomes)}: {result.best.architecture.text}")


def main() -> None:
    tell("from nothing", Search("cifar100", budget=20))
    search = Search("cifar100", budget=20, source="cifar10")
    tell("from CIFAR-10", search)
    for source, agreement in (search.journal.agreement or {}).items():
        print(f"{source} agrees with what was measured: {agreement:.2f} of 1")


if __name__ == "__main__":
    main()
