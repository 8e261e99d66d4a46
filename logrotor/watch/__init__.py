"""``Rotator.watch``: decides when something is run, and nothing else. What a run does is the rotator's."""
