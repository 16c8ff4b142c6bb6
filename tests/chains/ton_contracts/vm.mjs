// The contracts' tests' hands: TON's own virtual machine behind JSON lines.
//
// One request a line on stdin, {"do": name, "with": {...}}, one answer a line on stdout, {"ok": …}
// or {"error": text}. It builds cells, signs and sends what it is told, lies included; what ought to
// come of it is the tests' affair. A message may come from any address: that is how look-alikes
// speak. `hold` keeps every message after the first in a queue, so that a test can look between two
// transactions. Not the local chain: no blocks, no API.
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(import.meta.url);
const { Address, beginCell, Cell, contractAddress, Dictionary } = require("@ton/core");
const { keyPairFromSeed, sign } = require("@ton/crypto");
const { Blockchain, createShardAccount, Executor, internal } = require("@ton/sandbox");

const DAY = 86400;
const START = 20_000 * DAY + 100;
const MILLION_TON = 10n ** 15n;
const NAMED_LOGS = {
  0x78737001: ["BurnedToBridge", ["destination", 32, "counter", 64, "amount", 64, "asset", 256, "recipient", 256]],
  0x78737002: ["Released", ["source", 32, "nonce", 256, "amount", 64, "recipient", 256, "paid_to", 256]],
  0x78737003: ["Cancelled", ["source", 32, "nonce", 256]],
  0x78737004: ["ReleaseSkipped", ["source", 32, "nonce", 256, "reason", 8]],
  0x78737005: ["MintParked", ["source", 32, "nonce", 256, "amount", 64, "recipient", 256, "paid_to", 256]],
  0x78737006: ["Redirected", ["source", 32, "nonce", 256, "recipient", 256, "paid_to", 256]],
  0x78737007: ["Paused", ["until", 32, "pause_count", 32, "by", 256]],
  0x78737008: ["GuardsChanged", ["epoch", 32, "threshold", 8, "count", 8]],
  0x78737009: ["ChangeProposed", ["action", 256, "ready_at", 32]],
  0x7873700a: ["ChangeApplied", ["action", 256, "kind", 8]],
  0x7873700b: ["LaneOpened", ["destination", 32, "kind", 8]],
  0x7873700c: ["BalanceLow", []],
  0xac392598: ["display_multiplier_changed", []],
};

const hash = (text) => createHash("sha256").update(text).digest();
const key = (name) => keyPairFromSeed(hash(`key ${name}`));
const big = (bytes) => BigInt(`0x${bytes.toString("hex")}`);
const U32 = Dictionary.Keys.Uint(32);

let executor;
let world;

// ------------------------------------------------------------------------- addresses

const accountHash = (name) => big(hash(`account ${name}`));

/** "bridge", "wallet:alice", "-1:alice" (masterchain), or a name, whose account has no code. */
function addressOf(name) {
  if (name === "bridge") return world.bridge;
  if (name.startsWith("wallet:")) return walletOf(addressOf(name.slice(7)));
  const [workchain, owner] = name.startsWith("-1:") ? [-1, name.slice(3)] : [0, name];
  const address = new Address(workchain, hash(`account ${owner}`));
  world.names.set(address.toRawString(), name);
  return address;
}

function walletOf(owner) {
  const data = beginCell().storeCoins(0).storeAddress(owner).storeAddress(world.bridge).endCell();
  const address = contractAddress(0, { code: world.walletCode, data });
  world.names.set(address.toRawString(), `wallet:${nameOf(owner)}`);
  return address;
}

const nameOf = (address) =>
  address ? (world.names.get(address.toRawString()) ?? address.toRawString()) : null;

/** An account hash from a name, "bridge", or a number in text. */
function account(value) {
  if (/^(0x|\d)/.test(value)) return BigInt(value);
  return big(addressOf(value).hash);
}

// ----------------------------------------------------------------------------- cells

function dict(keyBits, entries, store) {
  const value = { serialize: (v, builder) => store(builder, v), parse: () => undefined };
  const filled = Dictionary.empty(Dictionary.Keys.BigUint(keyBits), value);
  for (const [k, v] of entries) filled.set(BigInt(k), v);
  return filled;
}

