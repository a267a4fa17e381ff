"""Our own OSDP control panel (IEC 60839-11-5, OSDP 2.2), sans-IO: bytes and seconds in, bytes and facts out."""
