import { randomBytes } from 'node:crypto';
import { mkdir, rename, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { BrinkError, type FleetStatus, isErrorCode, type ModelPolicy } from '@brink/protocol';
import { type Clock, type Logger, type Part, wait } from '@brink/runtime';
import { unpackModel } from './archive.ts';
import { type AddedModel, addModelFrom } from './checker.ts';

interface UploadRequest {
  readonly name: string;
  /** undefined: the passport's, or the next one. */
  readonly version: number | undefined;
  readonly bytes: AsyncIterable<Uint8Array>;
  /** How long to wait for what inference says of it. */
  readonly waitMs: number;
  readonly signal: AbortSignal;
}

/** `not-loaded`: the policy says which versions are, and this is none of them. `unknown`: no inference is online to say. */
type UploadState = 'ready' | 'loading' | 'not-loaded' | 'unknown';

interface Uploaded extends AddedModel {
  readonly state: UploadState;
}

/** Models that come over HTTP. One at a time: each may take as much room as there is. */
export interface ModelUploads extends Part {
  /**
   * Unpacks, checks (passport, hashes, graph), puts it into the models folder, and waits until inference has loaded it with its golden
   * test. What fails there is taken out of the folder again: what served before goes on.
   * Rejects E_ARCHIVE, E_PASSPORT, E_MODEL_…: what is wrong with it; E_CONFLICT (the version is there), E_BUSY (another upload),
   * E_TOO_LARGE, E_STORAGE_FULL, E_STORAGE_READONLY.
   */
  take(request: UploadRequest): Promise<Uploaded>;
}

const LOOK_MS = 50;
/** Until inference has noticed that a version is gone. */
const GONE_MS_MAX = 5000;

type Announced = NonNullable<FleetStatus['models']>[number];

export function createModelUploads(
  o: { readonly dataDir: string; readonly modelsDir: string; readonly mbMax: number },
  d: {
    readonly clock: Clock;
    readonly logger: Logger;
    readonly services: () => readonly FleetStatus[];
    readonly policy: (name: string) => ModelPolicy | undefined;
  },
): ModelUploads {
  const folder = join(o.dataDir, 'uploads');
  let busy = false;

  async function take(request: UploadRequest): Promise<Uploaded> {
    const staging = join(folder, randomBytes(8).toString('hex'));
    try {
      await mkdir(staging, { recursive: true });
      const given = await unpackModel(request.bytes, staging, o.mbMax * 2 ** 20);
      const { name, version } = request;
      const added = await addModelFrom(given, { modelsDir: o.modelsDir, name, version, mbMax: o.mbMax });
      d.logger.info({ model: added.name, version: added.version, bytes: added.bytes }, 'model added over HTTP');
      return { ...added, state: await verdict(added, request) };
    } finally {
      await rm(staging, { recursive: true, force: true });
    }
  }

  async function verdict(added: AddedModel, { waitMs, signal }: UploadRequest): Promise<UploadState> {
    if (!isLoaded(added, d.policy(added.name))) return 'not-loaded';
    const until = d.clock.monotonic() + waitMs;
    let state = stateNow(added);
    while (state === 'loading' && d.clock.monotonic() < until) {
      await wait(LOOK_MS, d.clock, signal);
      state = stateNow(added);
    }
    if (typeof state === 'object') throw await takenBack(added, state);
    return state;
  }

  /** @returns what says that it failed, where something does */
  function stateNow(added: AddedModel): UploadState | Announced {
    const said = announced(added);
    const failed = said.find(({ state }) => state === 'failed');
    if (failed !== undefined) return failed;
    if (said.length > 0 && said.every(({ state }) => state === 'ready')) return 'ready';
    return inferenceOnline(d.services()).length === 0 ? 'unknown' : 'loading';
  }

  const announced = ({ name, version }: AddedModel): Announced[] =>
    inferenceOnline(d.services()).flatMap(({ models = [] }) =>
      models.filter((model) => model.name === name && model.version === version),
    );

  /** @returns why: the caller throws it once nothing of the version is left */
  async function takenBack(added: AddedModel, { reason = '' }: Announced): Promise<BrinkError> {
    const of = join(o.modelsDir, added.name);
    const away = join(of, `.removing-${added.version}-${randomBytes(6).toString('hex')}`);
    await rename(join(of, String(added.version)), away);
    await rm(away, { recursive: true, force: true });
    await rmdir(of).catch(() => {});
    // So that the same number, tried again, is not judged by what is still said of this one.
    const until = d.clock.monotonic() + GONE_MS_MAX;
    while (announced(added).length > 0 && d.clock.monotonic() < until) await wait(LOOK_MS, d.clock);
    const [, code = '', detail = reason] = /^(E_[A-Z_]+): (.*)$/s.exec(reason) ?? [];
    return new BrinkError(isErrorCode(code) ? code : 'E_MODEL_RUN', `not taken: ${detail}`);
  }

  return {
    async start() {
      // What a kill left.
      await rm(folder, { recursive: true, force: true });
    },
    async stop() {},
    async take(request) {
      if (busy) throw new BrinkError('E_BUSY', 'another model is being uploaded', { retryAfterMs: 1000 });
      busy = true;
      try {
        return await take(request);
      } finally {
        busy = false;
      }
    },
  };
}

const inferenceOnline = (services: readonly FleetStatus[]) =>
  services.filter(({ service, state }) => service === 'inference' && state === 'online');

/** `latest` is the highest, which a new version need not be; then inference says nothing of it, and the answer is `loading`. */
function isLoaded({ version }: AddedModel, policy: ModelPolicy | undefined): boolean {
  const { versions = 'all', serve } = policy ?? {};
  return !Array.isArray(versions) || versions.includes(version) || serve === version;
}
