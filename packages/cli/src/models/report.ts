import { join } from 'node:path';
import type { PassportDraft } from '@brink/onnx';
import { type Paint, printable } from '../terminal.ts';
import type { ModelCheck } from './check.ts';
import type { Installed } from './install.ts';

/** The lines of `check`, and of an `add` that was refused. */
export function checkLines(result: ModelCheck, paint: Paint): string[] {
  const lines: string[] = [];
  const { graph, draft, problems } = result;
  if (graph !== undefined) {
    const [takes, gives] = [graph.inputs, graph.outputs].map((tensors) => tensors.map(printable).join(', '));
    lines.push(`model.onnx  takes ${takes}; gives ${gives}; opset ${graph.opset}`);
    for (const [key, value] of Object.entries(graph.metadata).slice(0, 20)) {
      lines.push(`            ${printable(key)} = ${printable(value.slice(0, 120))}`);
    }
  }
  for (const { path, given, expected, write } of problems) {
    lines.push(
      `${paint('red', printable(path))}`,
      `  given     ${printable(given)}`,
      `  expected  ${printable(expected)}`,
    );
    if (write !== undefined) lines.push(`  write     ${printable(write)}`);
  }
  if (draft !== undefined) lines.push(...draftLines(draft, paint));
  const name =
    result.name === undefined || result.version === undefined
      ? result.folder
      : `${result.name} version ${result.version}`;
  lines.push(
    problems.length === 0 ? `${paint('green', 'ok')}  ${name}` : `${problems.length} to put right in ${result.folder}`,
  );
  return lines;
}

function draftLines({ draft, complete, missing, doubts, labels }: PassportDraft, paint: Paint): string[] {
  const lines = [
    `${paint('yellow', 'no model.json')}: without one only the Open Inference Protocol reaches the model, no pipeline does`,
    ...missing.map((line) => `  missing   ${printable(line)}`),
    ...doubts.map((line) => `  compare   ${printable(line)}`),
  ];
  if (labels !== undefined) lines.push(`  labels    ${labels.length}: ${printable(labels.slice(0, 5).join(', '))}, …`);
  const what = complete ? '`brink models add` writes this one:' : 'One to begin with:';
  return [...lines, what, ...JSON.stringify(draft, null, 2).split('\n').map(printable)];
}

export function installedLines({ name, version, path, bytes, passport, draft }: Installed, paint: Paint): string[] {
  const lines = [`${paint('green', 'added')}  ${name} version ${version}: ${path}, ${(bytes / 2 ** 20).toFixed(1)} MB`];
  if (draft === undefined) return lines;
  lines.push(...draft.doubts.map((line) => `  compare   ${printable(line)}`));
  if (passport) return [...lines, '  model.json was written from what the file and its neighbours say; look it over'];
  return [
    ...lines,
    '  without model.json: the Open Inference Protocol reaches it, no pipeline does',
    ...draft.missing.map((line) => `  missing   ${printable(line)}`),
    `  write     ${join(path, 'model.json')}; \`npx brink models check ${path}\` prints one to begin with, and says what is wrong in it`,
    `  then      npx brink models add ${path}  makes the next version of it; --name gives it another name`,
    '  guide     docs/add-a-model.md',
  ];
}
