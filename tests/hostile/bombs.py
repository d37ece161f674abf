"""Code that uses up, floods, hangs or forges. With the sandbox off they run under looser limits, and end by themselves.

Each defines `main(target, blob)` and returns evidence where it got away with it.
"""

from __future__ import annotations

import textwrap

_BOMBS = {
    "allocate": """
        def main(target, blob):
            return len([bytearray(4 << 20) for _ in range(24)])
        """,
    "allocate a little at a time": """
        def main(target, blob):
            held = []
            for number in range(800_000):
                held.append((number, str(number)))
            return len(held)
        """,
    "allocate shared memory": """
        import mmap
        def main(target, blob):
            held = [mmap.mmap(-1, 8 << 20) for _ in range(12)]
            for one in held:
                one.write(bytes(8 << 20))
            return len(held)
        """,
    "allocate by the C library": """
        import ctypes
        def main(target, blob):
            libc = ctypes.CDLL(None)
            libc.malloc.restype = ctypes.c_void_p
            for _ in range(12):
                place = libc.malloc(ctypes.c_size_t(8 << 20))
                if not place:
                    return None
                ctypes.memset(place, 1, 8 << 20)
            return "allocated"
        """,
    "double a text": """
        def main(target, blob):
            text = "x"
            for _ in range(27):
                text += text
            return len(text)
        """,
    "a number without end": """
        def main(target, blob):
            return (1 << (1 << 30)).bit_length()
        """,
    "fork bomb": """
        import os, time
        def main(target, blob):
            started = 0
            for _ in range(32):
                if os.fork() == 0:
                    time.sleep(0.3)
                    os._exit(0)
                started += 1
            return started
        """,
    "thread bomb": """
        import threading, time
        def main(target, blob):
            for _ in range(64):
                threading.Thread(target=time.sleep, args=(5.0,), daemon=True).start()
            time.sleep(0.3)
            return threading.active_count() > 60
        """,
    "sleep": """
        import time
        def main(target, blob):
            time.sleep(0.7)
            return "slept"
        """,
    "sleep deaf to signals": """
        import signal, time
        def main(target, blob):
            for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_IGN)
            time.sleep(0.7)
            return "slept"
        """,
    "block all signals": """
        import signal, time
        def main(target, blob):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            time.sleep(0.7)
            return "slept"
        """,
    "compute": """
        import time
        def main(target, blob):
            end = time.time() + 0.7
            while time.time() < end:
                pass
            return "computed"
        """,
    "a regular expression without end": """
        import re, time
        def main(target, blob):
            end = time.time() + 0.7
            while time.time() < end:
                re.match("(a+)+$", "a" * 20 + "b")
            return "matched"
        """,
    "a finaliser that hangs": """
        import time
        class Hang:
            def __del__(self): time.sleep(0.7)
        def main(target, blob):
            Hang()
            return "slept"
        """,
    "survive the end": """
        import os, time
        def main(target, blob):
            os._exit = lambda code: time.sleep(0.7)
            os.write = lambda *parts: time.sleep(0.7) or len(parts[1])
            return "patched"
        """,
    "an error that hangs": """
        import time
        class Hang(BaseException):
            def __str__(self):
                time.sleep(0.7)
                return "slept"
        def main(target, blob):
            raise Hang
        """,
    "stop itself": """
        import os, signal, time
        def main(target, blob):
            start = time.time()
            os.kill(os.getpid(), signal.SIGSTOP)
            return "stopped"
        """,
    "fill the disk": """
        def main(target, blob):
            with open("big", "wb") as file:
                for _ in range(8):
                    file.write(bytes(1 << 20))
            return "written"
        """,
    "fill the disk with files": """
        import time
        def main(target, blob):
            for number in range(600):
                open(f"file-{number}", "w").close()
            time.sleep(0.2)
            return "made"
        """,
    "a sparse file": """
        def main(target, blob):
            with open("big", "wb") as file:
                file.truncate(48 << 20)
            return "made"
        """,
    "folders without end": """
        import os, time
        def main(target, blob):
            for _ in range(400):
                os.mkdir("deeper")
                os.chdir("deeper")
            time.sleep(0.2)
            return "made"
        """,
    "use up descriptors": """
        import os
        def main(target, blob):
            for _ in range(300):
                os.pipe()
            return "opened"
        """,
    "a reply without end": """
        def main(target, blob):
            return "made", bytes(3 << 20)
        """,
    "a frame with false lengths": """
        import os, struct
        def main(target, blob):
            for descriptor in range(3, 64):
                try:
                    os.write(descriptor, struct.pack(">QQ", 2**40, 2**40))
                except OSError:
                    pass
            os._exit(0)
        """,
    "many frames": """
        import json, os, struct
        def main(target, blob):
            text = json.dumps({"result": "forged"}).encode()
            for descriptor in range(3, 64):
                try:
                    os.write(descriptor, struct.pack(">QQ", len(text), 0) + text)
                    os.write(descriptor, struct.pack(">QQ", len(text), 0) + text)
                except OSError:
                    pass
            os._exit(0)
        """,
    "a reply that is nested without end": """
        import os, struct
        def main(target, blob):
            text = b"[" * 100_000 + b"]" * 100_000
            for descriptor in range(3, 64):
                try:
                    os.write(descriptor, struct.pack(">QQ", len(text), 0) + text)
                except OSError:
                    pass
            os._exit(0)
        """,
    "no reply": """
        import os
        def main(target, blob):
            os._exit(0)
        """,
    "close everything": """
        import os
        def main(target, blob):
            os.closerange(0, 256)
            return "closed"
        """,
    "crash": """
        import ctypes
        def main(target, blob):
            ctypes.string_at(0)
        """,
    "use up the stack": """
        import sys
        def main(target, blob):
            sys.setrecursionlimit(10**8)
            def deeper(): deeper()
            deeper()
        """,
    "kill itself": """
        import os, signal
        def main(target, blob):
            os.kill(os.getpid(), signal.SIGKILL)
        """,
    "exit": """
        def main(target, blob):
            raise SystemExit(0)
        """,
    "an error of a megabyte": """
        def main(target, blob):
            raise ValueError("x" * (1 << 20))
        """,
    "an error without a text": """
        class Mute(Exception):
            def __str__(self): raise self
        def main(target, blob):
            raise Mute
        """,
    "a result that is no JSON": """
        def main(target, blob):
            return object()
        """,
    "flood stdout": """
        import sys
        def main(target, blob):
            for _ in range(64):
                sys.stdout.write("x" * (1 << 20))
        """,
    "flood stderr": """
        import os
        def main(target, blob):
            for _ in range(64):
                os.write(2, bytes(1 << 20))
        """,
    "never-ending source": "def main(target, blob):\n    return " + "(" * 5000 + "1" + ")" * 5000,
    "source of null bytes": "def main(target, blob):\n    return 1\n\0",
}

BOMBS = {name: textwrap.dedent(text).strip() + "\n" for name, text in _BOMBS.items()}

# These have nothing to get away with: with the sandbox off too, all that they can do is to end without a result.
# What is tested of them is that the sandbox says so and lives on.
NO_GAIN = frozenset(
    (
        "a frame with false lengths", "many frames", "a reply that is nested without end", "no reply", "crash",
        "use up the stack", "kill itself", "exit", "an error of a megabyte", "an error without a text",
        "a result that is no JSON", "flood stdout", "flood stderr", "never-ending source", "source of null bytes",
        "close everything", "stop itself", "an error that hangs", "survive the end",
    )
)  # fmt: skip
