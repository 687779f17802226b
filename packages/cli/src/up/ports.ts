import { createServer } from 'node:net';
import { BrinkError } from '@brink/protocol';
import { type Clock, wait } from '@brink/runtime';

export interface WantedPort {
  readonly port: number;
  /** `MQTT`, for the message. */
  readonly use: string;
  /** Where it will be listened at; 0.0.0.0: everywhere. */
  readonly host: string;
  /** `--mqtt-port` */
  readonly option: string;
}

/** Children of a `brink up` that was killed a moment ago need this long to notice. */
const PATIENCE_MS = 2000;

/**
 * Proves that nobody listens where the services will, before any of them is started.
 * @throws BrinkError E_PORT naming each port that is taken, what it is for, and which option chooses another
 */
export async function checkPorts(wanted: readonly WantedPort[], clock: Clock, signal: AbortSignal): Promise<void> {
  const until = clock.monotonic() + PATIENCE_MS;
  for (;;) {
    const free = await Promise.all(wanted.map(isFree));
    const taken = wanted.filter((_, at) => free[at] === false);
    if (taken.length === 0) return;
    if (clock.monotonic() > until) throw new BrinkError('E_PORT', describe(taken));
    await wait(100, clock, signal);
  }
}

function describe(taken: readonly WantedPort[]): string {
  const hosts = [...new Set(taken.map(({ host }) => host))].join(' and ');
  const options = [...new Set(taken.map(({ option }) => option))].join(', ');
  const [one] = taken;
  if (one !== undefined && taken.length === 1) {
    return `port ${one.port} (${one.use}) is already in use on ${one.host}; stop what uses it, or choose another with ${options}`;
  }
  const ports = taken.map(({ port }) => port).join(', ');
  return `ports ${ports} are already in use on ${hosts}; is Brink running already? Stop it, or choose others with ${options}`;
}

function isFree({ host, port }: WantedPort): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
