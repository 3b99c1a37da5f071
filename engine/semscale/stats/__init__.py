"""How sure a score is. Pure functions of arrays; every random draw comes from a seed that is written down."""
