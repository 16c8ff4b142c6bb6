/**
 * toncenter's API v3 over the local chain: what the indexer answers, and what it passes to v2.
 *
 * Lists hold what the masterchain has committed; `pendingTransactions` holds what it has not.
 */
import { Cell } from '@ton/core';

import {
  ApiError,
  cut,
  LIMIT_MAX,
  parseAddress,
  parseExternal,
  parseStack,
  renderStack,
} from './answers.mjs';
import { Rejected, SHARD, unpackAccount, ZERO_HASH } from './chain.mjs';
import { estimateFee } from './fees.mjs';
import { methodId } from './getters.mjs';
import {
  addressBook,
  namesInTransaction,
  rawUpper,
  renderBlock,
  Renderer,
} from './render.mjs';
import { walletFields } from './wallets.mjs';

const NOT_INITED = -13;
const base64 = (bytes) => bytes.toString('base64');

const byLt = (a, b) => {
  if (a.lt !== b.lt) return a.lt < b.lt ? -1 : 1;
  return a.raw < b.raw ? -1 : 1;
};

export class ApiV3 {
  constructor(chain, jettons) {
    this.chain = chain;
    this.jettons = jettons;
    this.renderer = new Renderer(chain);
    this.get = {
      masterchainInfo: () => this.masterchainInfo(),
      blocks: (query) => this.blocks(query),
      masterchainBlockShards: (query) => this.blockShards(query),
      masterchainBlockShardState: (query) => this.blockShardState(query),
      transactions: (query) => this.transactions(query),
      transactionsByMessage: (query) => this.transactionsByMessage(query),
      transactionsByMasterchainBlock: (query) => this.transactionsByMasterchainBlock(query),
      pendingTransactions: (query) => this.pendingTransactions(query),
      adjacentTransactions: (query) => this.adjacentTransactions(query),
      messages: (query) => this.messages(query),
      addressInformation: (query) => this.addressInformation(query),
      walletInformation: (query) => this.walletInformation(query),
      accountStates: (query) => this.accountStates(query),
      walletStates: (query) => this.walletStates(query),
      addressBook: (query) => addressBook(chain, query.addresses('address').map(rawUpper)),
      'jetton/masters': (query) => jettons.masters(query),
      'jetton/wallets': (query) => jettons.wallets(query),
      'jetton/transfers': (query) => jettons.transfers(query),
      'jetton/burns': (query) => jettons.burns(query),
    };
    this.post = {
      message: (body) => this.message(body),
      runGetMethod: (body) => this.runGetMethod(body),
      estimateFee: (body) => estimateFee(chain, body),
    };
  }

  // ------------------------------------------------------------------ blocks

  masterchainInfo() {
    const [first] = this.chain.masterBlocks;
    return {
      last: renderBlock(this.chain, this.chain.tip()),
      first: renderBlock(this.chain, first),
    };
  }

  committedBlocks(mcSeqno) {
    const { masterBlocks, shardBlocks } = this.chain;
    const chosen = mcSeqno === undefined ? masterBlocks : [masterBlocks[mcSeqno]].filter(Boolean);
    return chosen.flatMap((block) => [block, ...block.shards.map((seqno) => shardBlocks[seqno])]);
  }

  /** The blocks a request can mean, found by number where it gives one. */
  numbered({ workchain, seqno }, query) {
    const mcSeqno = query.seqno('mc_seqno');
    if (workchain === undefined || seqno === undefined || mcSeqno !== undefined) {
      return this.committedBlocks(mcSeqno);
    }
    const blocks = workchain === 0 ? this.chain.shardBlocks : this.chain.masterBlocks;
    return [blocks[seqno]].filter((block) => block !== undefined && block.mcSeqno !== null);
  }

  blocks(query) {
    const page = query.page();
    const wanted = {
      workchain: query.seqno('workchain'),
      shard: query.text('shard')?.toUpperCase(),
      seqno: query.seqno('seqno'),
      root: query.hash('root_hash'),
      file: query.hash('file_hash'),
    };
    const within = ranges(query, (block) => BigInt(block.genUtime), (block) => block.startLt);
    const found = this.numbered(wanted, query).filter(
      (block) =>
        same(wanted.workchain, block.workchain) &&
        same(wanted.shard, SHARD) &&
        same(wanted.seqno, block.seqno) &&
        same(wanted.root, block.rootHash) &&
        same(wanted.file, block.fileHash) &&
        within(block),
    );
    return { blocks: cut(found, page).map((block) => renderBlock(this.chain, block)) };
  }

