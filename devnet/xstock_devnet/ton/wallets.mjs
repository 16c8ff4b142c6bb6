/**
 * The standard wallet contracts: code cells as their authors published them, told apart by hash.
 *
 * Only wallets are here: they are what `walletInformation` names and what holds the faucet's coins.
 * Sources: ton-blockchain/ton (v3), ton-blockchain/wallet-contract (v4), wallet-contract-v5,
 * highload-wallet-contract-v3. A wrong byte would show as another code hash than the one every
 * explorer shows, which a test compares.
 */
import { readFileSync } from 'node:fs';

import { beginCell, Cell, contractAddress } from '@ton/core';

/** The wallet id that wallets v3 and v4 on workchain 0 are given by default. */
export const DEFAULT_WALLET_ID = 698983191;

const PUBLISHED = JSON.parse(readFileSync(new URL('wallet_codes.json', import.meta.url), 'utf8'));

/** Name to code cell. */
export const WALLET_CODES = new Map(
  Object.entries(PUBLISHED).map(([name, hex]) => [name, Cell.fromBoc(Buffer.from(hex, 'hex'))[0]]),
);

/** Code hash (base64) to name. */
export const WALLET_NAMES = new Map(
  [...WALLET_CODES].map(([name, code]) => [code.hash().toString('base64'), name]),
);

/** The not yet deployed wallet v4r2 of an ed25519 public key: its address and first state. */
export function walletV4(publicKey, walletId = DEFAULT_WALLET_ID) {
  const code = WALLET_CODES.get('wallet v4 r2');
  const data = beginCell()
    .storeUint(0, 32)
    .storeUint(walletId, 32)
    .storeBuffer(publicKey)
    .storeBit(0)
    .endCell();
  return { address: contractAddress(0, { code, data }), init: { code, data } };
}

/** What `walletInformation` tells of a wallet, or null for any other contract. */
export function walletFields(code, data) {
  const name = code === null ? undefined : WALLET_NAMES.get(code.hash().toString('base64'));
  if (name === undefined) return null;
  const slice = data.beginParse();
  if (name.startsWith('highload')) return { wallet_type: name };
  if (name.startsWith('wallet v5')) slice.skip(1);
  const seqno = slice.loadUint(32);
  return { wallet_type: name, seqno, wallet_id: slice.loadUint(32) };
}
