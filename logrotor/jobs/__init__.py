"""The rotation as a job on a queue. The engines deliver, delay and keep; what a job is, is decided here.

:mod:`task` is the body, the same on every engine: it judges the :mod:`payload`, counts attempts in the history,
and runs each attempt as a child process that it can end. :mod:`engines` holds one small module for each queue.
"""
