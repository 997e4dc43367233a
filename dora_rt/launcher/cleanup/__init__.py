"""The directory of a run, and what removes a run whose launcher is gone."""
