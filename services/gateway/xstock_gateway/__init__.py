"""Speaks: the partner API over what the other services tell, with a journal of its own.

The gateway moves no money and holds no key. What it shows comes from authentic records on
Kafka, merged per transfer into one view whose revision never falls; every change is one line
of its journal, and following transfers is reading that journal.
"""
