"""Makes an attempt slow: Python imports this at its start in every process that has this folder in PYTHONPATH.

The file that $LOGROTOR_TEST_SLOW names says how: "SECONDS", or "ignore" for one that SIGTERM does not end. The attempt
is slow right before it begins to rotate.
"""

import os
import signal
import sys
import time


class Slow:
    """Sleeps when the rotator is imported, and finds nothing."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "logrotor.rotator" and "--attempt" in sys.argv:
            try:
                with open(os.environ["LOGROTOR_TEST_SLOW"]) as file:
                    how = file.read().strip()
            except (KeyError, FileNotFoundError):
                return
            if how == "ignore":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600 if how == "ignore" else float(how))


sys.meta_path.insert(0, Slow)
