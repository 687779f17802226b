import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { BrinkError, type PublishedConfiguration, PublishedConfigurationSchema } from '@brink/protocol';
import type { Logger } from '@brink/runtime';
import { planOf, type SitePlan } from '../ingest/plan.ts';

const CONFIGURATION_BYTES_MAX = 8 * 1024 * 1024;

/**
 * The configuration that is in force: what control publishes, applied whole or not at all, and kept on disk so that the
 * gateway starts without control and without the broker's retained message.
 */
export function createAppliedConfiguration(
  config: { path: string; spoolAgeMsMax: number },
  d: {
    logger: Logger;
    /** Throws where what the plan needs beside it is not there. */
    check?(plan: SitePlan): void;
    onApply(plan: SitePlan): void;
  },
) {
  let revision: string | undefined;
  let error: string | undefined;
  let last: Buffer | undefined;
  let saving: Promise<void> = Promise.resolve();

  function apply(bytes: Uint8Array): PublishedConfiguration {
    const published = parse(bytes);
    const plan = planOf(published, config.spoolAgeMsMax);
    d.check?.(plan);
    revision = plan.revision;
    error = undefined;
    d.onApply(plan);
    return published;
  }

  /** One after the other, by rename, so that the file is whole at every moment. A failure costs the next start, not this run. */
  function save(bytes: Uint8Array): void {
    saving = saving.then(async () => {
      try {
        await mkdir(dirname(config.path), { recursive: true });
        await writeFile(`${config.path}.new`, bytes);
        await rename(`${config.path}.new`, config.path);
      } catch (reason) {
        d.logger.error(
          { path: config.path, detail: BrinkError.from(reason).detail },
          'the applied configuration could not be kept',
        );
      }
    });
  }

  return {
    /** From the last run. A file that cannot be used is left aside: control sends the configuration anyway. */
    async load(): Promise<void> {
      const bytes = await readFile(config.path).catch(() => undefined);
      if (bytes === undefined) return;
      try {
        apply(bytes);
        last = bytes;
        d.logger.info({ revision }, 'configuration of the last run is in force');
      } catch (reason) {
        d.logger.warn(
          { path: config.path, detail: BrinkError.from(reason).detail },
          'the kept configuration cannot be used',
        );
      }
    },

    /** The retained message of control. Never throws: what is wrong stands in `error`, and the one before stays in force. */
    receive(bytes: Uint8Array): void {
      try {
        const before = revision;
        const kept = Buffer.from(bytes);
        apply(kept);
        if (revision !== before) d.logger.info({ revision }, 'configuration is in force');
        // Which devices are approved comes with it, and changes without it.
        if (last?.equals(kept) === true) return;
        last = kept;
        save(kept);
      } catch (reason) {
        const problem = BrinkError.from(reason, 'E_CONFIG');
        error = `${problem.code}: ${problem.detail}`;
        d.logger.error({ code: problem.code, detail: problem.detail, in_force: revision }, 'configuration refused');
      }
    },

    /** Resolves when the last revision is on disk. */
    saved: () => saving,
    get revision() {
      return revision;
    },
    /** Why the last one that came was refused. */
    get error() {
      return error;
    },
    /** For /readyz. */
    get problem() {
      if (error !== undefined) return `configuration refused, the one before is in force: ${error}`;
      return revision === undefined ? 'no configuration yet' : undefined;
    },
  };
}

export type AppliedConfiguration = ReturnType<typeof createAppliedConfiguration>;

/** @throws BrinkError E_CONFIG with every issue */
function parse(bytes: Uint8Array): PublishedConfiguration {
  if (bytes.byteLength > CONFIGURATION_BYTES_MAX) {
    throw new BrinkError(
      'E_CONFIG',
      `the configuration has ${bytes.byteLength} bytes; expected at most ${CONFIGURATION_BYTES_MAX}`,
    );
  }
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch (reason) {
    throw new BrinkError('E_CONFIG', `the configuration is not JSON: ${BrinkError.from(reason).detail}`, {
      cause: reason,
    });
  }
  const published = PublishedConfigurationSchema.safeParse(json);
  if (published.success) return published.data;
  const problems = published.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
  throw new BrinkError('E_CONFIG', problems.slice(0, 20).join('; '));
}
