import { Worker } from 'node:worker_threads';
import { BrinkError } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import type { Change, Failure, Load, LoadedRow, Reply, Request, SpoolContents } from './messages.ts';

/** Of one transaction. Beyond, the rest waits for the next. */
const GROUP_CHANGES_MAX = 512;
const GROUP_BYTES_MAX = 8 * 1024 * 1024;

interface Waiting {
  readonly change: Change;
  readonly done: (error: BrinkError | undefined) => void;
}

/**
 * `spool.db` in a thread of its own. Commits are grouped without a timer: what comes while one is on its way to the disk goes
 * together in the next. So a single frame waits for one sync, and many share it.
 */
export class Spool {
  readonly #folder: string;
  readonly #d: { clock: Clock; onCommit(changes: number, ms: number): void };
  readonly #loads = new Map<number, PromiseWithResolvers<readonly LoadedRow[]>>();
  #worker: Worker | undefined;
  #gone: Promise<void> = Promise.resolve();
  #waiting: Waiting[] = [];
  #committing: { n: number; group: Waiting[]; since: number } | undefined;
  #scheduled = false;
  #n = 0;
  #problem: string | undefined;
  #idle: (() => void)[] = [];

  constructor(config: { folder: string }, d: { clock: Clock; onCommit(changes: number, ms: number): void }) {
    this.#folder = config.folder;
    this.#d = d;
  }

  /** Why the last commit failed; for /readyz. */
  get problem(): string | undefined {
    return this.#problem;
  }
  /** Changes that are not committed yet. */
  get waiting(): number {
    return this.#waiting.length + (this.#committing?.group.length ?? 0);
  }

  /** @throws BrinkError E_STORAGE_READONLY, E_STORAGE_NEWER, E_STORAGE_CORRUPT, E_STORAGE_FULL */
  async open(): Promise<SpoolContents> {
    const worker = new Worker(new URL('./worker.ts', import.meta.url), {
      workerData: { folder: this.#folder },
      name: 'spool',
      env: {},
      // node:sqlite is a release candidate in Node 24 and says so on stderr at every start.
      execArgv: ['--disable-warning=ExperimentalWarning'],
    });
    const opened = Promise.withResolvers<SpoolContents>();
    this.#worker = worker;
    worker.on('message', (reply: Reply) => {
      if ('opened' in reply) opened.resolve(reply.opened);
      else if ('notOpened' in reply) opened.reject(errorOf(reply.notOpened));
      else this.#answered(reply);
    });
    worker.on('error', (error) => {
      this.#problem = `spool: ${error.message}`;
    });
    this.#gone = new Promise((resolve) => {
      worker.once('exit', () => {
        this.#worker = undefined;
        const error = new BrinkError('E_UNAVAILABLE', this.#problem ?? 'the thread of the spool ended');
        opened.reject(error);
        this.#failAll(error);
        resolve();
      });
    });
    return opened.promise;
  }

  /** @param done is called once, in the order of the writes; with an error none of what waited then is committed */
  write(change: Change, done: Waiting['done']): void {
    if (this.#worker === undefined) {
      queueMicrotask(() => done(new BrinkError('E_UNAVAILABLE', 'the spool is closed')));
      return;
    }
    this.#waiting.push({ change, done });
    if (this.#committing !== undefined || this.#scheduled) return;
    // What comes in this turn of the event loop, one chunk of the network, goes together.
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#commit();
    });
  }

  load(request: Omit<Load, 'n'>): Promise<readonly LoadedRow[]> {
    const n = ++this.#n;
    const answer = Promise.withResolvers<readonly LoadedRow[]>();
    if (this.#worker === undefined) answer.reject(new BrinkError('E_UNAVAILABLE', 'the spool is closed'));
    else {
      this.#loads.set(n, answer);
      this.#worker.postMessage({ load: { n, ...request } } satisfies Request);
    }
    return answer.promise;
  }

  /** Commits what was written before. */
  async close(): Promise<void> {
    while (this.#worker !== undefined && this.waiting > 0)
      await new Promise<void>((resolve) => this.#idle.push(resolve));
    this.#worker?.postMessage('stop' satisfies Request);
    await this.#gone;
  }

  #commit(): void {
    if (this.#committing !== undefined || this.#waiting.length === 0) return;
    let count = 0;
    for (let bytes = 0; count < Math.min(this.#waiting.length, GROUP_CHANGES_MAX); count++) {
      bytes += this.#waiting[count]?.change.frame?.payload.byteLength ?? 0;
      if (count > 0 && bytes > GROUP_BYTES_MAX) break;
    }
    const n = ++this.#n;
    const group = this.#waiting.splice(0, count);
    this.#committing = { n, group, since: this.#d.clock.monotonic() };
    const changes = group.map(({ change }) => change);
    this.#worker?.postMessage({ write: { n, changes } } satisfies Request);
  }

  #answered({ n, failure, rows }: Exclude<Reply, { opened: unknown } | { notOpened: unknown }>): void {
    const load = this.#loads.get(n);
    if (load !== undefined) {
      this.#loads.delete(n);
      if (failure === undefined) load.resolve(rows ?? []);
      else load.reject(errorOf(failure));
      return;
    }
    const committing = this.#committing;
    if (committing?.n !== n) return;
    if (failure !== undefined) {
      this.#problem = `spool: ${failure.code}: ${failure.detail}`;
      this.#failAll(errorOf(failure));
      return;
    }
    this.#problem = undefined;
    this.#committing = undefined;
    this.#commit();
    this.#d.onCommit(committing.group.length, this.#d.clock.monotonic() - committing.since);
    for (const { done } of committing.group) done(undefined);
    this.#tellIdle();
  }

  /** What comes later was made in the belief that this is there: all of it goes. */
  #failAll(error: BrinkError): void {
    const failed = [...(this.#committing?.group ?? []), ...this.#waiting];
    this.#committing = undefined;
    this.#waiting = [];
    for (const { done } of failed) done(error);
    for (const load of this.#loads.values()) load.reject(error);
    this.#loads.clear();
    this.#tellIdle();
  }

  #tellIdle(): void {
    if (this.waiting === 0) for (const tell of this.#idle.splice(0)) tell();
  }
}

const errorOf = ({ code, detail }: Failure) => new BrinkError(code, detail);