const guardsDict = (names) =>
  dict(8, names.map((name, i) => [i, big(key(name).publicKey)]), (b, v) => b.storeUint(v, 256));

function itemCell(item, next) {
  const cell = beginCell()
    .storeUint(item.action, 8)
    .storeUint(item.source, 32)
    .storeUint(BigInt(item.nonce), 256)
    .storeUint(account(item.recipient), 256)
    .storeUint(BigInt(item.amount), 64);
  if (item.burned_at !== null) cell.storeUint(BigInt(item.burned_at), 64);
  return cell.storeMaybeRef(next).endCell();
}

function itemsCell(items, { version = 1, count = items.length } = {}) {
  const first = items.reduceRight((next, item) => itemCell(item, next), null);
  return beginCell().storeUint(version, 8).storeUint(count, 8).storeRef(first).endCell();
}

/** `lies` replaces any field of what is signed. */
function digestHead(op, deadline, lies) {
  return beginCell()
    .storeUint(op, 32)
    .storeInt(lies.global_id ?? -239, 32)
    .storeUint(lies.domain ?? 6, 32)
    .storeUint(account(lies.bridge ?? "bridge"), 256)
    .storeUint(lies.epoch ?? world.epoch, 32)
    .storeUint(BigInt(lies.signed_deadline ?? deadline), 64);
}

/** signers: [[guard index, name of the key]]. */
function signatureList(signers, digest, lastCarries = null) {
  return signers.reduceRight((next, [guard, name]) => {
    const signature = sign(digest, key(name).secretKey);
    return beginCell().storeUint(guard, 8).storeBuffer(signature).storeMaybeRef(next).endCell();
  }, lastCarries);
}

function actionCell({ kind, ...of }) {
  const cell = beginCell().storeUint(kind, 8);
  if (kind === 1) cell.storeUint(of.pause_count, 32);
  if (kind === 2) cell.storeUint(of.epoch, 32).storeUint(of.threshold, 8).storeDict(of.entries
    ? dict(8, of.entries.map(([i, name]) => [i, big(key(name).publicKey)]), (b, v) => b.storeUint(v, 256))
    : guardsDict(of.guards));
  if (kind === 3 || kind === 5) cell.storeAddress(addressOf(of.account));
  if (kind === 4) {
    cell.storeUint(BigInt(of.minimum), 64).storeUint(BigInt(of.capacity), 64);
    cell.storeUint(BigInt(of.refill), 64);
  }
  return cell.endCell();
}

function burnPayload({ op = 0x78736231, destination, recipient, refund_to = null, tail_bits = 0 }) {
  const cell = beginCell().storeUint(op, 32).storeUint(destination, 32);
  cell.storeUint(account(recipient), 256);
  if (refund_to !== null) cell.storeUint(account(refund_to), 256);
  return cell.storeUint(0, tail_bits).endCell();
}

const bits = (text) => [...text].reduce((cell, bit) => cell.storeBit(bit === "1"), beginCell());
const head = (op, of) => beginCell().storeUint(op, 32).storeUint(of.query_id ?? 7, 64);
const keyed = (op, of) => head(op, of).storeUint(of.source, 32).storeUint(BigInt(of.nonce), 256);
const tag = (of) => beginCell()
  .storeUint(of.source, 32).storeUint(BigInt(of.nonce), 256)
  .storeUint(account(of.pay_to), 256).storeUint(account(of.excess_to), 256);

