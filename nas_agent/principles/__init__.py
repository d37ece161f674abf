"""Principles: what was learned about a space, the evidence for it, and the refined space that follows from it."""

from __future__ import annotations

from nas_agent.principles.constraint import Allowed, Constraint, Count, When, constraint_from_dict
from nas_agent.principles.evidence import Measurements, Rivalry, weigh
from nas_agent.principles.library import Library
from nas_agent.principles.principle import Change, Draft, Evidence, Observation, Principle
from nas_agent.principles.refinement import Refinement, SetAside
from nas_agent.principles.statistics import StatisticalLearner

__all__ = [
    "Allowed",
    "Change",
    "Constraint",
    "Count",
    "Draft",
    "Evidence",
    "Library",
    "Measurements",
    "Observation",
    "Principle",
    "Refinement",
    "Rivalry",
    "SetAside",
    "StatisticalLearner",
    "When",
    "constraint_from_dict",
    "weigh",
]
