"""How many images a prompt needs."""
