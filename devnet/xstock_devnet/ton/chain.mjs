/**
 * The chain itself: accounts, messages and blocks over the real TVM, without a word of HTTP.
 *
 * A tick makes one shard block of workchain 0 and then one masterchain block. The shard block runs
 * the internal messages that earlier blocks left and then the external ones that wait, so a child
 * message always lands in a later block. A shard block is final once a masterchain block has
 * committed it, `finalBlocks` masterchain blocks after it was made; what readers are told (account
 * states, getters, the check of an external message) is the final state, as a lite server tells it.
 * Every block keeps what it changed, so blocks can be taken back exactly. One workchain, one shard,
 * no validators, no proofs, no libraries.
 */
import { createHash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { deflateRawSync, inflateRawSync } from 'node:zlib';

import {
  Address,
  beginCell,
  Cell,
  Dictionary,
  internal,
  loadMessage,
  loadShardAccount,
  loadTransaction,
  storeMessage,
  storeShardAccount,
} from '@ton/core';
import { createEmptyShardAccount, defaultConfig, Executor } from '@ton/sandbox';

export const SHARD = '8000000000000000';
export const ZERO_HASH = Buffer.alloc(32).toString('base64');

const LT_STEP = 1_000_000n;
const MASTER_LTS = 4n;
const BLOCK_GAS_SOFT_LIMIT = 10_000_000n;
const TURN_MS = 20;
const GETTER_GAS = 10_000_000n;
const UNDO_BLOCKS = 256;
const STATES_PER_ACCOUNT = 20_000;
const STATES_UNPACKED = 32;
const DICTIONARY_BYTES = 32 * 1024;
const FAUCET = new Address(-1, Buffer.alloc(32));

/** A command or an argument that cannot be obeyed: said to the caller, never a crash. */
export class Refused extends Error {}

/** An external message the chain does not take, with the text a lite server gives. */
export class Rejected extends Error {}

const base64 = (bytes) => bytes.toString('base64');
/** The bytes alone: buffers are cut out of larger ones, which live as long as the cut. */
const alone = (bytes) => {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  return copy;
};
const digest = (...parts) => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(String(part)).update('\n');
  return base64(hash.digest());
};

/** TEP-467: the hash of an external message that no relay can change. */
export function normalizedHash(message) {
  return base64(
    beginCell()
      .storeUint(2, 2)
      .storeUint(0, 2)
      .storeAddress(message.info.dest)
      .storeCoins(0)
      .storeBit(false)
      .storeBit(true)
      .storeRef(message.body)
      .endCell()
      .hash(),
  );
}

/** An account that does not exist: what every address is before its first transaction. */
function noAccount() {
  const shardAccount = beginCell()
    .storeRef(beginCell().storeBit(false).endCell())
    .storeUint(0, 256)
    .storeUint(0, 64)
    .endCell();
  return { boc: base64(shardAccount.toBoc()), lastLt: 0n, lastHash: ZERO_HASH, endLt: 0n };
}

function endowedAccount(address, balance, paidAt) {
  const shardAccount = createEmptyShardAccount(address);
  shardAccount.account = {
    addr: address,
    storage: {
      lastTransLt: 0n,
      balance: { coins: balance, other: null },
      state: { type: 'uninit' },
    },
    storageStats: {
      used: { cells: 1n, bits: 103n },
      lastPaid: paidAt,
      duePayment: null,
      storageExtra: null,
    },
  };
  const boc = base64(beginCell().store(storeShardAccount(shardAccount)).endCell().toBoc());
  return { ...noAccount(), boc };
}

