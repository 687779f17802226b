import { Worker } from 'node:worker_threads';
import { BrinkError } from '@brink/protocol';
import { type Clock, onlyCompileCache, type Timer } from '@brink/runtime';
import type { Answer, Ask, Change, Failure, Load, LoadedRow, Reply, Request, SpoolContents } from './messages.ts';

/** Of one transaction. Beyond, the rest waits for the next. */
const GROUP_CHANGES_MAX = 512;
const GROUP_BYTES_MAX = 8 * 1024 * 1024;
/** Before a thread that could not be started is tried again. */
const AGAIN_MS = 1000;

interface Waiting {
  readonly change: Change;
  readonly done: (error: BrinkError | undefined) => void;
}

export interface SpoolConfig {
  folder: string;
  worker?: SpoolWorker | undefined;
}

/** For tests: another module in place of the thread's own, and its command line. */
export interface SpoolWorker {
  readonly module: URL;
  readonly argv: readonly string[];
}

export interface SpoolDeps {
  clock: Clock;
  onCommit(changes: number, ms: number): void;
  /** The thread ended by itself; another takes its place. */
  onRestart(): void;
}

/**
 * `spool.db` in a thread of its own. Commits are grouped without a timer: what comes while one is on its way to the disk goes
 * together in the next. So a single frame waits for one sync, and many share it.
 *
 * A thread that ends by itself (out of memory, a bug) is replaced. Groups are numbered and the number is committed with each, so
 * it is known whether the one that was on its way is there; what was written meanwhile goes on.
 */
export class Spool {
  readonly #config: SpoolConfig;
  readonly #d: SpoolDeps;
  readonly #asked = new Map<number, PromiseWithResolvers<readonly LoadedRow[]>>();
  #worker: Worker | undefined;
  #gone: Promise<void> = Promise.resolve();
  /** broken: there is no thread, and the last attempt to start one failed. */
  #state: 'closed' | 'opening' | 'open' | 'broken' = 'closed';
  #again: Timer | undefined;
  #waiting: Waiting[] = [];
  #committing: { n: number; group: Waiting[]; since: number } | undefined;
  #scheduled = false;
  #lastGroup = 0;
  #lastRequest = 0;
  #problem: string | undefined;
  /** Since the disk was full, until a frame was committed or a probe found room. */
  #full = false;
  #idle: (() => void)[] = [];

  constructor(config: SpoolConfig, d: SpoolDeps) {
    this.#config = config;
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
    const contents = await this.#startThread();
    this.#lastGroup = contents.lastGroup;
    this.#state = 'open';
    return contents;
  }

