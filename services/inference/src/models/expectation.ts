import type { Expect, Golden, Result } from '@brink/protocol';

type Tolerance = Golden['tolerance'];
type Detected = NonNullable<Result['objects']>[number];
type ExpectedObject = NonNullable<Expect['objects']>[number];
type Box = Detected['box'];

/**
 * What a result says other than what is expected. Only what is stated is compared; of objects each must be found, by label and
 * place, and no other may be there.
 * @returns one sentence per difference
 */
export function differences(result: Result, expect: Expect, tolerance: Tolerance): string[] {
  const found: string[] = [];
  const { label, score } = result;
  const isScore = expect.score === undefined || near(score, expect.score, tolerance.score);
  if ((expect.label !== undefined && label !== expect.label) || !isScore) {
    found.push(`gives ${labelled(label, score)}; expected ${labelled(expect.label, expect.score, tolerance.score)}`);
  }
  if (expect.objects !== undefined) found.push(...objectDifferences(result.objects ?? [], expect.objects, tolerance));
  for (const [name, value] of Object.entries(expect.values ?? {})) {
    const given = result.values?.[name];
    if (near(given, value, tolerance.value)) continue;
    found.push(`gives ${name} = ${given ?? 'nothing'}; expected ${value} ± ${tolerance.value}`);
  }
  return found;
}

function objectDifferences(
  given: readonly Detected[],
  expected: readonly ExpectedObject[],
  tolerance: Tolerance,
): string[] {
  const free = new Set(given);
  const found: string[] = [];
  // Those that say the most choose first, or one that says little could take what another one needs.
  const order = [...expected].sort((a, b) => says(b) - says(a));
  for (const one of order) {
    const match = bestMatch(one, free, tolerance);
    if (match === undefined) found.push(`does not give ${shownObject(one, tolerance)}`);
    else free.delete(match);
  }
  for (const one of free) found.push(`gives ${shownObject(one)}, which is not expected`);
  return found;
}

const says = ({ box, score }: ExpectedObject) => (box === undefined ? 0 : 2) + (score === undefined ? 0 : 1);

/** Of those that fit, the one that lies closest. */
function bestMatch(expected: ExpectedObject, of: Iterable<Detected>, tolerance: Tolerance): Detected | undefined {
  let best: { object: Detected; overlap: number } | undefined;
  for (const object of of) {
    if (object.label !== expected.label) continue;
    if (expected.score !== undefined && !near(object.score, expected.score, tolerance.score)) continue;
    const overlap = expected.box === undefined ? 1 : iou(object.box, expected.box);
    if (overlap < tolerance.iou && expected.box !== undefined) continue;
    if (best === undefined || overlap > best.overlap) best = { object, overlap };
  }
  return best?.object;
}

/** Intersection over union of two boxes x0 y0 x1 y1. */
export function iou(a: Box, b: Box): number {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (width <= 0 || height <= 0) return 0;
  const both = width * height;
  return both / (area(a) + area(b) - both);
}

const area = (box: Box) => (box[2] - box[0]) * (box[3] - box[1]);

const near = (given: number | undefined, expected: number, tolerance: number) =>
  given !== undefined && Math.abs(given - expected) <= tolerance;

function labelled(label: string | undefined, score: number | undefined, tolerance?: number): string {
  const name = label === undefined ? '' : `"${label}"`;
  const number = score === undefined ? '' : `${score}${tolerance === undefined ? '' : ` ± ${tolerance}`}`;
  return `${name} ${number}`.trim() || 'nothing';
}

function shownObject({ label, score, box }: ExpectedObject, tolerance?: Tolerance): string {
  const where = box === undefined ? '' : ` at [${box.map((side) => Number(side.toFixed(3))).join(', ')}]`;
  const iouMin = box === undefined || tolerance === undefined ? '' : ` (IoU ≥ ${tolerance.iou})`;
  return `${labelled(label, score, tolerance?.score)}${where}${iouMin}`;
}
