/**
 * The control API: `POST /devnet/<command>`, for drivers, chaos and tests; never for services.
 *
 * Answers `{"ok": true, …}`, or 400 `{"error": field, value, remedy}`. Commands are those that all
 * local chains share, and `fail`: let the next API answers be one of toncenter's own errors.
 */
import { Address } from '@ton/core';

import { parseHash } from './answers.mjs';
import { Refused } from './chain.mjs';

const POLL_MS = 10;
const AMOUNT_MAX = 1n << 100n;
const BLOCKS_MAX = 10_000;
const FUND_MS_MAX = 30_000;

/** Errors toncenter answers when it is asked too much or its lite servers do not answer. */
export const FAILURES = new Map([
  [429, { v3: { error: 'Ratelimit exceed' }, v2: { ok: false, result: 'Ratelimit exceed', code: 429 } }],
  [504, both(504, 'LITE_SERVER_NETWORK timeout')],
  [542, both(542, 'LITE_SERVER_NOTREADY: block is not applied')],
]);

function both(code, error) {
  return { v3: { error }, v2: { ok: false, error, code } };
}

function integer(body, field, { least = 0, most, otherwise } = {}) {
  const value = body[field] ?? otherwise;
  const wellFormed = Number.isInteger(value) && value >= least && (most === undefined || value <= most);
  if (!wellFormed) {
    const range = most === undefined ? `at least ${least}` : `${least} to ${most}`;
    throw new Refused(`${field}: ${JSON.stringify(body[field])}; give an integer, ${range}`);
  }
  return value;
}

function flag(body, field) {
  if (typeof body[field] !== 'boolean') {
    throw new Refused(`${field}: ${JSON.stringify(body[field])}; give true or false`);
  }
  return body[field];
}

function address(body) {
  try {
    return Address.parse(body.address);
  } catch {
    throw new Refused(
      `address: ${JSON.stringify(body.address)}; give a raw (0:…) or user-friendly address`,
    );
  }
}

function amount(body) {
  if (typeof body.amount === 'number' && !Number.isSafeInteger(body.amount)) {
    throw new Refused(`amount: ${body.amount}; give a number of this size as text`);
  }
  const text = String(body.amount ?? '');
  if (!/^\d+$/.test(text) || BigInt(text) === 0n || BigInt(text) > AMOUNT_MAX) {
    throw new Refused(`amount: ${JSON.stringify(body.amount)}; give nanotons, 1 to 2^100`);
  }
  return BigInt(text);
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Control {
  constructor(chain, { blockMs, automine }) {
    this.chain = chain;
    this.blockMs = blockMs;
    this.automine = automine;
    this.failures = [];
    this.commands = {
      mine: (body) => this.mine(body),
      automine: (body) => this.setAutomine(body),
      finalize: () => this.finalize(),
      freeze_finality: (body) => this.freezeFinality(body),
      reorg: (body) => this.reorg(body),
      drop_tx: (body) => this.dropTx(body),
      break_finality: (body) => this.breakFinality(body),
      fund: (body) => this.fund(body),
      warp: (body) => this.warp(body),
      fail: (body) => this.fail(body),
      state: () => this.state(),
    };
  }

  /** Make blocks by the clock for as long as the process lives. */
  async tick() {
    for (;;) {
      const started = Date.now();
      if (this.automine) await this.chain.exclusively(() => this.chain.mine());
      await pause(Math.max(0, this.blockMs - (Date.now() - started)));
    }
  }

  async mine(body) {
    const blocks = integer(body, 'blocks', { least: 1, most: BLOCKS_MAX, otherwise: 1 });
    await this.chain.exclusively(async () => {
      for (let made = 0; made < blocks; made += 1) await this.chain.mine();
    });
    return this.heights();
  }

  setAutomine(body) {
    this.automine = flag(body, 'on');
    return { automine: this.automine };
  }

  async finalize() {
    await this.chain.exclusively(() => this.chain.commitTo(this.chain.shardTip().seqno));
    return this.heights();
  }

  async freezeFinality(body) {
    await this.chain.exclusively(() => {
      this.chain.frozen = flag(body, 'on');
    });
    return { frozen: this.chain.frozen };
  }

  async reorg(body) {
    const depth = integer(body, 'depth', { least: 1 });
    const dropped = await this.chain.exclusively(() => this.chain.reorg(depth));
    return { dropped, ...this.heights() };
  }

  async dropTx(body) {
    let hash;
    try {
      hash = parseHash(String(body.tx), 'tx');
    } catch {
      throw new Refused(`tx: ${JSON.stringify(body.tx)}; give a hash in base64 or hex`);
    }
    const message = await this.chain.exclusively(() => this.chain.dropTx(hash));
    return { message_hash: message, ...this.heights() };
  }

  async breakFinality(body) {
    const depth = integer(body, 'depth', { least: 1 });
    await this.chain.exclusively(() => this.chain.breakFinality(depth));
    return this.heights();
  }

  /** Give coins; answers once they are final, or at once if nothing makes blocks final. */
  async fund(body) {
    const [to, coins] = [address(body), amount(body)];
    const hash = await this.chain.exclusively(() => this.chain.give(to, coins));
    const started = Date.now();
    while (this.automine && !this.chain.frozen && !this.chain.txsByMessage.has(hash)) {
      if (Date.now() - started > FUND_MS_MAX) {
        throw new Refused(`address: ${body.address}; its coins went with lost blocks, fund again`);
      }
      await pause(POLL_MS);
    }
    return { message_hash: hash };
  }

  warp(body) {
    this.chain.warped += integer(body, 'seconds', { least: 0 });
    return { time: this.chain.time() };
  }

  fail(body) {
    const status = integer(body, 'status');
    if (!FAILURES.has(status)) {
      throw new Refused(`status: ${status}; give one of ${[...FAILURES.keys()].join(', ')}`);
    }
    const count = integer(body, 'count', { least: 1, most: BLOCKS_MAX, otherwise: 1 });
    this.failures.push(...Array.from({ length: count }, () => status));
    return { failures: this.failures.length };
  }

  heights() {
    return { master_seqno: this.chain.tip().seqno, shard_seqno: this.chain.shardTip().seqno };
  }

  state() {
    return {
      ...this.heights(),
      time: this.chain.time(),
      automine: this.automine,
      frozen: this.chain.frozen,
      pending_blocks: this.chain.pendingBlocks().length,
      pending_messages: this.chain.mempool.size + this.chain.queue.length,
      transactions: this.chain.txByHash.size,
      accounts: this.chain.head.size,
      global_id: this.chain.globalId,
      memory_bytes: process.memoryUsage().rss,
    };
  }
}
