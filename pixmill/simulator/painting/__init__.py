"""The simulator's pictures: what each parameter changes is there to be seen."""
