"""Where policies learn and are judged: Meta-World, its camera, its experts, and what they showed."""
