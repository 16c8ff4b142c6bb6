// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {LowLevel} from "./LowLevel.sol";

/// @title Who may do what: the guards and their signatures, pauses, and delayed changes.
/// @notice M of N guards sign releases. Any guard or the agent may pause alone, for a day, once a
/// week; M guards together pause until the admin lifts it. The admin changes guards, the agent,
/// limits, and lifts pauses only behind a delay, so that a stolen admin key is seen before it acts.
/// Nothing here moves tokens.
abstract contract GuardSet is EIP712, Ownable2Step {
    using LowLevel for bytes;

    /// @dev One storage slot, read by every burn and release.
    struct Gate {
        address agent;
        uint32 epoch;
        uint32 pausedUntil;
        uint8 threshold;
        uint8 guardCount;
        bool locked;
    }

    struct PauseVote {
        uint32 epoch;
        uint32 openedAt;
        uint32 voters;
        uint8 count;
    }

    /// @notice The scope that pauses every asset; any other scope is an asset id.
    bytes32 public constant WHOLE_BRIDGE = bytes32(0);
    uint256 public constant PAUSE_SECONDS = 24 hours;
    uint256 public constant PAUSE_COOLDOWN_SECONDS = 7 days;
    uint256 public constant PERMIT_SECONDS_MAX = 3600;
    uint256 public constant PROPOSAL_SECONDS_MAX = 14 days;
    uint256 public constant GUARDS_MAX = 32;
    /// @notice The end of a pause that M guards confirmed: the admin alone lifts it, delayed.
    uint32 public constant UNTIL_LIFTED = type(uint32).max;

    bytes32 private constant RELEASE_BATCH_TYPEHASH =
        keccak256("ReleaseBatch(uint32 epoch,uint64 deadline,bytes32 itemsHash)");
    uint256 private constant SIGNATURE_BYTES = 65;

    uint256 public immutable delaySeconds;

    Gate internal _gate;
    address[] private _guards;
    mapping(address guard => uint256) private _guardNumber;
    mapping(address key => uint256) public lastPauseAt;
    mapping(bytes32 scope => uint256) public pauseCount;
    mapping(bytes32 scope => PauseVote) private _votes;
    /// @notice Unix seconds from which a proposed change may be applied; 0 if none is pending.
    mapping(bytes32 proposal => uint256) public readyAt;

    event GuardsChanged(uint32 indexed epoch, address[] guards, uint8 threshold);
    event AgentChanged(address agent);
    event Paused(bytes32 indexed scope, address indexed by, uint32 until);
    event PauseVoted(bytes32 indexed scope, address indexed guard, uint8 votes);
    event Unpaused(bytes32 indexed scope);
    event ChangeProposed(bytes32 indexed proposal, uint256 readyAt);
    event ChangeWithdrawn(bytes32 indexed proposal);

    error DelayIsZero();
    error GuardCountRefused(uint256 count);
    error ThresholdRefused(uint8 threshold, uint256 guardCount);
    error GuardRefused(address guard);
    error NotGuard(address caller);
    error NotGuardOrAgent(address caller);
    error PauseCooldown(uint256 until);
    error NotPaused(bytes32 scope);
    error ChangeNotProposed(bytes32 proposal);
    error ChangeTooEarly(uint256 readyAt);
    error ChangeExpired(uint256 expiredAt);
    error DeadlinePassed(uint64 deadline, uint256 nowSeconds);
    error DeadlineTooFar(uint64 deadline, uint256 latest);
    error SignatureLengthRefused(uint256 length);
    error TooFewSignatures(uint256 given, uint256 needed);
    error SignersNotAscending(address previous, address signer);
    error SignerNotGuard(address signer);
    error AdminMayNotLeave();
    error Reentered();

    constructor(
        address admin,
        address agent_,
        address[] memory guards_,
        uint8 threshold_,
        uint256 delaySeconds_
    ) EIP712("xStock Bridge", "1") Ownable(admin) {
        if (delaySeconds_ == 0) revert DelayIsZero();
        delaySeconds = delaySeconds_;
        _gate.agent = agent_;
        emit AgentChanged(agent_);
        _installGuards(guards_, threshold_);
    }

    /// @dev The flag lives in the slot every entry point reads anyway, so the lock is nearly free.
    modifier nonReentrant() {
        if (_gate.locked) revert Reentered();
        _gate.locked = true;
        _;
        _gate.locked = false;
    }

    // ------------------------------------------------------------------ views

    function guards() external view returns (address[] memory) {
        return _guards;
    }

    function isGuard(address account) external view returns (bool) {
        return _guardNumber[account] != 0;
    }

    function threshold() external view returns (uint8) {
        return _gate.threshold;
    }

    function guardEpoch() external view returns (uint32) {
        return _gate.epoch;
    }

    function agent() external view returns (address) {
        return _gate.agent;
    }

    /// @notice End of the pause of `scope` in Unix seconds, exclusive; not paused if in the past.
    function pausedUntil(bytes32 scope) external view returns (uint32) {
        return _pausedUntil(scope);
    }

    // ----------------------------------------------------------------- pauses

    /// @notice Stops releases and burns to other chains for 24 hours. CANCEL and redemption go on.
    /// @dev One key pauses once in 7 days, whatever the scope; after that only M guards can.
    function pause(bytes32 scope) external {
        uint256 number = _guardNumber[msg.sender];
        if (number == 0 && msg.sender != _gate.agent) revert NotGuardOrAgent(msg.sender);
        uint256 last = lastPauseAt[msg.sender];
        if (last != 0 && block.timestamp < last + PAUSE_COOLDOWN_SECONDS) {
            revert PauseCooldown(last + PAUSE_COOLDOWN_SECONDS);
        }
        lastPauseAt[msg.sender] = block.timestamp;
        _extendPause(scope, uint32(block.timestamp + PAUSE_SECONDS));
        if (number != 0) _vote(scope, number);
    }

    /// @notice Adds this guard's vote; with M votes within 24 hours the pause has no end by itself.
    function confirmPause(bytes32 scope) external {
        uint256 number = _guardNumber[msg.sender];
        if (number == 0) revert NotGuard(msg.sender);
        _pausedUntil(scope);
        _vote(scope, number);
    }

    /// @notice First step to lift a pause. A pause made later is not covered by this proposal.
    function proposeUnpause(bytes32 scope) external onlyOwner returns (bytes32) {
        if (_pausedUntil(scope) <= block.timestamp) revert NotPaused(scope);
        return _propose(_unpauseProposal(scope));
    }

    function unpause(bytes32 scope) external onlyOwner {
        _takeProposal(_unpauseProposal(scope));
        delete _votes[scope];
        _setPausedUntil(scope, 0);
        emit Unpaused(scope);
    }

    // ---------------------------------------------------------------- changes

    function proposeGuards(address[] calldata newGuards, uint8 newThreshold)
        external
        onlyOwner
        returns (bytes32)
    {
        return _propose(_guardsProposal(newGuards, newThreshold));
    }

    /// @notice Replaces the guards; the epoch rises by one, so older signatures are void.
    function rotateGuards(address[] calldata newGuards, uint8 newThreshold) external onlyOwner {
        _takeProposal(_guardsProposal(newGuards, newThreshold));
        _installGuards(newGuards, newThreshold);
    }

    function proposeAgent(address newAgent) external onlyOwner returns (bytes32) {
        return _propose(keccak256(abi.encode("agent", newAgent)));
    }

    function setAgent(address newAgent) external onlyOwner {
        _takeProposal(keccak256(abi.encode("agent", newAgent)));
        _gate.agent = newAgent;
        emit AgentChanged(newAgent);
    }

    function withdrawProposal(bytes32 proposal) external onlyOwner {
        if (readyAt[proposal] == 0) revert ChangeNotProposed(proposal);
        delete readyAt[proposal];
        emit ChangeWithdrawn(proposal);
    }

    /// @dev A bridge without an admin could never rotate out a lost guard.
    function renounceOwnership() public pure override {
        revert AdminMayNotLeave();
    }

    // --------------------------------------------------------------- internal

    /// @dev SECURITY: the only thing between a stranger's calldata and a mint.
    function _requireSignatures(bytes32 itemsHash, uint64 deadline, bytes calldata signatures)
        internal
        view
    {
        if (deadline < block.timestamp) revert DeadlinePassed(deadline, block.timestamp);
        if (deadline > block.timestamp + PERMIT_SECONDS_MAX) {
            revert DeadlineTooFar(deadline, block.timestamp + PERMIT_SECONDS_MAX);
        }
        uint256 given = signatures.length / SIGNATURE_BYTES;
        if (signatures.length % SIGNATURE_BYTES != 0) {
            revert SignatureLengthRefused(signatures.length);
        }
        if (given < _gate.threshold) revert TooFewSignatures(given, _gate.threshold);
        bytes32 digest = _hashTypedDataV4(
            keccak256(abi.encode(RELEASE_BATCH_TYPEHASH, _gate.epoch, deadline, itemsHash))
        );
        address previous = address(0);
        for (uint256 at = 0; at < signatures.length; at += SIGNATURE_BYTES) {
            address signer = ECDSA.recover(
                digest,
                uint8(signatures.word(at + 64) >> 248),
                bytes32(signatures.word(at)),
                bytes32(signatures.word(at + 32))
            );
            if (signer <= previous) revert SignersNotAscending(previous, signer);
            if (_guardNumber[signer] == 0) revert SignerNotGuard(signer);
            previous = signer;
        }
    }

    function _propose(bytes32 proposal) internal returns (bytes32) {
        readyAt[proposal] = block.timestamp + delaySeconds;
        emit ChangeProposed(proposal, readyAt[proposal]);
        return proposal;
    }

    function _takeProposal(bytes32 proposal) internal {
        uint256 ready = readyAt[proposal];
        if (ready == 0) revert ChangeNotProposed(proposal);
        if (block.timestamp < ready) revert ChangeTooEarly(ready);
        if (block.timestamp > ready + PROPOSAL_SECONDS_MAX) {
            revert ChangeExpired(ready + PROPOSAL_SECONDS_MAX);
        }
        delete readyAt[proposal];
    }

    /// @dev Reverts for a scope that is neither the bridge nor a registered asset.
    function _pausedUntil(bytes32 scope) internal view virtual returns (uint32);

    function _setPausedUntil(bytes32 scope, uint32 until) internal virtual;

    /// @dev M > N/2, or two halves of the guards could sign two truths.
    function _installGuards(address[] memory newGuards, uint8 newThreshold) private {
        uint256 count = newGuards.length;
        if (count == 0 || count > GUARDS_MAX) revert GuardCountRefused(count);
        if (newThreshold > count || uint256(newThreshold) * 2 <= count) {
            revert ThresholdRefused(newThreshold, count);
        }
        for (uint256 i = 0; i < _guards.length; i++) delete _guardNumber[_guards[i]];
        for (uint256 i = 0; i < count; i++) {
            address guard = newGuards[i];
            if (guard == address(0) || _guardNumber[guard] != 0) revert GuardRefused(guard);
            _guardNumber[guard] = i + 1;
        }
        _guards = newGuards;
        _gate.epoch += 1;
        _gate.threshold = newThreshold;
        _gate.guardCount = uint8(count);
        emit GuardsChanged(_gate.epoch, newGuards, newThreshold);
    }

    function _extendPause(bytes32 scope, uint32 until) private {
        if (until > _pausedUntil(scope)) _setPausedUntil(scope, until);
        pauseCount[scope] += 1;
        emit Paused(scope, msg.sender, _pausedUntil(scope));
    }

    function _vote(bytes32 scope, uint256 number) private {
        PauseVote memory vote = _votes[scope];
        bool stale = block.timestamp > uint256(vote.openedAt) + PAUSE_SECONDS;
        if (stale || vote.epoch != _gate.epoch) {
            vote = PauseVote(_gate.epoch, uint32(block.timestamp), 0, 0);
        }
        uint32 bit = uint32(1) << uint32(number - 1);
        if (vote.voters & bit == 0) {
            vote.voters |= bit;
            vote.count += 1;
        }
        emit PauseVoted(scope, msg.sender, vote.count);
        if (vote.count >= _gate.threshold) {
            delete _votes[scope];
            _extendPause(scope, UNTIL_LIFTED);
        } else {
            _votes[scope] = vote;
        }
    }

    function _unpauseProposal(bytes32 scope) private view returns (bytes32) {
        return keccak256(abi.encode("unpause", scope, pauseCount[scope]));
    }

    function _guardsProposal(address[] calldata newGuards, uint8 newThreshold)
        private
        view
        returns (bytes32)
    {
        return keccak256(abi.encode("guards", _gate.epoch, newGuards, newThreshold));
    }
}
