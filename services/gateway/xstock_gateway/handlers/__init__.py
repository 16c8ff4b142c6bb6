"""What the gateway does: take facts in, answer questions, build burns, follow transfers."""
