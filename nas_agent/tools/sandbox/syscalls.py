"""System calls that a job may make, and their numbers: those of x86-64 and of 64-bit Arm.

From the kernel's headers: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h. A dash: the
architecture has no such call. What is not listed is refused: sockets, new processes and programs, other processes'
memory and signals, changed owners, modes, times and attributes, mounts, namespaces, keys, tracing, kernel modules,
io_uring, memory that outlives the process, and whatever future kernels bring.
"""

from __future__ import annotations

_NUMBERS = """
read 0 63
write 1 64
close 3 57
fstat 5 80
newfstatat 262 79
stat 4 -
lstat 6 -
statx 332 291
poll 7 -
ppoll 271 73
lseek 8 62
mmap 9 222
mprotect 10 226
munmap 11 215
brk 12 214
mremap 25 216
madvise 28 233
rt_sigaction 13 134
rt_sigprocmask 14 135
rt_sigreturn 15 139
rt_sigsuspend 130 133
rt_sigtimedwait 128 137
rt_sigpending 127 136
sigaltstack 131 132
ioctl 16 29
pread64 17 67
pwrite64 18 68
readv 19 65
writev 20 66
preadv 295 69
pwritev 296 70
preadv2 327 286
pwritev2 328 287
access 21 -
faccessat 269 48
faccessat2 439 439
pipe 22 -
pipe2 293 59
select 23 -
pselect6 270 72
sched_yield 24 124
dup 32 23
dup2 33 -
dup3 292 24
nanosleep 35 101
clock_nanosleep 230 115
getitimer 36 102
setitimer 38 103
alarm 37 -
pause 34 -
getpid 39 172
getppid 110 173
gettid 186 178
sendfile 40 71
copy_file_range 326 285
clone 56 220
exit 60 93
exit_group 231 94
wait4 61 260
waitid 247 95
uname 63 160
fcntl 72 25
fsync 74 82
fdatasync 75 83
ftruncate 77 46
fallocate 285 47
getdents 78 -
getdents64 217 61
getcwd 79 17
chdir 80 49
fchdir 81 50
rename 82 -
renameat 264 38
renameat2 316 276
mkdir 83 -
mkdirat 258 34
rmdir 84 -
unlink 87 -
unlinkat 263 35
creat 85 -
readlink 89 -
readlinkat 267 78
umask 95 166
gettimeofday 96 169
getrlimit 97 163
prlimit64 302 261
getrusage 98 165
sysinfo 99 179
times 100 153
getuid 102 174
getgid 104 176
geteuid 107 175
getegid 108 177
getresuid 118 148
getresgid 120 150
getgroups 115 158
getpgid 121 155
getpgrp 111 -
getsid 124 156
statfs 137 43
fstatfs 138 44
prctl 157 167
arch_prctl 158 -
futex 202 98
futex_waitv 449 449
sched_getaffinity 204 123
sched_setaffinity 203 122
sched_getparam 143 121
sched_getscheduler 145 120
sched_get_priority_max 146 125
sched_get_priority_min 147 126
set_tid_address 218 96
set_robust_list 273 99
get_robust_list 274 100
clock_gettime 228 113
clock_getres 229 114
time 201 -
epoll_create 213 -
epoll_create1 291 20
epoll_ctl 233 21
epoll_wait 232 -
epoll_pwait 281 22
epoll_pwait2 441 441
open 2 -
openat 257 56
eventfd 284 -
eventfd2 290 19
getrandom 318 278
membarrier 324 283
rseq 334 293
restart_syscall 219 128
getcpu 309 168
kill 62 129
tgkill 234 131
fadvise64 221 223
readahead 187 213
msync 26 227
mincore 27 232
close_range 436 436
get_mempolicy 239 236
clone3 435 435
memfd_create 319 279
mlock 149 228
munlock 150 229
mbind 237 235
openat2 437 437
"""
_COLUMNS = {"x86_64": 1, "aarch64": 2}
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # how a filter is told the architecture

# Allowed with some arguments only (seccomp.py), or answered as if the kernel did not know them.
CHECKED = frozenset(
    ("clone", "fcntl", "ioctl", "kill", "mmap", "open", "openat", "prctl", "prlimit64", "sched_setaffinity", "tgkill")
)
UNKNOWN = frozenset(("clone3", "openat2"))  # their arguments are in memory, where a filter cannot look
FOR_GPU = frozenset(("memfd_create", "mlock", "munlock", "mbind"))


def numbers(machine: str) -> dict[str, int]:
    """Return the calls of an architecture by name; KeyError where it is none of the two."""
    column = _COLUMNS[machine]
    rows = (line.split() for line in _NUMBERS.split("\n") if line)
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}
