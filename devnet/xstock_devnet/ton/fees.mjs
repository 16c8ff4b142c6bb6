/** estimateFee: what an external message would cost its account now, by running it. */
import { beginCell, Cell, external, loadTransaction, storeMessage } from '@ton/core';

import { ApiError, parseAddress } from './answers.mjs';

function parseCell(text, name) {
  try {
    return text ? Cell.fromBase64(text) : null;
  } catch {
    throw new ApiError(422, `${name}: not a valid bag of cells`);
  }
}

export async function estimateFee(chain, body) {
  if (typeof body?.address !== 'string') throw new ApiError(422, 'address is required');
  const to = parseAddress(body.address, 'address');
  const code = parseCell(body.init_code, 'init_code');
  const data = parseCell(body.init_data, 'init_data');
  const init = code && data ? { code, data } : undefined;
  const content = parseCell(body.body, 'body') ?? Cell.EMPTY;
  const message = beginCell().store(storeMessage(external({ to, init, body: content }))).endCell();
  const result = await chain.estimate(to, message, body.ignore_chksig !== false);
  if (!result.success) {
    const code = result.vmResults?.vmExitCode;
    throw new ApiError(500, code === undefined ? result.error : `Exit code ${code} != 0`);
  }
  const tx = loadTransaction(Cell.fromBase64(result.transaction).beginParse());
  const { storagePhase, computePhase, actionPhase } = tx.description;
  const gas = computePhase.type === 'vm' ? computePhase.gasFees : 0n;
  const storage = storagePhase?.storageFeesCollected ?? 0n;
  const forward = actionPhase?.totalFwdFees ?? 0n;
  const action = actionPhase?.totalActionFees ?? 0n;
  const imported = tx.totalFees.coins - gas - storage - action;
  return {
    source_fees: {
      in_fwd_fee: Number(imported),
      storage_fee: Number(storage),
      gas_fee: Number(gas),
      fwd_fee: Number(forward),
    },
    destination_fees: [],
  };
}
