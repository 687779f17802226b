import type { Clock, Timer } from '@brink/runtime';

/** One frame as it is kept: masked, without metadata. */
export interface KeptFrame {
  readonly device: string;
  readonly stream: string;
  readonly boot: string;
  readonly seq: number;
  /** The gateway's clock, ms since 1970. */
  readonly receivedMs: number;
  readonly type: string;
  readonly bytes: Uint8Array;
  /** Of audio, whose bytes are samples of 16 bits, one channel. */
  readonly rateHz?: number | undefined;
}

export type RingEnd = 'age' | 'source_bytes' | 'total_bytes';

interface Row {
  readonly frame: KeptFrame;
  readonly source: Source;
  gone: boolean;
}

/** One device's stream. */
interface Source {
  readonly rows: Row[];
  readonly ids: Set<string>;
  bytes: number;
}

const SWEEP_MS = 250;
/** What a kept frame takes beside its bytes: its buffer, its row, its id (measured: some 500 bytes). */
const ROW_BYTES = 512;

/**
 * The last seconds of every stream that keeps them, in memory. Bounded three times: by age per stream, by bytes per device and
 * stream, and by bytes in all; the oldest goes first.
 */
export class Ring {
  readonly #config: RingConfig;
  readonly #d: RingDeps;
  readonly #sources = new Map<string, Source>();
  /** All of them in the order in which they came. */
  #all: Row[] = [];
  #frames = 0;
  #bytes = 0;
  #timer: Timer | undefined;

  constructor(config: RingConfig, d: RingDeps) {
    this.#config = config;
    this.#d = d;
  }

  get frames(): number {
    return this.#frames;
  }
  get bytes(): number {
    return this.#bytes;
  }

  /** @returns false where it is there already, is too old, or would never fit */
  add(frame: KeptFrame): boolean {
    const { clock, keepMs } = this.#d;
    const size = sizeOf(frame);
    if (clock.now() - frame.receivedMs > keepMs(frame.stream)) return false;
    if (size > Math.min(this.#config.sourceBytesMax, this.#config.bytesMax)) return false;
    const key = `${frame.device}/${frame.stream}`;
    const source = this.#sources.get(key) ?? { rows: [], ids: new Set(), bytes: 0 };
    if (source.ids.has(idOf(frame))) return false;
    this.#sources.set(key, source);
    const row = this.#insert(frame, source);
    this.#makeRoom(source);
    this.#timer ??= clock.setTimeout(() => this.#sweep(), SWEEP_MS);
    return !row.gone;
  }

  /** Whether anything of it is kept. */
  holds(device: string, stream: string): boolean {
    return this.#sources.has(`${device}/${stream}`);
  }

  /** Frames of one device's stream, received from … to, in their order. */
  between(device: string, stream: string, fromMs: number, toMs: number): KeptFrame[] {
    const rows = this.#sources.get(`${device}/${stream}`)?.rows ?? [];
    return rows.map(({ frame }) => frame).filter(({ receivedMs }) => receivedMs >= fromMs && receivedMs <= toMs);
  }

  /** Nothing of this stream is kept any longer: it is masked otherwise now, or gone. */
  forget(stream: string): void {
    for (const [key, { rows }] of this.#sources) {
      if (rows[0]?.frame.stream !== stream) continue;
      for (const row of [...rows]) this.#remove(row);
      this.#sources.delete(key);
    }
    this.#all = this.#all.filter(({ gone }) => !gone);
  }

  /** Nothing of this device is kept any longer. */
  forgetDevice(device: string): void {
    for (const [key, { rows }] of this.#sources) {
      if (rows[0]?.frame.device !== device) continue;
      for (const row of [...rows]) this.#remove(row);
      this.#sources.delete(key);
    }
    this.#all = this.#all.filter(({ gone }) => !gone);
  }

  stop(): void {
    if (this.#timer !== undefined) this.#d.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#sources.clear();
    this.#all = [];
    this.#frames = 0;
    this.#bytes = 0;
  }

  /** In the order of arrival: a picture that had to be masked comes a little later than one behind it that had not. */
  #insert(frame: KeptFrame, source: Source): Row {
    const { rows } = source;
    let at = rows.length;
    while (at > 0 && (rows[at - 1] as Row).frame.receivedMs > frame.receivedMs) at -= 1;
    const row: Row = { frame, source, gone: false };
    rows.splice(at, 0, row);
    source.ids.add(idOf(frame));
    this.#all.push(row);
    this.#frames += 1;
    source.bytes += sizeOf(frame);
    this.#bytes += sizeOf(frame);
    return row;
  }

  #makeRoom(source: Source): void {
    while (source.bytes > this.#config.sourceBytesMax) this.#evict(source.rows[0] as Row, 'source_bytes');
    while (this.#bytes > this.#config.bytesMax) {
      const oldest = this.#all.shift();
      if (oldest !== undefined && !oldest.gone) this.#evict(oldest, 'total_bytes');
    }
  }

  #evict(row: Row, why: RingEnd): void {
    this.#remove(row);
    this.#d.onGone(why);
  }

  #remove(row: Row): void {
    const { source, frame } = row;
    row.gone = true;
    source.rows.splice(source.rows.indexOf(row), 1);
    source.ids.delete(idOf(frame));
    source.bytes -= sizeOf(frame);
    this.#frames -= 1;
    this.#bytes -= sizeOf(frame);
  }

  #sweep(): void {
    const { clock, keepMs } = this.#d;
    const now = clock.now();
    for (const [key, { rows }] of this.#sources) {
      for (let first = rows[0]; first !== undefined; first = rows[0]) {
        if (now - first.frame.receivedMs <= keepMs(first.frame.stream)) break;
        this.#evict(first, 'age');
      }
      if (rows.length === 0) this.#sources.delete(key);
    }
    this.#all = this.#all.filter(({ gone }) => !gone);
    this.#timer = this.#sources.size === 0 ? undefined : clock.setTimeout(() => this.#sweep(), SWEEP_MS);
  }
}

interface RingConfig {
  readonly sourceBytesMax: number;
  readonly bytesMax: number;
}

interface RingDeps {
  clock: Clock;
  keepMs(stream: string): number;
  onGone(why: RingEnd): void;
}

const sizeOf = ({ bytes }: KeptFrame) => bytes.byteLength + ROW_BYTES;
const idOf = ({ boot, seq }: KeptFrame) => `${boot}-${seq}`;
