"""What java-tron checks before a transaction may even be tried, in its order.

Signature, reference block, expiration, known already; bandwidth and the contract's own validation
come with executing it.
"""

from coincurve import PublicKey

from xstock_devnet.tron import model
from xstock_devnet.tron.address import of_public_key, to_base58
from xstock_devnet.tron.execute import Refusal, invalid
from xstock_devnet.tron.model import Block, Transaction
from xstock_devnet.tron.protobuf import TYPE_URL, ProtobufError

SIGNATURE_SIZE = 65
EXPIRATION_MAX_MS = 24 * 3600 * 1000
TRANSACTION_BYTES_MAX = 500 * 1024
RECOVERY_ID_BASE = 27
REF_BLOCKS = 65_536


def check_signature(transaction: Transaction) -> None:
    """Raise Refusal unless the owner signed; account permissions other than its key do not exist.

    The recovery id may be 0/1 or 27/28.
    """
    if not transaction.raw.get("contract"):
        raise invalid("No contract!")
    if not transaction.signatures:
        raise _signature_error("miss sig or contract")
    if len(transaction.signatures) > 1:
        count = len(transaction.signatures)
        raise _signature_error(f"Signature count is {count} more than key counts of permission : 1")
    _check_contract(transaction)
    signature = transaction.signatures[0]
    if len(signature) < SIGNATURE_SIZE:
        raise _signature_error(f"Signature size is {len(signature)}")
    signer = _signer(transaction.id, signature)
    if signer != transaction.value().get("owner_address"):
        raise _signature_error(
            f"{signature.hex()} is signed by {to_base58(signer)}"
            " but it is not contained of permission."
        )


def _check_contract(transaction: Transaction) -> None:
    """Raise Refusal for a contract that does not unpack; a bare type URL does not, as in Java."""
    contract = transaction.raw["contract"][0]
    url = contract.get("parameter", {}).get("type_url", "")
    try:
        if not transaction.contract_type or url != TYPE_URL + transaction.contract_type:
            raise ProtobufError(f"type_url: {url!r} does not name the contract's type")
        transaction.value()
    except ProtobufError as error:
        raise _signature_error(str(error)) from error


def _signer(txid: bytes, signature: bytes) -> bytes:
    recovery_id = signature[64] - (RECOVERY_ID_BASE if signature[64] >= RECOVERY_ID_BASE else 0)
    try:
        key = PublicKey.from_signature_and_message(
            signature[:64] + bytes([recovery_id]), txid, hasher=None
        )
    except Exception as error:  # coincurve raises a bare one
        raise _signature_error("Could not recover public key from signature") from error
    return of_public_key(key.format(compressed=False)[1:])


def _signature_error(why: str) -> Refusal:
    return Refusal("SIGERROR", f"Validate signature error: {why}")


def check_reference(transaction: Transaction, blocks: list[Block]) -> None:
    """Raise Refusal unless the transaction names a recent block of this chain."""
    wanted = int.from_bytes(transaction.raw.get("ref_block_bytes", b""), "big")
    head = blocks[-1].number
    number = head - (head - wanted) % REF_BLOCKS
    if number < 0 or blocks[number].id[8:16] != transaction.raw.get("ref_block_hash"):
        raise Refusal("TAPOS_ERROR")


def check_expiration(transaction: Transaction, head: Block, block_ms: int) -> None:
    """Raise Refusal if the next block is too late for it, or it would live longer than a day."""
    next_slot = head.timestamp_ms + block_ms
    latest = head.timestamp_ms + EXPIRATION_MAX_MS
    if not next_slot <= transaction.expiration_ms <= latest:
        raise Refusal("TRANSACTION_EXPIRATION_ERROR")


def check_size(transaction: Transaction) -> None:
    """Raise Refusal for a transaction that no block can carry."""
    if len(transaction.serialized) + model.RESULT_BYTES > TRANSACTION_BYTES_MAX:
        raise Refusal("TOO_BIG_TRANSACTION_ERROR")
