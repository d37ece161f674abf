"""Start a search from what you believe, and see what the measurements say to it.

    python examples/principles.py

The first principle is sound, the second is wrong. Both rule at once, since a person says so; every evaluation tests
them, and every fifth round breaks one on purpose. `nas-agent run --principles FILE` does the same.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from nas_agent import Search

BELIEFS = """# What I believe about cells

Space: nb201

## Keep the skip connection from the input to the output.

```constraint
edge_0_3 in {skip_connect}
```

## Average pooling belongs between the input and the first node.

```constraint
edge_0_1 in {avg_pool_3x3}
```
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "beliefs.md"
        file.write_text(BELIEFS, encoding="utf-8")
        search = Search("cifar100", budget=60, principles_file=file)
        result = search.run()
    assert result.best is not None
    print(f"best after {len(result.outcomes)}: {result.best.architecture.text} {result.best.value:.2f} %")
    for principle in search.journal.library.principles:
        if principle.author == "person":
            found = principle.evidence
            counts = f"{len(found.supporting)} measurements for it, {len(found.opposing)} against"
            print(f"{principle.status}: {principle.text} ({counts})")


if __name__ == "__main__":
    main()
