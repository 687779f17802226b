import type { TensorInfo } from '@brink/onnx';
import { BrinkError } from '@brink/protocol';
import type { ChildMetrics, Clock, LinkMetrics, Logger, Part } from '@brink/runtime';
import type { Metrics } from '../metrics.ts';
import type { Repository } from '../models/repository.ts';
import type { LoadedModel, ModelVersion } from '../models/version.ts';
import { classify } from './classification.ts';
import { type Converter, createConverter } from './converter.ts';
import { checkTensors } from './inputs.ts';
import { type Ask, createJobs, rowsOutOf, stackRows } from './jobs.ts';
import { createPictureDecoder } from './picture-decoder.ts';
import { picturesIn, readPictures } from './pictures.ts';
import { joinedHeads, liesInRows, rowsOf } from './rows.ts';
import type { OipRequest, OipTensor, WantedOutput } from './tensor.ts';

/** What every face of the Open Inference Protocol does. It shows and runs the native graph, as the file has it. */
export interface OipEngine extends Part {
  readonly repository: Repository;
  /** For what becomes of messages, before and after. */
  readonly converter: Converter;
  /** @param version undefined or '': the one that the bare name means @throws BrinkError E_MODEL_UNKNOWN, E_MODEL_NOT_READY */
  find(model: string, version: string | undefined): ModelVersion;
  /** Through the same queue as units. @throws BrinkError E_SHAPE, E_BAD_REQUEST, E_BUSY, E_MODEL_… */
  infer(version: ModelVersion, request: OipRequest): Promise<readonly OipTensor[]>;
}

/** @param o pictureModule: for tests, what runs in place of the decoder of pictures */
export function createOipEngine(
  o: { instance: string; pictureModule?: string },
  d: {
    repository: Repository;
    logger: Logger;
    clock: Clock;
    random: () => number;
    metrics: Metrics;
    childMetrics: ChildMetrics;
    linkMetrics: LinkMetrics;
  },
): OipEngine {
  const { repository, clock } = d;
  const pictures = createPictureDecoder(
    { instance: o.instance, ...(o.pictureModule === undefined ? {} : { module: o.pictureModule }) },
    d,
  );
  const converter = createConverter(d);
  const { compute } = createJobs({ clock });
  /** Versions whose outputs turned out not to lie row by row, although their shapes look like it. */
  const apart = new WeakSet<ModelVersion>();

  async function runTensors(version: ModelVersion, model: LoadedModel, tensors: readonly OipTensor[], ask: Ask) {
    const heads = tensors.map(({ head }) => head);
    const payloads = tensors.map(({ bytes }) => bytes);
    const rows = apart.has(version) ? 0 : rowsOf(model, version.status.batchBest, heads);
    if (rows > 0) {
      const joined = joinedHeads(heads);
      const finished = await compute(model, { session: 'native', ...joined, rows, payloads }, ask);
      if (!liesInRows(finished.run)) apart.add(version);
      // As long as nobody shared the run, it does not matter how it lies.
      if (!apart.has(version) || finished.run.outputs.batch === rows) return rowsOutOf(finished);
    }
    return rowsOutOf(await compute(model, { session: 'native', heads, rows: 0, payloads }, ask));
  }

  /** Each picture is a unit of its own, so that batches are filled as those of gateways are. */
  async function runPictures(model: LoadedModel, files: readonly Uint8Array[], ask: Ask) {
    const pixels = await readPictures(model, files, pictures, ask.signal);
    const units = await Promise.all(
      pixels.map((one) => compute(model, { session: '', heads: model.heads, rows: 1, payloads: [one] }, ask)),
    );
    return stackRows(units.map(rowsOutOf));
  }

  return {
    repository,
    converter,
    async start() {},
    async stop() {
      await Promise.all([pictures.stop(), converter.stop()]);
    },
    find(model, version) {
      if (version === undefined || version === '') return repository.find(model, 0);
      const number = /^[1-9]\d{0,8}$/.test(version) ? Number(version) : undefined;
      if (number !== undefined) return repository.find(model, number);
      throw new BrinkError(
        'E_MODEL_UNKNOWN',
        `"${version.slice(0, 40)}" is no version; versions are positive integers`,
      );
    },
    async infer(version, request) {
      const model = version.ready();
      const { outputs } = model.native;
      const wanted = request.outputs ?? outputs.map(({ name }) => ({ name, classification: 0 }));
      checkWanted(outputs, wanted);
      const files = picturesIn(model, request.tensors);
      const tensors =
        files === undefined
          ? await runTensors(version, model, checkTensors(model.native.inputs, request.tensors), request)
          : await runPictures(model, files, request);
      // The graph that takes pictures has left outputs away that its decoder does not read.
      const given = (name: string) => tensors.find(({ head }) => head.name === name);
      const answered =
        request.outputs === undefined && files !== undefined ? wanted.filter(({ name }) => given(name)) : wanted;
      return answered.map(({ name, classification }) => {
        const tensor = given(name);
        if (tensor === undefined) throw absent(name, files !== undefined);
        return classification === 0 ? tensor : classify(tensor, classification, model.labels?.names ?? []);
      });
    },
  };
}

function absent(name: string, ofPictures: boolean): BrinkError {
  if (!ofPictures) return new BrinkError('E_MODEL_OUTPUT', `the run gave no output "${name}"`);
  return new BrinkError(
    'E_UNSUPPORTED',
    `for pictures there is no output "${name}", since the decoder does not read it; send tensors`,
  );
}

/** @throws BrinkError E_BAD_REQUEST */
function checkWanted(outputs: readonly TensorInfo[], wanted: readonly WantedOutput[]): void {
  const seen = new Set<string>();
  for (const { name } of wanted) {
    if (!outputs.some((output) => output.name === name)) {
      const known = outputs.map((output) => `"${output.name}"`).join(', ');
      throw new BrinkError('E_BAD_REQUEST', `no output "${name.slice(0, 80)}"; the model gives ${known}`);
    }
    if (seen.has(name)) throw new BrinkError('E_BAD_REQUEST', `output "${name}" is asked for twice`);
    seen.add(name);
  }
}
