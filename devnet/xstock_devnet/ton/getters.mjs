/** How a getter is named: by its number, or by a name whose number is a checksum of it. */
import { ApiError } from './answers.mjs';

const CRC16_POLYNOMIAL = 0x1021;

function crc16(text) {
  let crc = 0;
  for (const byte of Buffer.from(text)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit += 1) {
      crc = crc & 0x8000 ? ((crc << 1) ^ CRC16_POLYNOMIAL) & 0xffff : (crc << 1) & 0xffff;
    }
  }
  return crc;
}

/** The number of a getter (FunC and Tolk: the name's CRC-16 with bit 16 set). */
export function methodId(method) {
  if (Number.isInteger(method)) return method;
  if (typeof method !== 'string' || method === '') throw new ApiError(422, 'method is required');
  return /^-?\d+$/.test(method) ? Number(method) : crc16(method) | 0x10000;
}
