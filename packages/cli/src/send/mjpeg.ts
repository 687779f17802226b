/** What came out of a stream of JPEGs so far. */
export interface Split {
  /** Whole pictures. */
  frames: number;
  /** Bytes between pictures: boundaries of a multipart stream, zeros of a camera that pads. */
  skippedBytes: number;
  /** Pictures that were cut short, or longer than allowed. */
  broken: number;
}

type State = 'seek' | 'marker' | 'scan';

const SOI = 0xd8;
const EOI = 0xd9;
const SOS = 0xda;
const TEM = 0x01;
const isRestart = (code: number) => code >= 0xd0 && code <= 0xd7;
/** Of a step: more bytes are needed. */
const SHORT = Symbol('short');

/**
 * Cuts a stream of JPEGs, one after the other and cut anywhere, into pictures. It walks along the markers (ITU T.81, B.1.1): an end
 * marker inside a segment, as in the thumbnail of an EXIF header, ends nothing. What lies between pictures is passed over, so that a
 * multipart/x-mixed-replace body does too.
 */
export class JpegSplitter {
  readonly split: Split = { frames: 0, skippedBytes: 0, broken: 0 };
  readonly #bytesMax: number;
  #held: Buffer = Buffer.alloc(0);
  #state: State = 'seek';
  /** Where the reading goes on in what is held; in all states but `seek` the picture begins at 0. */
  #at = 0;
  /** Whether it came to a scan: without one there is nothing to see in it. */
  #scanned = false;

  /** @param o.bytesMax of one picture; what is longer is passed over */
  constructor(o: { bytesMax: number }) {
    this.#bytesMax = o.bytesMax;
  }

  /** @returns the pictures that these bytes complete, in their order */
  push(chunk: Uint8Array): Uint8Array[] {
    this.#held = this.#held.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#held, chunk]);
    const pictures: Uint8Array[] = [];
    for (;;) {
      const found = this.#step();
      if (found === SHORT) {
        if (this.#state === 'seek' || this.#held.length <= this.#bytesMax) break;
        this.#giveUp();
      } else if (found !== undefined) {
        if (found.length <= this.#bytesMax) pictures.push(found);
        else this.split.broken += 1;
      }
    }
    this.split.frames += pictures.length;
    return pictures;
  }

  /** @returns a whole picture, where it found its end */
  #step(): Buffer | typeof SHORT | undefined {
    if (this.#state === 'seek') return this.#seek();
    return this.#state === 'scan' ? this.#scan() : this.#marker();
  }

  /** Lets go of what lies before `end`. */
  #cut(end: number): Buffer {
    const gone = this.#held.subarray(0, end);
    this.#held = this.#held.subarray(end);
    this.#at = 0;
    return gone;
  }

  /** What begins at 0 is no picture: the next one may begin within it. */
  #giveUp(): undefined {
    this.split.broken += 1;
    this.split.skippedBytes += this.#cut(1).length;
    this.#state = 'seek';
  }

  #seek(): typeof SHORT | undefined {
    const held = this.#held;
    let start = held.indexOf(0xff);
    while (start >= 0 && start + 2 < held.length && !(held[start + 1] === SOI && held[start + 2] === 0xff)) {
      start = held.indexOf(0xff, start + 1);
    }
    this.split.skippedBytes += this.#cut(start < 0 ? held.length : start).length;
    if (this.#held.length < 3) return SHORT;
    this.#state = 'marker';
    this.#at = 2;
    this.#scanned = false;
    return undefined;
  }

  /** Entropy-coded data up to the next marker; 0xff 0x00 is data, and restart markers belong to it. */
  #scan(): typeof SHORT | undefined {
    const held = this.#held;
    while (this.#at < held.length) {
      const found = held.indexOf(0xff, this.#at);
      this.#at = found < 0 ? held.length : found;
      const next = held[this.#at + 1];
      if (next === undefined) return SHORT;
      if (next !== 0xff && next !== 0 && !isRestart(next)) {
        this.#state = 'marker';
        return undefined;
      }
      this.#at += next === 0xff ? 1 : 2;
    }
    return SHORT;
  }

  #marker(): Buffer | typeof SHORT | undefined {
    const held = this.#held;
    while (held[this.#at] === 0xff && held[this.#at + 1] === 0xff) this.#at += 1;
    const code = held[this.#at + 1];
    if (code === undefined) return SHORT;
    if (held[this.#at] !== 0xff || code === 0 || code === SOI || (code === EOI && !this.#scanned))
      return this.#giveUp();
    if (code === EOI) {
      this.#state = 'seek';
      return this.#cut(this.#at + 2);
    }
    if (code === TEM || isRestart(code)) {
      this.#at += 2;
      return undefined;
    }
    return this.#segment(code);
  }

  /** Its length is in its first two bytes and counts them. */
  #segment(code: number): typeof SHORT | undefined {
    if (this.#at + 4 > this.#held.length) return SHORT;
    const length = this.#held.readUInt16BE(this.#at + 2);
    if (length < 2) return this.#giveUp();
    this.#at += 2 + length;
    if (code === SOS) {
      this.#state = 'scan';
      this.#scanned = true;
    }
    return undefined;
  }
}
