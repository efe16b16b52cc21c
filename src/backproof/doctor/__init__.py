"""What is wrong with a training run, said while it runs: measurements of a sample of examples, and a table of rules on them.

The recipe behind it is Karpathy's (A recipe for training neural networks, 2019): look at the data and at simple baselines, watch
activations, gradients and the size of updates, and only then touch the learning rate.
"""

from backproof.doctor.examination import Doctor as Doctor
from backproof.doctor.rules import RULES as RULES
from backproof.doctor.rules import Remark as Remark
from backproof.doctor.vitals import LayerVitals as LayerVitals
from backproof.doctor.vitals import Vitals as Vitals

__all__ = ["RULES", "Doctor", "LayerVitals", "Remark", "Vitals"]