/** Read an account's parts out of its serialised state; a nonexistent one has status `nonexist`. */
export function unpackAccount(account) {
  const nothing = {
    status: 'nonexist',
    balance: 0n,
    code: null,
    data: null,
    frozenHash: null,
    stateHash: null,
  };
  if (account === undefined) return nothing;
  if (account.unpacked === undefined) {
    const cell = Cell.fromBase64(account.boc);
    const parsed = loadShardAccount(cell.beginParse()).account;
    account.unpacked = nothing;
    if (parsed) {
      const { state, balance } = parsed.storage;
      account.unpacked = {
        status: state.type,
        balance: balance.coins,
        code: state.type === 'active' ? (state.state.code ?? null) : null,
        data: state.type === 'active' ? (state.state.data ?? null) : null,
        frozenHash: state.type === 'frozen' ? state.stateHash : null,
        stateHash: base64(cell.refs[0].hash()),
      };
    }
  }
  return account.unpacked;
}

/**
 * Old states of an account differ little from its first one that is kept, so they are kept as
 * what differs: deflated with the first one as the dictionary.
 */
function packState(state, first) {
  if (state === first) return;
  const { boc, ...rest } = state.account;
  const dictionary = dictionaryOf(first);
  state.packed = alone(deflateRawSync(Buffer.from(boc, 'base64'), { dictionary }));
  state.rest = { lastLt: rest.lastLt, lastHash: rest.lastHash, endLt: rest.endLt };
  state.account = undefined;
}

function stateOf(state, first) {
  if (state.account !== undefined) return state.account;
  const boc = base64(inflateRawSync(state.packed, { dictionary: dictionaryOf(first) }));
  return { boc, ...state.rest };
}

function dictionaryOf(first) {
  return Buffer.from(first.account.boc, 'base64').subarray(0, DICTIONARY_BYTES);
}

function configWithGlobalId(globalId) {
  const keys = Dictionary.Keys.Int(32);
  const config = Cell.fromBase64(defaultConfig).beginParse();
  const parameters = config.loadDictDirect(keys, Dictionary.Values.Cell());
  parameters.set(19, beginCell().storeInt(globalId, 32).endCell());
  return base64(beginCell().storeDictDirect(parameters).endCell().toBoc({ idx: false }));
}

/** Take a transaction's message cells as they are, so that their hashes are the chain's own. */
export function messageCells(transactionCell) {
  const messages = transactionCell.refs[0].beginParse();
  const inCell = messages.loadBit() ? messages.loadRef() : null;
  const outs = messages.loadDict(Dictionary.Keys.Uint(15), Dictionary.Values.Cell());
  return { inCell, outCells: outs.values() };
}

export class Chain {
  constructor(executor, { globalId, finalBlocks, now }) {
    this.executor = executor;
    this.config = configWithGlobalId(globalId);
    this.globalId = globalId;
    this.finalBlocks = finalBlocks;
    this.now = now;
    this.warped = 0;
    this.frozen = false;
    this.epoch = `${now()}`;
    this.head = new Map();
    this.final = new Map();
    this.history = new Map();
    this.knownStates = new Map();
    this.queue = [];
    this.mempool = new Map();
    this.shardBlocks = [];
    this.masterBlocks = [];
    this.lt = 0n;
    this.clearIndexes();
    this.lock = Promise.resolve();
  }

  static async create(options) {
    const chain = new Chain(await Executor.create(), options);
    chain.addShardBlock({ txs: [], externals: [], changes: new Map(), queueBefore: [], ltBefore: 0n });
    chain.addMasterBlock([0]);
    return chain;
  }

  clearIndexes() {
    this.txsByAccount = new Map();
    this.txByHash = new Map();
    this.txsByMessage = new Map();
    this.messages = new Map();
    this.messagesBySource = new Map();
    this.messagesByDestination = new Map();
  }

  /** Chain time in Unix seconds: the machine's clock and what `warp` added. */
  time() {
    return Math.floor(this.now() / 1000) + this.warped;
  }

  /** Run one change of the chain after another; two never interleave. */
  exclusively(work) {
    const done = this.lock.then(work);
    this.lock = done.catch(() => undefined);
    return done;
  }

  tip() {
    return this.masterBlocks[this.masterBlocks.length - 1];
  }

