// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {ISanctionsList} from "./IShareToken.sol";

/// @title A test token that keeps the rules of the real xStock token, written from its behaviour.
/// @notice Storage is shares with 18 decimals; what holders see is `shares * multiplier / 1e18`,
/// rounded down. `mint`, `burn` and `transfer` take the displayed amount and convert at execution
/// time, also rounding down, so one number means different shares before and after a multiplier
/// change. One minter, one burner and one pauser, re-pointed by the owner at will; the burner may
/// burn only its own or this contract's balance. Pause stops mint, burn and transfers, not
/// approvals or multiplier updates. Sanctions stop transfers from, to and by the listed, not mint
/// or burn. It is for local chains and tests: no value should ever depend on it.
contract XStockToken is IERC20, Ownable, EIP712, Nonces {
    using SafeCast for uint256;

    uint256 private constant ONE = 1e18;
    bytes32 public constant PERMIT_TYPEHASH = keccak256(
        "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
    );
    bytes32 public constant DELEGATED_TRANSFER_TYPEHASH = keccak256(
        "DELEGATED_TRANSFER(address owner,address to,uint256 value,uint256 nonce,uint256 deadline)"
    );
    bytes32 public constant DELEGATED_TRANSFER_SHARES_TYPEHASH = keccak256(
        "DELEGATED_TRANSFER_SHARES(address owner,address to,uint256 value,"
        "uint256 nonce,uint256 deadline)"
    );

    string public name;
    string public symbol;

    /// @dev Packed, unlike the real token, which reads more slots and sits behind a proxy.
    struct Rebase {
        uint128 last;
        uint128 next;
        uint64 activation;
        uint64 feeAppliedAt;
        uint64 period;
        uint64 fee;
        uint128 lastNonce;
        uint128 nextNonce;
    }

    address public minter;
    bool public isPaused;
    bool public delegateMode;
    address public burner;
    address public pauser;
    address public multiplierUpdater;
    ISanctionsList public sanctionsList;
    mapping(address account => bool) public delegateWhitelist;

    Rebase private _rebase;

    uint256 private _totalShares;
    mapping(address account => uint256) private _shares;
    mapping(address owner => mapping(address spender => uint256)) public allowance;

    event TransferShares(address indexed from, address indexed to, uint256 value);
    event MultiplierUpdated(uint256 value);
    event NewMinter(address indexed newMinter);
    event NewBurner(address indexed newBurner);
    event NewPauser(address indexed newPauser);
    event NewMultiplierUpdater(address indexed newMultiplierUpdater);
    event NewSanctionsList(address indexed newSanctionsList);
    event DelegateWhitelistChange(address indexed whitelistAddress, bool status);
    event DelegateModeChange(bool delegateMode);
    event PauseModeChange(bool pauseMode);

    error NotRole(string role, address caller);
    error CannotBurnFrom(address account);
    error TransfersPaused();
    error Sanctioned(address account);
    error ZeroAddress();
    error BalanceTooLow(address account, uint256 shares, uint256 needed);
    error AllowanceTooLow(address spender, uint256 allowed, uint256 needed);
    error DelegateNotAllowed(address caller);
    error SignatureExpired(uint256 deadline);
    error WrongSigner(address signer, address owner);
    error MultiplierMoved(uint256 current, uint256 expected);
    error MultiplierNonceOutdated(uint256 current, uint256 given);
    error MultiplierIsZero();
    error ActivationTooLate(uint256 activation, uint256 nextPeriod);
    error ActivationPending(uint256 activation);
    error WrongListInterface(address list);

    /// @param multiplier_ the first multiplier, 18 decimals; 1e18 means displayed = shares.
    constructor(string memory name_, string memory symbol_, address owner_, uint256 multiplier_)
        Ownable(owner_)
        EIP712(name_, "1")
    {
        if (multiplier_ == 0) revert MultiplierIsZero();
        name = name_;
        symbol = symbol_;
        multiplierUpdater = owner_;
        _rebase.period = 1 days;
        _rebase.feeAppliedAt = uint64(block.timestamp);
        _rebase.last = multiplier_.toUint128();
        _rebase.next = multiplier_.toUint128();
    }

    modifier onlyRole(string memory role, address holder) {
        if (msg.sender != holder) revert NotRole(role, msg.sender);
        _;
    }

    modifier allowedDelegate() {
        if (!delegateMode && !delegateWhitelist[msg.sender]) revert DelegateNotAllowed(msg.sender);
        _;
    }

    modifier noPendingActivation() {
        if (_rebase.activation != 0) revert ActivationPending(_rebase.activation);
        _;
    }

    // ------------------------------------------------------------------ views

    function decimals() external pure returns (uint8) {
        return 18;
    }

    function totalSupply() external view returns (uint256) {
        return _displayed(_totalShares, _multiplierNow());
    }

    function balanceOf(address account) external view returns (uint256) {
        return _displayed(_shares[account], _multiplierNow());
    }

    function sharesOf(address account) external view returns (uint256) {
        return _shares[account];
    }

    /// @notice The stored multiplier with a due activation, without fees accrued since.
    function multiplier() external view returns (uint256) {
        return _isDue() ? _rebase.next : _rebase.last;
    }

    function multiplierNonce() external view returns (uint256) {
        return _isDue() ? _rebase.nextNonce : _rebase.lastNonce;
    }

    function lastMultiplier() external view returns (uint256) {
        return _rebase.last;
    }

    function lastMultiplierNonce() external view returns (uint256) {
        return _rebase.lastNonce;
    }

    function newMultiplier() external view returns (uint256) {
        return _rebase.next;
    }

    function newMultiplierNonce() external view returns (uint256) {
        return _rebase.nextNonce;
    }

    /// @notice Unix seconds of the pending activation; 0 if none is pending.
    function newMultiplierActivationTime() external view returns (uint256) {
        return _rebase.activation;
    }

    function lastTimeFeeApplied() external view returns (uint256) {
        return _rebase.feeAppliedAt;
    }

    function periodLength() external view returns (uint256) {
        return _rebase.period;
    }

    function feePerPeriod() external view returns (uint256) {
        return _rebase.fee;
    }

    /// @notice The multiplier that counts at this second: due activation and accrued fees in it.
    function getCurrentMultiplier()
        external
        view
        returns (uint256 current, uint256 periodsPassed, uint256 nonce)
    {
        (current, periodsPassed) = _multiplierAndPeriods();
        nonce = _nonceNow(periodsPassed);
    }

    function getSharesByUnderlyingAmount(uint256 amount) external view returns (uint256) {
        return _sharesFor(amount, _multiplierNow());
    }

    function getUnderlyingAmountByShares(uint256 shares) external view returns (uint256) {
        return _displayed(shares, _multiplierNow());
    }

    // solhint-disable-next-line func-name-mixedcase
    function DOMAIN_SEPARATOR() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    // -------------------------------------------------------------- transfers

    function transfer(address to, uint256 amount) external returns (bool) {
        uint256 current = _applyMultiplier();
        _move(msg.sender, to, _sharesFor(amount, current), amount);
        return true;
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        uint256 current = _applyMultiplier();
        _spend(from, msg.sender, amount);
        _move(from, to, _sharesFor(amount, current), amount);
        return true;
    }

    function transferShares(address to, uint256 shares) external returns (bool) {
        uint256 current = _applyMultiplier();
        _move(msg.sender, to, shares, _displayed(shares, current));
        return true;
    }

    /// @notice Moves shares against an allowance counted in displayed units, rounded down.
    function transferSharesFrom(address from, address to, uint256 shares)
        external
        returns (bool)
    {
        uint256 amount = _displayed(shares, _applyMultiplier());
        _spend(from, msg.sender, amount);
        _move(from, to, shares, amount);
        return true;
    }

    function approve(address spender, uint256 amount) external returns (bool) {
        _approve(msg.sender, spender, amount);
        return true;
    }

    // ---------------------------------------------------------- mint and burn

    /// @param amount displayed units; shares are rounded down from it at this second's multiplier.
    function mint(address account, uint256 amount) external onlyRole("minter", minter) {
        if (account == address(0)) revert ZeroAddress();
        _requireNotPaused();
        uint256 shares = _sharesFor(amount, _applyMultiplier());
        _totalShares += shares;
        _shares[account] += shares;
        emit Transfer(address(0), account, amount);
        emit TransferShares(address(0), account, shares);
    }

    /// @param amount displayed units; shares are rounded down from it at this second's multiplier.
    function burn(address account, uint256 amount) external onlyRole("burner", burner) {
        if (account != msg.sender && account != address(this)) revert CannotBurnFrom(account);
        _requireNotPaused();
        uint256 shares = _sharesFor(amount, _applyMultiplier());
        _take(account, shares);
        _totalShares -= shares;
        emit Transfer(account, address(0), amount);
        emit TransferShares(account, address(0), shares);
    }

    // -------------------------------------------------------- signed requests

    function permit(
        address owner_,
        address spender,
        uint256 value,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external allowedDelegate {
        bytes32 content = _structHash(PERMIT_TYPEHASH, owner_, spender, value, deadline);
        _checkSigned(content, owner_, deadline, v, r, s);
        _approve(owner_, spender, value);
    }

    function delegatedTransfer(
        address owner_,
        address to,
        uint256 value,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external allowedDelegate {
        bytes32 content = _structHash(DELEGATED_TRANSFER_TYPEHASH, owner_, to, value, deadline);
        _checkSigned(content, owner_, deadline, v, r, s);
        _move(owner_, to, _sharesFor(value, _applyMultiplier()), value);
    }

    function delegatedTransferShares(
        address owner_,
        address to,
        uint256 value,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external allowedDelegate {
        bytes32 content =
            _structHash(DELEGATED_TRANSFER_SHARES_TYPEHASH, owner_, to, value, deadline);
        _checkSigned(content, owner_, deadline, v, r, s);
        _move(owner_, to, value, _displayed(value, _applyMultiplier()));
    }

    // ------------------------------------------------------------------ roles

    function setPause(bool paused) external onlyRole("pauser", pauser) {
        isPaused = paused;
        emit PauseModeChange(paused);
    }

    function setMinter(address account) external onlyOwner {
        minter = account;
        emit NewMinter(account);
    }

    function setBurner(address account) external onlyOwner {
        burner = account;
        emit NewBurner(account);
    }

    function setPauser(address account) external onlyOwner {
        pauser = account;
        emit NewPauser(account);
    }

    function setMultiplierUpdater(address account) external onlyOwner {
        multiplierUpdater = account;
        emit NewMultiplierUpdater(account);
    }

    function setSanctionsList(address list) external onlyOwner {
        if (ISanctionsList(list).isSanctioned(address(this))) revert WrongListInterface(list);
        sanctionsList = ISanctionsList(list);
        emit NewSanctionsList(list);
    }

    function setDelegateWhitelist(address account, bool status) external onlyOwner {
        delegateWhitelist[account] = status;
        emit DelegateWhitelistChange(account, status);
    }

    function setDelegateMode(bool mode) external onlyOwner {
        delegateMode = mode;
        emit DelegateModeChange(mode);
    }

    function updateFeePerPeriod(uint256 fee) external onlyOwner noPendingActivation {
        _applyMultiplier();
        _rebase.fee = fee.toUint64();
    }

    function setPeriodLength(uint256 seconds_) external onlyOwner noPendingActivation {
        _applyMultiplier();
        _rebase.period = seconds_.toUint64();
    }

    function setLastTimeFeeApplied(uint256 time) external onlyOwner noPendingActivation {
        _applyMultiplier();
        _rebase.feeAppliedAt = time.toUint64();
    }

    /// @notice Sets or schedules a multiplier; a pending one is overridden.
    /// @param activation Unix seconds; a time not after now takes effect at once.
    function updateMultiplierValue(uint256 value, uint256 expected, uint256 activation)
        external
        onlyRole("multiplier updater", multiplierUpdater)
    {
        _requireMultiplier(_applyMultiplier(), expected);
        _setMultiplier(value, uint256(_rebase.lastNonce) + 1, activation);
    }

    /// @notice As `updateMultiplierValue`, with a nonce that must be newer than the current one.
    function updateMultiplierWithNonce(
        uint256 value,
        uint256 expected,
        uint256 nonce,
        uint256 activation
    ) external onlyRole("multiplier updater", multiplierUpdater) {
        _requireMultiplier(_applyMultiplier(), expected);
        uint256 currentNonce = _nonceNow(0);
        if (nonce <= currentNonce) revert MultiplierNonceOutdated(currentNonce, nonce);
        _setMultiplier(value, nonce, activation);
    }

    // --------------------------------------------------------------- internal

    function _isDue() private view returns (bool) {
        return block.timestamp >= _rebase.activation;
    }

    function _multiplierNow() private view returns (uint256 current) {
        (current,) = _multiplierAndPeriods();
    }

    function _multiplierAndPeriods() private view returns (uint256 current, uint256 periods) {
        if (!_isDue()) return (_rebase.last, 0);
        periods = (block.timestamp - _rebase.feeAppliedAt) / _rebase.period;
        current = _rebase.next;
        uint256 fee = _rebase.fee;
        if (fee > 0) {
            for (uint256 period = 0; period < periods; period++) {
                current = (current * (ONE - fee)) / ONE;
            }
        }
    }

    function _nonceNow(uint256 periods) private view returns (uint256) {
        if (!_isDue()) return _rebase.lastNonce;
        return _rebase.fee > 0 ? _rebase.nextNonce + periods : _rebase.nextNonce;
    }

    /// @dev Stores what time has made of the multiplier (due activation, fees) and returns it.
    function _applyMultiplier() private returns (uint256 current) {
        uint256 periods;
        (current, periods) = _multiplierAndPeriods();
        if (_rebase.last != current) {
            uint256 nonce = _nonceNow(periods);
            _rebase.feeAppliedAt += uint64(_rebase.period * periods);
            _setMultiplier(current, nonce, 0);
        } else if (periods != 0) {
            _rebase.feeAppliedAt += uint64(_rebase.period * periods);
        }
    }

    function _setMultiplier(uint256 value, uint256 nonce, uint256 activation) private {
        if (value == 0) revert MultiplierIsZero();
        uint256 nextPeriod = uint256(_rebase.feeAppliedAt) + _rebase.period;
        if (activation >= nextPeriod) revert ActivationTooLate(activation, nextPeriod);
        _rebase.next = value.toUint128();
        _rebase.nextNonce = nonce.toUint128();
        if (activation > block.timestamp) {
            _rebase.activation = activation.toUint64();
        } else {
            _rebase.activation = 0;
            _rebase.last = value.toUint128();
            _rebase.lastNonce = nonce.toUint128();
            emit MultiplierUpdated(value);
        }
    }

    function _requireMultiplier(uint256 current, uint256 expected) private pure {
        if (current != expected) revert MultiplierMoved(current, expected);
    }

    function _displayed(uint256 shares, uint256 current) private pure returns (uint256) {
        return (shares * current) / ONE;
    }

    function _sharesFor(uint256 amount, uint256 current) private pure returns (uint256) {
        return (amount * ONE) / current;
    }

    function _requireNotPaused() private view {
        if (isPaused) revert TransfersPaused();
    }

    function _requireNotSanctioned(address account) private view {
        ISanctionsList list = sanctionsList;
        if (address(list) != address(0) && list.isSanctioned(account)) revert Sanctioned(account);
    }

    function _move(address from, address to, uint256 shares, uint256 amount) private {
        if (from == address(0) || to == address(0)) revert ZeroAddress();
        _requireNotPaused();
        _requireNotSanctioned(from);
        _requireNotSanctioned(to);
        _take(from, shares);
        _shares[to] += shares;
        emit Transfer(from, to, amount);
        emit TransferShares(from, to, shares);
    }

    function _take(address from, uint256 shares) private {
        uint256 held = _shares[from];
        if (held < shares) revert BalanceTooLow(from, held, shares);
        unchecked {
            _shares[from] = held - shares;
        }
    }

    function _spend(address owner_, address spender, uint256 amount) private {
        _requireNotSanctioned(spender);
        uint256 allowed = allowance[owner_][spender];
        if (allowed == type(uint256).max) return;
        if (allowed < amount) revert AllowanceTooLow(spender, allowed, amount);
        unchecked {
            _approve(owner_, spender, allowed - amount);
        }
    }

    function _approve(address owner_, address spender, uint256 amount) private {
        if (owner_ == address(0) || spender == address(0)) revert ZeroAddress();
        allowance[owner_][spender] = amount;
        emit Approval(owner_, spender, amount);
    }

    function _structHash(
        bytes32 typehash,
        address owner_,
        address target,
        uint256 value,
        uint256 deadline
    ) private returns (bytes32) {
        return keccak256(abi.encode(typehash, owner_, target, value, _useNonce(owner_), deadline));
    }

    function _checkSigned(
        bytes32 structHash,
        address owner_,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) private view {
        if (block.timestamp > deadline) revert SignatureExpired(deadline);
        address signer = ECDSA.recover(_hashTypedDataV4(structHash), v, r, s);
        if (signer != owner_) revert WrongSigner(signer, owner_);
    }
}
