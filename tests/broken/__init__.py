"""Wrong gradients, several for every cause."""
