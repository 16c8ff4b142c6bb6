/**
 * What the chain holds, as toncenter's API v3 writes it: transactions, messages, blocks, accounts.
 *
 * Names, order, which numbers are strings and which fields vanish follow recorded answers of
 * toncenter (index 1.2) and the models of its open source indexer. Bodies are never decoded here
 * (`decoded` is null), which the real service also answers for bodies it does not know.
 */
import { Address, beginCell, Cell, loadMessage, loadTransaction, storeStateInit } from '@ton/core';

import { messageCells, SHARD, unpackAccount, ZERO_HASH } from './chain.mjs';
import { WALLET_NAMES } from './wallets.mjs';

const CACHE_MAX = 20_000;

const base64 = (bytes) => bytes.toString('base64');

/** `0:ABC…`: how v3 writes addresses. */
export const rawUpper = (raw) => {
  const [workchain, hash] = raw.split(':');
  return `${workchain}:${hash.toUpperCase()}`;
};

const shown = (address) => (address ? rawUpper(address.toRawString()) : null);

function hashHex(number) {
  return base64(Buffer.from(number.toString(16).padStart(64, '0'), 'hex'));
}

function blockId(block) {
  return { workchain: block.workchain, shard: SHARD, seqno: block.seqno };
}

export function renderBlock(chain, block) {
  const blocks = block.workchain === 0 ? chain.shardBlocks : chain.masterBlocks;
  const previous = blocks[block.seqno - 1];
  const master = { workchain: -1, shard: SHARD, seqno: block.mcSeqno };
  return {
    workchain: block.workchain,
    shard: SHARD,
    seqno: block.seqno,
    root_hash: block.rootHash,
    file_hash: block.fileHash,
    global_id: chain.globalId,
    version: 0,
    after_merge: false,
    before_split: false,
    after_split: false,
    want_merge: block.workchain === 0,
    want_split: false,
    key_block: block.workchain === -1 && block.seqno === 0,
    vert_seqno_incr: false,
    flags: 1,
    gen_utime: String(block.genUtime),
    start_lt: String(block.startLt),
    end_lt: String(block.endLt),
    validator_list_hash_short: 0,
    gen_catchain_seqno: 0,
    min_ref_mc_seqno: block.masterRef,
    prev_key_block_seqno: 0,
    vert_seqno: 0,
    master_ref_seqno: block.masterRef,
    rand_seed: base64(block.seed),
    created_by: ZERO_HASH,
    tx_count: block.txCount,
    masterchain_block_ref: master,
    prev_blocks: previous === undefined ? [] : [blockId(previous)],
  };
}

// -------------------------------------------------------------------- messages

function opcodeOf(body) {
  if (body.bits.length < 32) return null;
  const opcode = body.beginParse(true).preloadUint(32);
  return `0x${opcode.toString(16).padStart(8, '0')}`;
}

function content(cell) {
  return { hash: base64(cell.hash()), body: base64(cell.toBoc()), decoded: null };
}

function messageBase(hash, message) {
  const { info, body, init } = message;
  const stateInit = init ? beginCell().store(storeStateInit(init)).endCell() : null;
  const initState = stateInit
    ? { hash: base64(stateInit.hash()), body: base64(stateInit.toBoc()) }
    : null;
  const internal = info.type === 'internal';
  const time = info.type === 'external-in' ? null : info;
  return {
    hash,
    source: info.type === 'external-in' ? null : shown(info.src),
    destination: info.type === 'external-out' ? null : shown(info.dest),
    value: internal ? String(info.value.coins) : null,
    value_extra_currencies: internal ? {} : null,
    fwd_fee: internal ? String(info.forwardFee) : null,
    ihr_fee: internal ? '0' : null,
    extra_flags: internal ? String(info.ihrFee) : null,
    created_lt: time ? String(time.createdLt) : null,
    created_at: time ? String(time.createdAt) : null,
    opcode: opcodeOf(body),
    decoded_opcode: null,
    ihr_disabled: internal ? info.ihrDisabled : null,
    bounce: internal ? info.bounce : null,
    bounced: internal ? info.bounced : null,
    import_fee: info.type === 'external-in' ? String(info.importFee) : null,
    message_content: content(body),
    init_state: initState,
  };
}

