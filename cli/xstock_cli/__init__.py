"""The `xstock` command: partners' and operators' hands on the bridge."""
