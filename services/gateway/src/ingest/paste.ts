import { type ModelNeeds, misfitOf } from '@brink/protocol';
import type { Looks } from './looks.ts';

/** One device that sends frames of a stream that does not take them. */
interface Sender {
  readonly device: string;
  readonly bytes: number;
  readonly looks: Looks;
}

/** What there is to choose a model of: those that units can be prepared for. */
export interface Choice {
  readonly name: string;
  readonly needs: ModelNeeds;
}

/**
 * What to put into the configuration to take the frames of a stream, once for all the devices that send them: `streams:` and the stream
 * below it. Where no model fits it is a comment, so that the rest can be pasted. Of a stream that there is already, comments alone: one
 * of its lines is to be changed, and a second one of the name would be refused.
 * @param senders at least one, the last seen first: what its frames look like counts
 * @param devices the glob of the stream, where there is one
 */
export function pasteOf(
  stream: string,
  senders: readonly [Sender, ...Sender[]],
  { devices, models }: { devices: string | undefined; models: readonly Choice[] },
): string {
  const [{ looks }] = senders;
  const alike = senders.filter((one) => String(one.looks.lines) === String(looks.lines));
  const names = alike.map(({ device }) => device).sort();
  if (devices !== undefined) return lineToChange(stream, devices, names);
  const others = senders.filter((one) => !alike.includes(one)).map(({ device }) => device);
  const glob = globOver(names);
  const about = [
    ...(names.length > 1 ? [`${glob} stands for ${listed(names)}; others that fit it are taken too`] : []),
    ...(others.length > 0 ? [`${listed(others)} sends something else under this name: call its stream otherwise`] : []),
    ...(looks.note === undefined ? [] : [looks.note]),
  ];
  const bytes = Math.max(...alike.map((one) => one.bytes));
  const limit = bytes > 512 * 1024 ? [`frame_bytes_max: ${2 ** Math.ceil(Math.log2(bytes * 2))}`] : [];
  const { model, note } = modelFor(looks, models);
  const of = [`devices: "${glob}"`, ...looks.lines, ...limit, 'pipelines:', ...note.map((text) => `  # ${text}`)];
  const lines = [
    ...about.map((text) => `  # ${text}`),
    `  ${stream}:`,
    ...[...of, `  ${stream}-model: { model: ${model ?? '"…"'} }`].map((line) => `    ${line}`),
  ];
  return [...(model === undefined ? lines.map((line) => `#${line}`) : ['streams:', ...lines]), ''].join('\n');
}

function lineToChange(stream: string, devices: string, names: readonly string[]): string {
  return [
    `# streams.${stream} takes the devices "${devices}" alone; to take ${listed(names)} too, change its line to`,
    `#     devices: "${globOver([devices, ...names])}"`,
    '',
  ].join('\n');
}

/** The narrowest glob of one star that all of them fit. */
function globOver(names: readonly string[]): string {
  const [first = '*', ...more] = names;
  let length = first.indexOf('*') < 0 ? first.length : first.indexOf('*');
  for (const name of more) while (!name.startsWith(first.slice(0, length))) length -= 1;
  return more.every((name) => name === first) ? first : `${first.slice(0, length)}*`;
}

const LISTED_MAX = 5;
const listed = (names: readonly string[]) =>
  names.length <= LISTED_MAX
    ? names.join(', ')
    : `${names.slice(0, LISTED_MAX).join(', ')} and ${names.length - LISTED_MAX} more`;

/** The first that such frames can be fed to, and what else there is to know. */
function modelFor({ lines }: Looks, models: readonly Choice[]): { model: string | undefined; note: string[] } {
  const format = (/^format: (\w+)$/.exec(lines[0] ?? '')?.[1] ?? 'image') as Parameters<typeof misfitOf>[0]['format'];
  const fields = /fields: \[(.*)\]/.exec(lines.join('\n'))?.[1]?.split(', ') ?? [];
  const brings = { format, ...(format === 'signal' ? { signal: { encoding: 'json' as const, fields } } : {}) };
  const fitting = models.filter(({ needs }) => needs.kinds.length > 0 && misfitOf(brings, needs) === undefined);
  const [first, ...more] = fitting.map(({ name }) => name).sort();
  if (first !== undefined) return { model: first, note: more.length === 0 ? [] : [`or: ${listed(more)}`] };
  const ofKind = models.filter(({ needs }) => needs.kinds.includes(format));
  const [kind, ...kinds] = ofKind.map(({ name, needs }) => `${name} takes ${needs.channels.join(', ') || format}`);
  if (kind === undefined) return { model: undefined, note: [`put a model for ${format} here: none is served yet`] };
  return { model: undefined, note: [`name the fields as the model has them: ${listed([kind, ...kinds])}`] };
}
