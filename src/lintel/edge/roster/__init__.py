"""Person lists on terminals, kept as the allowlist has them: desired against reported, for each person and device."""
