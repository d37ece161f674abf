"""What a job may read: the interpreter, its libraries and the packages that are named, with all that those need.

Nothing else: no home, no keys, no data sets, no tables, and no packages beside the named ones. scikit-learn, for one,
brings the labels of `digits`.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

_OURSELVES = Path(__file__).resolve().parents[2]
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
_TOP = ("lib", "lib64", "bin")  # on most systems links into /usr
_FILES = (
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_GPU = re.compile(r"nvidia.*|dri|kfd")
_GPU_FILES = ("/proc/driver/nvidia", "/sys/module/nvidia", "/usr/local/cuda", "/usr/local/nvidia")
# Folders of packages lie within those of libraries and are not part of them.
_PACKAGES = re.compile(r"(site|dist)-packages|python\d.*|__pycache__|.*\.pth")
_PASSED = ("LD_LIBRARY_PATH",)
# Set after the start: by the warm parent, Python, bubblewrap, containers; when nas-agent and torch are imported.
_SET_LATER = (
    "HOME", "TMPDIR", "LC_CTYPE", "PWD", "HOSTNAME",
    "LANGGRAPH_STRICT_MSGPACK", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR",
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Policy:
    """What the jobs of one sandbox have in common."""

    preload: tuple[str, ...] = ("torch", "torch._dynamo", "numpy")  # modules that the warm parent imports
    packages: tuple[str, ...] = ("torch", "numpy")  # installed distributions that may be imported
    readable: tuple[str, ...] = ()  # files and folders beside those
    import_from: tuple[str, ...] = ()  # folders with modules of the user's own
    compute_threads: int = 1  # of a job's matrix products
    gpu: bool = False  # device nodes of GPUs; not yet measured

    def paths(self) -> tuple[str, ...]:
        """Return every file and folder that a job may read, links resolved, folders before what is in them."""
        return tuple(sorted({os.path.realpath(path) for path in self._named()}, key=len))

    def links(self) -> tuple[tuple[str, str], ...]:
        """Return the links among them, with what they lead to: a root of its own needs both."""
        tops = [(f"/{name}", f"/{os.readlink(f'/{name}')}") for name in _TOP if os.path.islink(f"/{name}")]
        return (*tops, *((path, os.path.realpath(path)) for path in self._named() if os.path.islink(path)))

    def _named(self) -> list[str]:
        paths = [*_interpreter(), *_native(), *_of_packages(self.packages), *_FILES, *self.import_from, *self.readable]
        if self.gpu:
            paths += _GPU_FILES
        return [path for path in dict.fromkeys(paths) if os.path.exists(path)]

    def devices(self) -> tuple[str, ...]:
        """Return the device nodes that a job may open."""
        if not self.gpu:
            return _DEVICES
        return (*_DEVICES, *gpus())


def gpus() -> tuple[str, ...]:
    """Return the device nodes of GPUs on this machine."""
    return tuple(f"/dev/{name}" for name in sorted(os.listdir("/dev")) if _GPU.fullmatch(name))


def _interpreter() -> Iterator[str]:
    """Yield the standard library without the packages that may be installed within it."""
    yield sys.executable
    for key in ("stdlib", "platstdlib"):
        folder = sysconfig.get_path(key)
        yield from _without_packages(folder)
    libraries = os.path.join(sys.base_prefix, "lib")
    if os.path.isdir(libraries):
        yield from _without_packages(libraries)  # libpython, and in conda what native code is linked with
    yield os.path.join(sys.prefix, "pyvenv.cfg")


def _native() -> Iterator[str]:
    for folder in _LIBRARIES:
        if os.path.isdir(folder) and not os.path.islink(folder):
            yield from _without_packages(folder)


def _without_packages(folder: str) -> Iterator[str]:
    for entry in os.scandir(folder):
        if not _PACKAGES.fullmatch(entry.name):
            yield entry.path


@cache
def _of_packages(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the folders of distributions and of what they require, and of nas-agent itself."""
    found = (str(one.locate_file(name)) for one in _required(names) for name in sorted(_top_level(one)))
    return (str(_OURSELVES), *found)


def _required(names: Sequence[str]) -> Iterator[Distribution]:
    """Yield the distributions and, where installed, those that they require outside of extras."""
    left, seen = list(names), set[str]()
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # for another platform, or not needed here
        yield found
        for line in found.requires or ():
            wanted = _NAME.match(line)
            if wanted and "extra" not in line.partition(";")[2]:
                left.append(wanted.group())


def _top_level(found: Distribution) -> set[str]:
    """Return the first parts of the paths of a distribution's files, those outside of its folder left out."""
    parts = {file.parts[0] for file in found.files or ()}
    return {part for part in parts if part not in {"..", "__pycache__"} and not part.endswith(".pth")}


def environment(policy: Policy) -> dict[str, str]:
    """Return all that the warm parent's environment holds: nothing is passed on but what libraries are found by."""
    folders = [str(_OURSELVES.parent), *policy.import_from]
    threads = str(policy.compute_threads)
    passed = (*_PASSED, "CUDA_VISIBLE_DEVICES") if policy.gpu else _PASSED
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(folders),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MALLOC_ARENA_MAX": "1",
        **({} if policy.gpu else {"CUDA_VISIBLE_DEVICES": ""}),
        **{name: os.environ[name] for name in passed if name in os.environ},
    }


def plain_names() -> frozenset[str]:
    """Return the variables that may stand in a job's environment, since they say nothing about the user."""
    return frozenset((*environment(Policy()), *_PASSED, *_SET_LATER))
