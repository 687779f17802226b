import { BrinkError, type ErrorCode } from '@brink/protocol';
import { z } from 'zod';
import { boundHeapGrowth } from './heap.ts';
import { createLogger, type Logger } from './logger.ts';
import { logSettings, readSettings } from './settings.ts';

export interface Service {
  start(signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
}

// sysexits.h: 69 unavailable, 70 software, 75 temporary failure, 78 configuration.
const EXIT_CODES: Partial<Record<ErrorCode, number>> = {
  E_CONFIG: 78,
  E_SETTING: 78,
  E_STORAGE_READONLY: 78,
  E_STORAGE_NEWER: 78,
  E_PASSPORT: 78,
  E_LOCKED: 75,
  E_PORT: 69,
  E_BROKER: 69,
};

/** The exit status for an error that kept a service from starting. */
export function exitCodeOf(error: BrinkError): number {
  return EXIT_CODES[error.code] ?? 70;
}

/**
 * The edge of a process: settings from the environment, signals, exit status. The only place that ends the process.
 * SIGTERM and SIGINT stop the service (10 s at most) and exit 0; a second one exits at once. With BRINK_PARENT_PIPE=1 the end of
 * stdin means the same: the parent has gone, even by kill -9.
 */
export async function runMain(o: {
  service: string;
  create(env: NodeJS.ProcessEnv, logger: Logger): Service | Promise<Service>;
  /** default 10,000 */
  stopMsMax?: number;
}): Promise<never> {
  boundHeapGrowth();
  const stopMsMax = o.stopMsMax ?? 10_000;
  const starting = new AbortController();
  let service: Service | undefined;
  let logger: Logger | undefined;
  let ending = false;

  async function end(why: string): Promise<void> {
    if (ending) process.exit(130);
    ending = true;
    starting.abort(new BrinkError('E_CANCELLED', why));
    logger?.info({ why }, 'stopping');
    const limit = setTimeout(() => {
      logger?.fatal({ limit_ms: stopMsMax }, 'did not stop in time');
      process.exit(70);
    }, stopMsMax);
    try {
      await service?.stop();
      clearTimeout(limit);
      logger?.info({}, 'stopped');
      process.exit(0);
    } catch (error) {
      logger?.fatal({ err: error }, 'stopping failed');
      process.exit(70);
    }
  }

  function fatal(error: unknown, what: string): never {
    if (logger === undefined) process.stderr.write(`brink ${o.service}: ${line(BrinkError.from(error))}\n`);
    else logger.fatal({ err: error }, what);
    process.exit(70);
  }

  process.on('uncaughtException', (error) => fatal(error, 'uncaught exception'));
  process.on('unhandledRejection', (error) => fatal(error, 'unhandled rejection'));
  process.on('SIGTERM', () => void end('SIGTERM'));
  process.on('SIGINT', () => void end('SIGINT'));
  if (process.env['BRINK_PARENT_PIPE'] === '1') followParent(() => void end('the parent has gone'));

  try {
    const log = readSettings(z.object(logSettings), process.env);
    logger = createLogger({ service: o.service, level: log.BRINK_LOG_LEVEL, pretty: log.BRINK_LOG_PRETTY });
    service = await o.create(process.env, logger);
    await service.start(starting.signal);
  } catch (reason) {
    if (!ending) {
      const error = BrinkError.from(reason);
      process.stderr.write(`brink ${o.service}: ${line(error)}\n`);
      // An error that nobody foresaw needs its stack; those of the table say enough in one line.
      if (error.code === 'E_INTERNAL') logger?.fatal({ err: reason }, 'start failed');
      const limit = setTimeout(() => process.exit(exitCodeOf(error)), stopMsMax);
      await service?.stop().catch(() => {});
      clearTimeout(limit);
      process.exit(exitCodeOf(error));
    }
  }
  // The process ends in `end` or `fatal`, not because a service happens to wait for nothing.
  setInterval(() => {}, 2 ** 30);
  return new Promise<never>(() => {});
}

const line = (error: BrinkError) => `${error.code}: ${error.detail.replace(/\s*\n\s*/g, '; ')}`;

function followParent(gone: () => void): void {
  let told = false;
  const once = () => {
    if (!told) gone();
    told = true;
  };
  process.stdin.on('end', once).on('close', once).on('error', once);
  process.stdin.resume();
}
