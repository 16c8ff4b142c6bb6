"""Unit tests of the plumbing; no engine needed."""