  shardTip() {
    return this.shardBlocks[this.shardBlocks.length - 1];
  }

  /** Shard blocks that no masterchain block has committed, oldest first. */
  pendingBlocks() {
    let first = this.shardBlocks.length;
    while (first > 0 && this.shardBlocks[first - 1].mcSeqno === null) first -= 1;
    return this.shardBlocks.slice(first);
  }

  /** Give an account that does not exist yet coins before the first block; no transaction shows. */
  endow(address, amount) {
    const account = endowedAccount(address, amount, this.time());
    this.head.set(address.toRawString(), account);
    this.final.set(address.toRawString(), account);
    this.remember(address.toRawString(), account, 0);
  }

  // ------------------------------------------------------------------ running messages

  async run(account, message, { lt, now, seed }) {
    const { result } = await this.executor.runTransaction({
      config: this.config,
      libs: null,
      verbosity: 'short',
      shardAccount: (account ?? noAccount()).boc,
      now,
      lt,
      randomSeed: seed,
      ignoreChksig: false,
      debugEnabled: false,
      message,
    });
    return result;
  }

  /** Say what a lite server says of an external message the account did not take. */
  async rejection(account, address, message, result) {
    const cause = 'LITE_SERVER_UNKNOWN: cannot apply external message to current state : ';
    if (unpackAccount(account).status === 'nonexist') {
      return new Rejected(`${cause}Failed to unpack account state`);
    }
    const run = `${cause}External message was not accepted\nCannot run message on account: `;
    const hex = address.hash.toString('hex').toUpperCase();
    if (result.vmResults === undefined) {
      return new Rejected(
        `${run}inbound external message rejected by account ${hex} before smart-contract execution`,
      );
    }
    const { vmLog, vmExitCode } = result.vmResults;
    const steps = await this.steps(account, message);
    const log = vmLog === '' ? '' : `\nVM Log (truncated):\n...${vmLog}`;
    return new Rejected(
      `${run}inbound external message rejected by transaction ${hex}:\n` +
        `exitcode=${vmExitCode}, steps=${steps}, gas_used=0${log}`,
    );
  }

  async steps(account, message) {
    const { result } = await this.executor.runTransaction({
      config: this.config,
      libs: null,
      verbosity: 'full',
      shardAccount: account.boc,
      now: this.time(),
      lt: this.lt + LT_STEP,
      randomSeed: Buffer.alloc(32),
      ignoreChksig: false,
      debugEnabled: false,
      message,
    });
    const log = result.vmResults?.vmLog ?? '';
    return log.split('\n').filter((line) => line.startsWith('execute ')).length;
  }

  /**
   * Take an external message for the next block; returns its hash and its normalised hash.
   *
   * It is tried on the account's final state first, as a lite server does; raises Rejected.
   */
  async submit(cell) {
    const message = loadMessage(cell.beginParse());
    const address = message.info.dest;
    const account = this.final.get(address.toRawString());
    const result = await this.run(account, cell, {
      lt: this.lt + LT_STEP + 1n,
      now: this.time(),
      seed: Buffer.alloc(32),
    });
    if (!result.success) throw await this.rejection(account, address, cell, result);
    const hash = base64(cell.hash());
    const norm = normalizedHash(message);
    this.mempool.set(hash, { cell, address, hash, norm, createdLt: 0n, external: true });
    return { hash, norm };
  }

  /** Put coins on an account by an internal message from the masterchain's zero account. */
  give(address, amount) {
    const message = internal({ to: address, value: amount, bounce: false, body: Cell.EMPTY });
    // no two such messages are the same message
    const createdLt = this.lt + BigInt(this.queue.length);
    const info = {
      ...message.info,
      src: FAUCET,
      createdLt,
      createdAt: this.time(),
    };
    const cell = beginCell().store(storeMessage({ ...message, info })).endCell();
    const hash = base64(cell.hash());
    this.queue.push({ cell, address, hash, createdLt, trace: null, external: false });
    return hash;
  }

