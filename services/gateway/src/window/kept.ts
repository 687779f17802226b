import { BrinkError } from '@brink/protocol';

// What the spool keeps of a chain: a line of JSON, then bytes. Only this gateway reads it again.

export interface KeptMark {
  /** absent: the next frame begins anew */
  readonly assembler: Uint8Array | undefined;
  readonly at: number;
  readonly rateHz: number;
  readonly inputsKey: string;
  readonly lastSeq: number;
  /** Of the boot until here. */
  readonly gaps: number;
}

export interface KeptStates {
  /** undefined: as at the beginning */
  readonly states: readonly Uint8Array[] | undefined;
  readonly passportSha256: string | undefined;
  /** Of the boot in front of the last unit that was settled. */
  readonly gaps: number;
  /** Of its frame. */
  readonly seq: number;
}

const NEWLINE = 0x0a;

export function packMark({ assembler, ...head }: KeptMark): Uint8Array {
  return pack({ ...head, marked: assembler !== undefined }, assembler === undefined ? [] : [assembler]);
}

/** @throws BrinkError E_STORAGE_CORRUPT */
export function unpackMark(bytes: Uint8Array): KeptMark {
  const { head, rest } = unpack<Omit<KeptMark, 'assembler'> & { marked: boolean }>(bytes);
  const { marked, ...kept } = head;
  return { ...kept, assembler: marked ? rest : undefined };
}

export function packStates({ states, passportSha256 = '', gaps, seq }: KeptStates): Uint8Array {
  return pack({ passportSha256, gaps, seq, bytes: states?.map(({ byteLength }) => byteLength) ?? null }, states ?? []);
}

/** @throws BrinkError E_STORAGE_CORRUPT */
export function unpackStates(bytes: Uint8Array): KeptStates {
  const { head, rest } = unpack<Omit<KeptStates, 'states'> & { bytes: number[] | null }>(bytes);
  let at = 0;
  const states = head.bytes?.map((length) => {
    at += length;
    return rest.slice(at - length, at);
  });
  return { states, passportSha256: head.passportSha256, gaps: head.gaps, seq: head.seq };
}

function pack(head: object, parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), ...parts]);
}

function unpack<T>(bytes: Uint8Array): { head: T; rest: Uint8Array } {
  const end = bytes.indexOf(NEWLINE);
  try {
    return { head: JSON.parse(new TextDecoder().decode(bytes.subarray(0, end))) as T, rest: bytes.slice(end + 1) };
  } catch (reason) {
    throw new BrinkError('E_STORAGE_CORRUPT', 'what the spool kept of a stream cannot be read', { cause: reason });
  }
}
