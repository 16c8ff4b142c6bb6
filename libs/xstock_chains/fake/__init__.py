"""A whole chain family in memory, with faults on request: a product, not a mock.

It implements every port of `xstock_chains.ports` with real signatures, deduplication, finality
and reorganisations, passes the contract suite of the real families, and replays from one seed.
The family may stand for any domain; it is never part of a production deployment.
"""

from xstock_chains.fake.admin import FakeAdmin, FakeExpectation
from xstock_chains.fake.builder import FakeBurnBuilder
from xstock_chains.fake.chain import FakeChain, FakeConfig, GuardSet
from xstock_chains.fake.codec import FakeCodec
from xstock_chains.fake.node import FakeNode, Faults, Lie
from xstock_chains.fake.office import FakeOffice
from xstock_chains.fake.reader import FakeReader
from xstock_chains.fake.signer import FakeSigner
from xstock_chains.fake.state import People
from xstock_chains.fake.writer import FakeWriter

__all__ = [
    "FakeAdmin",
    "FakeBurnBuilder",
    "FakeChain",
    "FakeCodec",
    "FakeConfig",
    "FakeExpectation",
    "FakeNode",
    "FakeOffice",
    "FakeReader",
    "FakeSigner",
    "FakeWriter",
    "Faults",
    "GuardSet",
    "Lie",
    "People",
]
