"""Training, evaluation and export of the real-or-fake classifier."""
