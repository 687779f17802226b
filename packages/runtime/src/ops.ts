import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { BrinkError } from '@brink/protocol';
import { Gauge, type Registry } from 'prom-client';
import type { Logger } from './logger.ts';
import type { Part } from './part.ts';

const READY = 'brink_ready';

/**
 * /livez (the process answers), /readyz (200 or 503, with the problems), /metrics. Plain node:http: three answers need no framework.
 * @throws BrinkError E_PORT at start when the address is taken
 */
export function createOps(
  o: { host: string; port: number },
  d: {
    registry: Registry;
    /** Why it is not ready. */
    problems: () => string[];
    /** What a person should know though it is ready, as a configuration that was refused. */
    notes?: () => string[];
    logger: Logger;
  },
): Part & { readonly address: { host: string; port: number } } {
  let port = o.port;
  // Alarms look at figures, not at /readyz. Built twice on one registry, it is still one figure.
  d.registry.removeSingleMetric(READY);
  new Gauge({
    name: READY,
    help: '1: ready; 0: not, and /readyz says why',
    registers: [d.registry],
    collect() {
      this.set(d.problems().length === 0 ? 1 : 0);
    },
  });
  const server = createServer({ requestTimeout: 5000, headersTimeout: 5000, keepAliveTimeout: 5000 }, answer);

  function answer({ method, url = '/' }: IncomingMessage, response: ServerResponse): void {
    if (method !== 'GET' && method !== 'HEAD') {
      json(response, 405, { code: 'E_METHOD', detail: `${method}; expected GET` });
      return;
    }
    switch (url.split('?', 1)[0]) {
      case '/livez':
        json(response, 200, { live: true });
        return;
      case '/readyz': {
        const problems = d.problems();
        const ready = problems.length === 0;
        const notes = d.notes?.() ?? [];
        json(response, ready ? 200 : 503, { ready, problems, ...(notes.length === 0 ? {} : { notes }) });
        return;
      }
      case '/metrics':
        void metrics(response);
        return;
      default:
        json(response, 404, { code: 'E_NOT_FOUND', detail: 'expected /livez, /readyz or /metrics' });
    }
  }

  async function metrics(response: ServerResponse): Promise<void> {
    try {
      const text = await d.registry.metrics();
      response.writeHead(200, { 'content-type': d.registry.contentType }).end(text);
    } catch (error) {
      d.logger.error({ err: error }, 'metrics cannot be collected');
      json(response, 500, { code: 'E_INTERNAL', detail: 'metrics cannot be collected' });
    }
  }

  return {
    get address() {
      return { host: o.host, port };
    },
    start: () =>
      new Promise((resolve, reject) => {
        server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error, `${o.host}:${o.port}`)));
        server.listen({ host: o.host, port: o.port }, () => {
          port = (server.address() as AddressInfo).port;
          resolve();
        });
      }),
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(body));
}

/** What went wrong at `listen`, in Brink's words. @param where host:port or the path of a socket */
export function listenError(error: NodeJS.ErrnoException, where: string): BrinkError {
  switch (error.code) {
    case 'EADDRINUSE':
      return new BrinkError('E_PORT', `${where} is already in use`, { cause: error });
    case 'EACCES':
    case 'EPERM':
      return new BrinkError('E_PORT', `${where}: not allowed to listen there`, { cause: error });
    default:
      return new BrinkError('E_PORT', `${where}: ${error.message}`, { cause: error });
  }
}
