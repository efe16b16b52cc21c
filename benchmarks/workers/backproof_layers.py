"""backproof: `TrainingStep` by the layers, in NumPy.

A process of its own: NumPy's BLAS threads would spin beside the compiled step.
"""

from benchmarks.workers.backproof_mlp import main

if __name__ == "__main__":
    main(compiled=False)