const BODIES = {
  empty: () => beginCell().endCell(),
  raw: (of) => Cell.fromBase64(of.boc),
  release: (of) => {
    const items = itemsCell(of.items, of);
    const lies = of.lies ?? {};
    const signed = lies.items ? itemsCell(lies.items, of) : items;
    const digest = digestHead(lies.op ?? 0x78730001, of.deadline, lies).storeRef(signed).endCell();
    return head(0x78730001, of).storeUint(BigInt(of.deadline), 64).storeRef(items)
      .storeRef(signatureList(of.signers, digest.hash()))
      .storeBuilder(bits(of.known ?? "")).endCell();
  },
  pause: (of) => {
    const cell = head(0x78730005, of).storeUint(BigInt(of.deadline), 64);
    if (!of.signers.length) return cell.storeMaybeRef(null).endCell();
    return cell.storeMaybeRef(pauseSignatures(0x78730005, of)).endCell();
  },
  confirm_pause: (of) =>
    head(0x78730006, of).storeUint(BigInt(of.deadline), 64)
      .storeRef(pauseSignatures(0x78730006, of)).endCell(),
  retry: (of) => keyed(0x78730003, of).endCell(),
  redirect: (of) => keyed(0x78730004, of).storeUint(account(of.pay_to), 256).endCell(),
  propose: (of) => head(0x78730007, of).storeRef(actionCell(of.action)).endCell(),
  apply: (of) => head(0x78730008, of).storeRef(actionCell(of.action)).endCell(),
  withdraw: (of) => head(0x78730009, of).storeBuffer(actionCell(of.action).hash()).endCell(),
  open_lane: (of) => head(0x7873000a, of).storeUint(of.destination, 32).storeUint(of.kind, 8).endCell(),
  set_display_multiplier: (of) => head(0x7873000b, of)
    .storeVarUint(BigInt(of.numerator), 5).storeVarUint(BigInt(of.denominator), 5).endCell(),
  mint_ack: (of) => head(0x78730002, { query_id: of.burned_at ?? 0 })
    .storeCoins(BigInt(of.units)).storeBuilder(tag(of)).endCell(),
  provide_wallet_address: (of) =>
    head(0x2c76b973, of).storeAddress(addressOf(of.owner)).storeBit(of.include).endCell(),
  burn: (of) => head(0x595f07bc, of).storeCoins(BigInt(of.units))
    .storeAddress(addressOf(of.response)).storeMaybeRef(of.payload ? burnPayload(of.payload) : null)
    .endCell(),
  burn_notification: (of) => head(0x7bdd97de, of).storeCoins(BigInt(of.units))
    .storeAddress(addressOf(of.owner)).storeAddress(addressOf(of.owner))
    .storeMaybeRef(burnPayload(of.payload)).endCell(),
  transfer: (of) => {
    const cell = head(0x0f8a7ea5, of).storeCoins(BigInt(of.units)).storeAddress(addressOf(of.to))
      .storeAddress(addressOf(of.response)).storeMaybeRef(null).storeCoins(BigInt(of.forward ?? 0));
    return (of.bare ? cell : cell.storeBit(0)).endCell();
  },
  internal_transfer: (of) => head(0x178d4519, of).storeCoins(BigInt(of.units))
    .storeAddress(of.from ? addressOf(of.from) : null).storeAddress(null).storeCoins(0)
    .storeBit(0).endCell(),
};

function pauseSignatures(op, of) {
  const lies = of.lies ?? {};
  const digest = digestHead(op, of.deadline, lies).storeUint(lies.pause_count ?? of.pause_count, 32);
  return signatureList(of.signers, digest.endCell().hash());
}

// ----------------------------------------------------------------------- deployments

function bridgeData(of, walletCode) {
  const display = beginCell().storeVarUint(1, 5).storeVarUint(1, 5).endCell();
  const governance = beginCell().storeAddress(addressOf("admin")).storeAddress(addressOf("agent"))
    .storeUint(of.delay, 32).storeUint(0, 32).storeMaybeRef(null).storeMaybeRef(null)
    .storeRef(display).endCell();
  const config = beginCell().storeBuffer(hash("asset")).storeUint(0, 32).storeUint(of.decimals, 8)
    .storeUint(1, 32).storeUint(of.threshold, 8).storeUint(of.guards.length, 8)
    .storeDict(guardsDict(of.guards)).storeRef(walletCode)
    .storeRef(beginCell().storeUint(1, 8).endCell()).storeRef(governance).endCell();
  const lanes = dict(32, of.lanes, (b, kind) => b.storeUint(kind, 8).storeUint(0, 64));
  const side = beginCell().storeMaybeRef(null).storeMaybeRef(null).storeDict(lanes).endCell();
  return beginCell().storeCoins(0).storeUint(BigInt(of.capacity), 64)
    .storeUint(BigInt(of.refill), 64).storeUint(BigInt(of.capacity), 64).storeUint(0, 32)
    .storeUint(0, 32).storeUint(BigInt(of.minimum), 64).storeBit(0).storeUint(0, 32)
    .storeMaybeRef(null).storeMaybeRef(null).storeRef(side).storeRef(config).endCell();
}

