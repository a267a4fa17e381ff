"""`lintel demo`: a small community on this machine, with real protocols and simulated hardware."""
