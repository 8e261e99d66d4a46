"""From the rules to the facts: which files there are, which rule has each, and what is known of it. Changes nothing."""

from logrotor.survey.claims import Survey, rule_for
from logrotor.survey.names import meant
from logrotor.survey.places import why_no_archives
from logrotor.survey.surveyor import Surveyor

__all__ = ["Survey", "Surveyor", "meant", "rule_for", "why_no_archives"]
