/**
 * The standard wallet contracts: code cells as their authors published them, told apart by hash.
 *
 * Only wallets are here: they are what `walletInformation` names and what holds the faucet's coins.
 * Sources: ton-blockchain/ton (v3), ton-blockchain/wallet-contract (v4), wallet-contract-v5,
 * highload-wallet-contract-v3. A wrong byte would show as another code hash than the one every
 * explorer shows, which a test compares.
 */
import { beginCell, Cell, contractAddress } from '@ton/core';

/** The wallet id that wallets v3 and v4 on workchain 0 are given by default. */
export const DEFAULT_WALLET_ID = 698983191;

const PUBLISHED = [
  {
    name: 'wallet v3 r1',
    hex:
      'b5ee9c720101010100620000c0ff0020dd2082014c97ba9730ed44d0d70b1fe0a4f2608308d71820d31fd31f' +
      'd31ff82313bbf263ed44d0d31fd31fd3ffd15132baf2a15144baf2a204f901541055f910f2a3f8009320d74a' +
      '96d307d402fb00e8d101a4c8cb1fcb1fcbffc9ed54',
  },
  {
    name: 'wallet v3 r2',
    hex:
      'b5ee9c720101010100710000deff0020dd2082014c97ba218201339cbab19f71b0ed44d0d31fd31f31d70bff' +
      'e304e0a4f2608308d71820d31fd31fd31ff82313bbf263ed44d0d31fd31fd3ffd15132baf2a15144baf2a204' +
      'f901541055f910f2a3f8009320d74a96d307d402fb00e8d101a4c8cb1fcb1fcbffc9ed54',
  },
  {
    name: 'wallet v4 r2',
    hex:
      'b5ee9c72010214010002d4000114ff00f4a413f4bcf2c80b01020120020f020148030602e6d001d0d3032171' +
      'b0925f04e022d749c120925f04e002d31f218210706c7567bd22821064737472bdb0925f05e003fa403020fa' +
      '4401c8ca07cbffc9d0ed44d0810140d721f404305c810108f40a6fa131b3925f07e005d33fc8258210706c75' +
      '67ba923830e30d03821064737472ba925f06e30d0405007801fa00f40430f8276f2230500aa121bef2e05082' +
      '10706c7567831eb17080185004cb0526cf1658fa0219f400cb6917cb1f5260cb3f20c98040fb0006008a5004' +
      '810108f45930ed44d0810140d720c801cf16f400c9ed540172b08e23821064737472831eb17080185005cb05' +
      '5003cf1623fa0213cb6acb1fcb3fc98040fb00925f03e2020120070e020120080d020158090a003db29dfb51' +
      '3420405035c87d010c00b23281f2fff274006040423d029be84c600201200b0c0019adce76a26840206b90eb' +
      '85ffc00019af1df6a26840106b90eb858fc00011b8c97ed44d0d70b1f80059bd242b6f6a2684080a06b90fa0' +
      '218470d4080847a4937d29910ce6903e9ff9837812801b7810148987159f318404f8f28308d71820d31fd31f' +
      'd31f02f823bbf264ed44d0d31fd31fd3fff404d15143baf2a15151baf2a205f901541064f910f2a3f80024a4' +
      'c8cb1f5240cb1f5230cbff5210f400c9ed54f80f01d30721c0009f6c519320d74a96d307d402fb00e830e021' +
      'c001e30021c002e30001c0039130e30d03a4c8cb1f12cb1fcbff10111213006ed207fa00d4d422f90005c8ca' +
      '0715cbffc9d077748018c8cb05cb0222cf165005fa0214cb6b12ccccc973fb00c84014810108f451f2a70200' +
      '70810108d718fa00d33fc8542047810108f451f2a782106e6f746570748018c8cb05cb025006cf165004fa02' +
      '14cb6a12cb1fcb3fc973fb0002006c810108d718fa00d33f305224810108f459f2a782106473747270748018' +
      'c8cb05cb025005cf165003fa0213cb6acb1f12cb3fc973fb00000af400c9ed54',
  },
  {
    name: 'wallet v5 r1',
    hex:
      'b5ee9c7201021401000281000114ff00f4a413f4bcf2c80b01020120020d020148030402dcd020d749c12091' +
      '5b8f6320d70b1f2082106578746ebd21821073696e74bdb0925f03e082106578746eba8eb48020d72101d074' +
      'd721fa4030fa44f828fa443058bd915be0ed44d0810141d721f4058307f40e6fa1319130e18040d721707fdb' +
      '3ce03120d749810280b99130e070e2100f020120050c020120060902016e07080019adce76a2684020eb90eb' +
      '85ffc00019af1df6a2684010eb90eb858fc00201480a0b0017b325fb51341c75c875c2c7e00011b262fb5134' +
      '35c280200019be5f0f6a2684080a0eb90fa02c0102f20e011e20d70b1f82107369676ebaf2e08a7f0f01e68e' +
      'f0eda2edfb218308d722028308d723208020d721d31fd31fd31fed44d0d200d31f20d31fd3ffd70a000af901' +
      '40ccf9109a28945f0adb31e1f2c087df02b35007b0f2d0845125baf2e0855036baf2e086f823bbf2d0882292' +
      'f800de01a47fc8ca00cb1f01cf16c9ed542092f80fde70db3cd81003f6eda2edfb02f404216e926c218e4c02' +
      '21d73930709421c700b38e2d01d72820761e436c20d749c008f2e09320d74ac002f2e09320d71d06c712c200' +
      '5230b0f2d089d74cd7393001a4e86c128407bbf2e093d74ac000f2e093ed55e2d20001c000915be0ebd72c08' +
      '142091709601d72c081c12e25210b1e30f20d74a111213009601fa4001fa44f828fa443058baf2e091ed44d0' +
      '810141d718f405049d7fc8ca0040048307f453f2e08b8e14038307f45bf2e08c22d70a00216e01b3b0f2d090' +
      'e2c85003cf1612f400c9ed54007230d72c08248e2d21f2e092d200ed44d0d2005113baf2d08f54503091319c' +
      '01810140d721d70a00f2e08ee2c8ca0058cf16c9ed5493f2c08de20010935bdb31e1d74cd0',
  },
  {
    name: 'highload wallet v3 r1',
    hex:
      'b5ee9c7201021001000228000114ff00f4a413f4bcf2c80b01020120020d02014803040078d020d74bc00101' +
      'c060b0915be101d0d3030171b0915be0fa4030f828c705b39130e0d31f018210ae42e5a4ba9d8040d721d74c' +
      'f82a01ed55fb04e030020120050a02027306070011adce76a2686b85ffc00201200809001aabb6ed44d08101' +
      '22d721d70b3f0018aa3bed44d08307d721d70b1f0201200b0c001bb9a6eed44d0810162d721d70b15800e5b8' +
      'bf2eda2edfb21ab09028409b0ed44d0810120d721f404f404d33fd315d1058e1bf82325a15210b99f326df82' +
      '305aa0015a112b992306dde923033e2923033e25230800df40f6fa19ed021d721d70a00955f037fdb31e0913' +
      '0e259800df40f6fa19cd001d721d70a00937fdb31e0915be270801f6f2d48308d718d121f900ed44d0d3ffd3' +
      '1ff404f404d33fd315d1f82321a15220b98e12336df82324aa00a112b9926d32de58f82301de541675f910f2' +
      'a106d0d31fd4d307d30cd309d33fd315d15168baf2a2515abaf2a6f8232aa15250bcf2a304f823bbf2a35304' +
      '800df40f6fa199d024d721d70a00f2649130e20e01fe5309800df40f6fa18e13d05004d718d20001f264c858' +
      'cf16cf8301cf168e1030c824cf40cf8384095005a1a514cf40e2f800c94039800df41704c8cbff13cb1ff400' +
      '12f40012cb3f12cb15c9ed54f80f21d0d30001f265d3020171b0925f03e0fa4001d70b01c000f2a5fa4031fa' +
      '0031f401fa0031fa00318060d721d300010f0020f265d2000193d431d19130e272b1fb00',
  },
];

