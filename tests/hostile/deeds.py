"""What hostile code would do. Each is the body of `attack(target)` and returns evidence where it worked.

Modules are reached by `get`, so that every deed can be tried by every route. Whatever a deed touches is the test's
own: a folder with a key and a file, a listening socket, a process that only waits. With the sandbox off, none of them
can harm more than these.
"""

from __future__ import annotations

import textwrap

# Defined before each deed.
PRELUDE = """
def errors(answer, ctypes):
    if answer < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return answer

def call(number, *arguments):
    ctypes = get("ctypes")
    libc = ctypes.CDLL(None, use_errno=True)
    values = [ctypes.c_long(a) if isinstance(a, int) else ctypes.c_char_p(a) if isinstance(a, bytes) else a
              for a in arguments]
    return errors(libc.syscall(ctypes.c_long(number), *values), ctypes)
"""

_READS = {
    "open a key": """return open(target["key"]).read()""",
    "open a key by the os module": """os = get("os"); return os.read(os.open(target["key"], os.O_RDONLY), 100)""",
    "FileIO on a key": """return get("io").FileIO(target["key"]).readall()""",
    "pathlib on a key": """return get("pathlib").Path(target["key"]).read_text()""",
    "linecache on a key": """return get("linecache").getlines(target["key"])""",
    "mmap a key": """
        with open(target["key"], "rb") as file:
            return get("mmap").mmap(file.fileno(), 0, access=1)[:]
        """,
    "a link to a key": """
        get("os").symlink(target["key"], "link")
        return open("link").read()
        """,
    "a hard link to a key": """
        get("os").link(target["key"], target["key"] + "-link")
        return "linked"
        """,
    "a key by the process's root": """return open("/proc/self/root" + target["key"]).read()""",
    "a key by another's root": """return open(f"/proc/{target['victim']}/root" + target["key"]).read()""",
    "a key by going up": """
        os = get("os")
        for _ in range(30):
            os.chdir("..")
        return open("." + target["key"]).read()
        """,
    "copy a key": """return get("shutil").copyfile(target["key"], "copied") and open("copied").read()""",
    "sendfile a key": """
        os = get("os")
        out = os.open("sent", os.O_CREAT | os.O_RDWR)
        return os.sendfile(out, os.open(target["key"], os.O_RDONLY), 0, 100)
        """,
    "libc open on a key": """
        ctypes = get("ctypes")
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = errors(libc.open(target["key"].encode(), 0), ctypes)
        buffer = ctypes.create_string_buffer(100)
        return errors(libc.read(descriptor, buffer, 100), ctypes)
        """,
    "list a folder": """return get("os").listdir(target["folder"])""",
    "scan a folder": """return [entry.name for entry in get("os").scandir(target["folder"])]""",
    "glob a folder": """return get("glob").glob(target["folder"] + "/*")""",
    "walk a folder": """return [names for _, _, names in get("os").walk(target["folder"])]""",
    "another candidate's code": """return open(target["other"]).read()""",
    "the parent's environment": """return open(f"/proc/{target['victim']}/environ").read()""",
    "the parent's memory map": """return open(f"/proc/{target['victim']}/maps").read()""",
    "the parent's command line": """return open(f"/proc/{target['victim']}/cmdline").read()""",
    "the parent's working folder": """return get("os").listdir(f"/proc/{target['victim']}/cwd")""",
    "secrets in the environment": """return get("os").environ["HOSTILE_SECRET"]""",
    "the system's users": """return open("/etc/passwd").read()""",
}

