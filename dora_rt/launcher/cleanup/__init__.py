"""The directory of a run, and the removal of a run whose launcher is gone."""