  /** Run one message on the head state; null if the account does not take it. */
  async apply(entry, block) {
    const raw = entry.address.toRawString();
    const before = this.head.get(raw);
    let lt = block.startLt + 1n;
    for (const least of [before?.endLt ?? 0n, entry.createdLt + 1n]) if (least > lt) lt = least;
    const result = await this.run(before, entry.cell, {
      lt,
      now: block.genUtime,
      seed: block.seed,
    });
    if (!result.success) return null;
    const cell = Cell.fromBase64(result.transaction);
    const parsed = loadTransaction(cell.beginParse());
    const boc = alone(Buffer.from(result.transaction, 'base64'));
    const tx = this.describe(entry, block, { cell, boc, parsed }, before);
    const account = {
      boc: result.shardAccount,
      lastLt: tx.lt,
      lastHash: tx.hash,
      endLt: tx.lt + BigInt(parsed.outMessagesCount) + 1n,
    };
    if (!block.changes.has(raw)) block.changes.set(raw, { before, after: account });
    block.changes.get(raw).after = account;
    this.head.set(raw, account);
    if (account.endLt > block.endLt) block.endLt = account.endLt;
    return tx;
  }

  describe(entry, block, { cell, boc, parsed }, before) {
    const hash = base64(cell.hash());
    const trace = entry.trace ?? { id: hash, external: entry.norm ?? entry.hash };
    const { outCells } = messageCells(cell);
    const compute = parsed.description.computePhase;
    return {
      raw: entry.address.toRawString(),
      hash,
      lt: parsed.lt,
      now: parsed.now,
      boc,
      prevHash: before?.lastHash ?? ZERO_HASH,
      prevLt: before?.lastLt ?? 0n,
      trace,
      block,
      inHash: entry.hash,
      inNorm: entry.norm ?? null,
      external: entry.external,
      gas: compute?.type === 'vm' ? compute.gasUsed : 0n,
      outs: outCells.map((out) => ({ hash: base64(out.hash()), cell: out })),
    };
  }

  // ------------------------------------------------------------------ blocks

  /** One tick: a shard block, and unless finality is frozen a masterchain block. */
  async mine() {
    await this.mineShardBlock();
    if (!this.frozen) this.commitTo(this.shardBlocks.length - 1 - this.finalBlocks);
  }

  async mineShardBlock() {
    const seqno = this.shardBlocks.length;
    const block = {
      seqno,
      startLt: (this.lt / LT_STEP + 1n) * LT_STEP,
      genUtime: Math.max(this.time(), this.shardTip().genUtime),
      txs: [],
      externals: [],
      changes: new Map(),
      queueBefore: [...this.queue],
      ltBefore: this.lt,
    };
    block.endLt = block.startLt;
    block.seed = createHash('sha256').update(`seed ${this.epoch} ${seqno}`).digest();
    const waiting = [...this.queue, ...this.mempool.values()];
    const left = [];
    const born = [];
    let gas = 0n;
    let turn = this.now();
    for (const entry of waiting) {
      if (gas >= BLOCK_GAS_SOFT_LIMIT) {
        if (!entry.external) left.push(entry);
        continue;
      }
      if (entry.external) this.mempool.delete(entry.hash);
      const tx = await this.apply(entry, block);
      if (tx === null && !entry.external) {
        throw new Error(`internal message ${entry.hash} to ${entry.address} could not be run`);
      }
      if (tx !== null) {
        gas += tx.gas;
        block.txs.push(tx);
        if (entry.external) block.externals.push(entry);
        for (const out of tx.outs) this.deliverLater(out, tx, born);
      }
      if (this.now() - turn >= TURN_MS) {
        await nextTurn();
        turn = this.now();
      }
    }
    this.queue = [...left, ...born];
    this.lt = block.endLt;
    this.addShardBlock(block);
  }

