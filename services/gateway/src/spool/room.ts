import type { Spooled } from '../ingest/frame.ts';
import type { StreamRows } from './rows.ts';

export interface Limits {
  readonly rowsMax: number;
  readonly bytesMax: number;
}

const ROOMY = 0.75;
/** What nobody asks for stays so long after a configuration at the least, though others want its place: it may be a mistake. */
const UNASKED_MS = 60_000;
/**
 * Where only more samples let anything go, the limits may be exceeded: so many times where the rows of several boots wait, and
 * where those of a single one do, whose window is then longer than they are.
 */
const TIMES = { several: 2, single: 32 };

const within = ({ rows, bytes, entering, enteringBytes }: StreamRows, { rowsMax, bytesMax }: Limits, more = 0) =>
  rows.size + entering < rowsMax && bytes + enteringBytes + more <= bytesMax;

const scaled = ({ rowsMax, bytesMax }: Limits, times: number): Limits => ({
  rowsMax: rowsMax * times,
  bytesMax: bytesMax * times,
});

/** @param isQuiet nothing that is there can be decided: only more samples let any of it go */
export function hasRoom(of: StreamRows, limits: Limits, isQuiet: boolean, bytes: number): boolean {
  if (of.rows.size + of.entering === 0 || within(of, limits, bytes)) return true;
  if (!isQuiet || of.superseded > 0 || !isFew(of, scaled(limits, 1 - ROOMY), bytes)) return false;
  return within(of, scaled(limits, TIMES[of.boots.size > 1 ? 'several' : 'single']), bytes);
}

/** Beyond the limits what is on its way may complete a window: so much of it at once. */
function isFew({ entering, enteringBytes }: StreamRows, { rowsMax, bytesMax }: Limits, bytes: number): boolean {
  return entering === 0 || (entering < rowsMax && enteringBytes + bytes <= bytesMax);
}

/** Whether a quarter of the place is free. */
export function isRoomy({ rows, bytes, entering, enteringBytes }: StreamRows, limits: Limits): boolean {
  const { rowsMax, bytesMax } = scaled(limits, ROOMY);
  return rows.size + entering <= rowsMax && bytes + enteringBytes <= bytesMax;
}

/**
 * Boots whose rows have to go, so that there is room in a stream in which nothing can be decided: until a quarter is free those
 * after which the device began another one; where there is none, the one of which nothing came for longest.
 * @param device who wants the room; its own rows go only where there are no others
 */
export function whoGoes(
  of: StreamRows,
  limits: Limits,
  device: string | undefined,
): { device: string; boot: string }[] {
  const going: { device: string; boot: string }[] = [];
  if (of.superseded === 0) {
    const idle = [...of.boots.keys()].find((one) => one !== device) ?? device;
    const [boot] = of.boots.get(idle ?? '')?.keys() ?? [];
    return idle === undefined || boot === undefined ? going : [{ device: idle, boot }];
  }
  let rest = of.rows.size;
  for (const [one, boots] of of.boots) {
    const last = [...boots.keys()].at(-1);
    for (const [boot, rows] of boots) {
      if (boot === last || (going.length > 0 && rest <= limits.rowsMax * ROOMY)) continue;
      going.push({ device: one, boot });
      rest -= rows;
    }
  }
  return going;
}

/** Rows that no stream asks for, and that are too old, or in the way of others. @param now ms since 1970 */
export function unaskedToGo(of: StreamRows, limits: Limits & { readonly ageMsMax: number }, now: number): Spooled[] {
  const all = now - of.sinceMs >= UNASKED_MS && !isRoomy(of, limits);
  const going: Spooled[] = [];
  for (const id of of.unasked) {
    const spooled = of.rows.get(id);
    // In the order of arrival: those behind it are younger.
    if (spooled === undefined || (!all && now - spooled.receivedMs < limits.ageMsMax)) break;
    going.push(spooled);
  }
  return going;
}
