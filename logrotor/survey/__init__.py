"""From the rules to the facts: which files there are, which rule has each, and what is known of it. Changes nothing."""

from logrotor.survey.claims import Survey, find_path, real_path
from logrotor.survey.listings import Answers, Listings, why_no_archives
from logrotor.survey.named import NamedLogs
from logrotor.survey.surveyor import Surveyor

__all__ = ["Answers", "Listings", "NamedLogs", "Survey", "Surveyor", "find_path", "real_path", "why_no_archives"]
