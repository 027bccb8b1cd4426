"""What the platform tells of itself: metrics, spans, one line of log for each thing that happened."""
