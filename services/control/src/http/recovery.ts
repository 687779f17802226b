import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BrinkError, RECOVERY_FILE, RecoverySchema } from '@brink/protocol';
import type { Clock, Logger, Part, Timer } from '@brink/runtime';
import type { Audit } from './audit.ts';
import type { Tokens } from './tokens.ts';

const LOOK_EVERY_MS = 500;
const FILE_BYTES_MAX = 4096;
/** Long enough to make a token for every day with it. */
const VALID_MS = 86_400_000;

/**
 * The way back in for who lost every token: `brink tokens recover` leaves the hash of a new one in control's data folder, which only the
 * owner of the box can write. It is good for everything for a day, and stands in the audit.
 */
export function createRecovery(
  o: { readonly dataDir: string },
  d: { readonly tokens: Pick<Tokens, 'adopt'>; readonly audit: Pick<Audit, 'write'>; clock: Clock; logger: Logger },
): Part {
  const file = join(o.dataDir, RECOVERY_FILE);
  let timer: Timer | undefined;
  let running: Promise<void> = Promise.resolve();
  let stopped = true;

  async function take(): Promise<void> {
    const bytes = await readFile(file).catch(() => undefined);
    if (bytes === undefined) return;
    // Not twice, whatever comes of it.
    await rm(file, { force: true });
    if (bytes.length > FILE_BYTES_MAX) throw new BrinkError('E_TOO_LARGE', `${file} has ${bytes.length} bytes`);
    const { id, sha256, name } = RecoverySchema.parse(JSON.parse(bytes.toString('utf8')));
    const now = d.clock.now();
    await d.tokens.adopt({
      ...{ id, sha256, name, scopes: ['admin'] },
      ...{ created_by: 'box', created_ms: now, expires_ms: now + VALID_MS },
    });
    d.logger.warn({ token: id, name }, 'a token for everything was made on this box (brink tokens recover)');
    await d.audit.write({
      at: new Date(now).toISOString(),
      who: { kind: 'box', name: 'box', address: file },
      ...{ method: 'POST', path: '/v1/tokens', status: 201, request: `recover.${id}` },
      detail: { token: id, name, scopes: ['admin'] },
    });
  }

  function look(): void {
    running = take()
      .catch((error: unknown) => d.logger.error({ detail: BrinkError.from(error).detail }, 'token not recovered'))
      .then(() => {
        if (!stopped) timer = d.clock.setTimeout(look, LOOK_EVERY_MS);
      });
  }

  return {
    start() {
      stopped = false;
      look();
      return Promise.resolve();
    },
    async stop() {
      stopped = true;
      if (timer !== undefined) d.clock.clearTimeout(timer);
      await running;
    },
  };
}
