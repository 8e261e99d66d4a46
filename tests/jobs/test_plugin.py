"""A stranger's engine: found by its entry point, and used like the others."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.support import command
from tests.support.command import CHECKOUT

ENGINE = '''\
import os
from logrotor.jobs.engine import KeptJob, QueueCount, WorkerCommand

class Folder:
    """A queue of files, one a job."""

    def __init__(self, site):
        self.site, self.folder = site, site.url

    def dispatch(self, text):
        with open(f"{self.folder}/{len(os.listdir(self.folder))}", "w") as file:
            file.write(text)

    def worker(self):
        return WorkerCommand(argv=["/bin/sh", "-c", 'echo "$@"; exec sleep 600', "sh", self.site.queue, self.folder])

    def counts(self, prefix):
        jobs = len(os.listdir(self.folder))
        return [QueueCount(queue=self.site.queue, pending=jobs, reserved=0, scheduled=0, failed=0)]

    def pending(self, queue):
        return [KeptJob(key=n, queue=queue, payload=open(f"{self.folder}/{n}").read()) for n in os.listdir(self.folder)]

    def failed(self, queue):
        return []

    def forget(self, queue, keys):
        for key in keys:
            os.remove(f"{self.folder}/{key}")
        return len(keys)
'''

CONFIG = """\
state_dir = "state"
[[log]]
name = "app"
paths = ["app.log"]
max_size = "1K"
[queue]
engine = "folder"
url = "{url}"
host = "alpha"
"""


def test_an_engine_of_a_stranger(tmp_path: Path) -> None:
    """An installed package with an entry point is all it takes: dispatch, status, worker, clear."""
    site = tmp_path / "site"
    (site / "folder_engine-1.dist-info").mkdir(parents=True)
    (site / "folder_engine-1.dist-info" / "METADATA").write_text("Name: folder-engine\nVersion: 1\n")
    points = "[logrotor.queue_engines]\nfolder = folder_engine:Folder\n"
    (site / "folder_engine-1.dist-info" / "entry_points.txt").write_text(points)
    (site / "folder_engine.py").write_text(ENGINE)
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    config = tmp_path / "logrotor.toml"
    config.write_text(CONFIG.format(url=jobs))
    env = {"PYTHONPATH": f"{CHECKOUT}:{site}"}

    def queue(*args: str, check: int = 0) -> command.Result:
        return command.logrotor("queue", args[0], "-c", config, *args[1:], env=env, check=check)

    job = queue("dispatch").stdout.strip()
    assert [json.loads(path.read_text())["id"] for path in jobs.iterdir()] == [job]
    assert queue("status", "--json").json["queues"][0]["pending"] == 1
    worker = command.start(command.arguments("queue", "worker", "-c", config), env=env)
    try:
        assert worker.stdout is not None and worker.stdout.readline() == f"log-rotation-alpha {jobs}\n".encode()
        worker.terminate()
        assert worker.wait(60) == 0
    finally:
        command.end(worker)
    config.write_text(config.read_text() + '[queue.job]\nexpires = "1s"\n')
    queue("dispatch")
    time.sleep(1.1)
    assert queue("clear", "--stale", "--json").json["removed"]["stale"] == 1