function renderMessage(cell, norm) {
  const message = loadMessage(cell.beginParse());
  const rendered = messageBase(base64(cell.hash()), message);
  if (norm) rendered.hash_norm = norm;
  return rendered;
}

// -------------------------------------------------------------------- transactions

const STATUS = {
  uninitialized: 'uninit',
  frozen: 'frozen',
  active: 'active',
  'non-existing': 'nonexist',
};
const CHANGE = { unchanged: 'unchanged', frozen: 'frozen', deleted: 'deleted' };
const SKIPPED = {
  'no-state': 'no_state',
  'bad-state': 'bad_state',
  'no-gas': 'no_gas',
  suspended: 'suspended',
};

function present(entries) {
  return Object.fromEntries(
    Object.entries(entries).filter(([, value]) => value !== undefined && value !== null),
  );
}

const text = (value) => (value === undefined || value === null ? undefined : String(value));
const size = (value) => ({ cells: String(value.cells), bits: String(value.bits) });

function renderCompute(phase) {
  if (phase.type === 'skipped') return { skipped: true, reason: SKIPPED[phase.reason] };
  return present({
    skipped: false,
    success: phase.success,
    msg_state_used: phase.messageStateUsed,
    account_activated: phase.accountActivated,
    gas_fees: String(phase.gasFees),
    gas_used: String(phase.gasUsed),
    gas_limit: String(phase.gasLimit),
    gas_credit: text(phase.gasCredit),
    mode: phase.mode,
    exit_code: phase.exitCode,
    exit_arg: phase.exitArg,
    vm_steps: phase.vmSteps,
    vm_init_state_hash: ZERO_HASH,
    vm_final_state_hash: ZERO_HASH,
  });
}

function renderAction(phase) {
  return present({
    success: phase.success,
    valid: phase.valid,
    no_funds: phase.noFunds,
    status_change: CHANGE[phase.statusChange],
    total_fwd_fees: text(phase.totalFwdFees),
    total_action_fees: text(phase.totalActionFees),
    result_code: phase.resultCode,
    result_arg: phase.resultArg,
    tot_actions: phase.totalActions,
    spec_actions: phase.specActions,
    skipped_actions: phase.skippedActions,
    msgs_created: phase.messagesCreated,
    action_list_hash: hashHex(phase.actionListHash),
    tot_msg_size: size(phase.totalMessageSize),
  });
}

function renderBounce(phase) {
  if (phase.type === 'negative-funds') return { type: 'negfunds' };
  const short = phase.type === 'no-funds';
  return present({
    type: short ? 'nofunds' : 'ok',
    msg_size: size(phase.messageSize),
    req_fwd_fees: short ? String(phase.requiredForwardFees) : undefined,
    msg_fees: short ? undefined : String(phase.messageFees),
    fwd_fees: short ? undefined : String(phase.forwardFees),
  });
}

function renderDescription(description) {
  const { storagePhase: storage, creditPhase: credit } = description;
  return present({
    type: 'ord',
    aborted: description.aborted,
    destroyed: description.destroyed,
    credit_first: description.creditFirst,
    storage_ph: storage
      ? present({
          storage_fees_collected: String(storage.storageFeesCollected),
          storage_fees_due: text(storage.storageFeesDue),
          status_change: CHANGE[storage.statusChange],
        })
      : undefined,
    credit_ph: credit
      ? present({
          due_fees_collected: text(credit.dueFeesCollected),
          credit: String(credit.credit.coins),
        })
      : undefined,
    compute_ph: renderCompute(description.computePhase),
    action: description.actionPhase ? renderAction(description.actionPhase) : undefined,
    bounce: description.bouncePhase ? renderBounce(description.bouncePhase) : undefined,
  });
}

