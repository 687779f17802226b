import type { Command } from 'commander';
import { checkModel, type ModelCheck } from '../models/check.ts';
import { type Paint, printable, table } from '../terminal.ts';
import { type Edge, usingApi, type VerbOptions, verb, withApi } from '../verb.ts';

/** As /v1/models lists them. */
interface ModelItem {
  name: string;
  /** in the models folder */
  versions: number[];
  /** what inference says */
  running: { version: number; state: string; reason?: string; instance: string }[];
}

/** `brink models list|check <folder>` */
export function addModels(program: Command, edge: Edge): void {
  const models = program
    .command('models')
    .description('what is loaded, and is a folder one that can be')
    .addHelpText('after', '\nExamples:\n  $ brink models\n  $ brink models check models/cifar-net/1');
  const list = withApi(models.command('list', { isDefault: true })).description('the models of a running Brink');
  verb<VerbOptions>(edge, list, ['brink models', 'brink models list --json'], async (context, options) =>
    usingApi(context, options, async (api) => {
      const page = await api.get<{ items: ModelItem[] }>('/v1/models');
      context.show(page, page.items.length === 0 ? ['no models'] : table(page.items.flatMap(modelRows)));
      return 0;
    }),
  );
  const check = models
    .command('check')
    .description('passport, hashes and the ONNX file against each other; runs nothing. Exit 1 when something is wrong')
    .argument('<folder>', 'models/<name>/<version>');
  verb<VerbOptions>(edge, check, ['brink models check models/cifar-net/1'], async (context, _options, folder = '.') => {
    const result = await checkModel(folder);
    context.show({ ok: result.problems.length === 0, ...result }, checkLines(result, context.paint));
    return result.problems.length === 0 ? 0 : 1;
  });
}

function modelRows({ name, versions, running }: ModelItem): string[][] {
  return versions.map((version) => {
    const at = running.filter((one) => one.version === version);
    // Inference says what it has loaded, gateways what they were told.
    const states = at.map((one) => (one.reason === undefined ? one.state : `${one.state}: ${one.reason}`));
    const state = [...new Set(states)].join(', ');
    return [name, String(version), printable(state === '' ? 'not loaded' : state)];
  });
}

function checkLines(result: ModelCheck, paint: Paint): string[] {
  const lines: string[] = [];
  if (result.graph !== undefined) {
    lines.push(
      `model.onnx  takes ${result.graph.inputs.map(printable).join(', ')}; gives ${result.graph.outputs.map(printable).join(', ')}; opset ${result.graph.opset}`,
    );
    for (const [key, value] of Object.entries(result.graph.metadata).slice(0, 20)) {
      lines.push(`            ${printable(key)} = ${printable(value.slice(0, 120))}`);
    }
  }
  for (const { path, given, expected, write } of result.problems) {
    lines.push(`${paint('red', path)}`, `  given     ${printable(given)}`, `  expected  ${printable(expected)}`);
    if (write !== undefined) lines.push(`  write     ${printable(write)}`);
  }
  if (result.draft !== undefined) {
    lines.push('', 'A model.json to begin with:', ...JSON.stringify(result.draft, null, 2).split('\n'));
  }
  const name = result.name === undefined ? result.folder : `${result.name} version ${result.version}`;
  lines.push(
    result.problems.length === 0
      ? `${paint('green', 'ok')}  ${name}`
      : `${result.problems.length} to put right in ${result.folder}`,
  );
  return lines;
}
