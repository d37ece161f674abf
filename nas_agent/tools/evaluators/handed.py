"""What a process that trains is handed: images, the labels of those to train on, and no label that it is scored by."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_agent.errors import StorageError
from nas_agent.records import Json
from nas_agent.tools.evaluators.scoring import shuffled
from nas_agent.tools.images import Images, ImageTask


@dataclass(frozen=True, slots=True)
class Asked:
    """Images that are to be classified."""

    file: str
    labels: NDArray[np.int64]  # known in this process alone


class Handed:
    """A folder of its own, filled as parts are asked for, and gone with this object.

    `shuffle`: images to classify come in an order that tells nothing, since the code that gets them is not trusted.
    """

    def __init__(self, images: ImageTask, *, shuffle: bool) -> None:
        self._images, self._shuffle = images, shuffle
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="nas-agent-images-"))
        except OSError as error:
            raise _unwritable(error) from error
        weakref.finalize(self, shutil.rmtree, str(self.folder), ignore_errors=True)

    @cached_property
    def train(self) -> Json:
        """The files with what is trained on."""
        part = self._images.train
        return {"pixels": self._written("train-pixels", part.pixels), "labels": self._written("labels", part.labels)}

    @cached_property
    def validation(self) -> Asked:
        """The part that a search chooses by."""
        return self._asked("validation-pixels", self._images.validation)

    @cached_property
    def test(self) -> Asked:
        """The part that is opened once; it must have one."""
        open_test = self._images.open_test
        assert open_test is not None
        return self._asked("test-pixels", open_test())

    def _asked(self, name: str, part: Images) -> Asked:
        part = shuffled(part) if self._shuffle else part
        return Asked(self._written(name, part.pixels), part.labels)

    def _written(self, name: str, array: NDArray[Any]) -> str:
        file = self.folder / f"{name}.npy"
        try:
            np.save(file, array)
        except OSError as error:
            raise _unwritable(error) from error
        return str(file)


def _unwritable(error: OSError) -> StorageError:
    return StorageError(
        f"{tempfile.gettempdir()}: the images cannot be written for the training process ({error.strerror}); "
        "free some space, or set TMPDIR to another folder"
    )
