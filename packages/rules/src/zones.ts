import type { Zone } from '@brink/protocol';

/** By name; corners 0..1 of the picture. */
export type Zones = Readonly<Record<string, Zone>>;

const EPSILON = 1e-9;

/**
 * Even-odd rule (W. R. Franklin, PNPOLY). A point on an edge is inside: a box that ends at the edge of the picture stands
 * in a zone that does.
 */
export function isInside(zone: Zone, x: number, y: number): boolean {
  let inside = false;
  let [x0, y0] = zone.at(-1) as [number, number];
  for (const [x1, y1] of zone) {
    if (isOnEdge(x, y, x0, y0, x1, y1)) return true;
    if (y0 > y !== y1 > y && x < ((x0 - x1) * (y - y1)) / (y0 - y1) + x1) inside = !inside;
    x0 = x1;
    y0 = y1;
  }
  return inside;
}

function isOnEdge(x: number, y: number, x0: number, y0: number, x1: number, y1: number): boolean {
  if (Math.abs((x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)) > EPSILON) return false;
  const within = (value: number, a: number, b: number) =>
    value >= Math.min(a, b) - EPSILON && value <= Math.max(a, b) + EPSILON;
  return within(x, x0, x1) && within(y, y0, y1);
}

/** Where an object stands: the middle of the lower edge of its box. @returns undefined for what has no box */
export function footOf(object: unknown): [x: number, y: number] | undefined {
  const box = (object as { box?: unknown } | undefined)?.box;
  if (!Array.isArray(box) || box.length !== 4 || !box.every((part) => typeof part === 'number')) return undefined;
  const [x0, , x1, y1] = box as [number, number, number, number];
  return [(x0 + x1) / 2, y1];
}
