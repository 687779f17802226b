import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type DeadLetter,
  type GatewayReport,
  GatewayReportSchema,
  type link,
  type MessageInitShape,
  type Outcome,
  OutcomeOrDeadLetterSchema,
} from '@brink/protocol';
import { createLinkServer, type LinkPeer, silentLogger } from '@brink/runtime';

// The two services beside the gateway, as far as the wire shows them: real link servers with simple answers.

type ModelState = MessageInitShape<typeof link.ModelStateSchema>;
type UnitResult = MessageInitShape<typeof link.UnitResultSchema>;
interface ReceivedDecide {
  readonly decide: link.Decide;
  readonly tensors: Buffer[];
}

const LINK = { instance: 'neighbour', window: 64, frameBytesMax: 64 * 1024 * 1024 };

export async function startInference(path: string) {
  const decides: ReceivedDecide[] = [];
  const peers = new Set<LinkPeer>();
  let models: ModelState[] = [];
  let resultOf: (received: ReceivedDecide) => object = () => CAT;
  let holding: Promise<void> | undefined;
  let compute: ((tensors: readonly Buffer[], raw: boolean) => Buffer[]) | undefined;
  let answer: (received: ReceivedDecide) => Promise<UnitResult[]> | UnitResult[] = (received) =>
    received.decide.units.map(decided);

  const tell = (peer: LinkPeer) =>
    peer.request({ case: 'announce', value: { instance: 'inference-1', models } }).catch(() => {});
  const server = createLinkServer(
    { ...LINK, service: 'inference', listen: { path } },
    {
      logger: silentLogger,
      handlers: {
        async decide(decide, tensors) {
          decides.push({ decide, tensors });
          await holding;
          if (compute !== undefined) {
            const answers = decide.units.map((_, i) => compute?.(ownTensors({ decide, tensors }, i), decide.raw) ?? []);
            const all = answers.map((payloads) => ({ ...decided(), payloads: payloads.length }));
            return { body: { case: 'decided', value: { results: all } }, payloads: answers.flat() };
          }
          const results = await answer({ decide, tensors });
          return {
            body: { case: 'decided', value: { results } },
            payloads: resultPayloads(results, resultOf({ decide, tensors })),
          };
        },
      },
      onPeer(peer) {
        peers.add(peer);
        void peer.closed.then(() => peers.delete(peer));
        void tell(peer);
      },
    },
  );
  await server.start(new AbortController().signal);
  return {
    decides,
    /** Units over all Decides. */
    get units() {
      return decides.flatMap(({ decide }) => decide.units);
    },
    async announce(next: ModelState[]): Promise<void> {
      models = next;
      await Promise.all([...peers].map(tell));
    },
    answer(fn: typeof answer): void {
      answer = fn;
    },
    /** Answers nothing until then. */
    hold(until: Promise<void>): void {
      holding = until;
    },
    /** A model: of the tensors of each unit its result as JSON, its states, and where they are asked for (`raw`) its outputs. */
    computes(fn: NonNullable<typeof compute>): void {
      compute = fn;
    },
    /** What is decided about every unit from now on. */
    says(next: object | ((received: ReceivedDecide) => object)): void {
      resultOf = typeof next === 'function' ? (next as typeof resultOf) : () => next;
    },
    /** Breaks every connection; the gateway dials again. */
    hangUp(): void {
      for (const peer of peers) peer.close();
    },
    stop: () => server.stop(),
  };
}
export type Inference = Awaited<ReturnType<typeof startInference>>;

function ownTensors({ decide, tensors }: ReceivedDecide, index: number): Buffer[] {
  const before = decide.units.slice(0, index).reduce((sum, { inputs }) => sum + inputs.length, 0);
  return tensors.slice(before, before + (decide.units[index]?.inputs.length ?? 0));
}

/** A decision for "cat", in the words of inference. */
export const decided = (): UnitResult => ({
  payloads: 1,
  batch: 1,
  queueMs: 0.1,
  inferMs: 1.5,
  decodeOutputMs: 0.05,
  provider: 'cpu',
  modelSha256: 'f'.repeat(64),
  topJson: JSON.stringify([{ label: 'cat', raw: 3.2 }]),
});