  deliverLater(out, tx, born) {
    const { info } = loadMessage(out.cell.beginParse());
    if (info.type !== 'internal') return;
    born.push({
      cell: out.cell,
      address: info.dest,
      hash: out.hash,
      createdLt: info.createdLt,
      trace: tx.trace,
      external: false,
    });
  }

  addShardBlock(block) {
    const previous = this.shardTip();
    const seqno = this.shardBlocks.length;
    const txHashes = block.txs.map((tx) => tx.hash);
    Object.assign(block, {
      workchain: 0,
      seqno,
      genUtime: block.genUtime ?? this.time(),
      startLt: block.startLt ?? 0n,
      endLt: block.endLt ?? 0n,
      mcSeqno: null,
      masterRef: this.masterBlocks.length - 1,
      rootHash: digest('root', this.epoch, seqno, previous?.rootHash, ...txHashes),
      fileHash: digest('file', this.epoch, seqno, previous?.fileHash, ...txHashes),
      seed: block.seed ?? Buffer.alloc(32),
      txCount: block.txs.length,
    });
    for (const { after } of block.changes.values()) {
      const { stateHash, status, balance, code, data } = unpackAccount(after);
      if (stateHash === null) continue;
      const hashOf = (cell) => (cell === null ? null : base64(cell.hash()));
      const summary = { status, balance, codeHash: hashOf(code), dataHash: hashOf(data) };
      this.knownStates.set(stateHash, summary);
      // cells take many times the room of the bytes; most accounts are not looked at again
      after.unpacked = undefined;
    }
    this.shardBlocks.push(block);
    const old = this.shardBlocks[seqno - UNDO_BLOCKS];
    // what it takes to take a block back outweighs the block by far
    if (old !== undefined) Object.assign(old, { changes: null, externals: [], queueBefore: [] });
  }

  /** Commit every pending shard block up to `seqno` by a new masterchain block. */
  commitTo(seqno) {
    const committed = this.pendingBlocks().filter((block) => block.seqno <= seqno);
    this.addMasterBlock(committed.map((block) => block.seqno));
  }

  addMasterBlock(shardSeqnos) {
    const seqno = this.masterBlocks.length;
    const previous = this.tip();
    const committed = shardSeqnos.map((number) => this.shardBlocks[number]);
    // as on the network: after all it commits, before all that it does not
    const reached = committed[committed.length - 1]?.endLt ?? 0n;
    const least = previous?.startLt ?? 0n;
    const startLt = reached < least ? least : (reached / LT_STEP + 1n) * LT_STEP;
    const roots = committed.map((block) => block.rootHash);
    this.masterBlocks.push({
      workchain: -1,
      seqno,
      genUtime: Math.max(this.time(), previous?.genUtime ?? 0),
      startLt,
      endLt: startLt + MASTER_LTS,
      mcSeqno: seqno,
      masterRef: Math.max(0, seqno - 1),
      rootHash: digest('root', this.epoch, 'mc', seqno, previous?.rootHash, ...roots),
      fileHash: digest('file', this.epoch, 'mc', seqno, previous?.fileHash, ...roots),
      seed: createHash('sha256').update(`mc seed ${this.epoch} ${seqno}`).digest(),
      txCount: 0,
      shards: shardSeqnos,
    });
    for (const block of committed) this.settle(block, seqno);
  }

  /** Make a shard block's transactions and account states what readers see. */
  settle(block, mcSeqno) {
    block.mcSeqno = mcSeqno;
    for (const tx of block.txs) this.index(tx);
    for (const [raw, { after }] of block.changes) {
      this.final.set(raw, after);
      this.remember(raw, after, mcSeqno);
    }
  }

  remember(raw, account, mcSeqno) {
    const states = this.history.get(raw) ?? [];
    if (states.length > 0) {
      const superseded = states[states.length - 1];
      stateOf(superseded, states[0]).unpacked = undefined;
      if (superseded.mcSeqno === mcSeqno) states.pop();
    }
    states.push({ mcSeqno, account });
    const aged = states[states.length - STATES_UNPACKED];
    if (aged?.account !== undefined) packState(aged, states[0]);
    if (states.length > STATES_PER_ACCOUNT) states.splice(1, 1);
    this.history.set(raw, states);
  }

