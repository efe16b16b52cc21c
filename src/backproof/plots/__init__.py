"""Pictures of networks, training runs and checks, as matplotlib figures; matplotlib is loaded when one is asked for."""
