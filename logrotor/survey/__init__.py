"""From the rules to the facts: which files there are, which rule has each, and what is known of it. Changes nothing."""

from logrotor.survey.claims import NamedLogs, Survey, find_path, real_path
from logrotor.survey.listings import why_no_archives
from logrotor.survey.surveyor import Surveyor

__all__ = ["NamedLogs", "Survey", "Surveyor", "find_path", "real_path", "why_no_archives"]
