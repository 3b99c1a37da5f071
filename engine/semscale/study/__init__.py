"""Studies of generators: comparing them, planning how many images, importing what others published."""
