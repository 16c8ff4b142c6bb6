"""The supply-guard's handlers against fake chains and virtual time."""