const CAT = {
  task: 'classification',
  label: 'cat',
  label_text: '猫',
  score: 0.9,
  classes: [{ label: 'cat', score: 0.9 }],
};

/** What goes with these results: one JSON for each that was decided. */
export function resultPayloads(results: readonly UnitResult[], result: object = CAT): Buffer[] {
  return results.filter(({ payloads = 0 }) => payloads > 0).map(() => Buffer.from(JSON.stringify(result)));
}

export async function startControl(path: string) {
  const outcomes: Outcome[] = [];
  const letters: DeadLetter[] = [];
  const reports: GatewayReport[] = [];
  let peer: LinkPeer | undefined;
  let before: (rows: number) => Promise<void> = () => Promise.resolve();
  const server = createLinkServer(
    { ...LINK, service: 'control', listen: { path } },
    {
      logger: silentLogger,
      handlers: {
        async outcomes(_request, payloads) {
          await before(payloads.length);
          for (const payload of payloads) {
            const row = OutcomeOrDeadLetterSchema.parse(JSON.parse(payload.toString('utf8')));
            if ('dead' in row) letters.push(row);
            else outcomes.push(row);
          }
          return { body: { case: 'committed', value: { count: payloads.length } } };
        },
        async report(_, [payload]) {
          reports.push(GatewayReportSchema.parse(JSON.parse(String(payload))));
          return { body: { case: 'done', value: {} } };
        },
      },
      onPeer(next) {
        peer = next;
      },
    },
  );
  await server.start(new AbortController().signal);
  return {
    outcomes,
    letters,
    reports,
    /** Runs before a batch is taken; a rejection is the answer. */
    beforeCommit(fn: typeof before): void {
      before = fn;
    },
    async post(frame: MessageInitShape<typeof link.PostFrameSchema>, bytes: Uint8Array) {
      if (peer === undefined) throw new Error('the gateway is not connected to control');
      const { body } = await peer.request({ case: 'postFrame', value: frame }, [bytes]);
      if (body.case !== 'postedFrame') throw new Error(`answered ${body.case}`);
      return body.value;
    },
    async record(asked: MessageInitShape<typeof link.RecordSchema>) {
      if (peer === undefined) throw new Error('the gateway is not connected to control');
      const { body } = await peer.request({ case: 'record', value: asked }, []);
      if (body.case !== 'recorded') throw new Error(`answered ${body.case}`);
      return body.value;
    },
    stop: () => server.stop(),
  };
}
export type Control = Awaited<ReturnType<typeof startControl>>;

/** Writes a passport (no weights: the gateway reads none) and says what inference would announce of it. */
export async function writePassport(
  modelsDir: string,
  o: { name: string; version?: number; width?: number; height?: number; fit?: string; task?: string; card?: object } & {
    inputs?: object[];
    state?: object[];
    output?: object;
    files?: object[];
  },
): Promise<ModelState> {
  const { name, version = 1, width = 4, height = 4, fit = 'stretch', task = 'classification', card = {} } = o;
  const boxes = { decoder: 'scores-boxes', tensors: { scores: 'scores', boxes: 'boxes' } };
  const classes = { decoder: 'classification', tensors: { logits: 'logits' } };
  const passport = {
    passport: 1,
    name,
    version,
    task,
    files: [{ path: 'model.onnx', sha256: 'f'.repeat(64) }, ...(o.files ?? [])],
    inputs: o.inputs ?? [{ tensor: 'image', image: { width, height, fit } }],
    ...(o.state === undefined ? {} : { state: o.state }),
    batch_max: 8,
    output: o.output ?? (task === 'detection' ? boxes : classes),
    card,
  };
  const bytes = Buffer.from(JSON.stringify(passport));
  const folder = join(modelsDir, name, String(version));
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'model.json'), bytes);
  const passportSha256 = createHash('sha256').update(bytes).digest('hex');
  return { name, version, state: 'ready', passportSha256, batchBest: 4, serving: true, reason: '' };
}

/** A model made of others. Inference does not announce it. */
export async function writeChain(modelsDir: string, name: string, steps: object[], task = 'regression'): Promise<void> {
  const folder = join(modelsDir, name, '1');
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'model.json'), JSON.stringify({ passport: 1, name, version: 1, task, steps }));
}
