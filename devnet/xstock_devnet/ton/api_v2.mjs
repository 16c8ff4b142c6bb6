/**
 * The calls of toncenter's API v2 that v3 has no equal for: state at a block, sendBoc, config.
 *
 * Every answer is `{"ok": true, "result": …}`. `seqno` names the masterchain block whose state is
 * asked for; a block that is not there yet is a 542, as from a lite server that lags.
 */
import { Cell, Dictionary } from '@ton/core';

import { ApiError, parseAddress, parseExternal, parseStack, renderStack } from './answers.mjs';
import { v2Status } from './api_v3.mjs';
import { Refused, Rejected, SHARD, unpackAccount, ZERO_HASH } from './chain.mjs';
import { estimateFee } from './fees.mjs';
import { methodId } from './getters.mjs';

const NOT_INITED = -13;
const SIGNED_SHARD = String(BigInt.asIntN(64, BigInt(`0x${SHARD}`)));

const base64 = (bytes) => bytes.toString('base64');

function blockId(block) {
  return {
    '@type': 'ton.blockIdExt',
    workchain: block.workchain,
    shard: SIGNED_SHARD,
    seqno: block.seqno,
    root_hash: block.rootHash,
    file_hash: block.fileHash,
  };
}

function transactionId(account, address) {
  return {
    '@type': 'internal.transactionId',
    account_address: address.toString(),
    lt: String(account?.lastLt ?? 0n),
    hash: account?.lastHash ?? ZERO_HASH,
  };
}

/** v2's first stack format: `["num", "0x1"]`, `["cell", {"bytes": …}]`, `["list", {…}]`. */
function legacyEntry({ type, value }) {
  if (type === 'num') return [type, value];
  if (type === 'cell' || type === 'slice') return [type, { bytes: value }];
  const elements = value.map(standardEntry);
  return [type, { '@type': `tvm.${type}`, elements }];
}

/** tonlib's stack format, which `runGetMethodStd` speaks. */
function standardEntry({ type, value }) {
  const name = `${type[0].toUpperCase()}${type.slice(1)}`;
  if (type === 'num') {
    const negative = value.startsWith('-');
    const magnitude = BigInt(negative ? value.slice(1) : value);
    const number = String(negative ? -magnitude : magnitude);
    return {
      '@type': 'tvm.stackEntryNumber',
      number: { '@type': 'tvm.numberDecimal', number },
    };
  }
  const inner =
    type === 'cell' || type === 'slice'
      ? { '@type': `tvm.${type}`, bytes: value }
      : { '@type': `tvm.${type}`, elements: value.map(standardEntry) };
  return { '@type': `tvm.stackEntry${name}`, [type]: inner };
}

function standardArgument(entry) {
  const type = String(entry?.['@type'] ?? '').replace('tvm.stackEntry', '').toLowerCase();
  const value = entry?.number?.number ?? entry?.cell?.bytes ?? entry?.slice?.bytes;
  return [type === 'number' ? 'num' : type, value];
}

export class ApiV2 {
  constructor(chain) {
    this.chain = chain;
    this.methods = {
      getMasterchainInfo: () => this.masterchainInfo(),
      getAddressInformation: (given) => this.addressInformation(given),
      getAddressBalance: (given) => String(this.account(given).unpacked.balance),
      getAddressState: (given) => v2Status(this.account(given).unpacked.status),
      getConfigParam: (given) => this.configParam(given),
      runGetMethod: (given) => this.runGetMethod(given, legacyEntry),
      runGetMethodStd: (given) =>
        this.runGetMethod(
          { ...given, stack: (given.stack ?? []).map(standardArgument) },
          standardEntry,
        ),
      sendBoc: async (given) => {
        await this.send(given);
        return { '@type': 'ok' };
      },
      sendBocReturnHash: async (given) => {
        const { hash, norm } = await this.send(given);
        return { '@type': 'raw.extMessageInfo', hash, hash_norm: norm };
      },
      estimateFee: async (given) => ({
        '@type': 'query.fees',
        ...(await estimateFee(this.chain, given)),
      }),
    };
  }

  masterchainInfo() {
    return {
      '@type': 'blocks.masterchainInfo',
      last: blockId(this.chain.tip()),
      state_root_hash: this.chain.tip().rootHash,
      init: blockId(this.chain.masterBlocks[0]),
    };
  }

  account({ address: text, seqno: asked }) {
    if (typeof text !== 'string') throw new ApiError(422, 'address is required');
    const address = parseAddress(text, 'address');
    const seqno = asked === undefined || asked === '' ? undefined : Number(asked);
    try {
      const account = this.chain.accountAt(address.toRawString(), seqno);
      const block = this.chain.masterBlocks[seqno ?? this.chain.tip().seqno];
      return { address, account, block, unpacked: unpackAccount(account) };
    } catch (error) {
      if (error instanceof Refused) {
        throw new ApiError(542, `LITE_SERVER_NOTREADY: ${error.message}`);
      }
      throw error;
    }
  }

  addressInformation(given) {
    const { address, account, block, unpacked } = this.account(given);
    const { status, balance, code, data, frozenHash } = unpacked;
    return {
      '@type': 'raw.fullAccountState',
      balance: String(balance),
      extra_currencies: [],
      code: code ? base64(code.toBoc()) : '',
      data: data ? base64(data.toBoc()) : '',
      last_transaction_id: transactionId(account, address),
      block_id: blockId(block),
      frozen_hash: frozenHash ? base64(frozenHash) : '',
      sync_utime: block.genUtime,
      state: v2Status(status),
    };
  }

  async runGetMethod(given, entry) {
    const { address, account, block } = this.account(given);
    const output = await this.chain.get(
      account,
      address,
      methodId(given.method),
      parseStack(given.stack),
      block.genUtime,
    );
    const found = output ?? { gas_used: 0, vm_exit_code: NOT_INITED, stack: null };
    return {
      '@type': 'smc.runResult',
      gas_used: Number(found.gas_used),
      stack: found.stack === null ? [] : renderStack(found.stack).map(entry),
      exit_code: found.vm_exit_code,
      block_id: blockId(block),
      last_transaction_id: transactionId(account, address),
    };
  }

  configParam({ config_id: id, param }) {
    const config = Cell.fromBase64(this.chain.config).beginParse();
    const parameters = config.loadDictDirect(Dictionary.Keys.Int(32), Dictionary.Values.Cell());
    const cell = parameters.get(Number(id ?? param));
    if (cell === undefined) throw new ApiError(500, 'LITE_SERVER_UNKNOWN: no such config param');
    return {
      '@type': 'configInfo',
      config: { '@type': 'tvm.cell', bytes: base64(cell.toBoc()) },
    };
  }

  async send({ boc }) {
    if (typeof boc !== 'string' || boc === '') throw new ApiError(422, 'empty boc');
    try {
      return await this.chain.submit(parseExternal(boc));
    } catch (error) {
      throw error instanceof Rejected ? new ApiError(500, error.message) : error;
    }
  }
}
