"""Language models with a job: the resolver that finds one, and the learner that turns outcomes into principles."""

from __future__ import annotations

from nas_agent.agents.briefing import LearnContext
from nas_agent.agents.chat import CallsSpent, CappedModel, ChatModel, Models, Purse, RecordedModel, Reply
from nas_agent.agents.learner import LanguageModelLearner, Lesson, ModelCall
from nas_agent.agents.models import resolve

__all__ = [
    "CallsSpent",
    "CappedModel",
    "ChatModel",
    "LanguageModelLearner",
    "LearnContext",
    "Lesson",
    "ModelCall",
    "Models",
    "Purse",
    "RecordedModel",
    "Reply",
    "resolve",
]