  blockShards(query) {
    const seqno = query.seqno('seqno');
    const found = this.committedBlocks(seqno ?? -1);
    if (found.length === 0) throw new ApiError(404, 'blocks not found');
    return { blocks: cut(found, query.page()).map((block) => renderBlock(this.chain, block)) };
  }

  blockShardState(query) {
    const seqno = query.seqno('seqno');
    const block = this.chain.masterBlocks[seqno ?? -1];
    if (block === undefined) throw new ApiError(404, 'blocks not found');
    let at = seqno;
    while (this.chain.masterBlocks[at].shards.length === 0) at -= 1;
    const last = this.chain.shardBlocks[this.chain.masterBlocks[at].shards.at(-1)];
    return { blocks: [renderBlock(this.chain, last)] };
  }

  // ------------------------------------------------------------------ transactions

  listed(txs) {
    const transactions = txs.map((tx) => this.renderer.transaction(tx));
    const names = transactions.flatMap(namesInTransaction);
    return { transactions, address_book: addressBook(this.chain, names) };
  }

  candidates(query) {
    const hash = query.hash('hash');
    if (hash !== undefined) return [this.chain.txByHash.get(hash)].filter(Boolean);
    const mcSeqno = query.seqno('mc_seqno');
    if (mcSeqno !== undefined) {
      return this.committedBlocks(mcSeqno)
        .flatMap((block) => block.txs ?? [])
        .toSorted(byLt);
    }
    const accounts = [...new Set(query.addresses('account'))];
    const lists = accounts.map((raw) => this.chain.txsByAccount.get(raw) ?? []);
    if (accounts.length === 1) return from(lists[0], query.integer('start_lt'));
    if (accounts.length > 1) return lists.flat().toSorted(byLt);
    return this.chain.shardBlocks
      .filter((block) => block.mcSeqno !== null)
      .flatMap((block) => block.txs.toSorted(byLt));
  }

  transactions(query) {
    const page = query.page();
    const excluded = new Set(query.addresses('exclude_account'));
    const accounts = new Set(query.addresses('account'));
    const wanted = {
      workchain: query.seqno('workchain'),
      shard: query.text('shard')?.toUpperCase(),
      seqno: query.seqno('seqno'),
      lt: query.integer('lt'),
    };
    const within = ranges(query, (tx) => BigInt(tx.now), (tx) => tx.lt);
    const found = this.candidates(query).filter(
      (tx) =>
        (accounts.size === 0 || accounts.has(tx.raw)) &&
        !excluded.has(tx.raw) &&
        same(wanted.workchain, tx.block.workchain) &&
        same(wanted.shard, SHARD) &&
        same(wanted.seqno, tx.block.seqno) &&
        same(wanted.lt, tx.lt) &&
        within(tx),
    );
    return this.listed(cut(found, page));
  }

  transactionsByMasterchainBlock(query) {
    const seqno = query.seqno('seqno') ?? -1;
    const txs = this.committedBlocks(seqno).flatMap((block) => block.txs ?? []);
    return this.listed(cut(txs.toSorted(byLt), query.page()));
  }

  transactionsByMessage(query) {
    const direction = query.text('direction');
    if (direction !== undefined && !['in', 'out'].includes(direction)) {
      throw new ApiError(422, 'direction should be one of: in, out');
    }
    const hash = query.hash('msg_hash');
    const body = query.hash('body_hash');
    const opcode = query.opcode('opcode');
    if (hash === undefined && body === undefined && opcode === undefined) {
      throw new ApiError(422, 'at least one of msg_hash, body_hash, opcode should be specified');
    }
    const ends =
      hash === undefined
        ? [...this.chain.txsByMessage.values()].flat()
        : (this.chain.txsByMessage.get(hash) ?? []);
    const found = ends.filter(
      (end) =>
        same(direction, end.direction) &&
        (body === undefined && opcode === undefined
          ? true
          : this.carries(end, body, opcode)),
    );
    const txs = [...new Set(found.map((end) => end.tx))].toSorted(byLt);
    return this.listed(cut(txs, query.page()));
  }

  carries(end, body, opcode) {
    const rendered = this.renderer.transaction(end.tx);
    const messages = end.direction === 'in' ? [rendered.in_msg] : rendered.out_msgs;
    return messages.some(
      (message) => same(body, message.message_content.hash) && same(opcode, message.opcode),
    );
  }

