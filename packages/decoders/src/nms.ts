/** x0 y0 x1 y1 */
export type Corners = readonly [number, number, number, number];

/** What detectors found before suppression: box, score and class, one behind the other. */
export interface Candidates {
  readonly boxes: Corners[];
  readonly scores: number[];
  readonly classes: number[];
}

/** Intersection over union; 0 where a box has no area. */
export function iou(a: Corners, b: Corners): number {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (!(width > 0 && height > 0)) return 0;
  const shared = width * height;
  return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared);
}

/** Beyond so many candidates only the best are looked at: the work is bounded whatever a model says. */
const CANDIDATES_MAX = 5000;

/**
 * Greedy non-maximum suppression: the best box stays, those that overlap it by more than `threshold` go, and so on.
 * Equal scores keep their order. @param how per class, over all classes, or not at all
 * @returns indices of those that stay, best first, at most `max`
 */
export function suppress(
  { boxes, scores, classes }: Candidates,
  o: { threshold: number; how: 'class' | 'agnostic' | 'none'; max: number },
): number[] {
  const score = (index: number) => scores[index] as number;
  const order = scores.map((_, index) => index).sort((a, b) => score(b) - score(a) || a - b);
  if (o.how === 'none') return order.slice(0, o.max);
  const kept: number[] = [];
  const rivals = new Map<number, Corners[]>();
  for (const index of order.slice(0, CANDIDATES_MAX)) {
    if (kept.length === o.max) break;
    const group = o.how === 'agnostic' ? 0 : (classes[index] as number);
    const box = boxes[index] as Corners;
    const better = rivals.get(group) ?? [];
    if (better.some((other) => iou(box, other) > o.threshold)) continue;
    kept.push(index);
    rivals.set(group, better);
    better.push(box);
  }
  return kept;
}