_WRITES = {
    "write a file": """open(target["folder"] + "/made", "w").write("x"); return "written" """,
    "append to a file": """open(target["file"], "a").write("x"); return "appended" """,
    "empty a file by opening": """
        os = get("os")
        os.close(os.open(target["file"], os.O_RDONLY | os.O_TRUNC))
        return "emptied"
        """,
    "truncate a file": """get("os").truncate(target["file"], 0); return "truncated" """,
    "remove a file": """get("os").unlink(target["file"]); return "removed" """,
    "rename a file": """get("os").rename(target["file"], target["file"] + "-moved"); return "renamed" """,
    "replace a file": """
        open("mine", "w").write("x")
        get("shutil").move("mine", target["file"])
        return open(target["file"]).read() == "x"
        """,
    "make a folder": """get("os").mkdir(target["folder"] + "/made"); return "made" """,
    "make a pipe": """get("os").mkfifo(target["folder"] + "/pipe"); return "made" """,
    "make a link": """get("os").symlink("/", target["folder"] + "/link"); return "made" """,
    "make a socket's file": """
        socket = get("socket")
        socket.socket(socket.AF_UNIX).bind(target["folder"] + "/s")
        return "made"
        """,
    "change a mode": """get("os").chmod(target["file"], 0o777); return "changed" """,
    "change a time": """get("os").utime(target["file"], (1, 1)); return "changed" """,
    "change an owner": """
        os = get("os")
        os.chown(target["file"], os.getuid(), os.getgid())
        return "changed"
        """,
    "set an attribute": """get("os").setxattr(target["file"], "user.x", b"x"); return "set" """,
    "write by libc": """
        ctypes = get("ctypes")
        libc = ctypes.CDLL(None, use_errno=True)
        errors(libc.creat((target["folder"] + "/made").encode(), 0o600), ctypes)
        return "made"
        """,
    "write a shared map": """
        with open(target["file"], "r+b") as file:
            get("mmap").mmap(file.fileno(), 0)[0:1] = b"X"
        return "written"
        """,
    "a data base": """
        connection = get("sqlite3").connect(target["folder"] + "/data.sqlite")
        connection.execute("create table t (x)")
        return "made"
        """,
    "a log file": """
        get("logging").FileHandler(target["folder"] + "/log").close()
        return "made"
        """,
    "a shelf": """get("dbm.dumb").open(target["folder"] + "/shelf", "c").close(); return "made" """,
    "shared memory": """
        path = "/dev/shm/nas-agent-hostile"
        open(path, "w").write("x")
        get("os").unlink(path)
        return "made"
        """,
    "named shared memory": """
        shared = get("multiprocessing.shared_memory").SharedMemory("nas-agent-hostile", create=True, size=100)
        shared.unlink()
        return "made"
        """,
    "the system's temporary folder": """
        path = "/var/tmp/nas-agent-hostile"
        open(path, "w").write("x")
        get("os").unlink(path)
        return "made"
        """,
    "a package": """
        path = get("os").path.dirname(get("json").__file__) + "/nas_agent_hostile.py"
        open(path, "w").write("x")
        get("os").unlink(path)
        return "made"
        """,
    "System V shared memory": """
        ctypes = get("ctypes")
        libc = ctypes.CDLL(None, use_errno=True)
        identity = errors(libc.shmget(0x6E617301, 100, 0o1600), ctypes)
        libc.shmctl(identity, 0, None)
        return "made"
        """,
    "a message queue": """
        ctypes = get("ctypes")
        libc = ctypes.CDLL(None, use_errno=True)
        identity = errors(libc.msgget(0x6E617302, 0o1600), ctypes)
        libc.msgctl(identity, 0, None)
        return "made"
        """,
    "semaphores": """
        ctypes = get("ctypes")
        libc = ctypes.CDLL(None, use_errno=True)
        identity = errors(libc.semget(0x6E617303, 1, 0o1600), ctypes)
        libc.semctl(identity, 0, 0)
        return "made"
        """,
    "a file in memory": """return get("os").memfd_create("nas-agent-hostile") > 0""",
}

_TALKS = {
    "TCP": """
        socket = get("socket")
        socket.create_connection(("127.0.0.1", target["port"]), timeout=1)
        return "connected"
        """,
    "UDP": """
        socket = get("socket")
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", target["port"]))
        """,
    "a socket's file": """
        socket = get("socket")
        socket.socket(socket.AF_UNIX).connect(target["unix"])
        return "connected"
        """,
    "an abstract socket": """
        socket = get("socket")
        socket.socket(socket.AF_UNIX).connect(target["abstract"])
        return "connected"
        """,
    "HTTP": """
        http = get("http.client")
        connection = http.HTTPConnection("127.0.0.1", target["port"], timeout=1)
        connection.connect()
        return "connected"
        """,
    "listening": """
        socket = get("socket")
        one = socket.socket()
        one.bind(("127.0.0.1", 0))
        one.listen()
        return "listening"
        """,
    "a netlink socket": """
        socket = get("socket")
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).fileno() > 0
        """,
    "a pair of sockets": """return len(get("socket").socketpair()) == 2""",
    "a socket by libc": """
        ctypes = get("ctypes")
        return errors(ctypes.CDLL(None, use_errno=True).socket(2, 1, 0), ctypes) > 0
        """,
}

_STARTS = {
    "fork": """
        os = get("os")
        process = os.fork()
        if process == 0:
            os._exit(0)
        return os.waitpid(process, 0)[0]
        """,
    "a shell": """return get("os").system("true") == 0""",
    "popen": """return get("os").popen("echo out").read()""",
    "subprocess": """return get("subprocess").run(["/bin/echo", "out"], capture_output=True).stdout""",
    "posix_spawn": """
        os = get("os")
        process = os.posix_spawn("/bin/true", ["true"], {})
        return os.waitpid(process, 0)[0]
        """,
    "multiprocessing": """
        process = get("multiprocessing").get_context("fork").Process(target=print)
        process.start()
        process.join()
        return process.exitcode == 0
        """,
    "a terminal's fork": """
        os, pty = get("os"), get("pty")
        process, _ = pty.fork()
        if process == 0:
            os._exit(0)
        return process
        """,
    "clone by number": """
        os = get("os")
        number = 56 if os.uname().machine == "x86_64" else 220
        process = call(number, 17, 0, 0, 0, 0)
        if process == 0:
            os._exit(0)
        return process
        """,
    "a daemon": """
        os, time = get("os"), get("time")
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(0.5)
            os._exit(0)
        return "started"
        """,
    "a new session": """
        os = get("os")
        if os.fork() == 0:
            os.setsid()
            os._exit(0)
        return os.wait()[0]
        """,
    "the dynamic linker": """
        glob, subprocess = get("glob"), get("subprocess")
        linker = glob.glob("/lib*/ld-linux*")[0]
        return subprocess.run([linker, "--version"], capture_output=True).stdout
        """,
    "a program in memory": """
        os = get("os")
        descriptor = os.memfd_create("x")
        os.write(descriptor, b"#!/bin/true\\n")
        return get("subprocess").run([f"/proc/self/fd/{descriptor}"], pass_fds=[descriptor]).returncode == 0
        """,
}

