"""A space of your own, searched by the command line or from Python.

    nas-agent run --space examples/own_space.py:Stack --task table:results.csv
    python examples/own_space.py

The table has a header `architecture,val` (and `test`, `seconds`, `params` if you have them); an architecture
is written as `depth=4,width=32,activation=relu`.
"""

from __future__ import annotations

from nas_agent import Search
from nas_agent.records import Task
from nas_agent.spaces import CategoricalSpace, Decision


class Stack(CategoricalSpace):
    """Three decisions; everything else has a default."""

    name = "stack"
    decisions = (
        Decision("depth", ("2", "4", "8", "16"), "number of layers"),
        Decision("width", ("16", "32", "64", "128"), "channels of each layer"),
        Decision("activation", ("relu", "gelu", "silu"), "after each layer"),
    )


def pretend_to_train(choices: dict[str, str]) -> float:
    """Stand in for your own training; return the accuracy on your validation split in percent."""
    return 60.0 + int(choices["depth"]) + int(choices["width"]) / 8 - (5.0 if choices["activation"] == "relu" else 0.0)


def main() -> None:
    search = Search(Task("mine", "My own images, ten classes."), space=Stack(), budget=15)
    space = Stack()
    while proposals := search.ask():
        for proposal in proposals:
            search.tell(proposal, pretend_to_train(space.choices(proposal.architecture)))
    assert search.best is not None
    print(f"best after {len(search.result().outcomes)}: {search.best.architecture.text} {search.best.value:.2f} %")


if __name__ == "__main__":
    main()
