import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import { systemClock } from '../clock.ts';
import { encodeFrame, frameBytes, type Kind } from './frame.ts';
import { encodeHello } from './hello.ts';
import type { LinkHandlers, LinkOptions, LinkPeer, RequestBody } from './messages.ts';
import { createLink, type LinkDependencies } from './peer.ts';
import { readingIntoOneBuffer } from './reading.ts';

export const linkOptions: LinkOptions = {
  service: 'gateway',
  instance: 'gateway-1',
  window: 8,
  frameBytesMax: 1024 * 1024,
};
export const decode: RequestBody = { case: 'decode', value: { pixelsMax: 1, targets: [] } };
export const echo: LinkHandlers = {
  decode: async (_value, payloads) => ({ body: { case: 'done', value: {} }, payloads }),
};
export const never = new AbortController().signal;

/** Things to undo after a test, last first. */
export function createUndo() {
  const steps: (() => unknown)[] = [];
  return {
    add: (step: () => unknown) => void steps.push(step),
    run: async () => {
      for (const step of steps.splice(0).reverse()) await step();
    },
  };
}
type Undo = ReturnType<typeof createUndo>;

export function temporaryFolder(undo: Undo): string {
  const folder = mkdtempSync(join(tmpdir(), 'brink-'));
  undo.add(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Both ends of a connected unix socket: one as Node makes it, one that reads into one buffer. */
export async function socketPair(undo: Undo): Promise<[Socket, Socket]> {
  const folder = temporaryFolder(undo);
  const server = createServer({ pauseOnConnect: true });
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  await new Promise<void>((resolve) => server.listen(join(folder, 's'), resolve));
  const dialled = connect(join(folder, 's'));
  const other = readingIntoOneBuffer(await accepted);
  undo.add(() => {
    dialled.destroy();
    other.destroy();
    server.close();
  });
  return [dialled, other];
}

export type Side = Partial<LinkOptions> & { handlers?: LinkHandlers; deps?: Partial<LinkDependencies> };

export function open(socket: Socket, service: string, { handlers = {}, deps = {}, ...o }: Side): Promise<LinkPeer> {
  return createLink(socket, { ...linkOptions, service, ...o }, { handlers, clock: systemClock, ...deps });
}

/** A gateway and an inference with a link between them. */
export async function linked(undo: Undo, a: Side, b: Side): Promise<[LinkPeer, LinkPeer, Socket, Socket]> {
  const [dialled, accepted] = await socketPair(undo);
  const [left, right] = await Promise.all([open(dialled, 'gateway', a), open(accepted, 'inference', b)]);
  return [left, right, dialled, accepted];
}

export const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'resolved',
    (error: unknown) => (error instanceof BrinkError ? error.code : String(error)),
  );

/** The bytes of one frame. */
export function frame(kind: Kind, request: number, header: Uint8Array, payloads: Uint8Array[] = []): Buffer {
  return Buffer.concat(encodeFrame(kind, request, header, payloads, frameBytes(header.byteLength, payloads)));
}

export const helloFrame = (o: Partial<LinkOptions> = {}) => frame(1, 0, encodeHello({ ...linkOptions, ...o }));

/** A gate that a handler waits at. */
export function createGate() {
  const waiting: (() => void)[] = [];
  return {
    pass: () => new Promise<void>((resolve) => void waiting.push(resolve)),
    get count() {
      return waiting.length;
    },
    openOne: () => waiting.shift()?.(),
  };
}