  pendingTransactions(query) {
    const accounts = query.addresses('account');
    const traces = query.hashes('trace_id');
    if (accounts.length === 0 && traces.length === 0) {
      throw new ApiError(422, 'at least 1 account address required');
    }
    const found = this.chain
      .pendingBlocks()
      .flatMap((block) => block.txs)
      .filter(
        (tx) =>
          (accounts.length === 0 || accounts.includes(tx.raw)) &&
          (traces.length === 0 || traces.includes(tx.trace.id)),
      );
    return this.listed(found.toSorted(byLt).toReversed());
  }

  adjacentTransactions(query) {
    const tx = this.chain.txByHash.get(query.hash('hash'));
    const direction = query.text('direction');
    if (tx === undefined) throw new ApiError(404, 'transactions not found');
    const parents = direction === 'out' ? [] : [this.chain.messages.get(tx.inHash)?.outTx];
    const children =
      direction === 'in' ? [] : tx.outs.map((out) => this.chain.messages.get(out.hash)?.inTx);
    return this.listed([...parents, ...children].filter(Boolean).toSorted(byLt).toReversed());
  }

  // ------------------------------------------------------------------ messages

  messageRows(query) {
    const hashes = query.hashes('msg_hash');
    const { messages, messagesBySource, messagesByDestination, txsByMessage } = this.chain;
    if (hashes.length > 0) {
      const rows = hashes.map((hash) => messages.get(hash) ?? normalized(txsByMessage, messages, hash));
      return [...new Set(rows.filter(Boolean))];
    }
    const source = nullable(query, 'source');
    const destination = nullable(query, 'destination');
    if (source !== undefined && source !== 'null') return messagesBySource.get(source) ?? [];
    if (destination !== undefined) return messagesByDestination.get(destination) ?? [];
    return [...messages.values()];
  }

  messages(query) {
    const page = query.page();
    const source = nullable(query, 'source');
    const destination = nullable(query, 'destination');
    const direction = query.text('direction');
    const wanted = { body: query.hash('body_hash'), opcode: query.opcode('opcode') };
    const named = (asked, name) =>
      asked === undefined || (asked === 'null' ? name === null : name === rawUpper(asked));
    const kept = [];
    for (const row of this.messageRows(query)) {
      const message = this.renderer.message(row);
      const external = message.source === null || message.destination === null;
      const lt = BigInt(message.created_lt ?? row.inTx.lt);
      const at = BigInt(message.created_at ?? row.inTx.now);
      const within = ranges(query, () => at, () => lt);
      if (
        named(source, message.source) &&
        named(destination, message.destination) &&
        same(wanted.body, message.message_content.hash) &&
        same(wanted.opcode, message.opcode) &&
        (direction === undefined || (direction === 'in' ? row.inTx : row.outTx)) &&
        !(external && query.flag('exclude_externals')) &&
        (external || !query.flag('only_externals')) &&
        within(row)
      ) {
        kept.push({ lt, raw: message.hash, message });
      }
    }
    const messages = cut(kept.toSorted(byLt), page).map((each) => each.message);
    const names = messages.flatMap((message) => [message.source, message.destination]);
    return { messages, address_book: addressBook(this.chain, names), metadata: {} };
  }

  async message(body) {
    if (typeof body?.boc !== 'string' || body.boc === '') throw new ApiError(422, 'empty boc');
    try {
      const { hash, norm } = await this.chain.submit(parseExternal(body.boc));
      return { message_hash: hash, message_hash_norm: norm };
    } catch (error) {
      throw error instanceof Rejected ? new ApiError(500, error.message) : error;
    }
  }

  // ------------------------------------------------------------------ accounts

  async runGetMethod(body) {
    if (typeof body?.address !== 'string') throw new ApiError(422, 'address is required');
    const address = parseAddress(body.address, 'address');
    const account = this.chain.accountAt(address.toRawString(), undefined);
    return this.getter(account, address, body);
  }

  async getter(account, address, { method, stack }) {
    const output = await this.chain.get(account, address, methodId(method), parseStack(stack));
    if (output === null) return { gas_used: 0, exit_code: NOT_INITED, stack: [] };
    return {
      gas_used: Number(output.gas_used),
      exit_code: output.vm_exit_code,
      stack: renderStack(output.stack),
    };
  }

  required(query) {
    const raw = query.address('address');
    if (raw === undefined) throw new ApiError(422, 'address of account is required');
    return raw;
  }