/** The index keeps only the states that stood at the end of a block; of others it has the hash. */
function renderState(chain, hash) {
  const known = chain.knownStates.get(hash);
  return {
    hash,
    balance: known ? String(known.balance) : null,
    extra_currencies: known ? {} : null,
    account_status: known ? known.status : null,
    frozen_hash: null,
    data_hash: known?.dataHash ?? null,
    code_hash: known?.codeHash ?? null,
  };
}

function buildTransaction(chain, tx) {
  const cell = Cell.fromBoc(tx.boc)[0];
  const parsed = loadTransaction(cell.beginParse());
  const { inCell, outCells } = messageCells(cell);
  const final = tx.block.mcSeqno !== null;
  const external = !final && tx.trace.external ? { trace_external_hash: tx.trace.external } : {};
  return {
    account: rawUpper(tx.raw),
    hash: tx.hash,
    lt: String(tx.lt),
    now: tx.now,
    mc_block_seqno: tx.block.mcSeqno ?? 0,
    trace_id: tx.trace.id,
    ...external,
    prev_trans_hash: tx.prevHash,
    prev_trans_lt: String(tx.prevLt),
    orig_status: STATUS[parsed.oldStatus],
    end_status: STATUS[parsed.endStatus],
    total_fees: String(parsed.totalFees.coins),
    total_fees_extra_currencies: {},
    description: renderDescription(parsed.description),
    block_ref: blockId(tx.block),
    in_msg: inCell ? renderMessage(inCell, tx.inNorm) : null,
    out_msgs: outCells.map((out) => renderMessage(out, null)),
    account_state_before: renderState(chain, base64(parsed.stateUpdate.oldHash)),
    account_state_after: renderState(chain, base64(parsed.stateUpdate.newHash)),
    emulated: !final,
    finality: final ? 'finalized' : 'confirmed',
  };
}

/** Writes transactions, keeping the final ones it has written. */
export class Renderer {
  constructor(chain) {
    this.chain = chain;
    this.cache = new Map();
  }

  transaction(tx) {
    if (tx.block.mcSeqno === null) return buildTransaction(this.chain, tx);
    let rendered = this.cache.get(tx);
    if (rendered === undefined) {
      rendered = buildTransaction(this.chain, tx);
      if (this.cache.size >= CACHE_MAX) this.cache.delete(this.cache.keys().next().value);
      this.cache.set(tx, rendered);
    }
    return rendered;
  }

  /** A message as `/messages` lists it: with the transactions at both of its ends. */
  message(row) {
    const tx = row.outTx ?? row.inTx;
    const rendered = this.transaction(tx);
    const message = row.outTx ? rendered.out_msgs[row.at] : rendered.in_msg;
    const { hash_norm: norm, ...rest } = message;
    const listed = { ...rest };
    const ends = [];
    if (row.inTx) ends.push(['in_msg_tx_hash', row.inTx.hash]);
    if (row.outTx) ends.push(['out_msg_tx_hash', row.outTx.hash]);
    const { message_content: body, init_state: init, ...head } = listed;
    return {
      ...head,
      ...Object.fromEntries(ends),
      message_content: body,
      init_state: init,
      ...(norm ? { hash_norm: norm } : {}),
    };
  }
}

/** Every account an answer names, with its user-friendly address. */
export function addressBook(chain, names) {
  const book = {};
  for (const name of names) {
    if (name === null || name === undefined || book[name] !== undefined) continue;
    const address = Address.parseRaw(name);
    const { code } = unpackAccount(chain.final.get(address.toRawString()));
    const bounceable = code !== null && !WALLET_NAMES.has(base64(code.hash()));
    book[name] = {
      user_friendly: address.toString({ bounceable, urlSafe: true }),
      domain: null,
      interfaces: [],
    };
  }
  return book;
}

export function namesInTransaction(rendered) {
  const names = [rendered.account];
  for (const message of [rendered.in_msg, ...rendered.out_msgs]) {
    if (message) names.push(message.source, message.destination);
  }
  return names;
}
