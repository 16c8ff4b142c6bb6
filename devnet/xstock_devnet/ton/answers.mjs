/**
 * Reading requests: addresses, hashes, numbers, stacks; and the errors toncenter answers with.
 *
 * A v3 error is `{"error": text}` under its HTTP status, a v2 error
 * `{"ok": false, "error": text, "code": status}`; both carry the same texts.
 */
import { Address, Cell, parseTuple } from '@ton/core';

export const LIMIT_DEFAULT = 10;
export const LIMIT_MAX = 1000;
const INT64_MAX = (1n << 63n) - 1n;

/** An answer that is not 200. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The words of the indexer's request parser for a parameter it cannot read. */
const unreadable = (name) =>
  new ApiError(422, `failed to decode: schema: error converting value for "${name}"`);

export function parseAddress(text, name) {
  try {
    return Address.parse(text);
  } catch {
    throw unreadable(name);
  }
}

/** A hash in hex, base64 or base64url, as the base64 text this chain keys by. */
export function parseHash(text, name) {
  const bytes = /^(0x)?[0-9a-fA-F]{64}$/.test(text)
    ? Buffer.from(text.replace(/^0x/, ''), 'hex')
    : Buffer.from(text.replaceAll('-', '+').replaceAll('_', '/').replaceAll(' ', '+'), 'base64');
  if (bytes.length !== 32) throw unreadable(name);
  return bytes.toString('base64');
}

/** Query parameters by the types the API documents; unknown ones are ignored, as there. */
export class Query {
  constructor(parameters) {
    this.parameters = parameters;
  }

  text(name) {
    return this.parameters.get(name) || undefined;
  }

  integer(name) {
    const text = this.text(name);
    if (text === undefined) return undefined;
    if (!/^-?\d+$/.test(text) || BigInt(text) > INT64_MAX) throw unreadable(name);
    return BigInt(text);
  }

  seqno(name) {
    const value = this.integer(name);
    return value === undefined ? undefined : Number(value);
  }

  flag(name) {
    return ['true', '1'].includes(this.text(name) ?? '');
  }

  texts(name) {
    return this.parameters
      .getAll(name)
      .flatMap((value) => value.split(','))
      .filter((value) => value !== '');
  }

  addresses(name) {
    return this.texts(name).map((text) => parseAddress(text, name).toRawString());
  }

  address(name) {
    const text = this.text(name);
    return text === undefined ? undefined : parseAddress(text, name).toRawString();
  }

  hash(name) {
    const text = this.text(name);
    return text === undefined ? undefined : parseHash(text, name);
  }

  hashes(name) {
    return this.texts(name).map((text) => parseHash(text, name));
  }

  opcode(name) {
    const text = this.text(name);
    if (text === undefined) return undefined;
    if (!/^(0x[0-9a-fA-F]{1,8}|-?\d+)$/.test(text)) throw unreadable(name);
    return `0x${BigInt.asUintN(32, BigInt(text)).toString(16).padStart(8, '0')}`;
  }

  /** The page to cut out of a result: limit, offset and direction. */
  page() {
    const limit = this.seqno('limit') ?? LIMIT_DEFAULT;
    if (limit > LIMIT_MAX) {
      throw new ApiError(422, `limit is not allowed: ${limit} > ${LIMIT_MAX}`);
    }
    const sort = this.text('sort') ?? 'desc';
    if (!['asc', 'desc'].includes(sort)) {
      throw new ApiError(422, 'wrong value for sort parameter');
    }
    return { limit: Math.max(limit, 1), offset: this.seqno('offset') ?? 0, sort };
  }
}

/** Cut the asked page out of rows that are sorted ascending. */
export function cut(rows, { limit, offset, sort }) {
  const ordered = sort === 'asc' ? rows : rows.toReversed();
  return ordered.slice(offset, offset + limit);
}

// -------------------------------------------------------------------- stacks

function parseNumber(value) {
  const text = String(value).trim();
  const negative = text.startsWith('-');
  const magnitude = BigInt(negative ? text.slice(1) : text);
  return negative ? -magnitude : magnitude;
}

/** A stack as v3 and v2 take it: `{type, value}` or `[type, value]` entries. */
export function parseStack(entries) {
  return (entries ?? []).map((entry) => {
    const [type, value] = Array.isArray(entry) ? entry : [entry?.type, entry?.value];
    const kind = String(type).replace('tvm.', '').toLowerCase();
    try {
      if (kind === 'num' || kind === 'int') return { type: 'int', value: parseNumber(value) };
      if (kind === 'cell') return { type: 'cell', cell: Cell.fromBase64(value) };
      if (kind === 'slice') return { type: 'slice', cell: Cell.fromBase64(value) };
    } catch {
      throw new ApiError(422, `failed to parse stack entry of type: ${type}`);
    }
    throw new ApiError(500, `unsupported stack parameter type: ${type}`);
  });
}

export const hexNumber = (value) =>
  value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;

function stackEntry(item) {
  switch (item.type) {
    case 'int':
      return { type: 'num', value: hexNumber(item.value) };
    case 'nan':
      return { type: 'num', value: 'NaN' };
    case 'cell':
      return { type: 'cell', value: item.cell.toBoc().toString('base64') };
    case 'slice':
    case 'builder':
      return { type: 'slice', value: item.cell.toBoc().toString('base64') };
    case 'tuple':
      return { type: 'tuple', value: item.items.map(stackEntry) };
    default:
      return { type: 'list', value: [] };
  }
}

/** A getter's result stack as v3 writes it. */
export function renderStack(stackBoc) {
  return parseTuple(Cell.fromBase64(stackBoc)).map(stackEntry);
}

/** The one cell of an external message; raises ApiError with a lite server's words. */
export function parseExternal(boc) {
  const cause = 'LITE_SERVER_UNKNOWN: cannot apply external message to current state : ';
  let cells;
  try {
    cells = Cell.fromBoc(Buffer.from(boc, 'base64'));
  } catch {
    cells = [];
  }
  if (cells.length !== 1) {
    throw new ApiError(
      500,
      `${cause}failed to parse external message external message is not a valid bag of cells`,
    );
  }
  const slice = cells[0].beginParse(true);
  if (slice.remainingBits < 2 || slice.preloadUint(2) !== 2) {
    throw new ApiError(
      500,
      `${cause}failed to parse external message external message must begin with ext_in_msg_info$10`,
    );
  }
  return cells[0];
}
