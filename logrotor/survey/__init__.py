"""From the rules to the facts: which files there are, which rule has each, and what is known of it. Changes nothing."""

from logrotor.survey.claims import Survey, rule_for
from logrotor.survey.names import meant
from logrotor.survey.places import mount_points, why_no_archives
from logrotor.survey.surveyor import Surveyor

__all__ = ["Survey", "Surveyor", "meant", "mount_points", "rule_for", "why_no_archives"]
