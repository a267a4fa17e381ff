"""Durability: power cuts, failing system calls and damaged files, each with a control that must fail."""
