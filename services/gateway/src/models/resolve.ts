import { BrinkError, type ChainPassport, type link, stepModel } from '@brink/protocol';
import { highestVersion, type Preparation, readChain, readPreparation } from './passports.ts';

type ModelState = link.ModelState;

/** One version of a model that inference serves and that units can be prepared for. */
export interface ServingModel extends Preparation {
  readonly name: string;
  readonly version: number;
  /** Units that run best together. */
  readonly batchBest: number;
  /** Runners that take batches side by side. */
  readonly copies: number;
  /** Where it is made of others: they, in their order. What a unit brings is what the first one takes. */
  readonly steps?: readonly StepModel[];
}

/** One model of a chain. */
export interface StepModel {
  readonly model: ServingModel;
  /** Rows of the step before it that one run looks at; of the first step 1. */
  readonly window: number;
  readonly hop: number;
  /** It looks at the objects of this label that the step before it found, one by one. */
  readonly crop: { readonly label: string; readonly objectsMax: number } | undefined;
}

export interface Resolving {
  readonly announced: readonly ModelState[];
  readonly wanted: ReadonlyMap<string, number | undefined>;
  /** What was found before: it is not read again where nothing changed. */
  readonly serving: ReadonlyMap<string, ServingModel>;
}

/** Every model that takes units now, by name, and of the others why not. */
export async function resolveModels(
  { modelsDir }: { modelsDir: string },
  { announced, wanted, serving }: Resolving,
): Promise<{ found: Map<string, ServingModel>; why: Map<string, string> }> {
  const found = new Map<string, ServingModel>();
  const why = new Map<string, string>();
  const keep = async (name: string, model: Promise<ServingModel | undefined>) => {
    const of = await model.catch((reason: unknown) => BrinkError.from(reason));
    if (of instanceof BrinkError) why.set(name, of.message);
    else if (of !== undefined) found.set(name, of);
  };
  for (const state of announced.filter((one) => one.serving)) {
    await keep(state.name, prepared(modelsDir, state, serving.get(state.name)));
  }
  for (const [name, version] of wanted) {
    if (announced.some((state) => state.name === name)) continue;
    await keep(name, chainOf(modelsDir, name, version ?? (await highestVersion(modelsDir, name)), announced));
  }
  return { found, why };
}

/**
 * @returns undefined where it is no chain
 * @throws BrinkError E_PASSPORT, and why a step of it takes nothing
 */
async function chainOf(
  modelsDir: string,
  name: string,
  version: number | undefined,
  announced: readonly ModelState[],
): Promise<ServingModel | undefined> {
  const chain = version === undefined ? undefined : await readChain(modelsDir, name, version);
  if (chain === undefined) return undefined;
  const steps: StepModel[] = [];
  for (const step of chain.passport.steps) {
    const { window = 1, hop = window } = step;
    const crop = step.crop === undefined ? undefined : { label: step.crop, objectsMax: step.objects_max };
    steps.push({ model: await stepOf(modelsDir, stepModel(step), announced), window, hop, crop });
  }
  checkSteps(steps, chain.passport);
  const [{ model: first }] = steps as [StepModel];
  const heads = first.heads.slice(0, first.heads.length - first.states.length);
  const bytes = heads.reduce((sum, head) => sum + head.bytes, 0);
  const own = { name, version: chain.passport.version, passportSha256: chain.sha256, heads, bytes, steps };
  return { ...first, ...own, states: [], task: chain.passport.task };
}

async function stepOf(
  modelsDir: string,
  { name, version }: { name: string; version: number },
  announced: readonly ModelState[],
): Promise<ServingModel> {
  const state = announced.find((one) => one.name === name && one.version === version);
  if (state === undefined)
    throw new BrinkError('E_MODEL_UNKNOWN', `step ${name}@${version} is not loaded by inference`);
  return prepared(modelsDir, state, undefined);
}

/** @throws BrinkError E_PASSPORT where a step cannot take what the one before it gives */
function checkSteps(steps: readonly StepModel[], { name, version, task }: ChainPassport): void {
  const [first, last] = [steps[0]?.model, steps.at(-1)];
  const isCrop = last?.crop !== undefined;
  const does = isCrop ? 'detection' : last?.model.task;
  const found = [
    ...steps.slice(1).map((step, i) => stepProblem(step, `steps[${i + 1}]`)),
    isCrop && first?.task !== 'detection' ? `steps[0] does ${first?.task}; expected detection in front of crop` : '',
    isCrop && !NAMING.has(last.model.task) ? `steps[1] does ${last.model.task}; expected classification` : '',
    does === task ? '' : `task is ${task}; its steps do ${does}`,
  ].filter((problem) => problem !== '');
  if (found.length > 0) throw new BrinkError('E_PASSPORT', `${name}@${version}: ${found.join('; ')}`);
}

/** @returns '' where it can follow another step */
function stepProblem({ model, window, crop }: StepModel, path: string): string {
  const [head, ...more] = model.heads.slice(0, model.heads.length - model.states.length);
  if (more.length > 0) return `${path} takes ${more.length + 1} inputs; expected one, what the step before gives`;
  const takes = crop === undefined ? 'features' : 'image';
  if (!model.needs.kinds.includes(takes)) return `${path} takes ${model.needs.kinds}; expected ${takes}`;
  const elements = (head?.bytes ?? 0) / 4;
  if (crop !== undefined || elements % window === 0) return '';
  return `${path}.window is ${window}; its model takes ${elements} numbers`;
}

/** Tasks that give what they look at a name. */
const NAMING: ReadonlySet<string> = new Set(['classification', 'anomaly']);

/** @throws BrinkError E_MODEL_NOT_READY, E_MODEL_UNKNOWN, E_PASSPORT, E_PASSPORT_CHANGED */
async function prepared(
  modelsDir: string,
  announced: ModelState,
  known: ServingModel | undefined,
): Promise<ServingModel> {
  const { name, version, passportSha256, batchBest, copies, state, reason } = announced;
  if (state !== 'ready') {
    throw new BrinkError('E_MODEL_NOT_READY', `${name}@${version} is ${state}${reason === '' ? '' : `: ${reason}`}`);
  }
  // A model without a passport: there is nothing to prepare units by.
  if (passportSha256 === '') throw new BrinkError('E_UNSUPPORTED', `${name}@${version}: ${reason}`);
  const unchanged = known?.version === version && known.passportSha256 === passportSha256;
  const preparation = unchanged ? known : await readPreparation(modelsDir, name, version);
  if (preparation.passportSha256 !== passportSha256) {
    const [here, there] = [preparation.passportSha256.slice(0, 12), passportSha256.slice(0, 12)];
    throw new BrinkError(
      'E_PASSPORT_CHANGED',
      `the passport of ${name}@${version} here is ${here}…, inference loaded ${there}…`,
    );
  }
  // 0 comes of an inference that does not say it yet.
  const room = { batchBest: Math.max(1, batchBest), copies: Math.max(1, copies) };
  return { ...preparation, name, version, ...room };
}