async function newWorld(of) {
  executor ??= await Executor.create();
  const chain = await Blockchain.create({ executor });
  chain.now = START;
  const walletCode = Cell.fromBase64(of.codes.Wallet);
  world = { chain, walletCode, names: new Map(), epoch: 1, queue: null };
  const init = { code: Cell.fromBase64(of.codes.Bridge), data: bridgeData(of, walletCode) };
  world.bridge = contractAddress(0, init);
  world.names.set(world.bridge.toRawString(), "bridge");
  world.snapshots = [];
  const result = await chain.sendMessage(internal({
    from: addressOf("admin"), to: world.bridge, value: BigInt(of.balance), bounce: false,
    stateInit: init, body: beginCell().endCell(),
  }));
  return {
    bridge: big(world.bridge.hash), asset: big(hash("asset")), now: START,
    transactions: result.transactions.map(shown),
  };
}

// -------------------------------------------------------------------------- outcomes

function shownLog(body) {
  const slice = body.beginParse();
  const [name, fields] = NAMED_LOGS[slice.loadUint(32)];
  const log = { name };
  for (let i = 0; i < fields.length; i += 2) log[fields[i]] = slice.loadUintBig(fields[i + 1]);
  if (name === "BalanceLow") log.balance = slice.loadCoins();
  if (name === "BurnedToBridge") {
    const parties = slice.loadRef().beginParse();
    Object.assign(log, { sender: parties.loadUintBig(256), refund_to: parties.loadUintBig(256) });
  }
  if (name === "display_multiplier_changed") {
    Object.assign(log, { numerator: slice.loadVarUintBig(5), denominator: slice.loadVarUintBig(5) });
    slice.loadBit();
  }
  return log;
}

function shown(tx) {
  const { description, inMessage } = tx;
  const compute = description.computePhase;
  const slice = inMessage.body.beginParse();
  return {
    to: nameOf(inMessage.info.dest),
    from: nameOf(inMessage.info.src),
    op: slice.remainingBits >= 32 ? slice.loadUint(32) : 0,
    value: inMessage.info.value?.coins ?? 0n,
    bounced: inMessage.info.bounced ?? false,
    aborted: description.aborted,
    exit: compute?.type === "vm" ? compute.exitCode : null,
    gas: compute?.type === "vm" ? compute.gasUsed : 0n,
    action: description.actionPhase ? description.actionPhase.resultCode : null,
    skipped_actions: description.actionPhase ? description.actionPhase.skippedActions : 0,
    bounce: description.bouncePhase?.type ?? null,
    fees: tx.totalFees.coins,
    wallet_known: slice.remainingBits >= 66 ? slice.skip(64).preloadUint(2) !== 0 : false,
    outs: [...tx.outMessages.values()].filter((m) => m.info.type === "internal").length,
    logs: [...tx.outMessages.values()].filter((m) => m.info.type === "external-out")
      .map((m) => shownLog(m.body)),
  };
}

async function drain(limit) {
  const seen = [];
  while (world.queue && seen.length < limit) {
    const { value, done } = await world.queue.next();
    if (done) world.queue = null;
    else seen.push(shown(value));
  }
  return seen;
}

function cellCount(cell, seen = new Set()) {
  const id = cell.hash().toString("hex");
  if (seen.has(id)) return seen.size;
  seen.add(id);
  for (const ref of cell.refs) cellCount(ref, seen);
  return seen.size;
}

async function dataOf(name) {
  const state = (await world.chain.getContract(addressOf(name))).accountState;
  return state?.type === "active" ? state.state.data : null;
}

