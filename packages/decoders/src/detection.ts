import { BrinkError, type OutputOf, type Result } from '@brink/protocol';
import type { Decoded, DecoderOptions } from './decode.ts';
import { type Candidates, type Corners, suppress } from './nms.ts';
import { digits, namer, probability } from './scores.ts';

type DetectorOutput = OutputOf<
  'yolov5' | 'yolov8' | 'yolox' | 'ssd' | 'anchor-free' | 'scores-boxes' | 'box-rows' | 'grid'
>;

/** What a detector collects of one unit. */
export interface Found {
  /** @returns whether it is a candidate, whose box is to be given @throws BrinkError E_MODEL_OUTPUT for a score that is none */
  judge(score: number, kind: number): boolean;
  /** Of the candidate that was judged last: parts of the model's picture; may lie beyond it. */
  take(x0: number, y0: number, x1: number, y1: number): void;
}

interface Collected extends Found {
  readonly candidates: Candidates;
  readonly best: { score: number; kind: number };
}

function collect(scoreMin: number): Collected {
  const candidates: Candidates = { boxes: [], scores: [], classes: [] };
  const best = { score: -1, kind: 0 };
  let last = { score: 0, kind: 0 };
  return {
    candidates,
    best,
    judge(raw, kind) {
      const score = raw >= 0 && raw <= 1 ? raw : probability(raw, () => `a box's score for class ${kind}`);
      if (score > best.score) {
        best.score = score;
        best.kind = kind;
      }
      if (score < scoreMin) return false;
      last = { score, kind };
      return true;
    },
    take(x0, y0, x1, y1) {
      if (Number.isNaN(x0 + y0 + x1 + y1)) throw new BrinkError('E_MODEL_OUTPUT', `a box is ${[x0, y0, x1, y1]}`);
      if (!(x1 > x0 && y1 > y0)) return;
      candidates.boxes.push([x0, y0, x1, y1]);
      candidates.scores.push(last.score);
      candidates.classes.push(last.kind);
    },
  };
}

/**
 * The end that all detectors share: suppression, names, boxes cut to 0..1 of the model's picture; those with no area left go.
 * @param o background: a class that is no object @param classes how many the model knows, background included
 */
export function detect(
  { task, output, labels }: DecoderOptions<DetectorOutput>,
  o: { classes: number; background?: number | null; language: string },
  find: (found: Found) => void,
): Decoded {
  const background = o.background ?? undefined;
  const names = labels?.names.length;
  const without = background !== undefined && names === o.classes - 1;
  if (names !== undefined && names !== o.classes && !without) {
    throw new BrinkError('E_PASSPORT', `the model scores ${o.classes} classes; there are ${names} labels`);
  }
  const named = namer(labels, o.language);
  const nameOf = (kind: number) => named(without && kind > background ? kind - 1 : kind);
  const found = collect(output.score_min);
  find(found);
  const { boxes, scores, classes } = found.candidates;
  const kept = suppress(found.candidates, { threshold: output.nms_iou, how: output.nms, max: output.objects_max });
  const objects: NonNullable<Result['objects']> = [];
  for (const index of kept) {
    const box = clamped(boxes[index] as Corners);
    if (box[2] <= box[0] || box[3] <= box[1]) continue;
    objects.push({ ...nameOf(classes[index] as number), score: digits(scores[index] as number), box });
  }
  const top = objects.slice(0, 5).map(({ label, score }) => ({ label, raw: score }));
  if (top.length === 0 && found.best.score >= 0) {
    top.push({ label: nameOf(found.best.kind).label, raw: digits(found.best.score) });
  }
  return { result: { task, ...bestOf(objects), objects }, top };
}

/** Label and score of the best object, or "none" and 0: what rules read without looking at boxes. */
export function bestOf(objects: NonNullable<Result['objects']>): Pick<Result, 'label' | 'label_text' | 'score'> {
  const [first] = objects;
  if (first === undefined) return { label: 'none', score: 0 };
  const { box: _, ...best } = first;
  return best;
}

/** 0..1, six decimals. */
export function clamped([x0, y0, x1, y1]: Corners): [number, number, number, number] {
  return [part(x0), part(y0), part(x1), part(y1)];
}

const part = (value: number) => digits(Math.min(1, Math.max(0, value)));
