// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title What the bridge uses of an xStock token, and nothing else.
/// @notice `mint` and `burn` take displayed amounts and round down to shares at execution time;
/// every other amount here is in shares with 18 decimals. The third word of
/// `getCurrentMultiplier` differs between versions of the real token, so only two are declared:
/// ABI decoding ignores what follows.
interface IShareToken {
    function mint(address account, uint256 amount) external;

    function burn(address account, uint256 amount) external;

    function transferShares(address to, uint256 shares) external returns (bool);

    function transferSharesFrom(address from, address to, uint256 shares) external returns (bool);

    function permit(
        address owner,
        address spender,
        uint256 value,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    function totalSupply() external view returns (uint256);

    function sharesOf(address account) external view returns (uint256);

    function getCurrentMultiplier() external view returns (uint256 multiplier, uint256 periods);

    function decimals() external view returns (uint8);

    function minter() external view returns (address);

    function burner() external view returns (address);

    function sanctionsList() external view returns (address);
}

/// @title The list of sanctioned addresses a token points to (the Chainalysis interface).
interface ISanctionsList {
    function isSanctioned(address account) external view returns (bool);
}
