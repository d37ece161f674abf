"""What can be searched. Each space speaks one Protocol; `load_space` finds built-in ones and the user's own."""

from __future__ import annotations

from nas_agent.spaces.base import Choices, Decision, Floats, Mutates, Space, is_untrusted, try_build
from nas_agent.spaces.categorical import CategoricalSpace
from nas_agent.spaces.loading import load_space, space_names

__all__ = [
    "CategoricalSpace",
    "Choices",
    "Decision",
    "Floats",
    "Mutates",
    "Space",
    "is_untrusted",
    "load_space",
    "space_names",
    "try_build",
]