  /** The account as of a masterchain block; raises Refused for a state that is not kept. */
  accountAt(raw, mcSeqno) {
    if (mcSeqno === undefined) return this.final.get(raw);
    if (mcSeqno >= this.masterBlocks.length || mcSeqno < 0) {
      throw new Refused(`seqno ${mcSeqno}: the last masterchain block is ${this.tip().seqno}`);
    }
    const states = this.history.get(raw) ?? [];
    for (let at = states.length - 1; at >= 0; at -= 1) {
      if (states[at].mcSeqno <= mcSeqno) {
        if (at === 0 && states.length === STATES_PER_ACCOUNT) break;
        return stateOf(states[at], states[0]);
      }
    }
    if (states.length === STATES_PER_ACCOUNT) {
      throw new Refused(`seqno ${mcSeqno}: the state of ${raw} is too old; ask for a later block`);
    }
    return undefined;
  }

  index(tx) {
    const push = (map, key, value) => {
      if (!map.has(key)) map.set(key, []);
      map.get(key).push(value);
    };
    push(this.txsByAccount, tx.raw, tx);
    this.txByHash.set(tx.hash, tx);
    const mine = { hash: tx.inHash, inTx: tx };
    for (const key of new Set([tx.inHash, ...(tx.inNorm ? [tx.inNorm] : [])])) {
      push(this.txsByMessage, key, { tx, direction: 'in' });
    }
    const known = this.messages.get(tx.inHash);
    if (known !== undefined) {
      known.inTx = tx;
    } else {
      this.messages.set(tx.inHash, { ...mine, at: -1, outTx: null });
      push(this.messagesByDestination, tx.raw, this.messages.get(tx.inHash));
    }
    tx.outs.forEach((out, at) => {
      const { info } = loadMessage(out.cell.beginParse());
      const row = { hash: out.hash, inTx: null, outTx: tx, at };
      this.messages.set(out.hash, row);
      push(this.txsByMessage, out.hash, { tx, direction: 'out' });
      push(this.messagesBySource, tx.raw, row);
      const to = info.type === 'internal' ? info.dest.toRawString() : 'null';
      push(this.messagesByDestination, to, row);
      out.cell = null;
    });
  }

  // ------------------------------------------------------------------ taking blocks back

  /** Drop the last `count` shard blocks and put the head state back to what it was before them. */
  takeBack(count) {
    const first = this.shardBlocks[this.shardBlocks.length - count];
    if (count > 0 && (first === undefined || first.changes === null || first.seqno === 0)) {
      throw new Refused(`depth: ${count} blocks are more than can be taken back; ask for less`);
    }
    for (let step = 0; step < count; step += 1) {
      const block = this.shardBlocks.pop();
      for (const [raw, { before }] of block.changes) {
        if (before === undefined) this.head.delete(raw);
        else this.head.set(raw, before);
      }
      this.queue = block.queueBefore;
      this.lt = block.ltBefore;
    }
    this.epoch += '+';
  }

  /** Lose the last `depth` blocks that are not final, and their transactions for good. */
  reorg(depth) {
    const pending = this.pendingBlocks().length;
    if (depth > pending) {
      throw new Refused(
        `depth: ${depth}, but only ${pending} blocks are not final; freeze finality first, or use` +
          ' break_finality',
      );
    }
    this.takeBack(depth);
    return depth;
  }

