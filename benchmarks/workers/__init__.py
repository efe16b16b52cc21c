"""One program per library. The harness starts each in a process of its own, so that no two thread pools ever meet."""
