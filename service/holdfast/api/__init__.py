"""Generated from ``protos/``: change the .proto, then ``make protos``."""
