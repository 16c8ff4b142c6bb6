/**
 * The indexer's jetton lists, told from contracts' own getters and from message bodies (TEP-74).
 *
 * A contract is a jetton wallet if `get_wallet_data` names a master whose `get_wallet_address` for
 * its owner is that contract, as the indexer checks. Only final states and transactions count.
 */
import { Address, beginCell, Cell, loadMessage, loadTransaction, parseTuple } from '@ton/core';

import { cut } from './answers.mjs';
import { messageCells, unpackAccount } from './chain.mjs';
import { methodId } from './getters.mjs';
import { addressBook, rawUpper } from './render.mjs';

const OP_TRANSFER = 0x0f8a7ea5;
const OP_BURN = 0x595f07bc;

const base64 = (bytes) => bytes.toString('base64');
const shown = (address) => (address ? rawUpper(address.toRawString()) : null);
const boc = (cell) => (cell ? base64(cell.toBoc()) : null);

function within(query) {
  const [startUtime, endUtime] = [query.integer('start_utime'), query.integer('end_utime')];
  const [startLt, endLt] = [query.integer('start_lt'), query.integer('end_lt')];
  return ({ now, lt }) =>
    (startUtime === undefined || BigInt(now) >= startUtime) &&
    (endUtime === undefined || BigInt(now) <= endUtime) &&
    (startLt === undefined || lt >= startLt) &&
    (endLt === undefined || lt <= endLt);
}

const oneOf = (wanted, name) =>
  wanted.length === 0 || (name !== null && wanted.map(rawUpper).includes(name));

export class Jettons {
  constructor(chain) {
    this.chain = chain;
    // by account state, so an entry is right for as long as it is found
    this.states = new WeakMap();
  }

  async call(account, address, method, stack = []) {
    const output = await this.chain.get(account, address, methodId(method), stack);
    if (output === null || ![0, 1].includes(output.vm_exit_code)) return null;
    return parseTuple(Cell.fromBase64(output.stack));
  }

  /** What the account's getters say it is: {master}, {wallet} or {}. */
  async kind(raw) {
    const account = this.chain.final.get(raw);
    if (account === undefined) return {};
    if (!this.states.has(account)) this.states.set(account, await this.ask(account, raw));
    return this.states.get(account);
  }

  async ask(account, raw) {
    const { code, data } = unpackAccount(account);
    if (code === null) return {};
    const address = Address.parseRaw(raw);
    const common = {
      address: rawUpper(raw),
      code_hash: base64(code.hash()),
      data_hash: data ? base64(data.hash()) : null,
      last_transaction_lt: String(account.lastLt),
    };
    const asMaster = await this.call(account, address, 'get_jetton_data');
    if (asMaster?.length === 5) return { master: masterRow(common, asMaster) };
    const asWallet = await this.call(account, address, 'get_wallet_data');
    if (asWallet?.length !== 4) return {};
    const wallet = walletRow(common, asWallet);
    return (await this.claims(wallet, address)) ? { wallet } : {};
  }

  /** Whether the master a wallet names derives that wallet for its owner. */
  async claims(wallet, address) {
    const master = Address.parseRaw(wallet.jetton);
    const account = this.chain.final.get(master.toRawString());
    const owner = beginCell().storeAddress(Address.parseRaw(wallet.owner)).endCell();
    const answer = await this.call(account, master, 'get_wallet_address', [
      { type: 'slice', cell: owner },
    ]);
    return Boolean(answer?.[0]?.cell?.beginParse().loadAddress().equals(address));
  }

  async rows(kind, names) {
    const found = [];
    for (const raw of names.length > 0 ? names : this.chain.final.keys()) {
      const row = (await this.kind(raw))[kind];
      if (row !== undefined) found.push(row);
    }
    return found;
  }

  async masters(query) {
    const admins = query.addresses('admin_address');
    const rows = await this.rows('master', query.addresses('address'));
    const kept = rows.filter((row) => oneOf(admins, row.admin_address));
    const jettons = cut(kept, { ...query.page(), sort: 'asc' });
    const names = jettons.flatMap((row) => [row.address, row.admin_address]);
    return {
      jetton_masters: jettons,
      address_book: addressBook(this.chain, names),
      metadata: {},
    };
  }

  async wallets(query) {
    const owners = query.addresses('owner_address');
    const masters = query.addresses('jetton_address');
    const rows = await this.rows('wallet', await this.walletNames(query, owners, masters));
    const empty = query.flag('exclude_zero_balance');
    const kept = rows.filter(
      (row) =>
        oneOf(owners, row.owner) &&
        oneOf(masters, row.jetton) &&
        !(empty && row.balance === '0'),
    );
    const wallets = cut(kept, { ...query.page(), sort: query.text('sort') ?? 'asc' });
    const names = wallets.flatMap((row) => [row.address, row.owner, row.jetton]);
    return {
      jetton_wallets: wallets,
      address_book: addressBook(this.chain, names),
      metadata: {},
    };
  }

  /** Ask the masters where owners' wallets are, instead of looking at every account. */
  async walletNames(query, owners, masters) {
    const named = query.addresses('address');
    if (named.length > 0 || owners.length === 0 || masters.length === 0) return named;
    const names = [];
    for (const raw of masters) {
      for (const owner of owners) {
        const cell = beginCell().storeAddress(Address.parseRaw(owner)).endCell();
        const account = this.chain.final.get(raw);
        const answer = await this.call(account, Address.parseRaw(raw), 'get_wallet_address', [
          { type: 'slice', cell },
        ]);
        const address = answer?.[0]?.cell?.beginParse().loadAddress();
        if (address) names.push(address.toRawString());
      }
    }
    return names.length > 0 ? names : ['0:'];
  }