/** Name to code cell. */
export const WALLET_CODES = new Map(
  PUBLISHED.map(({ name, hex }) => [name, Cell.fromBoc(Buffer.from(hex, 'hex'))[0]]),
);

/** Code hash (base64) to name. */
export const WALLET_NAMES = new Map(
  [...WALLET_CODES].map(([name, code]) => [code.hash().toString('base64'), name]),
);

/** The not yet deployed wallet v4r2 of an ed25519 public key: its address and first state. */
export function walletV4(publicKey, walletId = DEFAULT_WALLET_ID) {
  const code = WALLET_CODES.get('wallet v4 r2');
  const data = beginCell()
    .storeUint(0, 32)
    .storeUint(walletId, 32)
    .storeBuffer(publicKey)
    .storeBit(0)
    .endCell();
  return { address: contractAddress(0, { code, data }), init: { code, data } };
}

/** What `walletInformation` tells of a wallet, or null for any other contract. */
export function walletFields(code, data) {
  const name = code === null ? undefined : WALLET_NAMES.get(code.hash().toString('base64'));
  if (name === undefined) return null;
  const slice = data.beginParse();
  if (name.startsWith('highload')) return { wallet_type: name };
  if (name.startsWith('wallet v5')) slice.skip(1);
  const seqno = slice.loadUint(32);
  return { wallet_type: name, seqno, wallet_id: slice.loadUint(32) };
}
