"""The numerical kernels: pure functions of arrays, no argument checks. `reference` is the specification of every faster one."""
