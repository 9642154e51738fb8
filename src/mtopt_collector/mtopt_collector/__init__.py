"""Camera ingestion, arm controller, recorder, reset, scheduler and collector of mtopt."""
