// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ISanctionsList} from "./IShareToken.sol";

/// @title A sanctions list for local chains; real deployments point at the public oracle.
contract SanctionsList is Ownable, ISanctionsList {
    mapping(address account => bool) public isSanctioned;

    event SanctionChanged(address indexed account, bool listed);

    constructor(address owner_) Ownable(owner_) {}

    /// @notice Puts `account` on the list or takes it off.
    function setSanctioned(address account, bool listed) external onlyOwner {
        isSanctioned[account] = listed;
        emit SanctionChanged(account, listed);
    }
}
