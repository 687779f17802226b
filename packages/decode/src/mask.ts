import type { Raster } from './bilinear.ts';

/**
 * A place in the upright original, each number 0..1 of its width or height: `x0 y0 x1 y1` of a rectangle, or the corners
 * of a polygon, `x y` each, at least three.
 */
export type MaskShape = readonly number[];

/** Opaque black: little-endian, red in the lowest byte. */
const BLACK = 0xff000000 | 0;
/** How far a pixel can lie from one whose colour it shares: chroma of JPEG and WebP is stored for two by two pixels, and smoothed. */
const SPREAD = 2;

interface Size {
  readonly width: number;
  readonly height: number;
}

/**
 * Paints the shapes black, in place. Rounded outwards: every pixel that a shape touches is masked, and where the picture
 * was compressed those too whose colour one of them had a part in.
 * @param lossless the pixels are those of the source, as in a PNG
 */
export function paintMasks(raster: Raster, shapes: readonly MaskShape[], lossless: boolean): void {
  const spread = lossless ? 0 : SPREAD;
  for (const shape of shapes) {
    if (shape.length === 4) paintRectangle(raster, shape, spread);
    else paintPolygon(raster, shape, spread);
  }
}

function paintRectangle(raster: Raster, shape: MaskShape, spread: number): void {
  const { left, top, right, bottom } = pixelsOf(shape, raster);
  for (let y = top - spread; y < bottom + spread; y++) paintRun(raster, y, left - spread, right + spread);
}

/** The whole pixels that a rectangle touches: from the first to one past the last, at least one each way. */
export function pixelsOf([x0 = 0, y0 = 0, x1 = 0, y1 = 0]: MaskShape, { width, height }: Size) {
  const left = Math.min(Math.max(0, Math.floor(x0 * width)), width - 1);
  const top = Math.min(Math.max(0, Math.floor(y0 * height)), height - 1);
  const right = Math.max(left + 1, Math.min(width, Math.ceil(x1 * width)));
  const bottom = Math.max(top + 1, Math.min(height, Math.ceil(y1 * height)));
  return { left, top, right, bottom };
}

/** From x (inclusive) to x (exclusive), as far as it lies in the picture. */
function paintRun({ words, width, height }: Raster, y: number, from: number, to: number): void {
  if (y < 0 || y >= height || to <= 0 || from >= width) return;
  words.fill(BLACK, y * width + Math.max(0, from), y * width + Math.min(width, to));
}

interface Edge {
  readonly x0: number;
  readonly y0: number;
  readonly x1: number;
  readonly y1: number;
}

/**
 * Inside by the nonzero rule at the middle of each pixel, and every pixel that an edge crosses: a pixel that a polygon
 * touches either has an edge in it or lies inside as a whole.
 */
function paintPolygon(raster: Raster, shape: MaskShape, spread: number): void {
  const edges = edgesOf(shape, raster);
  const top = Math.floor(Math.min(...edges.map(({ y0 }) => y0)));
  const bottom = Math.ceil(Math.max(...edges.map(({ y0 }) => y0)));
  for (let y = Math.max(0, top); y < Math.min(raster.height, bottom); y++) paintInside(raster, edges, y);
  for (const edge of edges) paintEdge(raster, edge, spread);
}

function edgesOf(shape: MaskShape, { width, height }: Size): Edge[] {
  const corners = Array.from({ length: shape.length >> 1 }, (_, i) => ({
    x: (shape[2 * i] as number) * width,
    y: (shape[2 * i + 1] as number) * height,
  }));
  return corners.map(({ x, y }, i) => {
    const next = corners[(i + 1) % corners.length] as { x: number; y: number };
    return { x0: x, y0: y, x1: next.x, y1: next.y };
  });
}

function paintInside(raster: Raster, edges: readonly Edge[], y: number): void {
  const middle = y + 0.5;
  const crossings = edges
    .filter(({ y0, y1 }) => y0 <= middle !== y1 <= middle)
    .map(({ x0, y0, x1, y1 }) => ({ x: x0 + ((middle - y0) / (y1 - y0)) * (x1 - x0), turn: y1 > y0 ? 1 : -1 }))
    .toSorted((a, b) => a.x - b.x);
  let winding = 0;
  for (const [i, { x, turn }] of crossings.entries()) {
    winding += turn;
    const next = crossings[i + 1];
    if (winding !== 0 && next !== undefined) paintRun(raster, y, Math.floor(x), Math.ceil(next.x));
  }
}

/** Every pixel that the edge crosses, and those `spread` around it. */
function paintEdge(raster: Raster, { x0, y0, x1, y1 }: Edge, spread: number): void {
  const [top, bottom] = [Math.min(y0, y1), Math.max(y0, y1)];
  const at = (y: number) => (y1 === y0 ? x0 : x0 + ((y - y0) / (y1 - y0)) * (x1 - x0));
  const first = Math.max(-spread, Math.floor(top));
  for (let y = first; y <= Math.min(raster.height + spread, Math.floor(bottom)); y++) {
    const ends = y1 === y0 ? [x0, x1] : [at(Math.max(y, top)), at(Math.min(y + 1, bottom))];
    const from = Math.floor(Math.min(...ends)) - spread;
    const to = Math.floor(Math.max(...ends)) + 1 + spread;
    for (let row = y - spread; row <= y + spread; row++) paintRun(raster, row, from, to);
  }
}
