"""Operators on programs that a language model carries out: prompts by intent, edits, repair and their counts."""

from __future__ import annotations

from nas_agent.agents.operators.language_model import (
    Attempt,
    Edits,
    LanguageModelOperators,
    Offspring,
    Parent,
    Request,
    Rules,
)
from nas_agent.agents.operators.tally import Tally, tally

__all__ = ["Attempt", "Edits", "LanguageModelOperators", "Offspring", "Parent", "Request", "Rules", "Tally", "tally"]
