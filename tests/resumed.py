"""A search in a process of its own, to be killed: python -m tests.resumed start|resume OUT DIARY [SETTINGS]."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from nas_agent.run import resume, start
from nas_agent.tools.run_folder import open_folder
from tests.searching import Diary, config, evaluation


def main() -> None:
    what, out, diary = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    measured = evaluation(Diary(diary, seconds=0.02))
    if what == "start":
        settings = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}
        start(config(out, **settings), evaluation=measured)
    else:
        (folder,) = out.iterdir()
        resume(open_folder(folder), evaluation=measured)


if __name__ == "__main__":
    main()
