import { chmodSync } from 'node:fs';
import { lstat, rm } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { BrinkError } from '@brink/protocol/link';
import { type Clock, systemClock } from '../clock.ts';
import { makeFolder } from '../datafolder.ts';
import type { Logger } from '../logger.ts';
import { listenError } from '../ops.ts';
import type { Part } from '../part.ts';
import { formatLinkAddress, type LinkAddress } from './address.ts';
import type { LinkHandlers, LinkOptions, LinkPeer } from './messages.ts';
import type { LinkMetrics } from './metrics.ts';
import { createLink } from './peer.ts';
import { readingIntoOneBuffer } from './reading.ts';

const CONNECTIONS_MAX = 64;
/** What `stop` gives the last bytes of its links. */
const LINGER_MS = 200;

export interface LinkServer extends Part {
  /** Where it listens; the real port after start. */
  readonly address: LinkAddress;
  readonly peers: ReadonlySet<LinkPeer>;
}

/**
 * Takes links on a unix socket (mode 0600; a stale socket is removed, a live one is E_PORT) or on TCP, where a token is required.
 * @param o `token` or `expectToken` is what a peer must present on TCP; it is never sent from here
 */
export function createLinkServer(
  o: LinkOptions & { listen: LinkAddress; connectionsMax?: number },
  d: {
    handlers: LinkHandlers;
    logger: Logger;
    clock?: Clock;
    metrics?: LinkMetrics;
    /** Called before any request of the peer is handled. */
    onPeer?: (peer: LinkPeer) => void;
    onPeerClosed?: (peer: LinkPeer, error: BrinkError) => void;
  },
): LinkServer {
  const { token: _never, expectToken: _expect, ...shared } = o;
  const expectToken = 'path' in o.listen ? undefined : (o.expectToken ?? o.token);
  const options: LinkOptions = expectToken === undefined ? shared : { ...shared, expectToken };
  const clock = d.clock ?? systemClock;
  const logger = d.logger.child({ link: formatLinkAddress(o.listen) });
  const peers = new Set<LinkPeer>();
  const sockets = new Set<Socket>();
  let server: Server | undefined;
  let address = o.listen;

  function onConnection(accepted: Socket): void {
    const socket = readingIntoOneBuffer(accepted);
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    createLink(socket, options, {
      handlers: d.handlers,
      clock,
      ...(d.metrics === undefined ? {} : { metrics: d.metrics }),
      onReady(peer) {
        peers.add(peer);
        logger.info({ peer: peer.info.service, instance: peer.info.instance }, 'link up');
        void peer.closed.then((error) => {
          peers.delete(peer);
          logger.info(
            { peer: peer.info.service, instance: peer.info.instance, code: error.code, detail: error.detail },
            'link down',
          );
          d.onPeerClosed?.(peer, error);
        });
        d.onPeer?.(peer);
      },
      onHandlerError: (error, kind) => logger.error({ err: error, kind }, 'handler failed'),
    }).catch((error: BrinkError) => logger.warn({ code: error.code, detail: error.detail }, 'connection refused'));
  }

  return {
    get address() {
      return address;
    },
    peers,
    async start() {
      if (!('path' in o.listen) && (expectToken === undefined || expectToken === '')) {
        throw new BrinkError(
          'E_SETTING',
          `listening on ${formatLinkAddress(o.listen)} needs a token: BRINK_LINK_TOKEN_FILE`,
        );
      }
      if ('path' in o.listen) await clearSocket(o.listen.path);
      const listening = createServer({ noDelay: true, pauseOnConnect: true }, onConnection);
      listening.maxConnections = o.connectionsMax ?? CONNECTIONS_MAX;
      listening.on('drop', () => logger.warn({ connections_max: listening.maxConnections }, 'connection dropped'));
      address = await listen(listening, o.listen);
      server = listening;
    },
    async stop() {
      const stopping = server;
      server = undefined;
      if (stopping === undefined) return;
      for (const peer of peers) peer.close();
      const limit = clock.setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, LINGER_MS);
      for (const socket of sockets) socket.end();
      await new Promise<void>((resolve) => stopping.close(() => resolve()));
      clock.clearTimeout(limit);
    },
  };
}

function listen(server: Server, on: LinkAddress): Promise<LinkAddress> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error, formatLinkAddress(on))));
    server.listen(on, () =>
      resolve('path' in on ? on : { host: on.host, port: (server.address() as AddressInfo).port }),
    );
    // The socket is bound when `listen` returns; nobody else's turn comes between. What went wrong comes as 'error'.
    if ('path' in on && server.listening) chmodSync(on.path, 0o600);
  });
}

/** @throws BrinkError E_PORT when somebody listens there, or when it is no socket */
async function clearSocket(path: string): Promise<void> {
  await makeFolder(dirname(path), 0o700);
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) throw new BrinkError('E_PORT', `${path} exists and is no socket`);
  if (await answers(path)) throw new BrinkError('E_PORT', `${path} is already in use`);
  await rm(path, { force: true });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // ECONNREFUSED: nobody listens. Anything else (EAGAIN: its backlog is full, EACCES) is a live one.
    socket.once('error', (error: NodeJS.ErrnoException) =>
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT'),
    );
  });
}