  /** @param done is called once, in the order of the writes; with an error none of what waited then is committed */
  write(change: Change, done: Waiting['done']): void {
    if (this.#state === 'closed' || this.#state === 'broken') {
      queueMicrotask(() => done(this.#noThread()));
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

  /** @throws BrinkError E_UNAVAILABLE: the thread ended before it answered */
  load(request: Load): Promise<readonly LoadedRow[]> {
    return this.#ask({ load: request });
  }

  /** After a write failed: resolves when frames can be taken again. @throws BrinkError E_STORAGE_FULL, E_UNAVAILABLE */
  async probe(): Promise<void> {
    await this.#ask('probe');
    this.#well();
  }

  /** Commits what was written before. */
  async close(): Promise<void> {
    while (this.#state !== 'closed' && this.#state !== 'broken' && this.waiting > 0)
      await new Promise<void>((resolve) => this.#idle.push(resolve));
    this.#state = 'closed';
    if (this.#again !== undefined) this.#d.clock.clearTimeout(this.#again);
    this.#post('stop');
    await this.#gone;
  }

  #startThread(): Promise<SpoolContents> {
    const { folder, worker: other } = this.#config;
    const worker = new Worker(other?.module ?? new URL('./worker.ts', import.meta.url), {
      workerData: { folder },
      argv: [...(other?.argv ?? [])],
      name: 'spool',
      env: onlyCompileCache(),
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
    let why = 'it ended';
    worker.on('error', (error) => {
      why = error.message;
    });
    this.#gone = new Promise((resolve) => {
      worker.once('exit', () => {
        this.#worker = undefined;
        opened.reject(new BrinkError('E_UNAVAILABLE', `the thread of the spool: ${why}`));
        if (this.#state === 'open') this.#ended(why);
        resolve();
      });
    });
    return opened.promise;
  }

  #ask(ask: Ask): Promise<readonly LoadedRow[]> {
    if (this.#state !== 'open') return Promise.reject(this.#noThread());
    const n = ++this.#lastRequest;
    const answer = Promise.withResolvers<readonly LoadedRow[]>();
    this.#asked.set(n, answer);
    this.#post({ n, ask });
    return answer.promise;
  }

  #post(request: Request): void {
    this.#worker?.postMessage(request);
  }

  #noThread(): BrinkError {
    return new BrinkError('E_UNAVAILABLE', this.#problem ?? 'the spool is closed');
  }

  #ended(why: string): void {
    this.#problem = `spool: its thread: ${why}`;
    this.#d.onRestart();
    const error = this.#noThread();
    for (const { reject } of this.#asked.values()) reject(error);
    this.#asked.clear();
    void this.#reopen();
  }

  async #reopen(): Promise<void> {
    this.#again = undefined;
    this.#state = 'opening';
    try {
      const { lastGroup } = await this.#startThread();
      if (this.#closing()) return;
      this.#state = 'open';
      this.#problem = undefined;
      this.#settleGroup(lastGroup);
    } catch (reason) {
      if (this.#closing()) return;
      const error = BrinkError.from(reason);
      this.#problem = `spool: ${error.code}: ${error.detail}`;
      this.#state = 'broken';
      this.#failAll(error);
      this.#again = this.#d.clock.setTimeout(() => void this.#reopen(), AGAIN_MS);
    }
  }

  #closing(): boolean {
    return this.#state === 'closed';
  }

  /** The thread ended while a group was on its way: it is there, or it is not. */
  #settleGroup(lastGroup: number): void {
    const committing = this.#committing;
    this.#lastGroup = lastGroup;
    if (committing === undefined) this.#commit();
    else if (committing.n === lastGroup) this.#committed();
    else this.#failAll(new BrinkError('E_UNAVAILABLE', 'the thread of the spool ended before it had committed'));
  }

  #commit(): void {
    if (this.#state !== 'open' || this.#committing !== undefined || this.#waiting.length === 0) return;
    let count = 0;
    for (let bytes = 0; count < Math.min(this.#waiting.length, GROUP_CHANGES_MAX); count++) {
      bytes += this.#waiting[count]?.change.frame?.payload.byteLength ?? 0;
      if (count > 0 && bytes > GROUP_BYTES_MAX) break;
    }
    const n = ++this.#lastGroup;
    const group = this.#waiting.splice(0, count);
    this.#committing = { n, group, since: this.#d.clock.monotonic() };
    this.#post({ write: { n, changes: group.map(({ change }) => change) } });
  }

  #answered(reply: Answer): void {
    const { failure } = reply;
    if ('group' in reply) {
      if (this.#committing?.n !== reply.group) return;
      if (failure === undefined) this.#committed();
      else {
        this.#problem = `spool: ${failure.code}: ${failure.detail}`;
        this.#full ||= failure.code === 'E_STORAGE_FULL';
        this.#failAll(errorOf(failure));
      }
      return;
    }
    const asked = this.#asked.get(reply.asked);
    this.#asked.delete(reply.asked);
    if (failure !== undefined) asked?.reject(errorOf(failure));
    else asked?.resolve(reply.rows ?? []);
  }

  #committed(): void {
    const committing = this.#committing;
    if (committing === undefined) return;
    // That rows can be taken out of a full disk says nothing about room for new ones.
    if (!this.#full || committing.group.some(({ change }) => change.frame !== undefined)) this.#well();
    this.#committing = undefined;
    this.#commit();
    this.#d.onCommit(committing.group.length, this.#d.clock.monotonic() - committing.since);
    for (const { done } of committing.group) done(undefined);
    this.#tellIdle();
  }

  #well(): void {
    this.#problem = undefined;
    this.#full = false;
  }

  /** What comes later was made in the belief that this is there: all of it goes. */
  #failAll(error: BrinkError): void {
    const failed = [...(this.#committing?.group ?? []), ...this.#waiting];
    this.#committing = undefined;
    this.#waiting = [];
    for (const { done } of failed) done(error);
    this.#tellIdle();
  }

  #tellIdle(): void {
    if (this.waiting === 0) for (const tell of this.#idle.splice(0)) tell();
  }
}

const errorOf = ({ code, detail }: Failure) => new BrinkError(code, detail);
