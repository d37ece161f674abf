"""From what the user typed as --task to images: `digits`, a published data set, `folder:`, `npz:` or `hf:`."""

from __future__ import annotations

from pathlib import Path

from nas_agent.errors import ConfigError
from nas_agent.tools.benchmarks.registry import measured_in
from nas_agent.tools.images import hub
from nas_agent.tools.images.arrays import npz_task
from nas_agent.tools.images.base import ImageTask, NoImages
from nas_agent.tools.images.digits import TASK as DIGITS
from nas_agent.tools.images.digits import digits_task
from nas_agent.tools.images.folder import folder_task
from nas_agent.tools.images.published import PUBLISHED
from nas_agent.tools.tables import data_folders

PREFIXES = ("folder:", "npz:", "hf:")


def image_task_names() -> tuple[str, ...]:
    """List the tasks with a name of their own."""
    return (DIGITS.name, *PUBLISHED)


def means_images(task: str) -> bool:
    """Tell whether a task has images and nothing else: no table knows it."""
    return task.lower() == DIGITS.name or task.startswith(PREFIXES)


def load_images(task: str, *, data: Path | None, resolution: int | None) -> ImageTask:
    """Find and read the training and the validation part; NoImages where a known task's files are not here.

    `resolution` scales images of any size to one while they are read; only sources that may hold several take it.
    """
    kind, _, rest = task.partition(":")
    match kind:
        case "folder":
            return folder_task(_path(rest, task), resolution)
        case "npz":
            return npz_task(_path(rest, task), resolution)
        case "hf":
            return hub.hub_task(rest, resolution)
    if task.lower() == DIGITS.name:
        return digits_task()
    name = next((known for known in PUBLISHED if known.lower() == task.lower()), None)
    if name is None:
        raise ConfigError(
            f"--task {task}: there are no images of it to train on; choose from {', '.join(image_task_names())}, "
            "or give your own as folder:PATH, npz:PATH or hf:REPO"
        )
    return _published(name, data)


def _published(name: str, data: Path | None) -> ImageTask:
    known = measured_in(name)[0][1]
    for file, loader in PUBLISHED[name]:
        for place in data_folders(data):
            if (place.folder / file).exists():
                return loader(place.folder / file, known)
    repository = hub.REPOSITORIES.get(name)
    if repository is not None and hub.installed():
        return hub.hub_task(repository, None, known)
    looked = ", ".join(f"{place.folder} ({place.named_by})" for place in data_folders(data))
    wanted = " or ".join(file for file, _ in PUBLISHED[name])
    also = "" if repository is None else "; or download it from the hub: pip install 'nas-agent[hub]'"
    raise NoImages(f"--task {name}: no images to train on: no {wanted} in {looked}{also}")


def _path(text: str, task: str) -> Path:
    if not text:
        raise ConfigError(f"--task {task}: expected a path behind the colon")
    return Path(text).expanduser()