const ARGUMENTS = {
  number: (v) => ({ type: "int", value: BigInt(v) }),
  address: (v) => ({ type: "slice", cell: beginCell().storeAddress(addressOf(v)).endCell() }),
  keys: (v) => ({
    type: "cell",
    cell: v.reduceRight(
      (next, [source, nonce]) =>
        beginCell().storeUint(source, 32).storeUint(BigInt(nonce), 256).storeMaybeRef(next).endCell(),
      null,
    ),
  }),
};

function shownItem(item) {
  if (item.type === "int") return item.value;
  if (item.type === "null") return null;
  if (item.type === "cell") return { cells: cellCount(item.cell), hash: big(item.cell.hash()) };
  if (item.type === "slice") return nameOf(item.cell.beginParse().loadAddress());
  throw new Error(`no way to show a ${item.type}`);
}

// -------------------------------------------------------------------------- commands

const COMMANDS = {
  world: newWorld,
  /** Sends one internal message; all that follows too, unless `hold`. */
  send: async ({ from, to, value, body, hold = false, bounce = true }) => {
    const [[kind, of]] = Object.entries(body);
    const message = internal({
      from: addressOf(from), to: addressOf(to), value: BigInt(value), bounce, body: BODIES[kind](of),
    });
    world.queue = await world.chain.sendMessageIter(message);
    return drain(hold ? 1 : Infinity);
  },
  drain: ({ limit = null }) => drain(limit ?? Infinity),
  /** Sends the first wallet answer of a held queue with another value: prices that rose. */
  get: async ({ of = "bridge", method, args = [] }) => {
    const stack = args.map(([kind, value]) => ARGUMENTS[kind](value));
    const answer = await world.chain.runGetMethod(addressOf(of), method, stack);
    return answer.stack.map(shownItem);
  },
  wallet: async ({ owner }) => {
    const data = await dataOf(`wallet:${owner}`);
    return data === null ? null : data.beginParse().loadCoins();
  },
  balance: async ({ of }) => (await world.chain.getContract(addressOf(of))).balance,
  set_balance: async ({ of, nano }) => {
    (await world.chain.getContract(addressOf(of))).balance = BigInt(nano);
  },
  /** Puts an account there whose code throws at any message. */
  break_account: async ({ of }) => {
    const at = addressOf(of);
    const code = Cell.fromBase64("te6ccgEBAQEABAAABPLAZA==");
    world.broken = (await world.chain.getContract(at)).account;
    const state = { address: at, code, data: beginCell().endCell(), balance: 10n ** 9n };
    await world.chain.setShardAccount(at, createShardAccount(state));
  },
  mend_account: async ({ of }) => world.chain.setShardAccount(addressOf(of), world.broken),
  account: ({ of }) => account(of),
  key: ({ of }) => big(key(of).publicKey),
  action: ({ action }) => big(actionCell(action).hash()),
  epoch: ({ epoch }) => { world.epoch = epoch; },
  warp: ({ seconds }) => { world.chain.now += seconds; return world.chain.now; },
  cells: async ({ of }) => cellCount(await dataOf(of)),
  digest: ({ items, deadline }) => {
    const cell = digestHead(0x78730001, deadline, {}).storeRef(itemsCell(items)).endCell();
    return { hash: big(cell.hash()), boc: cell.toBoc().toString("base64") };
  },
  snapshot: () => world.snapshots.push({ state: world.chain.snapshot(), epoch: world.epoch }) - 1,
  restore: async ({ number }) => {
    const { state, epoch } = world.snapshots[number];
    await world.chain.loadFrom(state);
    Object.assign(world, { epoch, queue: null });
  },
};

const text = (value) =>
  JSON.stringify(value, (_, v) => (typeof v === "bigint" ? `@@${v}@@` : v))
    .replace(/"@@(-?\d+)@@"/g, "$1");

for await (const line of createInterface({ input: process.stdin })) {
  try {
    const request = JSON.parse(line);
    const ok = (await COMMANDS[request.do](request.with)) ?? null;
    process.stdout.write(`${text({ ok })}\n`);
  } catch (error) {
    process.stdout.write(`${text({ error: String(error.stack ?? error) })}\n`);
  }
}