  /** Lose exactly one transaction (with what it caused) of the blocks that are not final. */
  async dropTx(hash) {
    const pending = this.pendingBlocks();
    const names = (entry) => [entry.hash, entry.norm];
    let at = pending.findIndex((block) => block.externals.some((e) => names(e).includes(hash)));
    let gone = pending[at]?.externals.find((entry) => names(entry).includes(hash));
    if (gone === undefined) {
      const tx = pending.flatMap((block) => block.txs).find((each) => each.hash === hash);
      const root = tx?.trace.external;
      at = pending.findIndex((block) => block.externals.some((entry) => entry.norm === root));
      gone = pending[at]?.externals.find((entry) => entry.norm === root);
    }
    if (gone === undefined) {
      throw new Refused(
        `tx: ${hash}: no block that is not final has it or the external message that caused it;` +
          ' give the base64 hash of a transaction or of its external message',
      );
    }
    const again = pending.slice(at).flatMap((block) => block.externals);
    const blocks = pending.length - at;
    this.takeBack(blocks);
    const waiting = [...this.mempool.values()];
    this.mempool = new Map();
    for (const entry of [...again, ...waiting]) {
      if (entry !== gone) this.mempool.set(entry.hash, entry);
    }
    for (let step = 0; step < blocks; step += 1) await this.mineShardBlock();
    return gone.hash;
  }

  /** Replace the last `depth` masterchain blocks by as many others without their transactions. */
  async breakFinality(depth) {
    const kept = this.masterBlocks.length - depth;
    if (kept < 1) {
      throw new Refused(
        `depth: ${depth}, but there are ${this.masterBlocks.length - 1} blocks after the first`,
      );
    }
    const firstLost = this.masterBlocks.slice(kept).flatMap((block) => block.shards)[0];
    const lost = this.shardBlocks.length - (firstLost ?? this.shardBlocks.length);
    if (firstLost === 0) throw new Refused(`depth: ${depth} would lose the chain's first block`);
    this.takeBack(Math.max(lost, this.pendingBlocks().length));
    this.masterBlocks.length = kept;
    this.epoch += '+';
    this.rebuild();
    for (let step = 0; step < depth; step += 1) {
      await this.mineShardBlock();
      this.commitTo(this.shardBlocks.length - 1);
    }
  }

  /** Read the final state and the indexes again from the blocks that are left. */
  rebuild() {
    this.final = new Map(this.head);
    this.clearIndexes();
    const tip = this.tip().seqno;
    for (const [raw, states] of this.history) {
      const left = states.filter((state) => state.mcSeqno <= tip);
      if (left.length > 0) this.history.set(raw, left);
      else this.history.delete(raw);
    }
    for (const block of this.shardBlocks) {
      for (const tx of block.txs) {
        const { outCells } = messageCells(Cell.fromBoc(tx.boc)[0]);
        tx.outs = outCells.map((cell) => ({ hash: base64(cell.hash()), cell }));
        this.index(tx);
      }
    }
  }

  // ------------------------------------------------------------------ reading

  /** Run an external message on the final state for its fees alone; nothing changes. */
  async estimate(address, message, ignoreChksig) {
    const account = this.final.get(address.toRawString()) ?? noAccount();
    const { result } = await this.executor.runTransaction({
      config: this.config,
      libs: null,
      verbosity: 'short',
      shardAccount: account.boc,
      now: this.time(),
      lt: this.lt + LT_STEP + 1n,
      randomSeed: Buffer.alloc(32),
      ignoreChksig,
      debugEnabled: false,
      message,
    });
    return result;
  }

  /** Run a getter on an account's final state, or its state at a masterchain block. */
  async get(account, address, methodId, stack, unixTime = this.time()) {
    const { status, code, data, balance } = unpackAccount(account);
    if (status !== 'active') return null;
    const { output } = await this.executor.runGetMethod({
      code,
      data: data ?? Cell.EMPTY,
      methodId,
      stack,
      config: this.config,
      verbosity: 'short',
      libs: undefined,
      address,
      unixTime,
      balance,
      randomSeed: Buffer.alloc(32),
      gasLimit: GETTER_GAS,
      debugEnabled: false,
    });
    if (!output.success) throw new Error(`getter ${methodId}: ${output.error}`);
    return output;
  }
}
