"""Generated from protos/xstock_wire/v1; never edited (`make protos`)."""
