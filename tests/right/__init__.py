"""Right gradients which provoke false alarms, and what is worth a note only."""