  /** Transactions of jetton wallets that received `op`, with their parsed bodies. */
  async received(query, op, parse) {
    const inRange = within(query);
    const wallets = query.addresses('jetton_wallet');
    const master = query.address('jetton_master');
    const names = wallets.length > 0 ? wallets : [...this.chain.txsByAccount.keys()];
    const rows = [];
    for (const raw of names) {
      const { wallet } = await this.kind(raw);
      if (wallet === undefined) continue;
      if (master !== undefined && wallet.jetton !== rawUpper(master)) continue;
      for (const tx of this.chain.txsByAccount.get(raw) ?? []) {
        const body = inRange(tx) ? bodyOf(tx, op) : null;
        if (body !== null) rows.push({ lt: tx.lt, raw, row: parse(body, tx, wallet) });
      }
    }
    return rows.toSorted((a, b) => (a.lt < b.lt ? -1 : 1)).map((each) => each.row);
  }

  async burns(query) {
    const owners = query.addresses('address');
    const rows = await this.received(query, OP_BURN, burnRow);
    const burns = cut(rows.filter((row) => oneOf(owners, row.owner)), query.page());
    const names = burns.flatMap((row) => [row.owner, row.jetton_wallet, row.jetton_master]);
    return {
      jetton_burns: burns,
      address_book: addressBook(this.chain, names),
      metadata: {},
    };
  }

  async transfers(query) {
    const owners = query.addresses('owner_address');
    const direction = query.text('direction');
    const rows = (await this.received(query, OP_TRANSFER, transferRow)).filter(
      (row) =>
        owners.length === 0 ||
        (direction !== 'in' && oneOf(owners, row.source)) ||
        (direction !== 'out' && oneOf(owners, row.destination)),
    );
    const transfers = cut(rows, query.page());
    const names = transfers.flatMap((row) => [row.source, row.destination, row.jetton_master]);
    return {
      jetton_transfers: transfers,
      address_book: addressBook(this.chain, names),
      metadata: {},
    };
  }
}

function masterRow(common, [supply, mintable, admin, content, walletCode]) {
  const owner = admin.cell?.beginParse().loadMaybeAddress();
  return {
    address: common.address,
    total_supply: String(supply.value),
    mintable: mintable.value !== 0n,
    admin_address: shown(owner),
    jetton_content: offchain(content.cell),
    jetton_wallet_code_hash: base64(walletCode.cell.hash()),
    code_hash: common.code_hash,
    data_hash: common.data_hash,
    last_transaction_lt: common.last_transaction_lt,
  };
}

/** Off-chain content is a link; on-chain content (a dictionary) is not decoded here. */
function offchain(cell) {
  const slice = cell.beginParse();
  if (slice.remainingBits < 8 || slice.loadUint(8) !== 1) return {};
  return { uri: slice.loadStringTail() };
}

function walletRow(common, [balance, owner, master]) {
  return {
    address: common.address,
    balance: String(balance.value),
    owner: shown(owner.cell.beginParse().loadAddress()),
    jetton: shown(master.cell.beginParse().loadAddress()),
    last_transaction_lt: common.last_transaction_lt,
    code_hash: common.code_hash,
    data_hash: common.data_hash,
  };
}

function bodyOf(tx, op) {
  const cell = Cell.fromBoc(tx.boc)[0];
  const message = loadMessage(messageCells(cell).inCell.beginParse());
  if (message.info.type !== 'internal' || message.info.bounced) return null;
  const slice = message.body.beginParse();
  if (slice.remainingBits < 96 || slice.loadUint(32) !== op) return null;
  return { slice, aborted: loadTransaction(cell.beginParse()).description.aborted };
}

function common({ slice, aborted }, tx) {
  return {
    query_id: String(slice.loadUintBig(64)),
    amount: String(slice.loadCoins()),
    transaction_hash: tx.hash,
    transaction_lt: String(tx.lt),
    transaction_now: tx.now,
    transaction_aborted: aborted,
    trace_id: tx.trace.id,
  };
}

function burnRow(body, tx, wallet) {
  const { query_id: queryId, amount, trace_id: trace, ...where } = common(body, tx);
  return {
    query_id: queryId,
    owner: wallet.owner,
    jetton_wallet: wallet.address,
    jetton_master: wallet.jetton,
    ...where,
    amount,
    response_destination: shown(body.slice.loadMaybeAddress()),
    custom_payload: boc(body.slice.remainingBits > 0 ? body.slice.loadMaybeRef() : null),
    decoded_custom_payload: null,
    trace_id: trace,
  };
}

function transferRow(body, tx, wallet) {
  const { query_id: queryId, amount, trace_id: trace, ...where } = common(body, tx);
  const { slice } = body;
  const destination = shown(slice.loadMaybeAddress());
  const response = shown(slice.loadMaybeAddress());
  const custom = boc(slice.loadMaybeRef());
  const forward = String(slice.loadCoins());
  const byReference = slice.remainingBits > 0 ? slice.loadBit() : false;
  return {
    query_id: queryId,
    source: wallet.owner,
    destination,
    amount,
    source_wallet: wallet.address,
    jetton_master: wallet.jetton,
    ...where,
    response_destination: response,
    custom_payload: custom,
    decoded_custom_payload: null,
    forward_ton_amount: forward,
    forward_payload: boc(byReference ? slice.loadRef() : slice.asCell()),
    decoded_forward_payload: null,
    trace_id: trace,
  };
}