_POWERS = {
    "signal another process": """get("os").kill(target["victim"], 0); return "signalled" """,
    "stop another process": """
        os, signal = get("os"), get("signal")
        os.kill(target["victim"], signal.SIGCONT)
        return "signalled"
        """,
    "signal by descriptor": """
        os, signal = get("os"), get("signal")
        signal.pidfd_send_signal(os.pidfd_open(target["victim"]), signal.SIGCONT)
        return "signalled"
        """,
    "signal the parent": """
        os = get("os")
        os.kill(os.getppid(), 0)
        return "signalled"
        """,
    "own a signal": """
        os, fcntl = get("os"), get("fcntl")
        reader, _ = os.pipe()
        fcntl.fcntl(reader, fcntl.F_SETOWN, target["victim"])
        return "owned"
        """,
    "trace another process": """
        ctypes = get("ctypes")
        libc = ctypes.CDLL(None, use_errno=True)
        return errors(libc.ptrace(0x4206, target["victim"], 0, 0), ctypes) == 0
        """,
    "read another's memory": """
        return open(f"/proc/{target['victim']}/mem", "rb").fileno() > 0
        """,
    "write the parent's memory": """
        return open(f"/proc/{get('os').getppid()}/mem", "r+b").fileno() > 0
        """,
    "another's priority": """
        os = get("os")
        os.setpriority(os.PRIO_PROCESS, target["victim"], 19)
        return "changed"
        """,
    "another's processors": """
        os = get("os")
        os.sched_setaffinity(target["victim"], os.sched_getaffinity(0))
        return "changed"
        """,
    "another's limits": """
        resource = get("resource")
        resource.prlimit(target["victim"], resource.RLIMIT_CORE, (0, 0))
        return "changed"
        """,
    "raise a limit": """
        resource = get("resource")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return "changed"
        """,
    "own namespaces": """
        ctypes = get("ctypes")
        return errors(ctypes.CDLL(None, use_errno=True).unshare(0x10000000), ctypes) == 0
        """,
    "mount": """
        ctypes = get("ctypes")
        libc = ctypes.CDLL(None, use_errno=True)
        errors(libc.unshare(0x10020000), ctypes)
        return errors(libc.mount(b"none", b"/proc", b"tmpfs", 0, None), ctypes) == 0
        """,
    "survive the parent": """
        ctypes = get("ctypes")
        return errors(ctypes.CDLL(None, use_errno=True).prctl(1, 0, 0, 0, 0), ctypes) == 0
        """,
    "a filter of its own": """
        ctypes = get("ctypes")
        libc = ctypes.CDLL(None, use_errno=True)
        errors(libc.prctl(38, 1, 0, 0, 0), ctypes)
        return "set"
        """,
    "io_uring": """
        ctypes = get("ctypes")
        parameters = ctypes.create_string_buffer(200)
        return call(425, 4, parameters) > 0
        """,
    "watch files": """
        ctypes = get("ctypes")
        return errors(ctypes.CDLL(None, use_errno=True).inotify_init(), ctypes) > 0
        """,
    "page faults": """
        os = get("os")
        return call(323 if os.uname().machine == "x86_64" else 282, 1) > 0
        """,
}

_DEEDS = {**_READS, **_WRITES, **_TALKS, **_STARTS, **_POWERS}
_MAIN = """
def main(target, blob):
    evidence = attack(target)
    return repr(evidence) if evidence else None  # of any type, so that none is lost on the way
"""
DEEDS = {
    name: PRELUDE + "def attack(target):\n" + textwrap.indent(textwrap.dedent(text).strip(), "    ") + "\n" + _MAIN
    for name, text in _DEEDS.items()
}

# The system may refuse these to everyone: their success with the sandbox off is no condition.
OFTEN_REFUSED = frozenset(
    (
        "trace another process", "read another's memory", "write the parent's memory", "own namespaces", "mount",
        "io_uring", "page faults", "set an attribute", "a key by another's root", "the parent's working folder",
        "the parent's environment", "the parent's memory map", "a hard link to a key", "shared memory",
        "named shared memory", "a package",
    )
)  # fmt: skip
