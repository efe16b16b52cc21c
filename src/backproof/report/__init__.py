"""Reports as pages: the verdict of a check, a training, as one HTML file that needs nothing else."""
