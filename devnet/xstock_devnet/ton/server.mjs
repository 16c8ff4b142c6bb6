/**
 * The local TON chain as a process: one HTTP server on 127.0.0.1, one real TVM, all state in memory.
 *
 * Started by `python -m xstock_devnet.ton`, which replaces itself by this process, so that whoever
 * started it owns it and nothing is left behind. Its one argument is the options as JSON.
 */
import { createServer } from 'node:http';

import { ApiError, Query } from './answers.mjs';
import { ApiV2 } from './api_v2.mjs';
import { ApiV3 } from './api_v3.mjs';
import { Chain, Refused } from './chain.mjs';
import { Control, FAILURES } from './control.mjs';
import { Jettons } from './jettons.mjs';
import { walletV4 } from './wallets.mjs';

const BODY_BYTES_MAX = 4 * 1024 * 1024;
const FAUCET_NANOTONS = 5_000_000n * 1_000_000_000n;

async function readBody(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > BODY_BYTES_MAX) throw new ApiError(413, 'Request Entity Too Large');
    parts.push(part);
  }
  if (size === 0) return {};
  try {
    const body = JSON.parse(Buffer.concat(parts).toString());
    if (typeof body === 'object' && body !== null) return body;
  } catch {
    // said below, as for JSON that is no object
  }
  throw new ApiError(422, 'Unprocessable Entity');
}

class Service {
  constructor(chain, control) {
    this.control = control;
    this.v2 = new ApiV2(chain);
    this.v3 = new ApiV3(chain, new Jettons(chain));
  }

  async answer(request) {
    const url = new URL(request.url, 'http://127.0.0.1');
    const [, area, version, ...rest] = url.pathname.split('/');
    const name = rest.join('/');
    if (area === 'devnet') return this.devnet(request, version);
    if (area === 'api' && version === 'v3') return this.answerV3(request, name, url);
    if (area === 'api' && version === 'v2') return this.answerV2(request, name, url);
    if (area === 'healthcheck') return [200, 'OK'];
    return [404, { error: `Cannot ${request.method} ${url.pathname}` }];
  }

  async devnet(request, name) {
    const command = request.method === 'POST' ? this.control.commands[name] : undefined;
    if (command === undefined) {
      const known = Object.keys(this.control.commands).join(', ');
      return [400, { error: `command: ${request.method} ${name}; POST one of ${known}` }];
    }
    try {
      return [200, { ok: true, ...(await command(await readBody(request))) }];
    } catch (error) {
      if (error instanceof Refused || error instanceof ApiError) {
        return [400, { error: error.message }];
      }
      throw error;
    }
  }

  async answerV3(request, name, url) {
    const failure = this.control.failures.shift();
    if (failure !== undefined) return [failure, FAILURES.get(failure).v3];
    const handlers = request.method === 'POST' ? this.v3.post : this.v3.get;
    const handler = Object.hasOwn(handlers, name) ? handlers[name] : undefined;
    if (handler === undefined) return [404, { error: `Cannot ${request.method} ${url.pathname}` }];
    try {
      const given =
        request.method === 'POST' ? await readBody(request) : new Query(url.searchParams);
      return [200, await handler(given)];
    } catch (error) {
      if (error instanceof ApiError) return [error.status, { error: error.message }];
      throw error;
    }
  }

  async answerV2(request, name, url) {
    const failure = this.control.failures.shift();
    if (failure !== undefined) return [failure, FAILURES.get(failure).v2];
    try {
      let given = Object.fromEntries(url.searchParams);
      let method = name;
      let envelope = {};
      if (request.method === 'POST') given = { ...given, ...(await readBody(request)) };
      if (name === 'jsonRPC') {
        envelope = { jsonrpc: '2.0', id: given.id ?? null };
        [method, given] = [given.method, given.params ?? {}];
      }
      if (!Object.hasOwn(this.v2.methods, method)) throw new ApiError(404, 'Not Found');
      return [200, { ok: true, result: await this.v2.methods[method](given), ...envelope }];
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return [error.status, { ok: false, error: error.message, code: error.status }];
    }
  }

  async handle(request, response) {
    let status;
    let body;
    try {
      [status, body] = await this.answer(request);
    } catch (error) {
      console.error(error);
      [status, body] = [500, { error: `internal server error: ${error.message}` }];
    }
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end(text);
  }
}

async function main() {
  const options = JSON.parse(process.argv[2]);
  const chain = await Chain.create({
    globalId: options.globalId,
    finalBlocks: options.finalBlocks,
    now: Date.now,
  });
  chain.endow(walletV4(Buffer.from(options.faucetKey, 'hex')).address, FAUCET_NANOTONS);
  const control = new Control(chain, options);
  const service = new Service(chain, control);
  const server = createServer((request, response) => service.handle(request, response));
  server.keepAliveTimeout = 60_000;
  server.listen(options.port, '127.0.0.1', () => {
    console.log(`TON chain on http://127.0.0.1:${server.address().port}`);
  });
  process.on('SIGTERM', () => process.exit(0));
  process.on('SIGINT', () => process.exit(0));
  await control.tick();
}

await main();
