// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Reads of calldata and calls to tokens that a batch makes once per item.
/// @notice In assembly because a batch pays for every word of ABI encoding fifty times over; what
/// each does is what the high-level call of the same name does, with the differences named.
library LowLevel {
    error CallFailed();

    /// @dev 32 bytes of calldata from `offset`; beyond the end they read as whatever follows or
    /// zero, so callers check lengths first.
    function word(bytes calldata data, uint256 offset) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := calldataload(add(data.offset, offset))
        }
    }

    /// @dev A static call on at most `gasMost`; (false, 0) unless at least a word came back.
    function tryRead(address target, bytes4 selector, uint256 gasMost)
        internal
        view
        returns (bool read, uint256 value)
    {
        assembly ("memory-safe") {
            mstore(0, selector)
            read := staticcall(gasMost, target, 0, 4, 0, 32)
            read := and(read, gt(returndatasize(), 31))
            if read { value := mload(0) }
        }
    }

    /// @dev As above with one address as argument.
    function tryRead(address target, bytes4 selector, address account, uint256 gasMost)
        internal
        view
        returns (bool read, uint256 value)
    {
        assembly ("memory-safe") {
            mstore(0, selector)
            mstore(4, and(account, 0xffffffffffffffffffffffffffffffffffffffff))
            read := staticcall(gasMost, target, 0, 36, 0, 32)
            read := and(read, gt(returndatasize(), 31))
            if read { value := mload(0) }
        }
    }

    /// @dev `token.sharesOf(account)`; reverts unless a word came back.
    function sharesOf(address token, address account) internal view returns (uint256 shares) {
        bool read;
        (read, shares) = tryRead(token, 0xf5eb42dc, account, gasleft());
        if (!read) revert CallFailed();
    }

    /// @dev `token.<selector>(account, amount)`, whatever it returns; reverts if it reverts. The
    /// token is known to have code: it was registered.
    function act(address token, bytes4 selector, address account, uint256 amount) internal {
        bool done;
        assembly ("memory-safe") {
            let call_ := mload(0x40)
            mstore(call_, selector)
            mstore(add(call_, 4), and(account, 0xffffffffffffffffffffffffffffffffffffffff))
            mstore(add(call_, 36), amount)
            done := call(gas(), token, 0, call_, 68, 0, 0)
        }
        if (!done) revert CallFailed();
    }
}