  addressInformation(query) {
    const account = this.chain.final.get(this.required(query));
    const { status, balance, code, data, frozenHash } = unpackAccount(account);
    return {
      balance: String(balance),
      code: code ? base64(code.toBoc()) : null,
      data: data ? base64(data.toBoc()) : null,
      last_transaction_lt: String(account?.lastLt ?? 0n),
      last_transaction_hash: account?.lastHash ?? ZERO_HASH,
      frozen_hash: frozenHash ? base64(frozenHash) : null,
      status: v2Status(status),
      suspended: false,
    };
  }

  walletInformation(query) {
    const account = this.chain.final.get(this.required(query));
    const { status, balance, code, data } = unpackAccount(account);
    const wallet = walletFields(code, data);
    if (wallet === null && status === 'active') throw new ApiError(409, 'not a wallet');
    return {
      balance: String(balance),
      ...wallet,
      last_transaction_lt: String(account?.lastLt ?? 0n),
      last_transaction_hash: account?.lastHash ?? ZERO_HASH,
      status: v2Status(status),
      suspended: false,
    };
  }

  known(query) {
    const names = query.addresses('address');
    if (names.length === 0) throw new ApiError(422, 'address of account is required');
    if (names.length > LIMIT_MAX) throw new ApiError(422, 'maximum 1000 addresses allowed');
    return names.filter((raw) => this.chain.final.has(raw));
  }

  accountStates(query) {
    const bocs = query.text('include_boc') !== 'false';
    const accounts = this.known(query).map((raw) => {
      const account = this.chain.final.get(raw);
      const { status, balance, code, data, frozenHash, stateHash } = unpackAccount(account);
      const part = (name, cell) =>
        cell === null
          ? {}
          : {
              [`${name}_hash`]: base64(cell.hash()),
              ...(bocs ? { [`${name}_boc`]: base64(cell.toBoc()) } : {}),
            };
      return {
        address: rawUpper(raw),
        account_state_hash: stateHash,
        balance: String(balance),
        extra_currencies: {},
        status,
        ...(frozenHash ? { frozen_hash: base64(frozenHash) } : {}),
        last_transaction_hash: account.lastHash,
        last_transaction_lt: String(account.lastLt),
        ...part('data', data),
        ...part('code', code),
        contract_methods: null,
        interfaces: [],
        suspended: false,
      };
    });
    const names = accounts.map((account) => account.address);
    return { accounts, address_book: addressBook(this.chain, names), metadata: {} };
  }

  walletStates(query) {
    const wallets = this.known(query).map((raw) => {
      const account = this.chain.final.get(raw);
      const { status, balance, code, data } = unpackAccount(account);
      const wallet = walletFields(code, data);
      return {
        address: rawUpper(raw),
        is_wallet: wallet !== null,
        ...wallet,
        balance: String(balance),
        extra_currencies: {},
        status,
        ...(code ? { code_hash: base64(code.hash()) } : {}),
        last_transaction_hash: account.lastHash,
        last_transaction_lt: String(account.lastLt),
        suspended: false,
      };
    });
    const names = wallets.map((wallet) => wallet.address);
    return { wallets, address_book: addressBook(this.chain, names), metadata: {} };
  }
}

// -------------------------------------------------------------------- filters

const same = (wanted, value) => wanted === undefined || wanted === value;

/** The statuses that lite servers and v2 speak of. */
export const v2Status = (status) =>
  status === 'active' || status === 'frozen' ? status : 'uninitialized';

export function ranges(query, utimeOf, ltOf) {
  const [startUtime, endUtime] = [query.integer('start_utime'), query.integer('end_utime')];
  const [startLt, endLt] = [query.integer('start_lt'), query.integer('end_lt')];
  return (row) => {
    const [utime, lt] = [utimeOf(row), ltOf(row)];
    return (
      (startUtime === undefined || utime >= startUtime) &&
      (endUtime === undefined || utime <= endUtime) &&
      (startLt === undefined || lt >= startLt) &&
      (endLt === undefined || lt <= endLt)
    );
  };
}

/** The part of an account's transactions from `lt` on; they are sorted. */
function from(txs, lt) {
  if (lt === undefined) return txs;
  let [low, high] = [0, txs.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (txs[middle].lt < lt) low = middle + 1;
    else high = middle;
  }
  return txs.slice(low);
}

function nullable(query, name) {
  return query.text(name) === 'null' ? 'null' : query.address(name);
}

function normalized(txsByMessage, messages, hash) {
  const end = (txsByMessage.get(hash) ?? [])[0];
  return end === undefined ? undefined : messages.get(end.tx.inHash);
}
