import { setFlagsFromString } from 'node:v8';

// Flags of V8, not of Node: they change when memory is freed, never what a program does.

/** The V8 of Node 24 has them; an older one would only complain. */
const NODE_MIN = 24;
const GROWTH_PERCENT = 50;

const isKnown = () => Number(process.versions.node.split('.', 1)[0]) >= NODE_MIN;

/**
 * For processes through which frames pass, before anything else: network buffers count as part of the heap, so that the small
 * collections, which free most of them, come before they are many. V8 otherwise answers every 64 MiB of buffers, or less, with a full
 * collection on all cores.
 */
export function collectBuffersEarly(): void {
  if (isKnown()) setFlagsFromString('--external-memory-accounted-in-global-limit');
}

/**
 * A full collection comes when the heap has grown by half since the last one. V8 otherwise lets a small heap grow to a multiple of
 * what is in use, which on a box that is short of memory looks, for hours, like a leak (`npm run bench -- memory`).
 */
export function boundHeapGrowth(): void {
  if (isKnown()) setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`);
}
