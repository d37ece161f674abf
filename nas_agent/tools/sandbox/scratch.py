"""The folder that a job may write to: measured and emptied without recursion, however deep the job made it."""

from __future__ import annotations

import os


def most_entries(disk: int) -> int:
    """Return how many files and folders so many bytes may be spread over."""
    return max(disk // 4096, 16)


def too_much(folder: str, most: int) -> bool:
    """Tell whether a folder holds more than so many bytes, or too many or too deep entries to count them."""
    left, entries, size = [folder], 0, 0
    while left:
        try:
            with os.scandir(left.pop()) as found:
                for entry in found:
                    entries += 1
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
                    if entries > most_entries(most) or size > most:
                        return True
        except FileNotFoundError:
            continue  # gone in the meantime
        except OSError:  # closed to its owner, or a path longer than the kernel takes
            return True
    return False


def empty(folder: str) -> None:
    """Remove all that a folder holds; nested folders are moved up first, so that depth does not matter."""
    moved = 0
    while names := os.listdir(folder):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.islink(path) or not os.path.isdir(path):
                os.unlink(path)
                continue
            os.chmod(path, 0o700)
            for inner in os.listdir(path):
                inside = os.path.join(path, inner)
                if os.path.isdir(inside) and not os.path.islink(inside):
                    os.chmod(inside, 0o700)  # a folder that is closed cannot be moved
                    moved += 1
                    os.rename(inside, os.path.join(folder, f"moved-{os.getpid()}-{moved}"))
                else:
                    os.unlink(inside)
            os.rmdir(path)
