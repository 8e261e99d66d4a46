"""Runs one command and tells what it took, as JSON: seconds of wall clock and CPU, and the most memory it had resident.

A program of its own, and a small one: the kernel counts the memory of whoever starts a program as that program's.
"""

import json
import os
import sys
import time

if __name__ == "__main__":
    argv = sys.argv[1:]
    began = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, os.environ)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - began
    cpu = usage.ru_utime + usage.ru_stime  # of its children too, gzip and zstd
    code = os.waitstatus_to_exitcode(status)
    print(json.dumps({"seconds": seconds, "cpu": cpu, "resident": usage.ru_maxrss * 1024, "code": code}))
