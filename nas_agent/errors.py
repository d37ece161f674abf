"""Errors a person can act on. Anything else that is raised is a bug and keeps its traceback.

    NasAgentError                 one clear line and exit code 2
    ├── ConfigError               a flag, a config file or a combination of them is wrong
    ├── InvalidArchitecture       a text is no architecture of the space (also sent to language models)
    ├── PrincipleError            a constraint that the space does not know or that would empty it
    ├── DataError                 a table or image file is missing, broken or has nothing to offer
    ├── RunFolderError            a run folder is half-written, locked, or of another version
    ├── StorageError              a disk is full or a folder cannot be written
    ├── MemoryStoreError          the memory folder cannot be used
    ├── ModelError                a language model cannot be reached or built
    ├── PromptError               a prompt template and its values do not fit together
    ├── ExecutorError             the workers of a search have gone away
    ├── SandboxError              generated code cannot be confined on this machine
    └── MissingExtra              an optional dependency is needed; the message holds the install command

A message says what was expected, what came, and what to do.
"""

from __future__ import annotations


class NasAgentError(Exception):
    """The base of all errors that are the user's to mend."""


class ConfigError(NasAgentError):
    """A flag, a config file or a combination of them is wrong."""


class InvalidArchitecture(NasAgentError):
    """A text is no architecture of the space; the message is written so that a model can act on it."""


class PrincipleError(NasAgentError):
    """A constraint names what the space does not have, or would leave nothing to choose."""


class DataError(NasAgentError):
    """A table or an image file is missing, broken, or has no usable row."""


class RunFolderError(NasAgentError):
    """A run folder is half-written, locked by another process, or of another version."""


class StorageError(NasAgentError):
    """A file could not be written: the disk is full, or the folder is not ours to write."""


class MemoryStoreError(NasAgentError):
    """The memory folder cannot be used."""


class ModelError(NasAgentError):
    """A language model cannot be reached, built or understood."""


class PromptError(NasAgentError):
    """A prompt template and the values for it do not fit together."""


class ExecutorError(NasAgentError):
    """The workers that a search had have gone away; it can be resumed."""


class SandboxError(NasAgentError):
    """Generated code cannot be confined here, so it is not run."""


class MissingExtra(NasAgentError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed; run: pip install 'nas-agent[{extra}]'"
        )
