"""How the face terminals talk: one file per dialect of the device protocol reference."""
