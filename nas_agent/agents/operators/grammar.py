"""The grammar by which a model in this process cannot but answer with a class."""

from __future__ import annotations

LINES = 80  # of a method at most, so that every answer ends


def class_grammar(class_name: str, lines: int = LINES) -> str:
    """Return the grammar of a fenced program: helper classes, then the network; lines inside methods are free.

    In llguidance's Lark: it knows counted repetition. That lines are Python is not its affair: a grammar of the
    language would shut out much of what models write well, and the space reads the program anyway.
    """
    return f"""start: "```python\\nimport torch\\nfrom torch import nn\\n" helper{{0,4}} network "```"
helper: "\\n\\nclass " HELPER "(nn.Module):\\n    def __init__(self" PARAMETERS "):\\n" methods
network: "\\n\\nclass {class_name}(nn.Module):\\n    def __init__(self):\\n" methods
methods: "        super().__init__()\\n" LINE{{1,{lines}}} "\\n    def forward(self, x):\\n" LINE{{0,{lines}}} RETURN
HELPER: /[A-Z][a-z]{{2,12}}(Block|Layer|Unit)/
PARAMETERS: /(, [a-z][a-z_]{{0,14}}(=[0-9]{{1,4}})?){{0,4}}/
LINE: / {{8}}( {{4}}){{0,3}}[^ `\\x00-\\x1f\\x7f-\\x9f][^`\\x00-\\x1f\\x7f-\\x9f]{{0,140}}\\n/
RETURN: / {{8}}return [^ `\\x00-\\x1f\\x7f-\\x9f][^`\\x00-\\x1f\\x7f-\\x9f]{{0,140}}\\n/
"""
