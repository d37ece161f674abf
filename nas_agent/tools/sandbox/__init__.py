"""Runs code that a model wrote: each job in a confined process forked from a warm parent. See docs/security.md."""

from nas_agent.tools.sandbox.base import Completed, Job, JobOutcome, Limits, Sandbox, Stopped
from nas_agent.tools.sandbox.policy import Policy
from nas_agent.tools.sandbox.warm import WarmSandbox, open_sandbox

__all__ = ["Completed", "Job", "JobOutcome", "Limits", "Policy", "Sandbox", "Stopped", "WarmSandbox", "open_sandbox"]
