"""The catalogue of abuse cases: which test proves which row, and the tests that belong to no single part."""
