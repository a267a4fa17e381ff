"""Tests that run inside the guest, by `test_guest.py`; on the host they are not collected."""
