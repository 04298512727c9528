"""The commands of `nurture`, a module per group. Heavy imports stay inside the functions that need them."""
