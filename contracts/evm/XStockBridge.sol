// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {GuardSet} from "./GuardSet.sol";
import {IShareToken, ISanctionsList} from "./IShareToken.sol";
import {LowLevel} from "./LowLevel.sol";

/// @title The xStock bridge of one EVM chain, for all assets.
/// @notice Burns shares towards another chain and mints what M of N guards signed. It holds the
/// token's single minter and single burner role. Amounts in messages are shares with 8 decimals;
/// token shares have 18, so one message unit is 1e10 of them. README.md beside this file gives the
/// packed batch format byte for byte.
/// @dev SECURITY: a batch may be submitted by anyone, with any amount of gas. So a nonce is only
/// ever marked when the gas left covers the whole item, calls into a token run on a fixed amount
/// of gas (their outcome cannot be chosen by the submitter), and an item that cannot be done is
/// skipped with an event and stays open.
contract XStockBridge is GuardSet {
    using LowLevel for address;
    using LowLevel for bytes;

    /// @dev Slot 0: token, minimum, screened. Slot 1: the bucket and the pause. Slot 2: inventory.
    struct Asset {
        address token;
        uint64 minimum;
        bool screened;
        uint64 bucketCapacity;
        uint64 bucketRefill;
        uint64 bucketLevel;
        uint32 bucketAt;
        uint32 pausedUntil;
        uint256 inventory;
    }

    struct Lane {
        uint64 counter;
        RecipientKind recipientKind;
    }

    /// @dev What the items of one section share, read once.
    struct Section {
        uint224 lane;
        uint32 source;
        bytes32 assetId;
        address token;
        address sanctions;
        uint256 level;
        Skip blocked;
        bytes settleCall;
    }

    enum RecipientKind {
        CLOSED,
        EVM_ADDRESS,
        FULL_WORD,
        CUSTODY_REFERENCE
    }

    /// @notice Why an item was left as it was. The numbers are part of the interface.
    enum Skip {
        NONE,
        ALREADY_RELEASED,
        ALREADY_CANCELLED,
        BRIDGE_PAUSED,
        ASSET_UNKNOWN,
        ASSET_PAUSED,
        AMOUNT_ZERO,
        RECIPIENT_REFUSED,
        RECIPIENT_SANCTIONED,
        SCREEN_UNAVAILABLE,
        BUCKET_EMPTY,
        TOKEN_REFUSED,
        TOKEN_UNAVAILABLE
    }

    uint32 public constant CUSTODY = 100;
    uint256 public constant UNIT = 1e10;
    uint8 public constant ITEMS_VERSION = 1;
    uint8 public constant ACTION_RELEASE = 1;
    uint8 public constant ACTION_CANCEL = 2;
    /// @notice Gas that must be left when an item (or a section) begins, or the batch reverts.
    uint256 public constant ITEM_GAS = 450_000;

    uint256 private constant ONE = 1e18;
    uint256 private constant HEADER_BYTES = 63;
    uint256 private constant ITEM_BYTES = 36;
    uint256 private constant SETTLE_GAS = 300_000;
    uint256 private constant READ_GAS = 100_000;
    uint256 private constant INVENTORY_WEI_MAX = 10;

    /// @notice This chain's domain number in transfer messages.
    uint32 public immutable DOMAIN;

    bytes32[] private _assetIds;
    mapping(bytes32 assetId => Asset) private _assets;
    mapping(address token => bytes32) public assetOf;
    mapping(uint32 destination => Lane) private _lanes;
    mapping(uint224 lane => mapping(uint256 word => uint256)) private _used;
    mapping(uint224 lane => mapping(uint256 word => uint256)) private _cancelled;

    event BurnedToBridge(
        bytes32 indexed assetId,
        uint32 indexed destination,
        uint64 indexed counter,
        address sender,
        address refundTo,
        bytes32 recipient,
        uint64 amount
    );
    event Released(
        bytes32 indexed assetId,
        uint32 indexed source,
        bytes32 nonce,
        address recipient,
        uint64 amount
    );
    event Cancelled(bytes32 indexed assetId, uint32 indexed source, bytes32 nonce);
    event ReleaseSkipped(uint32 indexed source, bytes32 nonce, uint8 reason);
    event AssetRegistered(bytes32 indexed assetId, address indexed token);
    event LimitsChanged(
        bytes32 indexed assetId, uint64 minimum, uint64 bucketCapacity, uint64 bucketRefillPerSecond
    );
    event LaneOpened(uint32 indexed destination, RecipientKind recipientKind);

    error DomainRefused(uint32 domain);
    error AssetUnknown(bytes32 assetId);
    error AssetAlreadyRegistered(bytes32 assetId, address token);
    error TokenUnfit(address token, string what);
    error MinimumIsZero();
    error BucketIsZero();
    error DestinationUnknown(uint32 destination);
    error LaneAlreadyOpen(uint32 destination);
    error BridgePaused(uint32 until);
    error AssetPaused(bytes32 assetId, uint32 until);
    error BelowMinimum(uint64 shares, uint64 minimum);
    error RecipientIsZero();
    error RecipientPadding(bytes32 recipient);
    error RecipientRefused(address recipient);
    error RefundRefused(address refundTo);
    error SharesMismatch(uint256 expected, uint256 actual);
    error MultiplierUnavailable();
    error ItemsVersionRefused(uint256 version);
    error ItemsMalformed(uint256 offset);
    error GasTooLow(uint256 left, uint256 needed);
    error OnlySelf();
    error LengthsDiffer(uint256 first, uint256 second);

    /// @param domain this chain's number in transfer messages (1 Ethereum, 2 BNB, 3 Mantle, 5 Tron)
    /// @param delaySeconds_ how long every change by the admin waits between proposal and effect
    constructor(
        uint32 domain,
        address admin,
        address agent_,
        address[] memory guards_,
        uint8 threshold_,
        uint256 delaySeconds_
    ) GuardSet(admin, agent_, guards_, threshold_, delaySeconds_) {
        if (domain == 0 || domain == CUSTODY) revert DomainRefused(domain);
        DOMAIN = domain;
        for (uint32 other = 1; other <= 6; other++) {
            if (other == domain) continue;
            bool fullWord = other == 4 || other == 6;
            _openLane(other, fullWord ? RecipientKind.FULL_WORD : RecipientKind.EVM_ADDRESS);
        }
        _openLane(CUSTODY, RecipientKind.CUSTODY_REFERENCE);
    }

    // ------------------------------------------------------------- out: burns

    /// @notice Burns `shares` (8 decimals) of the caller's tokens towards `destination`.
    /// @param recipient 32-byte wire form; for CUSTODY the custody account reference
    /// @param refundTo who gets the tokens back if the transfer is cancelled; zero = the caller
    function bridgeOut(
        bytes32 assetId,
        uint64 shares,
        uint32 destination,
        bytes32 recipient,
        address refundTo
    ) external nonReentrant {
        _bridgeOut(assetId, shares, destination, recipient, refundTo);
    }

    /// @notice As `bridgeOut`, with the caller's own permit for the allowance (displayed units).
    /// @dev A failed permit is ignored: if somebody used it first the allowance is there already,
    /// and if it is not there the transfer fails.
    function bridgeOutWithPermit(
        bytes32 assetId,
        uint64 shares,
        uint32 destination,
        bytes32 recipient,
        address refundTo,
        uint256 permitValue,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant {
        address token = _assets[assetId].token;
        if (token == address(0)) revert AssetUnknown(assetId);
        try IShareToken(token).permit(
            msg.sender, address(this), permitValue, deadline, v, r, s
        ) {} catch {}
        _bridgeOut(assetId, shares, destination, recipient, refundTo);
    }

    function _bridgeOut(
        bytes32 assetId,
        uint64 shares,
        uint32 destination,
        bytes32 recipient,
        address refundTo
    ) private {
        Asset storage asset = _assets[assetId];
        address token = asset.token;
        if (token == address(0)) revert AssetUnknown(assetId);
        if (destination != CUSTODY) _requireNotPaused(assetId, asset.pausedUntil);
        if (shares < asset.minimum) revert BelowMinimum(shares, asset.minimum);
        if (refundTo == address(0)) refundTo = msg.sender;
        if (refundTo == address(this) || refundTo == token) revert RefundRefused(refundTo);
        Lane storage lane = _lanes[destination];
        _requireRecipient(lane.recipientKind, destination, recipient, token);
        _pullAndBurn(asset, token, uint256(shares) * UNIT);
        _refillBucket(asset, shares);
        uint64 counter = lane.counter + 1;
        lane.counter = counter;
        emit BurnedToBridge(
            assetId, destination, counter, msg.sender, refundTo, recipient, shares
        );
    }

    /// @dev Takes exactly `wanted` token shares from the caller and burns as many. Where the
    /// multiplier is below one not every number of shares can be burned; the difference of a few
    /// displayed wei stays in `inventory`, which only this and `settle` move: a donation to the
    /// bridge changes `sharesOf(bridge)` and nothing else.
    function _pullAndBurn(Asset storage asset, address token, uint256 wanted) private {
        uint256 before = token.sharesOf(address(this));
        IShareToken(token).transferSharesFrom(msg.sender, address(this), wanted);
        uint256 held = token.sharesOf(address(this));
        if (held - before != wanted) revert SharesMismatch(wanted, held - before);
        (uint256 multiplier,) = IShareToken(token).getCurrentMultiplier();
        if (multiplier == 0) revert MultiplierUnavailable();
        if (multiplier >= ONE) {
            IShareToken(token).burn(address(this), _ceilDisplayed(wanted, multiplier));
            uint256 left = token.sharesOf(address(this));
            if (left != before) revert SharesMismatch(wanted, held - left);
        } else {
            uint256 available = asset.inventory + wanted;
            IShareToken(token).burn(address(this), (available * multiplier) / ONE);
            uint256 burned = held - token.sharesOf(address(this));
            if (burned > available || available - burned > _inventoryMax(multiplier)) {
                revert SharesMismatch(available, burned);
            }
            asset.inventory = available - burned;
        }
    }

    function _requireNotPaused(bytes32 assetId, uint32 assetPausedUntil) private view {
        uint32 until = _gate.pausedUntil;
        if (block.timestamp < until) revert BridgePaused(until);
        if (block.timestamp < assetPausedUntil) revert AssetPaused(assetId, assetPausedUntil);
    }

    function _requireRecipient(
        RecipientKind kind,
        uint32 destination,
        bytes32 recipient,
        address token
    ) private view {
        if (kind == RecipientKind.CLOSED) revert DestinationUnknown(destination);
        if (recipient == bytes32(0)) revert RecipientIsZero();
        if (kind != RecipientKind.EVM_ADDRESS) return;
        if (uint256(recipient) >> 160 != 0) revert RecipientPadding(recipient);
        address account = address(uint160(uint256(recipient)));
        if (account == address(this) || account == token) revert RecipientRefused(account);
    }

    // ----------------------------------------------------------- in: releases

    /// @notice Does what M guards signed for this bridge, epoch and deadline. Anyone may submit it.
    /// @param items the packed batch, format in README.md
    /// @param deadline Unix seconds, at most an hour ahead
    /// @param signatures r || s || v of each signer, ordered by ascending signer address
    function releaseBatch(bytes calldata items, uint64 deadline, bytes calldata signatures)
        external
        nonReentrant
    {
        _requireSignatures(keccak256(items), deadline, signatures);
        if (items.length == 0) revert ItemsMalformed(0);
        if (uint8(items[0]) != ITEMS_VERSION) revert ItemsVersionRefused(uint8(items[0]));
        if (items.length == 1) revert ItemsMalformed(1);
        uint256 offset = 1;
        while (offset < items.length) offset = _doSection(items, offset);
    }

    function _doSection(bytes calldata items, uint256 offset) private returns (uint256 end) {
        if (items.length - offset < HEADER_BYTES) revert ItemsMalformed(offset);
        uint256 head = items.word(offset);
        uint256 action = head >> 248;
        uint224 lane = uint224(head >> 24);
        uint32 source = uint32(lane >> 192);
        uint256 first = offset + HEADER_BYTES;
        end = first + ITEM_BYTES * (items.word(offset + 61) >> 240);
        if (action != ACTION_RELEASE && action != ACTION_CANCEL) revert ItemsMalformed(offset);
        if (source == 0 || source == DOMAIN) revert ItemsMalformed(offset);
        if (end == first || end > items.length) revert ItemsMalformed(offset);
        bytes32 assetId = bytes32(items.word(offset + 29));
        if (action == ACTION_CANCEL) {
            _cancelSection(items, first, end, lane, assetId);
        } else {
            _releaseSection(items, first, end, lane, assetId);
        }
    }

    function _cancelSection(
        bytes calldata items,
        uint256 at,
        uint256 end,
        uint224 lane,
        bytes32 assetId
    ) private {
        uint32 source = uint32(lane >> 192);
        for (; at < end; at += ITEM_BYTES) {
            uint256 counter = items.word(at) >> 192;
            bytes32 nonce = _nonce(lane, counter);
            Skip done = _done(lane, counter);
            if (done != Skip.NONE) {
                emit ReleaseSkipped(source, nonce, uint8(done));
                continue;
            }
            uint256 bit = 1 << (counter & 0xff);
            _used[lane][counter >> 8] |= bit;
            _cancelled[lane][counter >> 8] |= bit;
            emit Cancelled(assetId, source, nonce);
        }
    }

    function _releaseSection(
        bytes calldata items,
        uint256 at,
        uint256 end,
        uint224 lane,
        bytes32 assetId
    ) private {
        Section memory section = _openSection(lane, assetId);
        mapping(uint256 => uint256) storage used = _used[lane];
        uint256 levelBefore = section.level;
        for (; at < end; at += ITEM_BYTES) {
            uint256 word = items.word(at);
            uint256 counter = word >> 192;
            address recipient = address(uint160(word >> 32));
            uint64 amount = uint64(items.word(at + 28) >> 192);
            Skip skipped = _release(section, used, counter, recipient, amount);
            bytes32 nonce = _nonce(lane, counter);
            if (skipped == Skip.NONE) {
                emit Released(assetId, section.source, nonce, recipient, amount);
            } else {
                emit ReleaseSkipped(section.source, nonce, uint8(skipped));
            }
        }
        if (section.level != levelBefore) _saveLevel(_assets[assetId], section.level);
    }

    /// @dev Reads once what all items of a section need. Nothing here can fail the batch.
    function _openSection(uint224 lane, bytes32 assetId)
        private
        view
        returns (Section memory section)
    {
        _requireGas();
        Asset storage asset = _assets[assetId];
        section.lane = lane;
        section.source = uint32(lane >> 192);
        section.assetId = assetId;
        section.token = asset.token;
        if (section.token == address(0)) {
            section.blocked = Skip.ASSET_UNKNOWN;
        } else if (block.timestamp < _gate.pausedUntil) {
            section.blocked = Skip.BRIDGE_PAUSED;
        } else if (block.timestamp < asset.pausedUntil) {
            section.blocked = Skip.ASSET_PAUSED;
        } else {
            section.level = _levelNow(asset);
            _readToken(section, asset.screened);
        }
    }

    function _readToken(Section memory section, bool screened) private view {
        (bool read, uint256 multiplier) =
            section.token.tryRead(IShareToken.getCurrentMultiplier.selector, READ_GAS);
        if (!read || multiplier == 0) section.blocked = Skip.TOKEN_UNAVAILABLE;
        section.settleCall = abi.encodeCall(
            this.settle, (address(0), 0, section.assetId, section.token, multiplier)
        );
        uint256 list;
        (read, list) = section.token.tryRead(IShareToken.sanctionsList.selector, READ_GAS);
        if (read) section.sanctions = address(uint160(list));
        else if (screened) section.blocked = Skip.SCREEN_UNAVAILABLE;
    }

    /// @dev Nothing else can change the word of bits meanwhile: all entry points share one lock.
    function _release(
        Section memory section,
        mapping(uint256 => uint256) storage used,
        uint256 counter,
        address recipient,
        uint64 amount
    ) private returns (Skip) {
        _requireGas();
        uint256 bit = 1 << (counter & 0xff);
        uint256 bits = used[counter >> 8];
        if (bits & bit != 0) return _done(section.lane, counter);
        if (section.blocked != Skip.NONE) return section.blocked;
        if (amount == 0) return Skip.AMOUNT_ZERO;
        if (
            recipient == address(0) || recipient == address(this) || recipient == section.token
        ) return Skip.RECIPIENT_REFUSED;
        if (section.sanctions != address(0)) {
            (bool read, uint256 listed) = section.sanctions.tryRead(
                ISanctionsList.isSanctioned.selector, recipient, READ_GAS
            );
            if (!read) return Skip.SCREEN_UNAVAILABLE;
            if (listed != 0) return Skip.RECIPIENT_SANCTIONED;
        }
        if (amount > section.level) return Skip.BUCKET_EMPTY;
        if (!_trySettle(section.settleCall, recipient, uint256(amount) * UNIT)) {
            return Skip.TOKEN_REFUSED;
        }
        used[counter >> 8] = bits | bit;
        section.level -= amount;
        return Skip.NONE;
    }

    /// @dev Calls `settle` on a fixed amount of gas with the section's prepared call data, in which
    /// only the first two arguments change from item to item.
    function _trySettle(bytes memory settleCall, address recipient, uint256 wanted)
        private
        returns (bool settled)
    {
        assembly ("memory-safe") {
            mstore(add(settleCall, 36), and(recipient, 0xffffffffffffffffffffffffffffffffffffffff))
            mstore(add(settleCall, 68), wanted)
            settled := call(SETTLE_GAS, address(), 0, add(settleCall, 32), mload(settleCall), 0, 0)
        }
    }

    /// @notice Mints exactly `wanted` token shares to `recipient`. Called by this contract only.
    /// @dev A call of its own so that a refusal undoes one item and no more.
    function settle(
        address recipient,
        uint256 wanted,
        bytes32 assetId,
        address token,
        uint256 multiplier
    ) external {
        if (msg.sender != address(this)) revert OnlySelf();
        uint256 before = token.sharesOf(recipient);
        if (multiplier >= ONE) {
            token.act(IShareToken.mint.selector, recipient, _ceilDisplayed(wanted, multiplier));
        } else {
            _mintThroughInventory(_assets[assetId], token, recipient, wanted, multiplier);
        }
        uint256 received = token.sharesOf(recipient) - before;
        if (received != wanted) revert SharesMismatch(wanted, received);
    }

    function _mintThroughInventory(
        Asset storage asset,
        address token,
        address recipient,
        uint256 wanted,
        uint256 multiplier
    ) private {
        uint256 available = asset.inventory;
        if (available < wanted) {
            uint256 before = token.sharesOf(address(this));
            uint256 amount = _ceilDisplayed(wanted - available, multiplier);
            token.act(IShareToken.mint.selector, address(this), amount);
            available += token.sharesOf(address(this)) - before;
        }
        if (available < wanted || available - wanted > _inventoryMax(multiplier)) {
            revert SharesMismatch(wanted, available);
        }
        asset.inventory = available - wanted;
        token.act(IShareToken.transferShares.selector, recipient, wanted);
    }

    // ------------------------------------------------------------------ views

    /// @notice True if the item was minted here; false for cancelled, skipped and unknown ones.
    function isReleased(uint32 source, bytes32 nonce) external view returns (bool) {
        return _done(_laneOf(source, nonce), uint64(uint256(nonce))) == Skip.ALREADY_RELEASED;
    }

    /// @notice True if the item was cancelled here and can never be minted.
    function isCancelled(uint32 source, bytes32 nonce) external view returns (bool) {
        return _done(_laneOf(source, nonce), uint64(uint256(nonce))) == Skip.ALREADY_CANCELLED;
    }

    /// @notice What became of many items at once: 0 nothing, 1 released, 2 cancelled.
    function executions(uint32[] calldata sources, bytes32[] calldata nonces)
        external
        view
        returns (uint8[] memory outcomes)
    {
        if (sources.length != nonces.length) revert LengthsDiffer(sources.length, nonces.length);
        outcomes = new uint8[](nonces.length);
        for (uint256 i = 0; i < nonces.length; i++) {
            uint64 counter = uint64(uint256(nonces[i]));
            outcomes[i] = uint8(_done(_laneOf(sources[i], nonces[i]), counter));
        }
    }

    /// @notice Supply of many assets at one block: the token's displayed supply, its multiplier
    /// and the inventory to take off (token shares). A multiplier of zero means: not readable.
    function supplies(bytes32[] calldata assetIds)
        external
        view
        returns (
            uint256[] memory displayed,
            uint256[] memory multipliers,
            uint256[] memory inventories
        )
    {
        displayed = new uint256[](assetIds.length);
        multipliers = new uint256[](assetIds.length);
        inventories = new uint256[](assetIds.length);
        for (uint256 i = 0; i < assetIds.length; i++) {
            Asset storage asset = _known(assetIds[i]);
            bool read;
            (read, displayed[i]) =
                asset.token.tryRead(IShareToken.totalSupply.selector, READ_GAS);
            if (read) {
                multipliers[i] =
                    _readWord(asset.token, IShareToken.getCurrentMultiplier.selector);
            }
            inventories[i] = asset.inventory;
        }
    }

    /// @notice How many burns each lane has counted; read at a final block it proves completeness.
    function laneCounters(uint32[] calldata destinations)
        external
        view
        returns (uint64[] memory counters)
    {
        counters = new uint64[](destinations.length);
        for (uint256 i = 0; i < destinations.length; i++) {
            counters[i] = _lanes[destinations[i]].counter;
        }
    }

    /// @notice What recipients of a destination look like; CLOSED if burns there are refused.
    function recipientKind(uint32 destination) external view returns (RecipientKind) {
        return _lanes[destination].recipientKind;
    }

    /// @notice The release bucket in shares (8 decimals); `level` as of this block's time.
    function releaseBucket(bytes32 assetId)
        external
        view
        returns (uint64 capacity, uint64 level, uint64 refillPerSecond)
    {
        Asset storage asset = _known(assetId);
        return (asset.bucketCapacity, uint64(_levelNow(asset)), asset.bucketRefill);
    }

    function assets() external view returns (bytes32[] memory) {
        return _assetIds;
    }

    function tokenOf(bytes32 assetId) external view returns (address) {
        return _known(assetId).token;
    }

    /// @notice The least amount of a burn, in shares with 8 decimals.
    function minimumOf(bytes32 assetId) external view returns (uint64) {
        return _known(assetId).minimum;
    }

    /// @notice Token shares (18 decimals) the bridge keeps to make odd multipliers exact.
    function inventoryOf(bytes32 assetId) external view returns (uint256) {
        return _known(assetId).inventory;
    }

    /// @notice Whether the token is as the bridge needs it now. Meant for `eth_call`.
    /// @dev Not a view because it tries `transferSharesFrom` with zero shares: a token that lacks
    /// it answers with an empty revert, one that has it succeeds or refuses with a reason.
    function selfTest(bytes32 assetId)
        external
        returns (
            bool isMinter,
            bool isBurner,
            bool hasTransferSharesFrom,
            bool isScreened,
            uint8 decimals,
            uint256 multiplier
        )
    {
        address token = _known(assetId).token;
        isMinter = _readWord(token, IShareToken.minter.selector)
            == uint160(address(this));
        isBurner = _readWord(token, IShareToken.burner.selector)
            == uint160(address(this));
        hasTransferSharesFrom = _canMoveShares(token);
        isScreened = _readWord(token, IShareToken.sanctionsList.selector) != 0;
        decimals = uint8(_readWord(token, IShareToken.decimals.selector));
        multiplier = _readWord(token, IShareToken.getCurrentMultiplier.selector);
    }

    // ------------------------------------------------------------------ admin

    /// @notice Adds an asset for good: neither its id nor its token can be used again here.
    /// @param minimum least burn, shares with 8 decimals, not zero
    /// @param bucketCapacity most that can be released at once, shares with 8 decimals
    function registerAsset(
        bytes32 assetId,
        address token,
        uint64 minimum,
        uint64 bucketCapacity,
        uint64 bucketRefillPerSecond
    ) external onlyOwner nonReentrant {
        if (assetId == bytes32(0)) revert AssetUnknown(assetId);
        if (_assets[assetId].token != address(0)) {
            revert AssetAlreadyRegistered(assetId, _assets[assetId].token);
        }
        if (assetOf[token] != bytes32(0)) revert AssetAlreadyRegistered(assetOf[token], token);
        _requireFit(token);
        (bool screened,) = token.tryRead(IShareToken.sanctionsList.selector, READ_GAS);
        _assets[assetId].token = token;
        _assets[assetId].screened = screened;
        _assets[assetId].bucketLevel = bucketCapacity;
        _assetIds.push(assetId);
        assetOf[token] = assetId;
        emit AssetRegistered(assetId, token);
        _storeLimits(assetId, minimum, bucketCapacity, bucketRefillPerSecond);
    }

    function proposeLimits(
        bytes32 assetId,
        uint64 minimum,
        uint64 bucketCapacity,
        uint64 bucketRefillPerSecond
    ) external onlyOwner returns (bytes32) {
        _known(assetId);
        return _propose(
            keccak256(
                abi.encode("limits", assetId, minimum, bucketCapacity, bucketRefillPerSecond)
            )
        );
    }

    function setLimits(
        bytes32 assetId,
        uint64 minimum,
        uint64 bucketCapacity,
        uint64 bucketRefillPerSecond
    ) external onlyOwner {
        _takeProposal(
            keccak256(
                abi.encode("limits", assetId, minimum, bucketCapacity, bucketRefillPerSecond)
            )
        );
        Asset storage asset = _known(assetId);
        asset.bucketLevel = uint64(_min(_levelNow(asset), bucketCapacity));
        _storeLimits(assetId, minimum, bucketCapacity, bucketRefillPerSecond);
    }

    /// @notice Lets burns go to one more chain. Lanes are never closed; pausing is for that.
    function openLane(uint32 destination, RecipientKind kind) external onlyOwner {
        if (destination == 0 || destination == DOMAIN) revert DomainRefused(destination);
        if (kind == RecipientKind.CLOSED || kind == RecipientKind.CUSTODY_REFERENCE) {
            revert DestinationUnknown(destination);
        }
        _openLane(destination, kind);
    }

    // --------------------------------------------------------------- internal

    function _openLane(uint32 destination, RecipientKind kind) private {
        Lane storage lane = _lanes[destination];
        if (lane.recipientKind != RecipientKind.CLOSED) revert LaneAlreadyOpen(destination);
        lane.recipientKind = kind;
        emit LaneOpened(destination, kind);
    }

    function _requireFit(address token) private {
        if (token.code.length == 0) revert TokenUnfit(token, "code");
        if (_readWord(token, IShareToken.decimals.selector) != 18) {
            revert TokenUnfit(token, "decimals");
        }
        if (_readWord(token, IShareToken.getCurrentMultiplier.selector) == 0) {
            revert TokenUnfit(token, "getCurrentMultiplier");
        }
        if (!_canMoveShares(token)) revert TokenUnfit(token, "transferSharesFrom");
    }

    /// @dev A missing function answers with an empty revert; a present one that refuses, because
    /// the token is paused say, gives a reason.
    function _canMoveShares(address token) private returns (bool) {
        (bool moved, bytes memory answer) = token.call(
            abi.encodeCall(IShareToken.transferSharesFrom, (address(this), address(this), 0))
        );
        return moved ? answer.length == 32 : answer.length != 0;
    }

    function _storeLimits(
        bytes32 assetId,
        uint64 minimum,
        uint64 bucketCapacity,
        uint64 bucketRefillPerSecond
    ) private {
        if (minimum == 0) revert MinimumIsZero();
        if (bucketCapacity == 0) revert BucketIsZero();
        Asset storage asset = _assets[assetId];
        asset.minimum = minimum;
        asset.bucketCapacity = bucketCapacity;
        asset.bucketRefill = bucketRefillPerSecond;
        asset.bucketAt = uint32(block.timestamp);
        emit LimitsChanged(assetId, minimum, bucketCapacity, bucketRefillPerSecond);
    }

    function _levelNow(Asset storage asset) private view returns (uint256) {
        uint256 passed = block.timestamp - asset.bucketAt;
        return _min(asset.bucketCapacity, asset.bucketLevel + passed * asset.bucketRefill);
    }

    /// @dev A burn gives its amount back to the bucket. A full bucket needs no write: it is
    /// computed as full at any later time too.
    function _refillBucket(Asset storage asset, uint64 shares) private {
        uint256 level = _levelNow(asset);
        uint256 capacity = asset.bucketCapacity;
        if (level < capacity) _saveLevel(asset, _min(capacity, level + shares));
    }

    function _saveLevel(Asset storage asset, uint256 level) private {
        asset.bucketLevel = uint64(level);
        asset.bucketAt = uint32(block.timestamp);
    }

    function _pausedUntil(bytes32 scope) internal view override returns (uint32) {
        return scope == WHOLE_BRIDGE ? _gate.pausedUntil : _known(scope).pausedUntil;
    }

    function _setPausedUntil(bytes32 scope, uint32 until) internal override {
        if (scope == WHOLE_BRIDGE) _gate.pausedUntil = until;
        else _known(scope).pausedUntil = until;
    }

    function _known(bytes32 assetId) private view returns (Asset storage asset) {
        asset = _assets[assetId];
        if (asset.token == address(0)) revert AssetUnknown(assetId);
    }

    /// @dev RELEASED and CANCELLED both use the nonce up; a second bitmap tells them apart.
    function _done(uint224 lane, uint256 counter) private view returns (Skip) {
        uint256 bit = 1 << (counter & 0xff);
        if (_used[lane][counter >> 8] & bit == 0) return Skip.NONE;
        bool cancelled = _cancelled[lane][counter >> 8] & bit != 0;
        return cancelled ? Skip.ALREADY_CANCELLED : Skip.ALREADY_RELEASED;
    }

    function _requireGas() private view {
        uint256 left = gasleft();
        if (left < ITEM_GAS) revert GasTooLow(left, ITEM_GAS);
    }

    function _laneOf(uint32 source, bytes32 nonce) private pure returns (uint224) {
        return (uint224(source) << 192) | uint224(uint256(nonce) >> 64);
    }

    function _nonce(uint224 lane, uint256 counter) private pure returns (bytes32) {
        return bytes32((uint256(lane) << 64) | counter);
    }

    function _readWord(address target, bytes4 selector) private view returns (uint256 word) {
        (, word) = target.tryRead(selector, READ_GAS);
    }

    function _ceilDisplayed(uint256 shares, uint256 multiplier) private pure returns (uint256) {
        return (shares * multiplier + ONE - 1) / ONE;
    }

    /// @dev Ten displayed wei in shares: more than rounding can ever leave.
    function _inventoryMax(uint256 multiplier) private pure returns (uint256) {
        return (INVENTORY_WEI_MAX * ONE) / multiplier;
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
